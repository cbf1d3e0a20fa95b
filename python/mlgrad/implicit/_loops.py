"""Loops of solvers."""

from __future__ import annotations

from typing import Any

from mlgrad._transforms import Function


def while_loop(going: Function, step: Function, carry: Any) -> Any:
    """Repeat `step` while `going`."""
    while bool(going(carry)):
        carry = step(carry)
    return carry
