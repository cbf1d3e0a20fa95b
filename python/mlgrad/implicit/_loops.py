"""Loops of solvers: recorded once where possible, in Python where a function branches on values that are at hand."""

from __future__ import annotations

from typing import Any

from mlgrad._transforms import Function


def while_loop(going: Function, step: Function, carry: Any) -> Any:
    """Repeat `step` while `going`."""
    while bool(going(carry)):
        carry = step(carry)
    return carry


def scan(f, carry, xs):
    import numpy as np
    ys=[]
    for x in xs:
        carry, y = f(carry, x); ys.append(y)
    return carry, np.stack(ys)
