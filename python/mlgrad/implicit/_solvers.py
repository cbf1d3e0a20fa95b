"""The solvers of mlgrad.implicit: on vectors, as loops that run without Python, and never differentiated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._jacobian import jacfwd
from mlgrad._transforms import Function, grad, jvp, vmap
from mlgrad.implicit import _krylov
from mlgrad.implicit._loops import while_loop
from mlgrad.implicit.errors import require
from mlgrad.implicit.linear_solve import Linear


@dataclass(frozen=True)
class Steps:
    """When to stop: a step of at most ``tol * (1 + max(abs(y)))``, or an error after `maxiter` steps."""

    tol: float
    maxiter: int

    def small(self, step: Any, v: Any) -> Any:
        return largest(step) <= self.tol * (1 + largest(v))

    def short(self, step: Any, v: Any) -> Any:
        """Whether a step is so short that rounding may hide what it gains."""
        return largest(step) <= max(self.tol, float(np.finfo(v.dtype).eps) ** 0.5) * (1 + largest(v))


def largest(v: Any) -> Any:
    """Return the maximum norm."""
    return np.max(np.abs(v))


def newton(name: str, F: Function, v: Any, steps: Steps, how: Linear) -> Any:
    """Solve F(v) = 0 by Newton's method; a step is halved until it makes F smaller."""
    n = v.shape[0]
    if n == 0:
        return v
    dense = how.chosen(n, False) == "dense"
    floor = float(np.finfo(v.dtype).eps)

    def direction(v: Any, r: Any) -> tuple[Any, Any]:
        """Return the step, and what rounding alone makes of F here."""
        if dense:
            # the shift keeps a singular matrix from raising: the step is then too long, and shortened
            f_y = jacfwd(F)(v)
            d = -np.linalg.solve(f_y + floor * (largest(f_y) + floor) * np.eye(n, dtype=v.dtype), r)
            return d, 16 * floor * np.max(np.abs(f_y) @ np.abs(v))

        def product(p: Any) -> Any:
            return jvp(F, (v,), (p,))[1]

        products = how.maxiter or 10 * n
        d = -_krylov.gmres(product, r, min(how.tol, 1e-3), products, how.restart)[0]
        return d, 16 * floor * largest(product(v))

    def going(carry: Any) -> Any:
        _, _, count, state = carry
        return (state == 0) & (count < steps.maxiter)

    def step(carry: Any) -> Any:
        v, r, count, _ = carry
        d, noise = direction(v, r)
        last = steps.small(d, v)
        size = _krylov.norm(r)

        def too_long(inner: Any) -> Any:
            scale, new = inner
            return ~(_krylov.norm(new) <= (1 - 1e-4 * scale) * size) & ~last & (scale > 1e-9)

        def halve(inner: Any) -> Any:
            scale = 0.5 * inner[0]
            return scale, F(v + scale * d)

        one = size * 0.0 + 1.0
        scale, new = while_loop(too_long, halve, (one, F(v + d)))
        # where no step makes F smaller, it is as small as it gets if only rounding is left
        done = (largest(r) <= noise) | steps.short(d, v)
        ended = np.where(scale > 1e-9, 0, np.where(done, 1, 2))
        state = np.where(last & (_krylov.norm(new) < np.inf), 1, ended)
        return v + scale * d, new, count + 1, state

    v, r, _, state = while_loop(going, step, (v, F(v), 0, 0))
    return v * require(
        state == 1,
        largest(r),
        lambda size: (
            f"{name}: Newton's method did not converge: the largest element of F is {size:.3g} where it stopped; start "
            "nearer to the solution, raise maxiter or tol, or give another solver"
        ),
    )


def iterate(name: str, T: Function, v: Any, steps: Steps) -> Any:
    """Find v = T(v) by applying T again and again."""
    if v.shape[0] == 0:
        return v

    def going(carry: Any) -> Any:
        v, new, count = carry
        return ~steps.small(new - v, v) & (count < steps.maxiter)

    v, new, _ = while_loop(going, lambda c: (c[1], T(c[1]), c[2] + 1), (v, T(v), 0))
    return new * require(
        steps.small(new - v, v),
        largest(new - v),
        lambda size: (
            f"{name}: {steps.maxiter} iterations did not bring T(y) - y below {size:.3g}; T must be a contraction near "
            "the solution (mlgrad.implicit.root with T(y) - y does without), or maxiter or tol raised"
        ),
    )


def descend(name: str, f: Function, v: Any, steps: Steps, how: Linear) -> Any:
    """Find a minimum of f by Newton's method: damped (Levenberg and Marquardt) if dense, by truncated cg if not."""
    if v.shape[0] == 0:
        return v
    dense = how.chosen(v.shape[0], True) == "dense"
    run = _damped if dense else _truncated
    v, state = run(f, v, steps)
    return v * require(
        state == 1,
        largest(grad(f)(v)),
        lambda size: (
            f"{name}: Newton's method did not find a minimum: the largest element of the gradient is {size:.3g} where "
            "it stopped; start nearer to the minimum, raise maxiter or tol, or give another solver"
        ),
    )


def transposed_jacobian(F: Function, v: Any) -> Any:
    """Return the transpose of the Jacobian of a function of vectors: its columns as rows."""
    return vmap(lambda e: jvp(F, (v,), (e,))[1])(_core.basis(v.shape, v.dtype))


def _damped(f: Function, v: Any, steps: Steps) -> tuple[Any, Any]:
    slope = grad(f)
    floor = float(np.finfo(v.dtype).eps)

    def going(carry: Any) -> Any:
        _, _, _, _, count, state = carry
        return (state == 0) & (count < steps.maxiter)

    def step(carry: Any) -> Any:
        v, value, g, damping, count, _ = carry
        h = transposed_jacobian(slope, v)  # which is symmetric
        scale = largest(h) + floor
        d = -_core.solve_shifted(h, g, (damping + floor) * scale)
        descent = np.sum(g * d)
        new, after = f(v + d), slope(v + d)
        slack = 8 * floor * np.abs(value)
        # rounding hides what a short step gains where f is a small difference of large numbers; the gradient shows it
        calm = steps.small(d, v) & (damping <= 1e-3) | steps.short(d, v) & (largest(after) <= 0.5 * largest(g))
        good = (descent <= 0) & ((new <= value + 1e-4 * descent + slack) | calm)
        # the next step would be shorter than this one by about as much as the gradient is; 20 for the condition number
        before = largest(g)
        rest = d * np.minimum(20 * largest(after) / np.where(before > 0, before, 1.0), 1.0)
        last = good & steps.small(rest, v) & (damping <= 1e-3)
        calmer = np.where(damping < 1e-6, 0.0, 0.1 * damping)
        rougher = np.maximum(8 * damping, 1e-4)
        state = np.where(last, 1, np.where(damping > 1e14, 2, 0))
        return (
            np.where(good, v + d, v),
            np.where(good, new, value),
            np.where(good, after, g),
            np.where(good, calmer, rougher).astype(v.dtype),
            count + 1,
            state,
        )

    value = f(v)
    v, _, _, _, _, state = while_loop(going, step, (v, value, slope(v), value * 0.0, 0, 0))
    return v, state


def _truncated(f: Function, v: Any, steps: Steps) -> tuple[Any, Any]:
    """Nocedal and Wright, "Numerical Optimization", algorithm 7.1."""
    slope = grad(f)
    n = v.shape[0]
    floor = float(np.finfo(v.dtype).eps)

    def direction(v: Any, g: Any) -> Any:
        size = _krylov.norm(g)
        goal = np.minimum(1e-3, np.sqrt(size)) * size

        def going(carry: Any) -> Any:
            _, r, _, count, convex = carry
            return (_krylov.norm(r) > goal) & (count < 10 * n) & convex

        def step(carry: Any) -> Any:
            d, r, p, count, _ = carry
            q = jvp(slope, (v,), (p,))[1]
            curvature, square = np.sum(p * q), np.sum(r * r)
            convex = curvature > 0
            alpha = square / np.where(convex, curvature, 1.0) * convex
            after = r - alpha * q
            # the steepest descent, if the very first direction is one of negative curvature
            d = np.where(convex | (count > 0), d + alpha * p, p)
            return d, after, after + np.sum(after * after) / square * p, count + 1, convex

        return while_loop(going, step, (g * 0.0, -g, -g, 0, size >= 0))[0]

    def going(carry: Any) -> Any:
        _, _, count, state = carry
        return (state == 0) & (count < steps.maxiter)

    def step(carry: Any) -> Any:
        v, value, count, _ = carry
        g = slope(v)
        d = direction(v, g)
        descent = np.sum(g * d)
        slack = 8 * floor * np.abs(value)
        # as in `_damped`
        calm = steps.small(d, v) | steps.short(d, v) & (largest(slope(v + d)) <= 0.5 * largest(g))

        def too_long(inner: Any) -> Any:
            scale, new = inner
            return ~((new <= value + 1e-4 * scale * descent + slack) | calm) & (scale > 1e-9)

        def halve(inner: Any) -> Any:
            scale = 0.5 * inner[0]
            return scale, f(v + scale * d)

        one = value * 0.0 + 1.0
        scale, new = while_loop(too_long, halve, (one, f(v + d)))
        good = scale > 1e-9
        last = good & steps.small(d, v)
        return v + scale * d, new, count + 1, np.where(last, 1, np.where(good, 0, 2))

    v, _, _, state = while_loop(going, step, (v, f(v), 0, 0))
    return v, state
