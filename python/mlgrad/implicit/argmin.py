"""Minima as differentiable functions of what the objective depends on."""

from __future__ import annotations

from typing import Any

from mlgrad import _core
from mlgrad._transforms import Function, grad
from mlgrad._vectors import as_float_leaves, ravel
from mlgrad.implicit import _solvers
from mlgrad.implicit._host import call_solver, plain
from mlgrad.implicit._solution import reported, solution
from mlgrad.implicit.errors import stopped
from mlgrad.implicit.linear_solve import Linear
from mlgrad.implicit.root import tolerance, traced_floats


def argmin(
    f: Function,
    y0: Any,
    *args: Any,
    solver: Function | None = None,
    tol: float | None = None,
    maxiter: int = 200,
    linear: Linear | None = None,
    report: bool = False,
) -> Any:
    """Minimise f(y, *args) over y; the minimiser is a differentiable function of the arguments.

    Its derivative follows from the gradient being zero: ``dy = -inv(f_yy) f_y,args dargs``. This is what hypergradients
    and bilevel optimisation need.

    Parameters
    ----------
    f : callable
        ``f(y, *args)``, a real scalar, twice differentiable. What it takes from outside counts as arguments.
    y0 : array, float, or tree of them
        Where to start.
    *args
        Further arguments of `f`: arrays, numbers, trees.
    solver : callable, optional
        ``solver(f, y0)`` with ``f(y)`` in NumPy values: any black box, such as `mlgrad.optimize.minimize`. It returns
        y, or a result of `scipy.optimize`. By default a damped Newton method, with truncated conjugate gradients above
        200 unknowns.
    tol : float, optional
        Newton's method stops after a step of at most ``tol * (1 + max(abs(y)))``. By default 1000 times the precision.
    maxiter : int
        The most steps of Newton's method.
    linear : Linear, optional
        How the linear systems are solved: by default dense for up to 200 unknowns, else by cg on products.
    report : bool
        Whether to return a pair: the minimiser and a `Report` (of the equation that the gradient is zero).

    Returns
    -------
    y
        Of the structure, shapes and dtypes of `y0`.

    Raises
    ------
    ConvergenceError
        If the solver fails; it gives the size of the gradient.
    numpy.linalg.LinAlgError
        If the Hessian is singular at the minimum.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> from mlgrad.implicit import argmin
    >>> x, y = np.array([[1.0, 2.0], [0.0, 1.0], [2.0, 1.0]]), np.array([1.0, 2.0, 3.0])
    >>> ridge = lambda w, strength: np.sum((x @ w - y) ** 2) + strength * np.sum(w**2)
    >>> w = lambda strength: argmin(ridge, np.zeros(2), strength)
    >>> slope = mlgrad.jacobian(w)(0.5)
    >>> bool(np.allclose(slope, -np.linalg.solve(x.T @ x + 0.5 * np.eye(2), w(0.5))))
    True
    """
    how = linear or Linear()
    y0 = as_float_leaves("argmin", "y0", y0)
    steps = _solvers.Steps(tolerance(tol, y0), maxiter)

    def run() -> Any:
        given = traced_floats(args) if report else args
        if solver is not None:
            y = call_solver("argmin", lambda y0, *a: solver(plain(f, a, "argmin"), y0), y0, given)
        else:
            v, unravel = ravel(_core.lift(stopped(y0)))
            fixed = stopped(given)
            y = unravel(_solvers.descend("argmin", lambda u: f(unravel(u), *fixed), v, steps, how))
        return solution("argmin", grad(f), y, given, how, symmetric=True, report=report)

    return reported(run, report)
