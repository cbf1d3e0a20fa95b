"""NumPy functions for traced arrays that are combinations of others; the common ones are in the core.

Each has NumPy's name and arguments, and is written in NumPy. Arguments that are left out (``out``, ``where``) are
refused by Python itself.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from mlgrad import _core
from mlgrad._vectors import known

#: What answers for a function of NumPy; the core looks here, once, when it does not know a function.
TABLE: dict[Any, Callable[..., Any]] = {}


def _implements(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(implementation: Callable[..., Any]) -> Callable[..., Any]:
        TABLE[function] = implementation
        return implementation

    return enter


def _array(x: Any) -> Any:
    return x if isinstance(x, _core.Array) else np.asarray(x)


def _inexact(x: Any) -> Any:
    x = _array(x)
    return x if np.issubdtype(x.dtype, np.inexact) else x.astype(np.float64)


@_implements(np.cov)
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: float | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    def rows(a: Any) -> Any:
        if a.ndim > 2:
            raise ValueError(f"cov: two axes at most, got shape {a.shape}")
        # NumPy computes covariances in float64 where nothing else is said
        return np.atleast_2d(a).astype(np.float64 if dtype is None else dtype)

    m = _array(m)
    x = rows(m) if rowvar or m.ndim == 1 else rows(m).T
    if y is not None:
        second = rows(_array(y))
        x = np.concatenate((x, second if rowvar or second.shape[0] == 1 else second.T), axis=0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    n = x.shape[1]
    weights: Any = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None:
            given = _array(given)
            if given.shape != (n,):
                raise ValueError(
                    f"cov: {name} of shape {given.shape} for {n} observations; they must have shape ({n},)"
                )
            if name == "fweights" and given.dtype.kind not in "iu":
                raise TypeError(f"cov: fweights must be integers, got {given.dtype}")
            weights = given if weights is None else weights * given
    if weights is None:
        mean, count = np.mean(x, axis=1, keepdims=True), max(n - ddof, 0.0)
        part = x - mean
        product = part @ part.T
    else:
        total = np.sum(weights)
        mean = np.sum(x * weights, axis=1, keepdims=True) / total
        part = x - mean
        product = part @ (part * weights).T
        used = 1 if aweights is None else np.sum(weights * _array(aweights)) / total
        count = total - ddof * used
        count = np.where(count > 0, count, 0.0)
    # no degree of freedom: NumPy divides by zero
    return np.squeeze(product / _array(count))


@_implements(np.corrcoef)
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    c = _cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    d = np.sqrt(np.diagonal(c))
    return np.clip(c / d[:, None] / d[None, :], -1, 1)


@_implements(np.ediff1d)
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    parts = [np.ravel(part) for part in (to_begin, np.diff(np.ravel(ary)), to_end) if part is not None]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


@_implements(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = np.atleast_1d(_array(a)), np.atleast_1d(_array(v))
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"convolve: two sequences that are not empty are needed, got shapes {a.shape} and {v.shape}")
    if a.size < v.size:
        a, v = v, a
    n, m = a.size, v.size
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"convolve: mode must be 'full', 'same' or 'valid', got {mode!r}")
    v = v[::-1]
    inner = a[np.arange(n - m + 1)[:, None] + np.arange(m)] @ v
    if mode == "valid" or m == 1:
        return inner
    # where they overlap in part: what is outside of `a` takes no part, so that 0 times inf does not arise
    rows = np.concatenate((np.arange(m - 1), np.arange(n, n + m - 1)))
    places = rows[:, None] + np.arange(1 - m, 1)
    inside = (places >= 0) & (places < n)
    terms = np.where(inside, a[np.clip(places, 0, n - 1)], 0) * np.where(inside, v, 0)
    outer = np.sum(terms, axis=1)
    full = np.concatenate((outer[: m - 1], inner, outer[m - 1 :])).astype(inner.dtype)
    return full if mode == "full" else full[(m - 1) // 2 : (m - 1) // 2 + n]


@_implements(np.correlate)
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = np.atleast_1d(_array(a)), np.atleast_1d(_array(v))
    out = _convolve(a, v[::-1], mode)
    if mode == "same" and a.size < v.size and a.size % 2 == 0:
        full = _convolve(a, v[::-1], "full")
        return full[a.size // 2 : a.size // 2 + v.size]
    return out


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


@_implements(np.logspace)
def _logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    exponents = _linspace(start, stop, num, endpoint, axis=axis)
    out = np.power(base if np.ndim(base) == 0 else np.expand_dims(base, axis), exponents)
    return out if dtype is None else out.astype(dtype)


@_implements(np.geomspace)
def _geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    start, stop = np.broadcast_arrays(_inexact(start), _inexact(stop))
    ratio = np.log(stop / start)
    parts = max(num - 1 if endpoint else num, 1)
    counts = np.reshape(np.arange(num) / parts, (num,) + (1,) * start.ndim)
    out = start * np.exp(counts * ratio)
    if endpoint and num > 1:
        out = np.concatenate((out[:-1], stop[None]), axis=0)
    out = np.moveaxis(out, 0, axis)
    return out if dtype is None else out.astype(dtype)


@_implements(np.unwrap)
def _unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    p = _inexact(p)
    # by how many periods each step is off: a constant for derivatives
    steps = np.diff(_core.stop_gradient(p) if isinstance(p, _core.Array) else p, axis=axis)
    half = period / 2
    inner = np.mod(steps + half, period) - half
    inner = np.where((inner == -half) & (steps > 0), half, inner)
    turns = np.where(np.abs(steps) < (half if discont is None else discont), 0, inner - steps)
    width = [(1, 0) if k == normalize_axis_index(axis, p.ndim) else (0, 0) for k in range(p.ndim)]
    return p + np.pad(np.cumsum(turns, axis=axis), width)


@_implements(np.apply_over_axes)
def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    out = _array(a)
    for axis in np.ravel(axes).tolist():
        axis = normalize_axis_index(axis, out.ndim)
        reduced = func(out, axis)
        if reduced.ndim not in (out.ndim, out.ndim - 1):
            raise ValueError("apply_over_axes: the function must give an array with the axis, or without it")
        out = reduced if reduced.ndim == out.ndim else np.expand_dims(reduced, axis)
    return out


@_implements(np.angle)
def _angle(z: Any, deg: bool = False) -> Any:
    z = _inexact(z)
    out = np.arctan2(np.zeros_like(z), _core.stop_gradient(z))
    return out * (180 / math.pi) if deg else out


@_implements(np.real_if_close)
def _real_if_close(a: Any, tol: float = 100) -> Any:
    return a


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
    # one condition may stand without a list around it, as in NumPy: then its elements have no axes
    first = condlist[0] if isinstance(condlist, list | tuple) or np.ndim(condlist) > 0 else condlist
    alone = first is condlist or (x.ndim != 0 and not isinstance(first, list) and np.ndim(first) == 0)
    conditions = [_array(c) for c in ([condlist] if alone else condlist)]
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        otherwise = functions.pop()
    elif len(functions) == len(conditions):
        otherwise = 0
    else:
        raise ValueError(
            f"piecewise: {len(conditions)} conditions need as many functions or one more, got {len(functions)}"
        )
    for c in conditions:
        if c.shape != x.shape[: c.ndim]:
            raise ValueError(f"piecewise: a condition of shape {c.shape} for an array of shape {x.shape}")

    # a condition selects along the first axes
    conditions = [np.reshape(c, c.shape + (1,) * (x.ndim - c.ndim)) for c in conditions]
    covered = functools.reduce(np.logical_or, conditions) if conditions else np.zeros_like(x, dtype=bool)

    def piece(function: Any, where: Any) -> Any:
        if not callable(function):
            return function
        whole = function(x, *args, **kw)
        _same_on_parts(function, args, kw, x, where, whole)
        return whole

    # the last condition that holds counts
    out = np.full_like(x, 0) + piece(otherwise, np.logical_not(covered))
    for condition, function in zip(conditions, functions, strict=True):
        out = np.where(condition, piece(function, condition), out)
    return out.astype(x.dtype)


def _same_on_parts(function: Any, args: Any, kw: Any, x: Any, where: Any, whole: Any) -> None:
    """Refuse a function that is not elementwise: NumPy's piecewise calls it with the selected elements alone."""
    values, chosen = known(x), known(where)
    if values is None or chosen is None:
        return  # inside jit or vmap nobody knows the values
    chosen = np.broadcast_to(chosen.astype(bool), values.shape)
    part = np.asarray(_core.stop_gradient(function(values[chosen], *args, **kw)))
    expected = np.broadcast_to(np.asarray(_core.stop_gradient(whole)), values.shape)[chosen]
    if not np.allclose(part, expected, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise TypeError(
            "piecewise: a function gives other values for the selected elements alone than for all; with traced arrays "
            "it has to be elementwise. Write y[mask] = f(x[mask]) instead"
        )


# blocks and windows


def _depth(arrays: Any) -> int:
    return 1 + max((_depth(part) for part in arrays), default=0) if isinstance(arrays, list) else 0


@_implements(np.block)
def _block(arrays: Any) -> Any:
    depth = _depth(arrays)
    ranks: list[int] = []

    def visit(part: Any, level: int) -> None:
        if isinstance(part, list):
            if not part:
                raise ValueError("block: an empty list has no shape")
            for inner in part:
                visit(inner, level + 1)
        elif isinstance(part, tuple):
            raise TypeError("block: only lists nest, and a tuple was given; write it as a list")
        elif level != depth:
            raise ValueError(f"block: lists are nested {level} deep in one place and {depth} deep in another")
        else:
            ranks.append(np.ndim(part))

    visit(arrays, 0)
    rank = max(depth, *ranks)

    def join(part: Any, level: int) -> Any:
        if isinstance(part, list):
            return np.concatenate([join(inner, level + 1) for inner in part], axis=level - depth)
        part = _array(part)
        return np.reshape(part, (1,) * (rank - part.ndim) + part.shape)

    return join(arrays, 0)


@_implements(np.lib.stride_tricks.sliding_window_view)
def _sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    if writeable:
        raise TypeError(
            "sliding_window_view: writeable=True is not supported for traced arrays; the windows are a copy"
        )
    x = _array(x)
    windows = tuple(window_shape) if isinstance(window_shape, tuple | list) else (window_shape,)
    if axis is None:
        axes = tuple(range(x.ndim))
    else:
        given = axis if isinstance(axis, tuple | list) else (axis,)
        axes = tuple(normalize_axis_index(k, x.ndim) for k in given)
    if len(axes) != len(windows):
        raise ValueError(f"sliding_window_view: window_shape {windows} needs as many axes, got {axes}")
    for k, width in zip(axes, windows, strict=True):
        count = x.shape[k] - width + 1
        if width < 0 or count < 1:
            raise ValueError(f"sliding_window_view: a window of {width} does not fit axis {k} of shape {x.shape}")
        # the windows' own axis goes last
        x = np.moveaxis(np.take(x, np.arange(count)[:, None] + np.arange(width), axis=k), k + 1, -1)
    return x


@_implements(np.resize)
def _resize(a: Any, new_shape: Any) -> Any:
    a = np.ravel(_array(a))
    shape = tuple(new_shape) if isinstance(new_shape, tuple | list) else (new_shape,)
    size = math.prod(shape)
    if a.size == 0:
        return np.zeros_like(a, shape=shape)
    return np.reshape(a[np.arange(size) % a.size], shape)


@_implements(np.insert)
def _insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    arr = _array(arr)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = normalize_axis_index(axis, arr.ndim)
    if isinstance(obj, bool | slice) or np.ndim(obj) != 0:
        raise TypeError("insert: only one position is supported for traced arrays; use np.concatenate")
    n, at = arr.shape[axis], operator.index(obj)
    if not -n <= at <= n:
        raise IndexError(f"index {at} is out of bounds for axis {axis} with size {n}")
    at += n if at < 0 else 0
    values = _array(values).astype(arr.dtype)
    # a vector goes along the last axes, as one slice; NumPy does the same for one position
    wide = np.reshape(values, (1,) * (arr.ndim - values.ndim) + values.shape)
    wide = np.moveaxis(wide, 0, axis) if values.ndim else wide
    shape = list(arr.shape)
    shape[axis] = wide.shape[axis]
    before, after = np.split(arr, [at], axis=axis)
    return np.concatenate((before, np.broadcast_to(wide, tuple(shape)), after), axis=axis)
