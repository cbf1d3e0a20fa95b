"""Derivatives of what is defined by an equation.

- `implicit_derivative`: dy/dx and higher derivatives at a point of a curve F(x, y) = 0.
- `implicit_function`, `root`, `fixed_point`, `argmin`: solutions as differentiable functions, found by Newton's method
  or by any solver, which is never differentiated. `custom_root` and `custom_fixed_point` decorate solvers.
- `kkt`: constrained minima with their multipliers.
- `linear_solve`: linear systems, by factorisation or by products.
- `odeint`: ordinary differential equations.
"""

from __future__ import annotations

from mlgrad.implicit.argmin import argmin
from mlgrad.implicit.derivative import implicit_derivative
from mlgrad.implicit.errors import ConvergenceError
from mlgrad.implicit.fixed_point import custom_fixed_point, fixed_point
from mlgrad.implicit.function import implicit_function
from mlgrad.implicit.kkt import KKT, kkt
from mlgrad.implicit.linear_solve import Linear, linear_solve
from mlgrad.implicit.odeint import odeint
from mlgrad.implicit.report import Report
from mlgrad.implicit.root import custom_root, root

__all__ = [
    "KKT",
    "ConvergenceError",
    "Linear",
    "Report",
    "argmin",
    "custom_fixed_point",
    "custom_root",
    "fixed_point",
    "implicit_derivative",
    "implicit_function",
    "kkt",
    "linear_solve",
    "odeint",
    "root",
]
