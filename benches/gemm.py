"""Matrix products against NumPy's BLAS: sizes, dtypes, transpositions, and one and two threads.

A product of small matrices takes less than a call from Python, of NumPy's as of a jitted function, so small ones are
measured as they occur: many in one function.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys

import environment

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
QUICK = (2, 8, 16, 64, 256, 512)
FORMS = ("nn", "nt", "tn", "tt")


def _products(form, count):
    left, right = form[0] == "t", form[1] == "t"

    def f(a, b):
        b = b.T if right else b
        for _ in range(count):
            a = (a.T if left else a) @ b
        return a

    return f


def _here(quick):
    """Measure with the threads of this process; returns the ratio of every case."""
    import numpy as np

    import mlgrad
    from mlgrad import _bench

    rng, ratios = np.random.default_rng(0), {}
    for n in QUICK if quick else SIZES:
        orthogonal = np.linalg.qr(rng.standard_normal((n, n)))[0]
        count = 64 if n <= 16 else 16 if n <= 64 else 4 if n <= 128 else 1
        for dtype in ("float64", "float32"):
            a, b = rng.standard_normal((n, n)).astype(dtype), orthogonal.astype(dtype)
            for form in FORMS[::2] if quick else FORMS:
                f = _products(form, count)
                jitted = mlgrad.jit(f)
                calls = {"NumPy": lambda f=f, a=a, b=b: f(a, b), "mlgrad": lambda f=jitted, a=a, b=b: f(a, b)}
                _bench.check_equal({k: c() for k, c in calls.items()}, 1e-11 if dtype == "float64" else 1e-3)
                # large ones take milliseconds each, and need several rounds all the same
                budget = (0.15 if quick else 0.4) if n >= 256 else 0.04 if quick else 0.08
                times = _bench.best_times(calls, budget=budget, target=1e-3)
                ratios[f"{n} {dtype} {form}"] = times["NumPy"] / times["mlgrad"]
    return ratios


def _mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


def run(quick):
    # not above: they import NumPy, which has to come after environment.prepare
    from mlgrad import _bench
    from table import verdict

    figures = {}
    for threads in sorted({1, min(2, environment.threads())}):
        # a BLAS counts its cores when it is loaded
        command = [sys.executable, __file__, "--threads", str(threads), *(["--quick"] if quick else [])]
        ratios = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        figures |= {f"{case} {threads}": ratio for case, ratio in ratios.items()}
    columns = sorted({case.split(" ", 1)[1] for case in figures}, key=lambda c: (c[-1], c))
    sizes = sorted({int(case.split()[0]) for case in figures})
    print("  times as fast as NumPy, by dtype, transpositions and threads")
    lines = [[str(n), *(f"{figures[f'{n} {c}']:.2f}" for c in columns)] for n in sizes]
    print(_bench.table(["n", *(c.replace("float", "f") for c in columns)], lines))
    small = _mean(r for case, r in figures.items() if int(case.split()[0]) <= 16)
    lowest = min(figures, key=figures.get)
    every = _mean(figures.values())
    print(f"  geometric mean: {every:.2f}  {verdict(every, 1)}")
    print(f"  lowest ({lowest}): {figures[lowest]:.2f}  {verdict(figures[lowest], 0.85)}")
    print(f"  n ≤ 16, geometric mean: {small:.2f}  {verdict(small, 3)}")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    environment.prepare(options.threads)
    print(json.dumps(_here(options.quick)))
