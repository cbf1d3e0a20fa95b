"""mlgrad beside its peers: one definition of each function, equal results first, then the best of interleaved rounds.

    python benches/run.py [--quick] [--threads N] [--only TEXT] [--json FILE]

The contenders are NumPy with the derivative written by hand, HIPS autograd, JAX (float64; jitted and not) and mlgrad
(jitted and not). JAX gets its arguments as its own arrays and is waited for; all others get and give NumPy arrays.
With --threads N the process is bound to N cores before any of them is imported, so that all of them have the same.
"""

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under two minutes")
    parser.add_argument("--threads", type=int, help="how many cores to use (default: all)")
    parser.add_argument("--only", default="", help="only rows whose name contains this text")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args()


OPTIONS = parse()
if OPTIONS.threads and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: OPTIONS.threads])
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)
os.environ["MLGRAD_NUM_THREADS"] = str(THREADS)
os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import autograd  # noqa: E402
import autograd.numpy  # noqa: E402
import jax  # noqa: E402
import jax.numpy  # noqa: E402
import numpy as np  # noqa: E402

import mlgrad  # noqa: E402
from mlgrad import _bench  # noqa: E402
from rows import ROWS  # noqa: E402

PLAIN = ("mlgrad", "autograd")
JITTED = ("NumPy by hand", "autograd", "JAX", "jax.jit", "mlgrad", "mlgrad.jit")


def call(function, arguments):
    return lambda: function(*arguments)


def waiting_call(function, arguments):
    on_device = jax.tree.map(jax.numpy.asarray, arguments)
    return lambda: jax.block_until_ready(function(*on_device))


def contenders(row):
    """Everything that computes this row, as calls without arguments."""
    problem, arguments = row.problem, row.problem.arguments(row.size, np.random.default_rng(0))
    transform = "grad" if row.gradient_only else "value_and_grad"
    f, f_autograd, f_jax = (problem.define(xp) for xp in (np, autograd.numpy, jax.numpy))
    theirs = getattr(jax, transform)(f_jax)
    ours = getattr(mlgrad, transform)(f)
    calls = {
        "NumPy by hand": call(row.by_hand, arguments),
        "autograd": call(getattr(autograd, transform)(f_autograd), arguments),
        "JAX": waiting_call(theirs, arguments),
        "jax.jit": waiting_call(jax.jit(theirs), arguments),
        "mlgrad": call(ours, arguments),
        "mlgrad.jit": call(mlgrad.jit(ours), arguments),
    }
    return {name: c for name, c in calls.items() if name in row.contenders}


def measure(row, quick):
    calls = contenders(row)
    _bench.check_equal({name: c() for name, c in calls.items()})
    return _bench.best_times(calls, budget=0.8 if quick else 4.0, rounds=50 if quick else 200)


def cpu():
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    packages = {"mlgrad": mlgrad.__version__} | {p: version(p) for p in ("numpy", "autograd", "jax", "jaxlib")}
    profile, isa = mlgrad._core.build_profile(), mlgrad._core.isa()
    print(
        f"{cpu()}, {THREADS} cores; instruction set {isa}, build profile {profile}, Python {platform.python_version()}"
    )
    print(", ".join(f"{p} {v}" for p, v in packages.items()), flush=True)
    measured, lines, missed = [], [], []
    for row in ROWS:
        if OPTIONS.only not in row.name:
            continue
        times = measure(row, OPTIONS.quick)
        ratio = times[row.peer] / times[row.ours]
        verdict = ""
        if row.goal:
            verdict = f"{'met' if ratio >= row.goal else 'MISSED'} (at least {row.goal:g})"
            if ratio < row.goal:
                missed.append(row.name)
        shown = [_bench.duration(times[c]) if c in times else "" for c in JITTED]
        lines.append([row.name, *shown, f"{ratio:.2f}", f"{row.ours} / {row.peer}", verdict])
        measured.append(
            {"row": row.name, "seconds": times, "ratio": ratio, "goal": row.goal, "of": [row.ours, row.peer]}
        )
        print(f"  {row.name}: {ratio:.2f} times as fast as {row.peer}", flush=True)
    print()
    print(_bench.table(["", *JITTED, "times", "of", "goal"], lines))
    if OPTIONS.json:
        machine = {
            "cpu": cpu(),
            "threads": THREADS,
            "isa": isa,
            "profile": profile,
            "python": platform.python_version(),
        }
        OPTIONS.json.write_text(
            json.dumps({"machine": machine, "packages": packages, "rows": measured}, indent=2) + "\n"
        )
    if missed:
        print(f"\n{len(missed)} of the goals missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
