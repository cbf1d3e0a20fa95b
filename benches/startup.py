"""What a program pays once: importing mlgrad, its first gradient, and the first call of a long function."""

import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

import mlgrad
from mlgrad import _bench
from table import verdict

_IMPORT = """
import numpy
from time import perf_counter
start = perf_counter()
import mlgrad
print(perf_counter() - start)
"""

# twenty operations
_FIRST = """
import numpy as np
import mlgrad
from time import perf_counter
def f(x):
    for k in range(4):
        x = np.sin(x) * np.exp(-x) + x / (k + 2.0)
    return np.sum(x)
x = np.linspace(0.0, 1.0, 10)
start = perf_counter()
mlgrad.grad(f)(x)
print(perf_counter() - start)
"""


def _in_new_processes(code, count):
    """Run the code in processes of its own; returns the middle one of the seconds that each prints.

    They find bytecode, as they do where a package has been installed, whatever this process has been told.
    """
    run = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def seconds():
            return float(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout)

        seconds()
        return statistics.median([seconds() for _ in range(count)])


def thousand(x):
    """Apply a thousand operations."""
    for k in range(200):
        x = x + 0.01 * np.sin(x) * (1.0 - x / (k + 1.0))
    return np.sum(x)


def _first_call(make, count):
    """Return the seconds of the first call of a function, when nothing of it is known yet: the best of `count`."""
    x, best = np.linspace(0.1, 1.0, 4), float("inf")
    for _ in range(count):
        mlgrad._core.clear_cache()
        f = make()
        best = min(best, _bench.once(lambda f=f: f(x)))
    return best


def run(quick):
    figures = [
        ("import mlgrad, after NumPy", _in_new_processes(_IMPORT, 5 if quick else 15), 15e-3),
        ("first gradient of a process, 20 operations", _in_new_processes(_FIRST, 5 if quick else 15), 3e-3),
        ("first gradient of 1000 operations", _first_call(lambda: mlgrad.grad(thousand), 10), 3e-3),
        ("first jitted gradient of them", _first_call(lambda: mlgrad.jit(mlgrad.grad(thousand)), 10), 3e-3),
    ]
    for what, seconds, goal in figures:
        print(f"  {what}: {seconds * 1e3:.2f} ms  {verdict(seconds * 1e3, goal * 1e3, at_least=False)}")
    return {what: seconds for what, seconds, _ in figures}
