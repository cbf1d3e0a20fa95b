"""Loops of solvers: recorded once, or in Python where a function branches on values that are at hand."""

from __future__ import annotations

from typing import Any

from mlgrad import _control, _core
from mlgrad._transforms import Function
from mlgrad._vectors import known


def while_loop(going: Function, step: Function, carry: Any) -> Any:
    """Repeat `step` while `going`."""
    try:
        return _control.while_loop(going, step, carry)
    except TypeError as error:
        # the function looks at values, which a loop that is recorded does not have; a Python loop has them
        if "not known while" not in str(error) or not _at_hand(carry):
            raise
    while bool(going(carry)):
        carry = step(carry)
    return carry


def scan(step: Function, carry: Any, xs: Any) -> Any:
    """Repeat ``carry, y = step(carry, x)`` for the rows of `xs`; returns the carry and the stacked y."""
    return _control.scan(step, carry, xs)


def _at_hand(tree: Any) -> bool:
    return all(known(leaf) is not None for leaf in _core.tree_flatten(tree)[0])
