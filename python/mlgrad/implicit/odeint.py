"""Solutions of ordinary differential equations, differentiable with respect to all that they depend on."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function
from mlgrad._vectors import as_float_leaves, dtype_of, known, ravel, shape_of
from mlgrad.implicit._closure import Closed
from mlgrad.implicit._loops import scan, while_loop
from mlgrad.implicit.errors import require, stopped

# Dormand and Prince (1980), the method of order 5 with an error estimate of order 4
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
WEIGHTS = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
ERROR = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
# between the ends of a step: Shampine, "Some practical Runge-Kutta formulas" (1986); powers 2, 3, 4 of the fraction,
# for all slopes but the second
BETWEEN = (
    (-8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
    (131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
    (-1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
    (127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
    (-282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
    (40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
)


def odeint(
    f: Function,
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    hmax: float = np.inf,
    mxstep: int = 100_000,
) -> Any:
    """Solve dy/dt = f(y, t, *args) with y(t[0]) = y0, at all times `t`.

    The method is that of Dormand and Prince, of order 5 with adaptive steps. Derivatives with respect to `y0`, `t` and
    `args` are those of the steps that were accepted, their sizes held constant: they are derivatives of what was
    computed, as accurate as the solution, and can be differentiated again.

    Parameters
    ----------
    f : callable
        ``f(y, t, *args)``, of the structure of y. It is recorded once: it may not branch on values. What it takes from
        outside counts as arguments.
    y0 : array, float, or tree of them
        The state at ``t[0]``.
    t : array
        Times, shape ``(m,)``, increasing or decreasing.
    *args
        Further arguments of `f`: arrays, numbers, trees.
    rtol, atol : float, optional
        The error of a step is kept below ``atol + rtol * abs(y)`` in the root mean square; 1.4e-8 each by default (1e-5
        in float32).
    hmax : float
        The largest step.
    mxstep : int
        The most steps between two times of `t`.

    Returns
    -------
    y
        Of the structure of `y0`, with a first axis for the times.

    Raises
    ------
    ConvergenceError
        If the steps become too small or too many, or f gives nan. Inside vmap and loop bodies the result is nan.
    ValueError
        If `t` has no times, or is not monotonic, or `f` gives another structure than that of y.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> from mlgrad.implicit import odeint
    >>> t = np.linspace(0.0, 1.0, 3)
    >>> decay = lambda rate: odeint(lambda y, t, rate: -rate * y, 2.0, t, rate)
    >>> bool(np.allclose(decay(1.5), 2 * np.exp(-1.5 * t), rtol=1e-7))
    True
    >>> bool(np.allclose(mlgrad.jacobian(decay)(1.5), -2 * t * np.exp(-1.5 * t), rtol=1e-6))
    True
    """
    y0 = as_float_leaves("odeint", "y0", y0)
    t = as_float_leaves("odeint", "t", t)
    if len(shape_of(t)) != 1 or shape_of(t)[0] == 0:
        raise ValueError(f"odeint: t must be a vector of times, got shape {shape_of(t)}")
    times = known(t)
    if times is not None and not (np.all(np.diff(times) >= 0) or np.all(np.diff(times) <= 0)):
        raise ValueError("odeint: the times in t must increase or decrease")
    single = all(dtype_of(leaf) == np.float32 for leaf in _core.tree_flatten(y0)[0])
    default = 1e-5 if single else 1.4e-8
    tolerances = (default if rtol is None else rtol, default if atol is None else atol)
    return _core.traced(lambda: _solve(f, y0, t, args, tolerances, hmax, mxstep))


def _solve(
    f: Function, y0: Any, t: Any, args: tuple[Any, ...], tolerances: tuple[float, float], hmax: float, mxstep: int
) -> Any:
    y, unravel = ravel(_core.lift(y0))
    t = _core.lift(t)
    structure = _core.tree_flatten(y0)[1]

    def slope(y: Any, t: Any, args: tuple[Any, ...]) -> Any:
        tree = f(unravel(y), t, *args)
        if _core.tree_flatten(tree)[1] != structure:
            raise ValueError("odeint: f must give the structure of y")
        out = ravel(tree)[0]
        if shape_of(out) != shape_of(y):
            raise ValueError(f"odeint: f gives {shape_of(out)[0]} numbers for the {shape_of(y)[0]} of y")
        return out.astype(y.dtype) if out.dtype != y.dtype else out

    # y and t in one dtype, so that what the loops carry keeps it
    t = t.astype(y.dtype) if dtype_of(t) != dtype_of(y) else t
    flow = Closed(lambda y, t, *args: slope(y, t, args), y, (t[0], *args))
    rest = flow.leaves[1:]
    first = flow.value
    forward = np.where(t[-1] >= t[0], 1.0, -1.0).astype(y.dtype)
    h = _first_step(lambda y, t: flow(y, t, *rest), y, first, t[0], forward, tolerances)
    h = np.minimum(h, hmax).astype(y.dtype)
    # y, f and t after the last step; the size of the next, which is not positive when something went wrong; start, size
    # and slopes of the last
    carry = (y, first, t[0], stopped(h), (y, t[0], h * 0.0 + 1.0, *(y * 0.0 for _ in range(6))))

    def to(carry: Any, target: Any) -> Any:
        def going(inner: Any) -> Any:
            (_, _, t, h, _), steps = inner
            # all of these, in one comparison; nan ends the loop too
            return np.minimum(np.minimum(forward * (target - t), h), mxstep - steps) > 0

        def step(inner: Any) -> Any:
            state, steps = inner
            return _step(flow, rest, state, forward, tolerances, hmax), steps + 1.0

        # steps are counted in float64, like all else: then a step is one piece of machine code
        (y, dy, t, h, last), steps = while_loop(going, step, (carry, np.float64(0.0)))
        h = stopped(np.where(steps < mxstep, h, -1.0).astype(h.dtype))
        return (y, dy, t, h, last), last

    if shape_of(t)[0] == 1:
        return _core.tree_map(lambda leaf: leaf[None], unravel(y))
    # the last step before each time, and then all times at once
    carry, steps = scan(to, carry, t[1:])
    found = _between(steps, t[1:])
    factor = require(
        carry[3] > 0,
        carry[2],
        lambda at: (
            f"odeint: the solution could not be continued beyond t = {at:.6g}: the steps became too small or too many "
            f"(more than {mxstep}), or f gives nan; raise rtol or atol or mxstep, and see whether the equation is "
            "stiff or its solution ends"
        ),
    )
    states = np.concatenate([y[None], found * factor])
    return _core.vmap(unravel)(states)


def _first_step(slope: Function, y: Any, dy: Any, t: Any, forward: Any, tolerances: tuple[float, float]) -> Any:
    """Hairer, Nørsett and Wanner, "Solving Ordinary Differential Equations I", II.4."""
    y, dy, t, forward = stopped((y, dy, t, forward))
    scale = tolerances[1] + tolerances[0] * np.abs(y)
    size: Function = lambda v: np.sqrt(np.mean((v / scale) ** 2))
    d0, d1 = size(y), size(dy)
    usual = (d0 >= 1e-5) & (d1 >= 1e-5)
    h0 = np.where(usual, 0.01 * d0 / np.where(usual, d1, 1.0), 1e-6)
    d2 = size(stopped(slope(y + forward * h0 * dy, t + forward * h0)) - dy) / h0
    steepest = np.maximum(d1, d2)
    h1 = np.where(steepest <= 1e-15, np.maximum(1e-6, 1e-3 * h0), (0.01 / np.maximum(steepest, 1e-15)) ** 0.2)
    return stopped(np.minimum(100 * h0, h1))


def _combined(weights: tuple[float, ...], slopes: list[Any]) -> Any:
    total: Any = None
    for w, k in zip(weights, slopes, strict=False):
        if w:
            # literals: a loop's body has them in its plan
            term = _core.literal(w, k.dtype) * k
            total = term if total is None else total + term
    return total


def _after(y: Any, h: Any, weights: tuple[float, ...], slopes: list[Any]) -> Any:
    """Return y after h along the weighted slopes, the last of which is the one that is known last."""
    *before, last = weights
    if any(before):
        y = y + h * _combined(tuple(before), slopes)
    return y + (h * _core.literal(last, slopes[-1].dtype)) * slopes[-1]


def _stages(slope: Function, y: Any, dy: Any, t: Any, h: Any) -> tuple[Any, Any, list[Any]]:
    """Return y and t after a step of size h from a point where the slope is dy, and the slopes at all stages."""
    slopes = [dy]
    for weights, node in zip(STAGES, NODES, strict=True):
        slopes.append(slope(_after(y, h, weights, slopes), t + _core.literal(node, t.dtype) * h))
    y1, t1 = _after(y, h, WEIGHTS, slopes), t + h
    slopes.append(slope(y1, t1))
    return y1, t1, slopes


def _step(
    flow: Function,
    rest: tuple[Any, ...],
    state: Any,
    forward: Any,
    tolerances: tuple[float, float],
    hmax: float,
) -> Any:
    """Try one step; the state stays what it is, but for the size of the step, where the error is too large."""
    y, dy, t, h, last = state
    number: Function = lambda v: _core.literal(v, y.dtype)
    signed = stopped(forward * h)
    # whether the step is good enough, as a constant for derivatives
    y0, dy0, t0, fixed = stopped((y, dy, t, rest))
    y1, _, slopes = _stages(lambda y, t: flow(y, t, *fixed), y0, dy0, t0, signed)
    rtol, atol = (number(v) for v in tolerances)
    # what is known before the last slope first: the step waits for the rest
    ratio = (signed / (atol + rtol * np.maximum(np.abs(y0), np.abs(y1)))) * _combined(ERROR, slopes)
    error = stopped(np.mean(ratio * ratio))
    # compared in the shape that is chosen by: a mask is not spread over elements in a register
    is_good: Function = lambda x: np.broadcast_to(error, shape_of(x)) <= 1.0
    good = is_good(error)
    # nan counts as a failure that calls for the shortest step
    factor = np.where(error >= 0, number(0.9) * np.maximum(error, number(1e-12)) ** number(-0.1), number(0.2))
    factor = np.minimum(np.maximum(factor, number(0.2)), np.where(good, number(10.0), 1.0))
    new = stopped(np.minimum(h * factor, number(hmax)))
    too_small = number(4 * float(np.finfo(y.dtype).eps)) * np.abs(t0)
    new = np.where(good, new, np.where(new > too_small, new, number(-1.0)))
    # the same once more, for derivatives: a plan computes it once. Nothing flows through a step that was not good, in
    # which there may be nan
    flowing: Function = lambda x: np.where(is_good(x), x, stopped(x))
    gated = tuple(flowing(x) for x in rest)
    y1, t1, slopes = _stages(lambda y, t: flow(y, t, *gated), flowing(y), flowing(dy), flowing(t), signed)
    del slopes[1]  # which the solution between the ends does not need
    after = _core.dense((y1, slopes[-1], t1, flowing(y), flowing(t), signed, *slopes))
    chosen = [np.where(is_good(b), a, b) for a, b in zip(after, (y, dy, t, *last), strict=True)]
    return chosen[0], chosen[1], chosen[2], new, tuple(chosen[3:])


def _between(steps: Any, times: Any) -> Any:
    """Return the solution at each of the times, within the step that was the last before it."""
    y, t, h, *slopes = steps
    at = times - t
    x = (at / h)[:, None]
    at = at[:, None]
    curve = [_combined(tuple(row[k] for row in BETWEEN), slopes) for k in range(3)]
    return y + at * (slopes[0] + x * (curve[0] + x * (curve[1] + x * curve[2])))
