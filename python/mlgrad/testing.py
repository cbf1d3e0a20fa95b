"""Checks of derivatives against finite differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgrad import _core

__all__ = ["check_grads"]

_MOST_ELEMENTS = 64
_LEVELS = 8
_FIRST_STEP = 0.05


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: Sequence[str] = ("rev", "fwd"),
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
) -> None:
    """Compare the derivatives of `f` with differences, and raise AssertionError where they disagree.

    Each element of each argument is moved (of larger arguments 64 elements, drawn at random), by central differences
    with shrinking steps that are extrapolated to step 0; these tell how far they can be trusted, and a derivative may
    be off by that much besides the tolerance.

    Parameters
    ----------
    f : callable
        Takes `args` and returns an array of any shape, or a tree of them.
    args : sequence
        The point; every leaf is float32 or float64. Should not lie on a kink.
    order : int
        With 2, the derivatives of the derivatives are compared as well, and so on.
    modes : sequence of {"rev", "fwd", "complex"}
        Whether to check `vjp`, `jvp` or both. With "complex", first derivatives are compared with the imaginary part of
        f(x + ih)/h for a tiny h, which has no rounding error from a difference: `f` must be plain NumPy code that takes
        complex arguments and is analytic (no abs, comparison or real part).
    rtol, atol : float, optional
        Tolerances, relative to the derivative and absolute; 1e-6 for float64, 1e-3 for float32, 1e-12 with "complex".
    eps : float, optional
        The largest step, relative to the element that is moved (at least 0.1 is taken for its size); 0.05 by default.
        With "complex" the step itself, 1e-100 by default.

    Raises
    ------
    AssertionError
        With the argument, the index and both values of the worst element.
    TypeError
        With "complex", if `f` does not take complex arguments or drops their imaginary part.
    ValueError
        If finite differences do not settle at this point: there is a kink or a singularity, or `f` is not
        deterministic.

    References
    ----------
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad.testing import check_grads
    >>> check_grads(lambda x, y: np.sin(x) * y, (np.array([0.5, 1.0]), 3.0), order=2)
    >>> check_grads(lambda x: np.exp(x) / x, (0.3,), modes=("rev", "fwd", "complex"))
    """
    if order < 1:
        raise ValueError(f"check_grads: order must be at least 1, got {order}")
    unknown = set(modes) - {"rev", "fwd", "complex"}
    walks = tuple(m for m in modes if m != "complex")
    if unknown or not walks:
        raise ValueError(f"check_grads: modes are 'rev' and 'fwd', and 'complex' besides, got {tuple(modes)}")
    if eps is not None and not eps > 0:
        raise ValueError(f"check_grads: eps must be positive, got {eps}")
    if "complex" in modes:
        if order > 1:
            raise ValueError("check_grads: mode 'complex' checks first derivatives only; leave it out for order > 1")
        _check_complex(f, tuple(args), walks, rtol, atol, eps if eps is not None else 1e-100)
        return
    first = eps if eps is not None else _FIRST_STEP
    _check(f, tuple(args), order, walks, rtol, atol, first, "f", np.random.default_rng(0))


def _check_complex(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    modes: tuple[str, ...],
    rtol: float | None,
    atol: float | None,
    step: float,
) -> None:
    rng = np.random.default_rng(0)
    leaves, structure = _core.tree_flatten(args)
    point = [np.asarray(leaf) for leaf in leaves]
    rtol, atol = rtol if rtol is not None else 1e-12, atol if atol is not None else 1e-12

    def moved(values: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        try:
            result = f(*_core.tree_unflatten(structure, [v[()] for v in values]))
            out = [np.asarray(x) for x in _core.tree_flatten(result)[0]]
        except TypeError as error:
            raise TypeError(f"check_grads: f does not take complex arguments ({error}); leave out 'complex'") from error
        if any(x.dtype.kind != "c" for x in out):
            raise TypeError("check_grads: f drops the imaginary part of its arguments; leave out 'complex'")
        return np.concatenate([x.ravel() for x in out])

    for which, index in _elements([np.asarray(p, float) for p in point], rng):
        values = [p.astype(complex) for p in point]
        values[which][index] += 1j * step
        want = np.imag(moved(values)) / step
        tangents = [np.zeros_like(p) for p in point]
        tangents[which][index] = 1.0
        where = f"{_paths(args)[which]}, index {index}" if index else _paths(args)[which]
        allowed = atol + rtol * np.abs(want)
        if "fwd" in modes:
            _, tangent = _core.jvp(f, args, _core.tree_unflatten(structure, _numbers(tangents)))
            _compare(_ravel(tangent), want, allowed, f"jvp of f with respect to {where}", "the complex step")
        if "rev" in modes:
            out, pull = _core.vjp(f, *args)
            flat, result = _core.tree_flatten(out)
            got = []
            for k, leaf in enumerate(flat):
                for at in np.ndindex(np.shape(leaf)):
                    one = [np.zeros_like(x) for x in flat]
                    one[k][at] = 1.0
                    pulled = _core.tree_flatten(pull(_core.tree_unflatten(result, _numbers(one))))[0]
                    got.append(np.asarray(pulled[which])[index])
            _compare(np.array(got), want, allowed, f"vjp of f with respect to {where}", "the complex step")


def _check(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    order: int,
    modes: tuple[str, ...],
    rtol: float | None,
    atol: float | None,
    first_step: float,
    name: str,
    rng: np.random.Generator,
) -> None:
    leaves, structure = _core.tree_flatten(args)
    for path, leaf in zip(_paths(args), leaves, strict=True):
        if not np.issubdtype(np.asarray(leaf).dtype, np.floating):
            raise TypeError(f"check_grads: {path} is {np.asarray(leaf).dtype}; pass floats, and close over the rest")
    point = [np.asarray(leaf) for leaf in leaves]
    single = any(leaf.dtype == np.float32 for leaf in point)
    rtol = rtol if rtol is not None else 1e-3 if single else 1e-6
    atol = atol if atol is not None else 1e-3 if single else 1e-6

    def rebuild(values: Sequence[Any]) -> tuple[Any, ...]:
        tree: tuple[Any, ...] = _core.tree_unflatten(structure, [np.asarray(v)[()] for v in values])
        return tree

    # Finite differences in double precision, whatever the derivatives are computed in.
    wide = [leaf.astype(np.float64) for leaf in point]

    def moved(which: int, index: tuple[int, ...], step: float) -> np.ndarray[Any, Any]:
        values = [leaf.copy() for leaf in wide]
        values[which][index] += step
        return _ravel(f(*rebuild(values)))

    out = f(*args)
    out_leaves, out_structure = _core.tree_flatten(out)
    cotangent = [np.asarray(rng.standard_normal(np.shape(x)), dtype=np.asarray(x).dtype) for x in out_leaves]
    pulled = None
    if "rev" in modes:
        _, pull = _core.vjp(f, *args)
        pulled = [
            np.asarray(x) for x in _core.tree_flatten(pull(_core.tree_unflatten(out_structure, _numbers(cotangent))))[0]
        ]

    for which, index in _elements(wide, rng):
        difference, error = _derivative(functools.partial(moved, which, index), float(wide[which][index]), first_step)
        where = f"{_paths(args)[which]}, index {index}" if index else _paths(args)[which]
        scale = float(np.max(np.abs(difference), initial=0.0))
        allowed = atol + rtol * scale
        trust = float(np.max(error, initial=0.0))
        if not trust <= max(1e3 * allowed, 1e-2 * scale):
            raise ValueError(
                f"check_grads: finite differences of {name} with respect to {where} do not settle (error {trust:.2g}): "
                "is there a kink or a singularity, or is the function not deterministic?"
            )
        if "fwd" in modes:
            tangents = [np.zeros_like(leaf) for leaf in point]
            tangents[which][index] = 1.0
            _, tangent = _core.jvp(f, args, rebuild(tangents))
            got = _ravel(tangent)
            _compare(got, difference, allowed + 10 * error, f"jvp of {name} with respect to {where}")
        if pulled is not None:
            weights = np.concatenate([c.ravel() for c in cotangent]) if cotangent else np.zeros(0)
            expected = np.sum(weights * difference)
            slack = atol * (1 + np.sum(np.abs(weights))) + rtol * np.sum(np.abs(weights * difference))
            slack += 10 * np.sum(np.abs(weights) * error)
            _compare(pulled[which][index], expected, slack, f"vjp of {name} with respect to {where}")

    if order > 1:
        if "rev" in modes:
            fixed = _core.tree_unflatten(out_structure, _numbers(cotangent))
            _check(
                lambda *a: _core.vjp(f, *a)[1](fixed),
                args,
                order - 1,
                modes,
                rtol,
                atol,
                first_step,
                f"vjp({name})",
                rng,
            )
        if "fwd" in modes:
            directions = rebuild([rng.standard_normal(leaf.shape).astype(leaf.dtype) for leaf in point])
            _check(
                lambda *a: _core.jvp(f, a, directions)[1],
                args,
                order - 1,
                modes,
                rtol,
                atol,
                first_step,
                f"jvp({name})",
                rng,
            )


def _numbers(leaves: Sequence[Any]) -> list[Any]:
    return [np.asarray(x)[()] for x in leaves]


def _paths(args: tuple[Any, ...]) -> list[str]:
    """Name each leaf of the arguments, in the order of the leaves."""
    paths = []
    for k, arg in enumerate(args):
        count = len(_core.tree_flatten(arg)[0])
        paths += [f"argument {k}"] if count == 1 else [f"argument {k}, leaf {leaf}" for leaf in range(count)]
    return paths


def _elements(leaves: Sequence[np.ndarray[Any, Any]], rng: np.random.Generator) -> list[tuple[int, tuple[int, ...]]]:
    every = [(k, index) for k, leaf in enumerate(leaves) for index in np.ndindex(leaf.shape)]
    if len(every) <= _MOST_ELEMENTS:
        return every
    return [every[k] for k in sorted(rng.choice(len(every), _MOST_ELEMENTS, replace=False))]


def _ravel(tree: Any) -> np.ndarray[Any, Any]:
    leaves = _core.tree_flatten(tree)[0]
    if not leaves:
        return np.zeros(0)
    return np.concatenate([np.asarray(leaf, dtype=np.float64).ravel() for leaf in leaves])


def _derivative(
    moved: Callable[[float], np.ndarray[Any, Any]], x: float, first_step: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Extrapolate central differences to step 0 (Ridders), and return them with an estimate of their error."""
    step = first_step * max(abs(x), 0.1)
    rows: list[np.ndarray[Any, Any]] = []
    best = error = np.zeros(0)
    with np.errstate(all="ignore"):
        for level in range(_LEVELS):
            h = step / 2.0**level
            # the step that is really made, after rounding
            h = ((x + h) - (x - h)) / 2
            above, below = moved(h), moved(-h)
            row = [(above - below) / (2 * h)]
            noise = 4 * np.finfo(np.float64).eps * (np.abs(above) + np.abs(below)) / h
            if not rows:
                best, error = row[0], np.full(row[0].shape, np.inf)
            for k, previous in enumerate(rows):
                factor = 4.0 ** (k + 1)
                row.append((factor * row[k] - previous) / (factor - 1))
                guess = np.maximum(np.abs(row[k + 1] - row[k]), np.abs(row[k + 1] - previous)) + noise
                better = guess < error
                best, error = np.where(better, row[k + 1], best), np.where(better, guess, error)
            rows = row
    return best, error


def _compare(got: Any, expected: Any, allowed: Any, what: str, against: str = "finite differences") -> None:
    got, expected, allowed = np.atleast_1d(got), np.atleast_1d(expected), np.atleast_1d(allowed)
    if got.shape != expected.shape:
        raise AssertionError(f"{what}: {got.size} numbers, but {against} gave {expected.size}")
    excess = np.abs(got - expected) - allowed
    wrong = ~(excess <= 0)
    if np.any(wrong):
        k = int(np.argmax(np.where(wrong, np.where(np.isnan(excess), np.inf, excess), -np.inf)))
        which = f", output element {k}" if got.size > 1 else ""
        raise AssertionError(
            f"{what}{which}: {got[k]!r}, but {against} gave {expected[k]!r} (allowed difference {allowed[k]:.2g})"
        )
