"""Constrained minima with their multipliers, as differentiable functions of what the problem depends on."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from mlgrad import _core
from mlgrad._jacobian import jacfwd
from mlgrad._transforms import Function, grad
from mlgrad._vectors import as_float_leaves, known, ravel, shape_of
from mlgrad.implicit import _solvers
from mlgrad.implicit._host import call_solver, plain, solution_in
from mlgrad.implicit._interior import interior_point
from mlgrad.implicit._solution import Solution, reported
from mlgrad.implicit.errors import require, stopped
from mlgrad.implicit.linear_solve import Linear
from mlgrad.implicit.root import tolerance, traced_floats

#: A constraint is weakly active if both its slack and its multiplier are below this.
WEAK = 1e-6


class KKT(NamedTuple):
    """A constrained minimum.

    Attributes
    ----------
    y : array, float, or tree of them
        The minimiser.
    equality : array
        The multipliers λ of the equality constraints, as a vector.
    inequality : array
        The multipliers μ ≥ 0 of the inequality constraints, as a vector.
    active : array of bool
        Which inequality constraints hold with equality.
    weakly_active : array of bool
        Which of them hold with equality although their multiplier is 0. Where there are any, the minimum has a kink:
        the derivatives are those of the problem in which they count as `active` says.
    """

    y: Any
    equality: Any
    inequality: Any
    active: Any
    weakly_active: Any


def kkt(
    f: Function,
    y0: Any,
    *args: Any,
    equality: Function | None = None,
    inequality: Function | None = None,
    solver: Function | None = None,
    tol: float | None = None,
    maxiter: int = 200,
    linear: Linear | None = None,
    report: bool = False,
) -> Any:
    """Minimise f(y, *args) subject to equality(y, *args) = 0 and inequality(y, *args) <= 0.

    The minimiser and the multipliers are differentiable functions of the arguments, by the conditions of Karush, Kuhn
    and Tucker at the solution: ``∇f + λ·∇g + μ·∇h = 0``, ``g = 0``, and for each inequality ``h = 0`` if it is active,
    ``μ = 0`` if not (Fiacco, "Introduction to Sensitivity and Stability Analysis in Nonlinear Programming", 1983). The
    derivative of the optimal value f by an argument is that of the Lagrange function ``f + λ·g + μ·h``.

    Parameters
    ----------
    f : callable
        ``f(y, *args)``, a real scalar, twice differentiable.
    y0 : array, float, or tree of them
        Where to start.
    *args
        Further arguments of all functions: arrays, numbers, trees. What the functions take from outside counts too.
    equality, inequality : callable, optional
        Functions of ``(y, *args)`` that return arrays or trees.
    solver : callable, optional
        ``solver(f, y0, equality, inequality)``, all functions of y in NumPy values: any black box. It returns y, or a
        result of `scipy.optimize`; the multipliers are then found by least squares. By default an interior-point method
        for convex problems (and near the solution for others), or Newton's method if there are no inequalities.
    tol : float, optional
        The last Newton step is at most ``tol * (1 + max(abs(y)))``. By default 1000 times the precision.
    maxiter : int
        The most steps.
    linear : Linear, optional
        How the linear systems for the derivatives are solved: by default dense for up to 200 unknowns, else by gmres.
    report : bool
        Whether to return a pair: the solution and a `Report`.

    Returns
    -------
    KKT
        A named tuple ``(y, equality, inequality, active, weakly_active)``.

    Warns
    -----
    UserWarning
        If constraints are weakly active (and values are known): derivatives are then one-sided.

    Raises
    ------
    ConvergenceError
        If no solution is found; it gives the residual.
    numpy.linalg.LinAlgError
        If the gradients of the active constraints are dependent, or the minimum is not strict.

    Examples
    --------
    The point of the line x + y = c nearest to the origin; the optimal value c²/2 has the derivative c.

    >>> import mlgrad, numpy as np
    >>> from mlgrad.implicit import kkt
    >>> square = lambda y, c: np.sum(y**2)
    >>> nearest = lambda c: kkt(square, np.zeros(2), c, equality=lambda y, c: y[0] + y[1] - c)
    >>> solution = nearest(3.0)
    >>> np.round(solution.y, 9), np.round(solution.equality, 9)
    (array([1.5, 1.5]), array([-3.]))
    >>> round(float(mlgrad.grad(lambda c: square(nearest(c).y, c))(3.0)), 9)
    3.0
    """
    how = linear or Linear()
    y0 = as_float_leaves("kkt", "y0", y0)
    steps = _solvers.Steps(tolerance(tol, y0), maxiter)
    problem = _Problem(f, equality, inequality)

    def run() -> Any:
        given = traced_floats(args) if report else args
        return problem.solve(y0, given, solver, steps, how, report)

    found = reported(run, report)
    weak = known((found[0] if report else found).weakly_active)
    if weak is not None and np.any(weak):
        warnings.warn(
            f"kkt: the inequality constraints {np.flatnonzero(weak).tolist()} are weakly active (they hold with "
            "equality, with multiplier 0): the solution has a kink here, and its derivatives hold on one side only",
            stacklevel=2,
        )
    return found


class _Problem:
    """The three functions, and the conditions that they make, on vectors."""

    def __init__(self, f: Function, equality: Function | None, inequality: Function | None) -> None:
        self.f = f
        self.given = (equality, inequality)

    def solve(
        self, y0: Any, args: tuple[Any, ...], solver: Function | None, steps: _solvers.Steps, how: Linear, report: bool
    ) -> Any:
        start, unravel = ravel(_core.lift(stopped(y0)))
        fixed = stopped(args)
        f: Function = lambda v, *a: self.f(unravel(v), *a)
        g, h = (self._vector_valued(c, unravel) for c in self.given)
        p, q = (shape_of(c(start, *fixed))[0] for c in (g, h))
        if solver is not None:
            v, lam, mu = self._by_black_box(solver, start, y0, p, q, args)
            slack = -h(v, *fixed)
        elif q:
            fs, gs, hs = (_fixed(c, fixed) for c in (f, g, h))
            v, lam, mu, slack = interior_point("kkt", fs, gs, hs, start, p, q, steps.maxiter)
        else:
            v, lam, mu, slack = start, np.zeros(p, start.dtype), np.zeros(0, start.dtype), np.zeros(0, start.dtype)
        active, weak = mu > slack, (mu < WEAK) & (np.abs(slack) < WEAK)
        n = shape_of(start)[0]

        def conditions(w: Any, *a: Any) -> Any:
            v, lam, mu = w[:n], w[n : n + p], w[n + p :]
            slope = grad(lambda v: f(v, *a) + np.sum(lam * g(v, *a)) + np.sum(mu * h(v, *a)))(v)
            return np.concatenate([slope, g(v, *a), np.where(active, h(v, *a), mu)])

        w = _solvers.newton("kkt", lambda w: conditions(w, *fixed), np.concatenate([v, lam, mu]), steps, how)
        if q:
            w = w * self._feasible(w[n + p :], h(w[:n], *fixed), active)
        found = Solution("kkt", conditions, w, args, how)
        v, lam, mu = found.vector[:n], found.vector[n : n + p], found.vector[n + p :]
        solution = KKT(unravel(v), lam, mu, active, weak)
        return (solution, found.report_parts()) if report else solution

    def _vector_valued(self, c: Function | None, unravel: Function) -> Function:
        if c is None:
            return lambda v, *a: v[:0]
        return lambda v, *a: ravel(c(unravel(v), *a))[0]

    def _feasible(self, mu: Any, h: Any, active: Any) -> Any:
        worst = np.max(np.maximum(np.where(active, -mu, h), 0.0))
        return require(
            worst <= WEAK,
            worst,
            lambda r: (
                f"kkt: the active constraints were not identified: a constraint or a multiplier is violated by "
                f"{r:.3g}; start nearer to the solution, or give another solver"
            ),
        )

    def _by_black_box(self, solver: Function, start: Any, y0: Any, p: int, q: int, args: tuple[Any, ...]) -> Any:
        dtype = start.dtype

        def solve(_: Any, y0: Any, *args: Any) -> Any:
            f, g, h = (c if c is None else plain(c, args, "kkt") for c in (self.f, *self.given))
            found = solution_in("kkt", solver(f, y0, g, h))
            v, unravel = ravel(as_float_leaves("kkt", "the solution", found))
            return (v, *_multipliers(self, v, unravel, args, p, q))

        empty = (np.zeros(start.shape, dtype), np.zeros(p, dtype), np.zeros(q, dtype))
        return call_solver("kkt", solve, empty, (y0, *args))


def _fixed(c: Function, args: tuple[Any, ...]) -> Function:
    return lambda v: c(v, *args)


def _multipliers(problem: _Problem, v: Any, unravel: Function, args: tuple[Any, ...], p: int, q: int) -> Any:
    """Return the multipliers at a minimum by least squares, with NumPy values."""
    g, h = (problem._vector_valued(c, unravel) for c in problem.given)
    slope = grad(lambda v: problem.f(unravel(v), *args))(v)
    active = np.asarray(h(v, *args)) > -WEAK if q else np.zeros(0, bool)
    rows = [jacfwd(lambda v: g(v, *args))(v) if p else np.zeros((0, v.size))]
    rows.append(jacfwd(lambda v: h(v, *args))(v)[active] if q else np.zeros((0, v.size)))
    found = np.linalg.lstsq(np.concatenate(rows).T, -slope, rcond=None)[0]
    mu = np.zeros(q)
    mu[active] = np.maximum(found[p:], 0.0)
    return found[:p], mu
