"""Differentiable solutions of linear systems, by factorisation or by products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function, jvp, vjp
from mlgrad._vectors import as_float_leaves, describe, ravel, shape_of
from mlgrad.implicit import _krylov
from mlgrad.implicit._closure import Closed, attached
from mlgrad.implicit.errors import require, stopped

METHODS = ("auto", "dense", "cg", "gmres")


@dataclass(frozen=True)
class Linear:
    """How linear systems are solved.

    Attributes
    ----------
    method : str
        ``"dense"`` forms the matrix and factorises it. ``"cg"`` (for symmetric positive definite ones) and ``"gmres"``
        use products. ``"auto"`` is dense up to `dense_size` unknowns, and then cg for what is known to be symmetric,
        gmres for the rest.
    tol : float
        What products aim at: ``norm(b - A x) <= tol * norm(b)``.
    maxiter : int, optional
        The most products; by default ten times the number of unknowns.
    restart : int
        After how many products gmres starts anew.
    dense_size : int
        See `method`.
    """

    method: str = "auto"
    tol: float = 1e-10
    maxiter: int | None = None
    restart: int = 30
    dense_size: int = 200

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Linear: method must be one of {', '.join(METHODS)}, got {self.method!r}")

    def chosen(self, n: int, symmetric: bool) -> str:
        """Return dense, cg or gmres."""
        if self.method != "auto":
            return self.method
        return "dense" if n <= self.dense_size else "cg" if symmetric else "gmres"


def linear_solve(
    A: Any,
    b: Any,
    *args: Any,
    symmetric: bool = False,
    method: str = "auto",
    tol: float = 1e-10,
    maxiter: int | None = None,
    restart: int = 30,
    dense_size: int = 200,
) -> Any:
    """Solve A x = b, differentiable with respect to A and b.

    The derivative of the solution is the solution of another system with A or its transpose: the steps of cg or gmres
    are not differentiated.

    Parameters
    ----------
    A : array or callable
        A square matrix; or ``A(x, *args)``, the product with x, linear in x, for x of the structure of `b`.
    b : array or tree of arrays
        The right side.
    *args
        Further arguments of `A`, with respect to which the solution can be differentiated too (as it can with respect
        to traced values that `A` takes from outside).
    symmetric : bool
        Whether A is symmetric and positive definite.
    method : {"auto", "dense", "cg", "gmres"}
        ``"dense"`` forms the matrix and factorises it; ``"cg"`` and ``"gmres"`` use products. ``"auto"`` is dense up to
        `dense_size` unknowns, then cg if `symmetric`, else gmres.
    tol : float
        For products: ``norm(b - A x) <= tol * norm(b)``.
    maxiter : int, optional
        The most products; by default ten times the number of unknowns.
    restart : int
        After how many products gmres starts anew.
    dense_size : int
        See `method`.

    Returns
    -------
    x : array or tree
        Like `b`.

    Raises
    ------
    ConvergenceError
        If cg or gmres do not reach `tol`; it gives the residual. Inside vmap and loop bodies, where values are not
        known, the result is nan instead.
    numpy.linalg.LinAlgError
        If a dense matrix is singular.
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> from mlgrad.implicit import linear_solve
    >>> a, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    >>> x = linear_solve(a, b)
    >>> bool(np.allclose(a @ x, b))
    True
    >>> stiff = lambda x, k: k * x + a @ x
    >>> slope = mlgrad.grad(lambda k: np.sum(linear_solve(stiff, b, k, symmetric=True, method="cg")))(1.0)
    >>> m = np.linalg.inv(np.eye(2) + a)
    >>> bool(np.allclose(slope, -np.sum(m @ m @ b)))
    True
    """
    how = Linear(method, tol, maxiter, restart, dense_size)
    b = as_float_leaves("linear_solve", "b", b)
    return _core.traced(lambda: _solve(A, b, args, how, symmetric))


def _solve(A: Any, b: Any, args: tuple[Any, ...], how: Linear, symmetric: bool) -> Any:
    vector, unravel = ravel(_core.lift(b))
    n = vector.shape[0]
    if callable(A):
        if how.chosen(n, symmetric) == "dense":
            columns = _core.vmap(lambda v: _product(A, v, unravel, args, n), 0, 1)(_core.basis((n,), vector.dtype))
            return unravel((_core.solve_symmetric if symmetric else np.linalg.solve)(columns, vector))
        matvec: Function = lambda v, *a: _product(A, v, unravel, a, n)
        return unravel(solve_products(matvec, vector, args, how, symmetric))
    if shape_of(A) != (n, n) or len(shape_of(b)) > 1:
        raise ValueError(f"linear_solve: A has shape {shape_of(A)}, but b has {describe(b)}: A must be {n} by {n}")
    if how.chosen(n, symmetric) == "dense" or (how.method == "auto" and n <= 2000):
        return unravel((_core.solve_symmetric if symmetric else np.linalg.solve)(A, vector))
    return unravel(solve_products(lambda v, a: a @ v, vector, (A,), how, symmetric))


def _product(A: Function, v: Any, unravel: Function, args: tuple[Any, ...], n: int) -> Any:
    out = ravel(A(unravel(v), *args))[0]
    if shape_of(out) != (n,):
        raise ValueError(f"linear_solve: A gives {out.shape[0]} numbers for {n}; the system must be square")
    return out


def solve_products(matvec: Function, b: Any, args: tuple[Any, ...], how: Linear, symmetric: bool) -> Any:
    """Solve a system on vectors by products; ``matvec(v, *args)`` is linear in v."""
    product = Closed(matvec, b * 0.0, args)
    return _attached_solution(product, b, product.leaves, how, symmetric, False)


def _attached_solution(
    product: Closed, b: Any, args: tuple[Any, ...], how: Linear, symmetric: bool, transposed: bool
) -> Any:
    def times(v: Any, *a: Any) -> Any:
        if not transposed:
            return product(v, *a)
        return vjp(lambda u: product(u, *a), v * 0.0)[1](v)[0]

    fixed = stopped(args)
    x = _iterate(lambda v: times(v, *fixed), stopped(b), how, symmetric)

    def forward(given: Any, x: Any, tangents: Any) -> Any:
        _, args = given
        db, dargs = tangents
        drift = jvp(lambda *a: times(x, *a), args, dargs)[1] if args else 0.0
        return _attached_solution(product, db - drift, args, how, symmetric, transposed)

    def backward(given: Any, x: Any, cotangent: Any) -> Any:
        _, args = given
        w = _attached_solution(product, cotangent, args, how, symmetric, transposed != (not symmetric))
        pulled = vjp(lambda *a: times(x, *a), *args)[1](-w) if args else ()
        return w, pulled

    return attached("linear_solve", x, (b, tuple(args)), backward, forward)


def _iterate(times: Function, b: Any, how: Linear, symmetric: bool) -> Any:
    n = b.shape[0]
    maxiter = 10 * n if how.maxiter is None else how.maxiter
    name = how.chosen(n, symmetric)
    if name == "cg":
        x, residual, definite = _krylov.conjugate_gradients(times, b, how.tol, maxiter)
        factor = require(
            definite,
            residual,
            lambda r: (
                f"linear_solve: cg met a direction in which A is not positive definite, at residual {r:.3g}; use gmres"
            ),
        )
        x = x * factor
    else:
        x, residual = _krylov.gmres(times, b, how.tol, maxiter, how.restart)
    size = _krylov.norm(b)
    return x * require(
        residual <= 4 * how.tol * size,
        residual / np.where(size > 0, size, 1.0),
        lambda r: (
            f"linear_solve: {name} reached a relative residual of {r:.3g} instead of {how.tol:.3g} within {maxiter} "
            "products; raise maxiter or tol, precondition the system, or use method='dense'"
        ),
    )
