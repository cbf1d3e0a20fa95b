"""Elementary functions, an element, against NumPy's and SciPy's: one thread, arrays that fit the second cache."""

import importlib.util

import numpy as np

import mlgrad
from mlgrad import _bench
from table import verdict

_SIZE = 16_384
#: A function of NumPy, where it is evaluated, and how many times as fast as NumPy it should be with AVX-512.
_NUMPY = [
    ("exp", -20, 20, 0.8),
    ("exp2", -20, 20, 0.8),
    ("expm1", -5, 5, 0.8),
    ("log", 0.01, 100, 0.8),
    ("log2", 0.01, 100, 0.8),
    ("log10", 0.01, 100, 0.8),
    ("log1p", -0.9, 10, 0.8),
    ("sin", -10, 10, 4),
    ("cos", -10, 10, 4),
    ("tan", -10, 10, 0.8),
    ("arcsin", -1, 1, 0.8),
    ("arccos", -1, 1, 0.8),
    ("arctan", -10, 10, 0.8),
    ("sinh", -10, 10, 0.8),
    ("cosh", -10, 10, 0.8),
    ("tanh", -4, 4, 0.8),
    ("arcsinh", -10, 10, 0.8),
    ("arccosh", 1, 10, 0.8),
    ("arctanh", -0.99, 0.99, 0.8),
    ("sqrt", 0, 100, 0.8),
    ("cbrt", -100, 100, 0.8),
    ("square", -10, 10, 0.8),
    ("reciprocal", 1, 10, 0.8),
]
_SCIPY = [
    ("erf", -4, 4, 4),
    ("erfc", -4, 4, 0.8),
    ("expit", -10, 10, 0.8),
    ("gammaln", 0.1, 20, 0.8),
    ("digamma", 0.1, 20, 0.8),
]
_TWO = [("add", 0.8), ("multiply", 0.8), ("divide", 0.8), ("power", 0.8), ("arctan2", 0.8), ("hypot", 0.8)]


def _cases(dtype):
    rng = np.random.default_rng(0)

    def between(low, high):
        return rng.uniform(low, high, _SIZE).astype(dtype)

    for name, low, high, goal in _NUMPY:
        yield name, getattr(np, name), (between(low, high),), goal
    if importlib.util.find_spec("scipy"):
        import scipy.special

        for name, low, high, goal in _SCIPY:
            yield name, getattr(scipy.special, name), (between(low, high),), goal
    for name, goal in _TWO:
        yield name, getattr(np, name), (between(0.5, 5), between(0.5, 5)), goal


def run(quick):
    usual, figures, lines, missed = mlgrad.num_threads(), {}, [], []
    goals_hold = mlgrad._core.isa() == "avx512"
    mlgrad.set_num_threads(1)
    try:
        for dtype in (np.float64,) if quick else (np.float64, np.float32):
            for name, f, arguments, goal in _cases(dtype):
                label = f"{name}, {dtype.__name__}"
                ours = mlgrad.jit(f)
                calls = {"theirs": lambda f=f, a=arguments: f(*a), "ours": lambda f=ours, a=arguments: f(*a)}
                _bench.check_equal({n: c() for n, c in calls.items()}, 1e-12 if dtype is np.float64 else 1e-5)
                times = _bench.best_times(calls, budget=0.05 if quick else 0.15, target=1e-3)
                figures[label] = each = {n: t / _SIZE for n, t in times.items()}
                # the goals are of float64 with the widest vectors
                goal = goal if goals_hold and dtype is np.float64 else None
                ratio = each["theirs"] / each["ours"]
                lines.append(
                    [label, *(f"{t * 1e9:.2f} ns" for t in each.values()), f"{ratio:.2f}", verdict(ratio, goal)]
                )
                if goal and ratio < goal:
                    missed.append(label)
    finally:
        mlgrad.set_num_threads(usual)
    print(_bench.table(["an element", "NumPy, SciPy", "mlgrad.jit", "ratio", "goal"], lines))
    print(f"  below the goal: {'; '.join(missed) or 'none'}")
    return figures
