"""y(x) given by F(x, y) = 0, as a function."""

from __future__ import annotations

from typing import Any

from mlgrad._transforms import Function
from mlgrad._vectors import as_float_leaves
from mlgrad.implicit import _solvers
from mlgrad.implicit._solution import reported, solution
from mlgrad.implicit.linear_solve import Linear
from mlgrad.implicit.root import MAXITER, find_root, tolerance, traced_floats


def implicit_function(
    F: Function,
    y0: Any,
    solver: Function | None = None,
    *,
    tol: float | None = None,
    maxiter: int = MAXITER,
    linear: Linear | None = None,
    report: bool = False,
) -> Function:
    """Return the function y(x) that the equation F(x, y) = 0 defines near `y0`, differentiable to any order.

    Parameters
    ----------
    F : callable
        ``F(x, y)``, or ``F(x1, x2, …, y)``: the unknown comes last. As many equations as y has elements.
    y0 : array, float, or tree of them
        Where the solver starts.
    solver : callable, optional
        ``solver(f, y0)`` with ``f(y) = F(x, y)`` in NumPy values: any black box; by default Newton's method.
    tol, maxiter, linear, report
        As for `root`.

    Returns
    -------
    callable
        Takes x (or x1, x2, …), returns y of the structure of `y0`; a pair with a `Report` if `report`.

    Raises
    ------
    ConvergenceError, numpy.linalg.LinAlgError, ValueError
        When called, as for `root`.

    Examples
    --------
    >>> import mlgrad
    >>> from mlgrad.implicit import implicit_function
    >>> y = implicit_function(lambda x, y: x**2 + y**2 - 25, 1.0)
    >>> round(float(y(3.0)), 9), round(float(mlgrad.grad(y)(3.0)), 9)
    (4.0, -0.75)
    >>> from scipy.optimize import brentq
    >>> y = implicit_function(lambda x, y: x**2 + y**2 - 25, 1.0, lambda f, y0: brentq(f, -10, 0, xtol=1e-14))
    >>> round(float(mlgrad.jit(mlgrad.grad(mlgrad.grad(y)))(3.0)), 9)
    0.390625
    """
    how = linear or Linear()
    y0 = as_float_leaves("implicit_function", "y0", y0)
    steps = _solvers.Steps(tolerance(tol, y0), maxiter)
    name = getattr(F, "__name__", "F")
    unknown_first: Function = lambda y, *xs: F(*xs, y)

    def y(*xs: Any) -> Any:
        def run() -> Any:
            given = traced_floats(xs) if report else xs
            found = find_root("implicit_function", unknown_first, y0, given, solver, steps, how)
            return solution("implicit_function", unknown_first, found, given, how, report=report)

        return reported(run, report)

    y.__name__ = y.__qualname__ = f"implicit_function({name})"
    return y
