"""Two threads over one, and the same bits for any number of threads."""

import numpy as np

import backends
import environment
import mlgrad
from mlgrad import _bench
from rows import ROWS
from table import verdict

_LARGE = 10_000_000


def _with(count, call):
    def run():
        mlgrad.set_num_threads(count)
        return call()

    return run


def _same_bits(row):
    """Compute a row with 1, 2, 3 and 8 threads, and compare every bit."""
    calls, _ = backends.calls(row, ["mlgrad.jit"])
    results = [_bench.leaves(_with(count, calls["mlgrad.jit"])()) for count in (1, 2, 3, 8)]
    return all(
        np.array_equal(a, b, equal_nan=True) for other in results[1:] for a, b in zip(results[0], other, strict=True)
    )


def run(quick):
    usual = mlgrad.num_threads()
    try:
        different = [row.title for row in ROWS if row.n < _LARGE and not _same_bits(row)]
        print(f"  other bits with 1, 2, 3 or 8 threads: {'; '.join(different) or 'no row'}")
        figures = {"different": different, "speedup": {}}
        if environment.threads() < 2:
            print("  left out: two threads over one, on one core")
            return figures
        wanted = {"chain 1e6": 1.7}
        for row in ROWS:
            if quick and row.title not in wanted:
                continue
            call = backends.calls(row, ["mlgrad.jit"])[0]["mlgrad.jit"]
            call()
            times = _bench.best_times({"1": _with(1, call), "2": _with(2, call)}, budget=0.8 if quick else 2.0)
            figures["speedup"][row.title] = gain = times["1"] / times["2"]
            print(f"  two threads over one, {row.title}: {gain:.2f}  {verdict(gain, wanted.get(row.title))}")
        return figures
    finally:
        mlgrad.set_num_threads(usual)
