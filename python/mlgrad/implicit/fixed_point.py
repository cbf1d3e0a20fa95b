"""Fixed points y = T(y, args) as differentiable functions of args."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlgrad import _core
from mlgrad._transforms import Function
from mlgrad._vectors import as_float_leaves, ravel
from mlgrad.implicit import _solvers
from mlgrad.implicit._host import call_solver, plain
from mlgrad.implicit._solution import on_vectors, reported, solution
from mlgrad.implicit.errors import stopped
from mlgrad.implicit.linear_solve import Linear
from mlgrad.implicit.root import custom_root, tolerance, traced_floats


def _difference(T: Function) -> Function:
    """T(y) - y, whose root is the fixed point."""

    def F(y: Any, *args: Any) -> Any:
        return _core.tree_map(lambda new, old: new - old, T(y, *args), y)

    return F


def fixed_point(
    T: Function,
    y0: Any,
    *args: Any,
    solver: Function | None = None,
    tol: float | None = None,
    maxiter: int = 1000,
    linear: Linear | None = None,
    report: bool = False,
) -> Any:
    """Solve y = T(y, *args) for y; the solution is a differentiable function of the arguments.

    Neither the iterations are differentiated nor, above 200 unknowns, a Jacobian formed: the derivative solves
    ``(I - T_y) dy = T_args dargs`` on products with T_y.

    Parameters
    ----------
    T : callable
        ``T(y, *args)``, of the structure of y. What it takes from outside counts as arguments.
    y0 : array, float, or tree of them
        Where to start.
    *args
        Further arguments of `T`: arrays, numbers, trees.
    solver : callable, optional
        ``solver(t, y0)`` with ``t(y) = T(y, *args)`` in NumPy values; any black box. By default T is applied again and
        again, which converges where T is a contraction.
    tol : float, optional
        Stops after a step of at most ``tol * (1 + max(abs(y)))``. By default 1000 times the precision.
    maxiter : int
        The most applications of T.
    linear, report
        As for `root`.

    Returns
    -------
    y
        Of the structure, shapes and dtypes of `y0`.

    Raises
    ------
    ConvergenceError
        If the iteration does not come to rest; it gives the last step.
    numpy.linalg.LinAlgError
        If I - T_y is singular.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> from mlgrad.implicit import fixed_point
    >>> y = lambda x: fixed_point(lambda y, x: np.cos(x * y), 0.5, x)
    >>> v = y(0.8)
    >>> s = np.sin(0.8 * v)
    >>> bool(np.isclose(mlgrad.grad(y)(0.8), -v * s / (1 + 0.8 * s), rtol=1e-12))
    True
    """
    how = linear or Linear()
    y0 = as_float_leaves("fixed_point", "y0", y0)
    steps = _solvers.Steps(tolerance(tol, y0), maxiter)

    def run() -> Any:
        given = traced_floats(args) if report else args
        if solver is not None:
            y = call_solver("fixed_point", lambda y0, *a: solver(plain(T, a, "fixed_point"), y0), y0, given)
        else:
            v, unravel = ravel(_core.lift(stopped(y0)))
            flat = on_vectors("fixed_point", T, unravel, v.shape[0])
            fixed = stopped(given)
            y = unravel(_solvers.iterate("fixed_point", lambda u: flat(u, *fixed), v, steps))
        return solution("fixed_point", _difference(T), y, given, how, report=report)

    return reported(run, report)


def custom_fixed_point(T: Function, *, linear: Linear | None = None) -> Callable[[Function], Function]:
    """Return a decorator that makes a solver of y = T(y, *args) differentiable, without differentiating it.

    Parameters
    ----------
    T : callable
        ``T(y, *args)``, equal to y at what the solver returns.
    linear : Linear, optional
        How the linear systems for the derivatives are solved.

    Returns
    -------
    callable
        Decorates ``solver(y0, *args)``, as for `custom_root`.

    Examples
    --------
    >>> import mlgrad, math, numpy as np
    >>> from mlgrad.implicit import custom_fixed_point
    >>> @custom_fixed_point(lambda y, x: np.cos(x * y))
    ... def solve(y, x):
    ...     for _ in range(200):
    ...         y = math.cos(x * y)
    ...     return y
    >>> round(float(mlgrad.grad(solve, 1)(0.5, 0.8)), 6)
    -0.324205
    """
    return custom_root(_difference(T), linear=linear)
