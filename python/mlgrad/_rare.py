"""NumPy functions for traced arrays that are combinations of others; the common ones are in the core.

Each has NumPy's name and arguments, and is written in NumPy. Arguments that are left out (``out``, ``where``) are
refused by Python itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from mlgrad import _core

_TABLE: dict[Any, Callable[..., Any]] = {}


def register() -> None:
    """Make the functions of this module answer for NumPy's on traced arrays."""
    for function, implementation in _TABLE.items():
        _core.register_array_function(function, implementation)


def _implements(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(implementation: Callable[..., Any]) -> Callable[..., Any]:
        _TABLE[function] = implementation
        return implementation

    return enter


def _array(x: Any) -> Any:
    return x if isinstance(x, _core.Array) else np.asarray(x)


def _inexact(x: Any) -> Any:
    x = _array(x)
    return x if np.issubdtype(x.dtype, np.inexact) else x.astype(np.float64)


def _along(x: Any, axis: int, part: slice) -> Any:
    index: list[Any] = [slice(None)] * x.ndim
    index[axis] = part
    return x[tuple(index)]


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, int | np.integer):
        axis = (axis,)
    return tuple(normalize_axis_index(int(a), ndim) for a in axis)


# statistics


@_implements(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    a = _inexact(a)
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        total = np.full(mean.shape, a.size / max(mean.size, 1))
    else:
        weights = _array(weights)
        if weights.shape != a.shape:
            axes = _axes(axis, a.ndim)
            if axis is None or weights.shape != tuple(a.shape[k] for k in axes):
                raise ValueError(
                    f"average: weights of shape {weights.shape} do not fit an array of shape {a.shape} and axis {axis}"
                )
            order = sorted(range(len(axes)), key=lambda k: axes[k])
            weights = np.transpose(weights, order)
            weights = np.reshape(weights, tuple(a.shape[k] if k in axes else 1 for k in range(a.ndim)))
        weights = np.broadcast_to(weights, a.shape)
        total = np.sum(weights, axis=axis, keepdims=keepdims)
        mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


@_implements(np.cov)
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    if fweights is not None or aweights is not None:
        raise TypeError("cov: fweights and aweights are not supported for traced arrays; weight the rows yourself")
    x = np.atleast_2d(_inexact(m))
    if not rowvar and x.shape[0] != 1:
        x = x.T
    if y is not None:
        y = np.atleast_2d(_inexact(y))
        x = np.concatenate((x, y.T if not rowvar and y.shape[0] != 1 else y), axis=0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    x = x - np.mean(x, axis=1, keepdims=True)
    return np.squeeze(x @ x.T / (x.shape[1] - ddof))


@_implements(np.corrcoef)
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    c = _cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    d = np.sqrt(np.diagonal(c))
    return np.clip(c / d[:, None] / d[None, :], -1, 1)


def _over(a: Any, axis: Any) -> tuple[Any, int, tuple[int, ...]]:
    """Bring `axis` to the end as one axis; also return how many elements it has, and the shape of a kept result."""
    a = _inexact(a)
    axes = _axes(axis, a.ndim)
    others = tuple(k for k in range(a.ndim) if k not in axes)
    count = math.prod(a.shape[k] for k in axes)
    kept = tuple(1 if k in axes else n for k, n in enumerate(a.shape))
    moved = np.reshape(np.transpose(a, others + axes), (*(a.shape[k] for k in others), count))
    return moved, count, kept


@_implements(np.quantile)
def _quantile(a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    if method != "linear":
        raise TypeError(f"quantile: method {method!r} is not supported for traced arrays; use 'linear'")
    moved, count, kept = _over(a, axis)
    ordered = np.sort(moved, axis=-1)
    q = np.asarray(q, dtype=np.float64)
    if not (np.all(q >= 0) and np.all(q <= 1)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    results = []
    for fraction in q.ravel():
        position = float(fraction) * (count - 1)
        below = min(math.floor(position), max(count - 2, 0))
        above = min(below + 1, count - 1)
        weight = position - below
        result = ordered[..., below] * (1.0 - weight) + ordered[..., above] * weight
        results.append(np.reshape(result, kept) if keepdims else result)
    out = np.stack(results)
    return np.reshape(out, q.shape + out.shape[1:])


@_implements(np.percentile)
def _percentile(a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    return _quantile(a, np.asarray(q) / 100.0, axis, method=method, keepdims=keepdims)


@_implements(np.median)
def _median(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return _quantile(a, 0.5, axis, keepdims=keepdims)


@_implements(np.ptp)
def _ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@_implements(np.nansum)
def _nansum(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(np.where(np.isnan(a), 0, a), axis=axis, dtype=dtype, keepdims=keepdims)


@_implements(np.nanprod)
def _nanprod(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    return np.prod(np.where(np.isnan(a), 1, a), axis=axis, dtype=dtype, keepdims=keepdims)


def _present(a: Any, axis: Any) -> Any:
    """Count the elements that are not nan."""
    return np.sum(np.logical_not(np.isnan(a)), axis=axis, keepdims=True)


def _kept_or_not(out: Any, axis: Any, keepdims: bool) -> Any:
    return out if keepdims else np.reshape(out, ()) if axis is None else np.squeeze(out, axis=axis)


@_implements(np.nanmean)
def _nanmean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    a = _inexact(a)
    return _kept_or_not(_nansum(a, axis, keepdims=True) / _present(a, axis).astype(a.dtype), axis, keepdims)


@_implements(np.nanvar)
def _nanvar(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    a = _inexact(a)
    off = a - _nanmean(a, axis, keepdims=True)
    left = (_present(a, axis) - ddof).astype(a.dtype)
    return _kept_or_not(_nansum(off * off, axis, keepdims=True) / left, axis, keepdims)


@_implements(np.nanstd)
def _nanstd(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return np.sqrt(_nanvar(a, axis, ddof=ddof, keepdims=keepdims))


@_implements(np.nanmax)
def _nanmax(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    top = np.max(np.where(np.isnan(a), -np.inf, a), axis=axis, keepdims=True)
    return _kept_or_not(np.where(_present(a, axis) == 0, np.nan, top), axis, keepdims)


@_implements(np.nanmin)
def _nanmin(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return -_nanmax(-a, axis, keepdims=keepdims)


@_implements(np.nan_to_num)
def _nan_to_num(x: Any, *, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if not np.issubdtype(x.dtype, np.inexact):
        return x.copy()
    limits = np.finfo(x.dtype)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(x == np.inf, float(limits.max) if posinf is None else posinf, x)
    return np.where(x == -np.inf, float(limits.min) if neginf is None else neginf, x)


# sequences, calculus


@_implements(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = _inexact(y)
    axis = normalize_axis_index(axis, y.ndim)
    if x is not None:
        x = _array(x)
        dx = np.diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            dx = np.reshape(dx, tuple(-1 if k == axis else 1 for k in range(y.ndim)))
    pairs = _along(y, axis, slice(1, None)) + _along(y, axis, slice(None, -1))
    return np.sum(dx * pairs / 2.0, axis=axis)


@_implements(np.gradient)
def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = _inexact(f)
    axes = _axes(axis, f.ndim)
    if len(spacing) not in (0, 1, len(axes)):
        raise TypeError(f"gradient: {len(spacing)} spacings for {len(axes)} axes; give none, one, or one an axis")
    if edge_order != 1:
        raise TypeError("gradient: only edge_order=1 is supported for traced arrays")
    steps = spacing * len(axes) if len(spacing) == 1 else spacing or (1.0,) * len(axes)
    results = [_gradient_along(f, step, k) for step, k in zip(steps, axes, strict=True)]
    return results[0] if len(results) == 1 else tuple(results)


def _gradient_along(f: Any, step: Any, axis: int) -> Any:
    if f.shape[axis] < 2:
        raise ValueError(f"gradient: axis {axis} has {f.shape[axis]} elements; at least 2 are needed")
    step = _array(step)
    if step.ndim == 0:
        inner = (_along(f, axis, slice(2, None)) - _along(f, axis, slice(None, -2))) / (2.0 * step)
        first = last = step
    else:
        gaps = np.reshape(np.diff(step), tuple(-1 if k == axis else 1 for k in range(f.ndim)))
        before, after = _along(gaps, axis, slice(None, -1)), _along(gaps, axis, slice(1, None))
        rise = _along(f, axis, slice(2, None)) - _along(f, axis, slice(1, -1))
        run = _along(f, axis, slice(1, -1)) - _along(f, axis, slice(None, -2))
        inner = (before / after * rise + after / before * run) / (before + after)
        first, last = _along(gaps, axis, slice(None, 1)), _along(gaps, axis, slice(-1, None))
    start = (_along(f, axis, slice(1, 2)) - _along(f, axis, slice(0, 1))) / first
    stop = (_along(f, axis, slice(-1, None)) - _along(f, axis, slice(-2, -1))) / last
    return np.concatenate((start, inner, stop), axis=axis)


@_implements(np.ediff1d)
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    parts = [np.ravel(part) for part in (to_begin, np.diff(np.ravel(ary)), to_end) if part is not None]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


@_implements(np.interp)
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None:
        raise TypeError("interp: period is not supported for traced arrays; reduce x with np.mod first")
    x, xp, fp = _inexact(x), _inexact(xp), _inexact(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or xp.size == 0:
        raise ValueError(f"interp: xp and fp must be sequences of one length, got shapes {xp.shape} and {fp.shape}")
    n = xp.size
    low = np.sum(np.less_equal(xp[1 : n - 1], x[..., None]), axis=-1) if n > 2 else np.zeros(x.shape, dtype=np.int64)
    if n == 1:
        inside = fp[0] + 0.0 * x
    else:
        x0, x1, f0, f1 = xp[low], xp[low + 1], fp[low], fp[low + 1]
        inside = f0 + (f1 - f0) / (x1 - x0) * (x - x0)
    out = np.where(x < xp[0], fp[0] if left is None else left, inside)
    out = np.where(x > xp[n - 1], fp[n - 1] if right is None else right, out)
    return np.where(x == xp[n - 1], fp[n - 1], out) if n == 1 else out


@_implements(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = np.atleast_1d(_array(a)), np.atleast_1d(_array(v))
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"convolve: two sequences that are not empty are needed, got shapes {a.shape} and {v.shape}")
    if a.size < v.size:
        a, v = v, a
    n, m = a.size, v.size
    wide = np.pad(a, m - 1)
    windows = wide[np.arange(n + m - 1)[:, None] + np.arange(m)]
    full = windows @ v[::-1]
    if mode == "full":
        return full
    if mode == "same":
        return full[(m - 1) // 2 : (m - 1) // 2 + n]
    if mode == "valid":
        return full[m - 1 : n]
    raise ValueError(f"convolve: mode must be 'full', 'same' or 'valid', got {mode!r}")


@_implements(np.correlate)
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = np.atleast_1d(_array(a)), np.atleast_1d(_array(v))
    out = _convolve(a, v[::-1], mode)
    if mode == "same" and a.size < v.size and a.size % 2 == 0:
        full = _convolve(a, v[::-1], "full")
        return full[a.size // 2 : a.size // 2 + v.size]
    return out


@_implements(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    p, x = _array(p), _array(x)
    y = x * 0
    for k in range(len(p)):
        y = y * x + p[k]
    return y


@_implements(np.vander)
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    x = _array(x)
    if x.ndim != 1:
        raise ValueError(f"vander: x must have one axis, got shape {x.shape}")
    columns = [np.ones_like(x)]
    for _ in range((x.size if N is None else N) - 1):
        columns.append(columns[-1] * x)
    columns = columns[: x.size if N is None else N]
    return np.stack(columns if increasing else columns[::-1], axis=1)


@_implements(np.linspace)
def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    start, stop = np.broadcast_arrays(_inexact(start), _inexact(stop))
    parts = num - 1 if endpoint else num
    step = (stop - start) / max(parts, 1)
    counts = np.reshape(np.arange(num, dtype=np.float64), (num,) + (1,) * start.ndim)
    out = start + counts * step
    if endpoint and num > 1:
        out = np.concatenate((out[:-1], stop[None]), axis=0)
    out = np.moveaxis(out, 0, axis)
    out = out if dtype is None else out.astype(dtype)
    return (out, step) if retstep else out


# products


@_implements(np.cross)
def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(_array(a), axisa, -1), np.moveaxis(_array(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"cross: both vectors must have 3 elements, got {a.shape[-1]} and {b.shape[-1]}")
    (a0, a1, a2), (b0, b1, b2) = ([v[..., k] for k in range(3)] for v in (a, b))
    return np.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0), axis=axisc)


@_implements(np.kron)
def _kron(a: Any, b: Any) -> Any:
    a, b = _array(a), _array(b)
    n = max(a.ndim, b.ndim)
    left = (1,) * (n - a.ndim) + a.shape
    right = (1,) * (n - b.ndim) + b.shape
    spread = np.reshape(a, tuple(x for m in left for x in (m, 1))) * np.reshape(
        b, tuple(x for m in right for x in (1, m))
    )
    return np.reshape(spread, tuple(x * y for x, y in zip(left, right, strict=True)))


@_implements(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.conjugate(np.ravel(a)), np.ravel(b))


@_implements(np.linalg.multi_dot)
def _multi_dot(arrays: Any) -> Any:
    # from the side of a vector, so that no matrix is multiplied by a matrix needlessly
    arrays = [_array(a) for a in arrays]
    if arrays[-1].ndim == 1:
        out = arrays[-1]
        for a in reversed(arrays[:-1]):
            out = np.dot(a, out)
        return out
    out = arrays[0]
    for a in arrays[1:]:
        out = np.dot(out, a)
    return out


@_implements(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    a = _array(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"matrix_power: square matrices are needed, got shape {a.shape}")
    if n < 0:
        return _matrix_power(np.linalg.inv(a), -n)
    if n == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape).copy()
    out = None
    while n:
        if n & 1:
            out = a if out is None else out @ a
        n >>= 1
        a = a @ a if n else a
    return out


@_implements(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = _inexact(x)
    if axis is None and ord is None:
        axes = tuple(range(x.ndim))
        return _root_of_squares(x, axes, keepdims)
    axes = _axes(axis, x.ndim)
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    row, column = axes
    if ord in (None, "fro"):
        return _root_of_squares(x, axes, keepdims)
    if ord in (1, -1, np.inf, -np.inf):
        inner, outer = (row, column) if ord in (1, -1) else (column, row)
        sums = np.sum(np.abs(x), axis=inner, keepdims=True)
        out = (np.max if ord in (1, np.inf) else np.min)(sums, axis=outer, keepdims=True)
        return out if keepdims else np.squeeze(out, axis=axes)
    raise ValueError(f"norm: ord={ord!r} of a matrix is not supported for traced arrays; use 'fro', 1, -1, inf or -inf")


def _vector_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if ord == 2:
        return _root_of_squares(x, axes, keepdims)
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order {ord!r} for vectors")
    size = np.abs(x)
    if ord == 1:
        return np.sum(size, axis=axes, keepdims=keepdims)
    if ord == np.inf:
        return np.max(size, axis=axes, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axes, keepdims=keepdims)
    total = np.sum(size**ord, axis=axes, keepdims=keepdims)
    return np.where(total == 0, 0, total ** (1.0 / ord))


def _root_of_squares(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    # The derivative at 0 is 0: nothing flows to the branch that is not taken.
    square = np.sum(x * x, axis=axes, keepdims=keepdims)
    return np.where(square == 0, 0, np.sqrt(square))


# arrangement


@_implements(np.rot90)
def _rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    first, second = _axes(axes, m.ndim)
    if first == second:
        raise ValueError("Axes must be different.")
    k %= 4
    if k == 0:
        return m[...]
    if k == 2:
        return np.flip(m, axis=(first, second))
    return np.flip(np.swapaxes(m, first, second), axis=first if k == 1 else second)


@_implements(np.meshgrid)
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    n = len(xi)
    place = list(range(n))
    if indexing == "xy" and n > 1:
        place[0], place[1] = 1, 0
    out = [np.reshape(np.ravel(x), tuple(-1 if k == place[i] else 1 for k in range(n))) for i, x in enumerate(xi)]
    if sparse:
        return tuple(out)
    shape = np.broadcast_shapes(*(x.shape for x in out))
    return tuple(np.broadcast_to(x, shape).copy() for x in out)


@_implements(np.apply_along_axis)
def _apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    arr = _array(arr)
    axis = normalize_axis_index(axis, arr.ndim)
    moved = np.moveaxis(arr, axis, -1)
    lead = moved.shape[:-1]
    results = [func1d(moved[index], *args, **kwargs) for index in np.ndindex(lead)]
    if not results:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    stacked = np.stack(results)
    inner = stacked.shape[1:]
    stacked = np.reshape(stacked, lead + inner)
    for k in range(len(inner)):
        stacked = np.moveaxis(stacked, len(lead) + k, axis + k)
    return stacked


@_implements(np.piecewise)
def _piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    x = _array(x)
    conditions = list(condlist) if isinstance(condlist, list | tuple) else [condlist]
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        otherwise = functions.pop()
    elif len(functions) == len(conditions):
        otherwise = 0
    else:
        raise ValueError(
            f"piecewise: {len(conditions)} conditions need as many functions or one more, got {len(functions)}"
        )
    out = otherwise(x, *args, **kw) if callable(otherwise) else np.full_like(x, otherwise)
    # the last condition that holds counts
    for condition, function in zip(conditions, functions, strict=True):
        out = np.where(condition, function(x, *args, **kw) if callable(function) else function, out)
    return out


# comparisons of whole arrays


@_implements(np.isclose)
def _isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    a, b = _array(a), _array(b)
    finite = np.logical_and(np.isfinite(a), np.isfinite(b))
    near = np.logical_and(finite, np.less_equal(np.abs(a - b), atol + rtol * np.abs(b)))
    out = np.logical_or(near, np.equal(a, b))
    return np.logical_or(out, np.logical_and(np.isnan(a), np.isnan(b))) if equal_nan else out


@_implements(np.allclose)
def _allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> bool:
    return bool(np.all(_isclose(a, b, rtol, atol, equal_nan)))


@_implements(np.array_equal)
def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    a1, a2 = _array(a1), _array(a2)
    if a1.shape != a2.shape:
        return False
    same = np.equal(a1, a2)
    if equal_nan:
        same = np.logical_or(same, np.logical_and(np.isnan(a1), np.isnan(a2)))
    return bool(np.all(same))
