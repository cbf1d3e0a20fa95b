"""The cost of a loop as it grows: each operation should cost what it did in a short one."""

import numpy as np

import mlgrad
from functions.small import loop
from mlgrad import _bench
from table import verdict

#: What the body of the loop records.
OPERATIONS = 5


def run(quick):
    v, lines, figures = np.linspace(-1.0, 0.9, 4), [], {}
    for operations in (10**3, 10**4, 10**5) if quick else (10**3, 10**4, 10**5, 10**6):
        plain = mlgrad.value_and_grad(loop(np, operations // OPERATIONS))
        jitted = mlgrad.jit(plain)
        tries = max(1, 20_000 // operations)
        seconds = {"first call": float("inf"), "recorded again": float("inf")}
        for _ in range(tries):
            mlgrad._core.clear_cache()
            seconds["first call"] = min(seconds["first call"], _bench.once(lambda g=plain: g(v)))
            seconds["recorded again"] = min(seconds["recorded again"], _bench.once(lambda g=plain: g(v)))
        jitted(v)
        seconds["replay"] = _bench.best_times({"replay": lambda g=jitted: g(v)}, budget=0.5)["replay"]
        figures[operations] = {what: s / operations for what, s in seconds.items()}
        lines.append([f"{operations:,}", *(f"{s / operations * 1e9:.0f} ns" for s in seconds.values())])
    print(_bench.table(["operations", *(f"{what}, each" for what in seconds)], lines))
    least, most = figures[10**4], figures[max(figures)]
    for what in seconds:
        growth = most[what] / least[what]
        print(f"  {what}, {max(figures):,} over 10,000 operations: {growth:.2f}  {verdict(growth, 2, at_least=False)}")
    return figures
