"""mlgrad beside its peers: one definition of each function, equal results first, then the best of interleaved rounds.

    python benches/run.py [--quick] [--threads N] [--rows TEXT,...] [--parts NAME,...] [--json FILE] [--plot FILE]
    python benches/run.py --show FILE... [--plot FILE]

The backends are NumPy with the derivative written by hand, HIPS autograd, JAX (float64; jitted and not), PyTorch
(compiled and not; where it is installed) and mlgrad (jitted and not). JAX and PyTorch get their arguments as their own
arrays, and JAX is waited for; all others get and give NumPy arrays. The process is bound to N cores before any of them
is imported, so that all have the same. After the table come the other figures that are watched, each a part of its own.
"""

import argparse
import importlib
import json
from pathlib import Path

import environment

#: The modules beside this one that measure something else; each has run(quick), which prints and returns plain values.
PARTS = ("startup", "memory", "threads", "linearity", "elementary", "gemm", "derivatives")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under two minutes")
    parser.add_argument("--threads", type=int, help="how many cores to use (default: all)")
    parser.add_argument("--rows", default="", help="only rows whose title contains one of these texts (no other parts)")
    parser.add_argument("--backends", help="only these columns of the table, with commas between them")
    parser.add_argument("--parts", help=f"only these, of: table,{','.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--plot", type=Path, help="draw time against size into this file (needs matplotlib)")
    parser.add_argument("--show", type=Path, nargs="+", help="measure nothing: the table of these JSON files")
    options = parser.parse_args()
    chosen = options.parts.split(",") if options.parts else ["table"] if options.rows else ["table", *PARTS]
    if unknown := set(chosen) - {"table", *PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.parts = chosen
    options.backends = options.backends.split(",") if options.backends else None
    return options


def measure_rows(options):
    import backends
    import table
    from rows import README, ROWS

    texts = [t for t in options.rows.split(",") if t]
    rows = [r for r in [*ROWS, *README] if not texts or any(t in r.title for t in texts)]
    names = options.backends or backends.NAMES
    if options.quick:
        # compiling takes minutes, however short the rounds are
        names = [n for n in names if n != "torch.compile"]
    records = []
    for row in rows:
        record = table.measure(row, names, options.quick)
        records.append(record)
        print(f"  {record['row']}: {record['ratio']:.2f} times as fast as {record['of'][1]}", flush=True)
    return records


def finish(measured, options):
    """Print the table and write what was asked for."""
    import table

    if rows := measured.get("rows"):
        print(f"\n{table.show(rows)}")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")
    if options.plot:
        import plot

        plot.draw(measured, options.plot)


def main():
    options = parse()
    if options.show:
        files = [json.loads(path.read_text()) for path in options.show]
        measured = files[0] | {"rows": [row for f in files for row in f.get("rows", [])]}
        print(environment.headline(measured["machine"]))
        return finish(measured, options)
    environment.prepare(options.threads)
    measured = {"machine": environment.describe()}
    print(environment.headline(measured["machine"]), flush=True)
    if "table" in options.parts:
        measured["rows"] = measure_rows(options)
    for name in options.parts:
        if name != "table":
            print(f"\n{name}", flush=True)
            measured[name] = importlib.import_module(name).run(options.quick)
    return finish(measured, options)


if __name__ == "__main__":
    main()
