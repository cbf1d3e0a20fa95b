"""Stopwatch and table: every contender runs the same function on the same data, and must agree before it is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlgrad import _core, _problems


def leaves(tree: Any) -> list[np.ndarray[Any, Any]]:
    """Return the numbers in nested tuples, lists and dicts as arrays, in order of the keys."""
    if isinstance(tree, Mapping):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, tuple | list):
        return [leaf for item in tree for leaf in leaves(item)]
    return [np.asarray(tree)]


def check_equal(results: Mapping[str, Any], rtol: float = 1e-9) -> None:
    """Raise AssertionError unless all results are the first one, to `rtol` of each leaf's largest element."""
    (first, expected), *others = results.items()
    for name, result in others:
        pairs = zip(leaves(result), leaves(expected), strict=True)
        for got, want in pairs:
            scale = float(np.max(np.abs(want), initial=0.0)) or 1.0
            if got.shape != want.shape or not np.allclose(got, want, rtol=0.0, atol=rtol * scale):
                raise AssertionError(f"{name} and {first} give different results:\n{got}\n{want}")


def once(call: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best_times(
    contenders: Mapping[str, Callable[[], Any]], budget: float = 1.0, target: float = 2e-3, rounds: int = 50
) -> dict[str, float]:
    """Time a call of each contender, in interleaved rounds.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time; each has been called before.
    budget : float
        Seconds to spend in all; at least five rounds are run.
    target : float
        Seconds to repeat a contender for in one round.
    rounds : int
        The most rounds. A call of more than 50 ms and 20 times the fastest takes part in the first alone.

    Returns
    -------
    dict of str to float
        Seconds a call, the best of all rounds.
    """

    def timed(call: Callable[[], Any], count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - start

    repeats = {}
    for name, call in contenders.items():
        count = 1
        while (spent := timed(call, count)) < target / 4:
            count *= 4
        if count == 1 and spent < 50 * target:
            # a first call may wait for threads, or for what others have put out of the cache
            spent = min(spent, timed(call, 1), timed(call, 1))
        repeats[name] = max(1, round(count * target / spent))
    best = dict.fromkeys(contenders, float("inf"))
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= 5 and time.perf_counter() - begin > budget:
            break
        quickest = min(best.values())
        for name, call in contenders.items():
            if done >= 1 and best[name] > max(20.0 * quickest, 0.05):
                continue
            best[name] = min(best[name], timed(call, repeats[name]) / repeats[name])
    return best


def duration(seconds: float) -> str:
    """Show seconds with a unit that leaves three digits or so."""
    for factor, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out text in columns, the first to the left and the others to the right."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    lines = []
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


#: What `python -m mlgrad bench` measures: a function and three sizes.
FIRST_TABLE = (
    (_problems.CHAIN, (100, 10_000, 1_000_000)),
    (_problems.ROSENBROCK, (100, 10_000, 1_000_000)),
    (_problems.LIKELIHOOD, (100, 10_000, 1_000_000)),
    (_problems.LOGISTIC, (1_000, 20_000, 1_000_000)),
    (_problems.NETWORK, (16, 64, 512)),
)


def main(budget: float = 0.7) -> None:
    """Print the value and gradient of five functions at three sizes: NumPy by hand, mlgrad, and mlgrad jitted."""
    rows = []
    for problem, sizes in FIRST_TABLE:
        f = problem.define(np)
        plain = _core.value_and_grad(f)
        jitted = _core.jit(_core.value_and_grad(f))
        for size in sizes:
            arguments = problem.arguments(size, np.random.default_rng(0))
            functions = {"NumPy by hand": problem.by_hand, "mlgrad": plain, "mlgrad.jit": jitted}
            check_equal({name: g(*arguments) for name, g in functions.items()})
            calls = {name: _bind(g, arguments) for name, g in functions.items()}
            times = best_times(calls, budget)
            hand = times["NumPy by hand"]
            rows.append(
                [problem.name, f"{size:,}", *(duration(t) for t in times.values()), f"{hand / times['mlgrad.jit']:.2f}"]
            )
    print("Value and gradient; results compared first, then the best of interleaved rounds.")
    print("The last column is NumPy's time over mlgrad.jit's. NumPy's matrix products use the threads of its own BLAS.")
    print()
    print(table(["function", "size", "NumPy by hand", "mlgrad", "mlgrad.jit", "ratio"], rows))


def _bind(f: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: f(*arguments)
