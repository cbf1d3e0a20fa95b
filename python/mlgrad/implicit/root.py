"""Roots of F(y, args) = 0 as differentiable functions of args."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function
from mlgrad._vectors import as_float_leaves, dtype_of, ravel
from mlgrad.implicit import _solvers
from mlgrad.implicit._host import call_solver, plain
from mlgrad.implicit._solution import on_vectors, reported, solution
from mlgrad.implicit.errors import stopped
from mlgrad.implicit.linear_solve import Linear

#: Steps of Newton's method; far more than it takes where it converges.
MAXITER = 100


def tolerance(tol: float | None, y: Any) -> float:
    """Return what a step must be smaller than, by default a thousand times the precision of y."""
    if tol is not None:
        return tol
    leaves, _ = _core.tree_flatten(y)
    return 1e3 * max((float(np.finfo(dtype_of(leaf)).eps) for leaf in leaves), default=1e-16)


def traced_floats(args: tuple[Any, ...]) -> Any:
    """Return the arguments with their floats as Arrays, so that a report can speak of them."""

    def lift(leaf: Any) -> Any:
        if isinstance(leaf, _core.Array) or not isinstance(leaf, float | np.ndarray | np.floating):
            return leaf
        return _core.lift(leaf) if np.asarray(leaf).dtype.kind == "f" else leaf

    return _core.tree_map(lift, args)


def find_root(
    name: str, F: Function, y0: Any, args: tuple[Any, ...], solver: Function | None, steps: _solvers.Steps, how: Linear
) -> Any:
    """Return y with F(y, *args) = 0, as constants for derivatives."""
    if solver is not None:
        return call_solver(name, lambda y0, *a: solver(plain(F, a, name), y0), y0, args)
    v, unravel = ravel(_core.lift(stopped(y0)))
    fixed = stopped(args)
    flat = on_vectors(name, F, unravel, v.shape[0])
    return unravel(_solvers.newton(name, lambda u: flat(u, *fixed), v, steps, how))


def root(
    F: Function,
    y0: Any,
    *args: Any,
    solver: Function | None = None,
    tol: float | None = None,
    maxiter: int = MAXITER,
    linear: Linear | None = None,
    report: bool = False,
) -> Any:
    """Solve F(y, *args) = 0 for y; the solution is a differentiable function of the arguments.

    The derivative comes from the implicit function theorem at the solution, ``dy = -inv(F_y) F_args dargs``, whatever
    solver found it: the solver is not differentiated.

    Parameters
    ----------
    F : callable
        ``F(y, *args)``: as many numbers as y has, in arrays or trees. What it takes from outside counts as arguments.
    y0 : array, float, or tree of them
        Where to start. The solution does not depend on it as far as derivatives go.
    *args
        Further arguments of `F`: arrays, numbers, trees.
    solver : callable, optional
        ``solver(f, y0)`` with ``f(y) = F(y, *args)``, all in NumPy values: any black box. It returns y, or a result of
        `scipy.optimize` (which must say that it succeeded): `scipy.optimize.root` itself, or
        ``lambda f, y0: scipy.optimize.brentq(f, 0, 1)``. Under jit and vmap it is called when the values are known. By
        default Newton's method with steps halved where they are too long.
    tol : float, optional
        Newton's method stops after a step of at most ``tol * (1 + max(abs(y)))``. By default 1000 times the precision.
    maxiter : int
        The most steps of Newton's method.
    linear : Linear, optional
        How the linear systems are solved: by default dense for up to 200 unknowns, else by gmres on products.
    report : bool
        Whether to return a pair: the solution and a `Report` on it and on its derivative with respect to all arguments.

    Returns
    -------
    y
        Of the structure, shapes and dtypes of `y0`.

    Raises
    ------
    ConvergenceError
        If the solver fails; it gives the residual. Inside vmap and loop bodies a failure of Newton's method gives nan.
    numpy.linalg.LinAlgError
        If F_y is singular, so that y is not a differentiable function of the arguments.
    ValueError
        If there are not as many equations as unknowns.

    Examples
    --------
    >>> import mlgrad
    >>> from mlgrad.implicit import root
    >>> square_root = lambda a: root(lambda y, a: y**2 - a, 1.0, a)
    >>> round(float(square_root(4.0)), 9), round(float(mlgrad.grad(square_root)(4.0)), 9)
    (2.0, 0.25)
    >>> round(float(mlgrad.grad(mlgrad.grad(square_root))(4.0)), 9)
    -0.03125
    """
    how = linear or Linear()
    y0 = as_float_leaves("root", "y0", y0)
    steps = _solvers.Steps(tolerance(tol, y0), maxiter)

    def run() -> Any:
        given = traced_floats(args) if report else args
        y = find_root("root", F, y0, given, solver, steps, how)
        return solution("root", F, y, given, how, report=report)

    return reported(run, report)


def custom_root(F: Function, *, linear: Linear | None = None) -> Callable[[Function], Function]:
    """Return a decorator that makes a solver of F(y, *args) = 0 differentiable, without differentiating it.

    Parameters
    ----------
    F : callable
        ``F(y, *args)``, zero at what the solver returns.
    linear : Linear, optional
        How the linear systems for the derivatives are solved.

    Returns
    -------
    callable
        Decorates ``solver(y0, *args)``, which gets NumPy values, may be any code, and returns y of the structure and
        shapes of `y0`. Under jit and vmap it is called when the values are known.

    Examples
    --------
    >>> import mlgrad
    >>> from mlgrad.implicit import custom_root
    >>> @custom_root(lambda y, a: y**3 - a)
    ... def cube_root(y0, a):
    ...     y = y0
    ...     while abs(y**3 - a) > 1e-14 * a:
    ...         y = (2 * y + a / y**2) / 3
    ...     return y
    >>> round(float(mlgrad.grad(cube_root, 1)(1.0, 8.0)), 9)
    0.083333333
    """
    how = linear or Linear()

    def decorate(solver: Function) -> Function:
        @functools.wraps(solver)
        def solved(y0: Any, *args: Any) -> Any:
            name = getattr(solver, "__name__", "custom_root")
            start = as_float_leaves(name, "y0", y0)

            def run() -> Any:
                return solution(name, F, call_solver(name, solver, start, args), args, how)

            return _core.traced(run)

        return solved

    return decorate
