"""A primal-dual interior-point method for dense problems; Nocedal and Wright, "Numerical Optimization", 19.1-19.3."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad._jacobian import jacfwd
from mlgrad._transforms import Function, grad
from mlgrad.implicit import _krylov
from mlgrad.implicit._loops import while_loop
from mlgrad.implicit._solvers import largest
from mlgrad.implicit.errors import require

#: How far the conditions are met before Newton's method takes over, and the mean of slack times multiplier then.
RESIDUAL, GAP = 1e-7, 1e-17


def interior_point(
    name: str, f: Function, g: Function, h: Function, v: Any, p: int, q: int, maxiter: int
) -> tuple[Any, Any, Any, Any]:
    """Minimise f subject to g = 0 (p of them) and h <= 0 (q of them).

    Returns
    -------
    v, lam, mu, slack : arrays
        The minimiser, the multipliers of g and h, and -h.
    """
    n = v.shape[0]
    dtype = v.dtype

    def slope(v: Any, lam: Any, mu: Any) -> Any:
        return grad(lambda v: f(v) + np.sum(lam * g(v)) + np.sum(mu * h(v)))(v)

    def residuals(v: Any, s: Any, lam: Any, mu: Any) -> tuple[Any, Any, Any]:
        return slope(v, lam, mu), g(v), h(v) + s

    def size(v: Any, s: Any, lam: Any, mu: Any, target: Any) -> Any:
        return _krylov.norm(np.concatenate([*residuals(v, s, lam, mu), s * mu - target]))

    def worst(parts: Any) -> Any:
        return largest(np.concatenate(parts))

    def step(carry: Any) -> Any:
        v, s, lam, mu, count, _ = carry
        target = 0.1 * np.sum(s * mu) / q
        target = np.minimum(target, target * target * 1e3 + 0.1 * GAP)
        curvature = jacfwd(lambda v: slope(v, lam, mu))(v)
        a, c = jacfwd(g)(v), jacfwd(h)(v)
        r_slope, r_g, r_h = residuals(v, s, lam, mu)
        # slack and multipliers of h eliminated: ds = -r_h - c dv, dmu = (target - s mu - mu ds) / s
        weight = mu / s
        top = curvature + c.T @ (weight[:, None] * c)
        matrix = np.concatenate(
            [np.concatenate([top, a.T], axis=1), np.concatenate([a, np.zeros((p, p), dtype)], axis=1)]
        )
        pull = (target - s * mu + mu * r_h) / s
        d = np.linalg.solve(matrix, -np.concatenate([r_slope + c.T @ pull, r_g]))
        dv, dlam = d[:n], d[n:]
        ds = -r_h - c @ dv
        dmu = (target - s * mu - mu * ds) / s
        reach = 0.995
        limit = np.min(np.minimum(np.where(ds < 0, -reach * s / np.where(ds < 0, ds, -1.0), 1.0), 1.0))
        limit = np.minimum(limit, np.min(np.where(dmu < 0, -reach * mu / np.where(dmu < 0, dmu, -1.0), 1.0)))
        before = size(v, s, lam, mu, target)
        # what rounding leaves of the conditions need not get smaller
        slack = 1e-11 * (1.0 + largest(np.concatenate([v, lam, mu])))

        def too_long(alpha: Any) -> Any:
            new = size(v + alpha * dv, s + alpha * ds, lam + alpha * dlam, mu + alpha * dmu, target)
            return ~(new <= (1 - 1e-4 * alpha) * before + slack) & (alpha > 1e-3)

        alpha = while_loop(too_long, lambda alpha: 0.5 * alpha, limit)
        v, s, lam, mu = v + alpha * dv, s + alpha * ds, lam + alpha * dlam, mu + alpha * dmu
        done = (worst(residuals(v, s, lam, mu)) <= RESIDUAL) & (np.sum(s * mu) <= q * GAP)
        return v, s, lam, mu, count + 1, done

    def going(carry: Any) -> Any:
        return ~carry[5] & (carry[4] < maxiter)

    ones = np.ones(q, dtype)
    start = (v, np.maximum(-h(v), ones), np.zeros(p, dtype) + 0.0 * g(v), ones + 0.0 * h(v), 0, v[0] != v[0])
    v, s, lam, mu, _, done = while_loop(going, step, start)
    factor = require(
        done,
        worst(residuals(v, s, lam, mu)),
        lambda r: (
            f"{name}: the interior-point method stopped at a residual of {r:.3g}; the problem may be infeasible, "
            "unbounded or not convex: start nearer to the solution, raise maxiter, or give another solver"
        ),
    )
    return v * factor, lam, mu, s
