"""What implicit functions raise, wherever they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._vectors import known


class ConvergenceError(ArithmeticError):
    """A solver did not reach its tolerance.

    Attributes
    ----------
    residual : float
        The size of what should be zero, where the solver stopped.
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


def require(ok: Any, residual: Any, message: Callable[[float], str]) -> Any:
    """Raise `ConvergenceError` unless `ok`; returns what is to be multiplied into the result.

    Where the value of `ok` decides nothing has to be multiplied: 1. Under jit it becomes a guard, which is looked at
    when something runs that is asked for: then the function and its derivative are one plan. Inside
    vmap and loop bodies it cannot be asked for: there the factor is nan for the elements that failed.
    """

    def failed(size: float) -> None:
        raise ConvergenceError(message(size), size)

    if _core.expect(ok, residual, failed):
        return 1.0
    try:
        good = bool(ok)
    except TypeError:
        return np.where(ok, 1.0, np.nan)
    if not good:
        value = known(residual)
        failed(float("nan") if value is None else float(value))
    return 1.0


def stopped(tree: Any) -> Any:
    """Return the tree as constants for derivatives."""
    return _core.stop_gradient(tree)
