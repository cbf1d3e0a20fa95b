"""Conjugate gradients and GMRES on products with a matrix, as loops that run without Python.

Nothing here is differentiated: the callers give constants, and attach the derivative of the solution to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad._transforms import Function
from mlgrad.implicit._loops import while_loop


def norm(v: Any) -> Any:
    """Return the Euclidean norm of a vector."""
    return np.sqrt(np.sum(v * v))


def conjugate_gradients(matvec: Function, b: Any, tol: float, maxiter: int) -> tuple[Any, Any, Any]:
    """Solve a positive definite system; Hestenes and Stiefel (1952).

    Returns
    -------
    x : array
        Of the shape of `b`.
    residual : float
        norm(b - A x), by the recurrence.
    definite : bool
        Whether no direction of negative curvature was met.
    """
    goal = tol * norm(b)
    square = np.sum(b * b)

    def going(carry: Any) -> Any:
        _, _, _, square, steps, definite = carry
        return (np.sqrt(square) > goal) & (steps < maxiter) & definite

    def step(carry: Any) -> Any:
        x, r, p, square, steps, _ = carry
        q = matvec(p)
        curvature = np.sum(p * q)
        definite = curvature > 0
        alpha = square / np.where(definite, curvature, 1.0) * definite
        r = r - alpha * q
        new = np.sum(r * r)
        return x + alpha * p, r, r + new / square * p, new, steps + 1, definite

    x, _, _, square, _, definite = while_loop(going, step, (b * 0.0, b, b, square, 0, square >= 0))
    return x, np.sqrt(square), definite


def gmres(matvec: Function, b: Any, tol: float, maxiter: int, restart: int) -> tuple[Any, Any]:
    """Solve any regular system; Saad and Schultz (1986), with Gram-Schmidt done twice.

    Returns
    -------
    x : array
        Of the shape of `b`.
    residual : float
        norm(b - A x).
    """
    m = min(restart, b.shape[0])
    size = norm(b)
    goal = tol * size
    dtype = b.dtype
    place, lower = np.arange(m + 1), np.arange(m)

    def cycle(carry: Any) -> Any:
        x, r, rho, cycles = carry
        start = np.where(rho > 0, rho, 1.0)
        basis = np.concatenate([(r / start)[None, :], np.zeros((m, b.shape[0]), dtype)])
        first = np.where(place == 0, rho, 0.0).astype(dtype)
        rotations = np.eye(m + 1, dtype=dtype)

        def going(inner: Any) -> Any:
            _, _, _, rest, k = inner
            return (rest > goal) & (k < m)

        def arnoldi(inner: Any) -> Any:
            basis, rotations, triangle, _, k = inner
            here, after = (place == k).astype(dtype), (place == k + 1).astype(dtype)
            w = matvec(here @ basis)
            h = basis @ w
            w = w - h @ basis
            again = basis @ w
            w = w - again @ basis
            h = h + again
            length = norm(w)
            basis = basis + after[:, None] * (w / np.where(length > 0, length, 1.0))
            # the column in the basis in which the earlier ones are triangular, and one more rotation
            g = rotations @ (h + length * after)
            above, below = np.sum(g * here), np.sum(g * after)
            radius = np.sqrt(above * above + below * below)
            cos = np.where(radius > 0, above / np.where(radius > 0, radius, 1.0), 1.0)
            sin = below / np.where(radius > 0, radius, 1.0)
            row, next_row = here @ rotations, after @ rotations
            rotations = (
                rotations
                + here[:, None] * (cos * row + sin * next_row - row)
                + after[:, None] * (cos * next_row - sin * row - next_row)
            )
            column = g * (place < k) + here * radius
            triangle = triangle + column[:m, None] * here[None, :m]
            rest = np.abs(np.sum((rotations @ first) * after))
            return basis, rotations, triangle, rest, k + 1

        start_inner = (basis, rotations, np.zeros((m, m), dtype), rho, 0)
        basis, rotations, triangle, _, k = while_loop(going, arnoldi, start_inner)
        done = lower < k
        flat = np.abs(np.diagonal(triangle)) <= np.finfo(dtype).tiny
        triangle = triangle + np.diag(np.where(done & ~flat, 0.0, 1.0).astype(dtype))
        y = np.linalg.solve(triangle, (rotations @ first)[:m] * done)
        x = x + y @ basis[:m]
        r = b - matvec(x)
        return x, r, norm(r), cycles + 1

    def unfinished(carry: Any) -> Any:
        _, _, rho, cycles = carry
        return (rho > goal) & (cycles * m < maxiter)

    x, _, rho, _ = while_loop(unfinished, cycle, (b * 0.0, b, size, 0))
    return x, rho
