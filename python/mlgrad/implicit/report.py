"""How far an implicit derivative can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: Rounding errors of the entries of F_y and F_x are taken to be a few units in the last place.
ROUNDING = 8.0


@dataclass(frozen=True)
class Report:
    """The quality of a solution y of F(x, y) = 0 and of its derivative.

    Attributes
    ----------
    residual : float
        The largest element of abs(F(x, y)).
    condition : float
        The condition number of F_y in the 1-norm, ``norm(F_y, 1) * norm(inv(F_y), 1)``.
    distance : float
        A bound for the distance of y from the solution, in the maximum norm: ``2 * norm(δ)`` with the Newton step
        ``δ = -inv(F_y) F``. By the theorem of Newton and Kantorovich it holds where
        ``norm(inv(F_y)) L norm(δ) <= 1/2``, L being a Lipschitz constant of F_y (Ortega and Rheinboldt, "Iterative
        Solution of Nonlinear Equations in Several Variables", 12.6.2).
    error : float
        A bound for the largest error of an element of the derivative D:
        ``2 * norm(∂D/∂y · δ) + 8 n u condition * norm(D)``, with the unit roundoff u and n unknowns. The first term is
        the Lipschitz bound for implicit derivatives at an inexact solution (Blondel et al., "Efficient and Modular
        Implicit Differentiation", 2022, theorem 1), with the constant replaced by the derivative of D itself along δ;
        the second is the sensitivity of linear systems (Higham, "Accuracy and Stability of Numerical Algorithms",
        theorem 7.2). To first order in δ.
    """

    residual: float
    condition: float
    distance: float
    error: float

    def __str__(self) -> str:
        return (
            f"residual {self.residual:.3g}, condition number of F_y {self.condition:.3g}, "
            f"y within {self.distance:.3g}, derivative within {self.error:.3g}"
        )


def largest(x: Any) -> float:
    """Return the largest absolute value in an array, 0 for none."""
    return float(np.max(np.abs(np.asarray(x)), initial=0.0))


def make_report(residual: Any, condition: Any, step: Any, derivative: Any, slope: Any) -> Report:
    """Put a report together from values.

    Parameters
    ----------
    residual : ndarray
        F(x, y).
    condition : float
        Of F_y.
    step : ndarray
        The Newton step δ.
    derivative : ndarray
        D, in the dtype that was calculated with.
    slope : ndarray
        ∂D/∂y · δ.
    """
    d = np.asarray(derivative)
    unit = float(np.finfo(d.dtype).eps) / 2
    n = max(1, np.size(step))
    error = 2 * largest(slope) + ROUNDING * n * unit * float(condition) * largest(d)
    return Report(largest(residual), float(condition), 2 * largest(step), error)
