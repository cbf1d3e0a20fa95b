"""NumPy functions that choose, order and look up elements, for traced arrays, with NumPy's names and arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._rare import _array, _implements
from mlgrad._vectors import known


@_implements(np.choose)
def _choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    if out is not None:
        raise TypeError("choose: out is not supported for traced arrays")
    a, stacked = _array(a), np.stack(np.broadcast_arrays(*choices))
    n = stacked.shape[0]
    if mode == "wrap":
        a = a % n
    elif mode == "clip":
        a = np.clip(a, 0, n - 1)
    elif mode != "raise":
        raise ValueError(f"choose: mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    shape = np.broadcast_shapes(a.shape, stacked.shape[1:])
    stacked = np.broadcast_to(
        np.reshape(stacked, (n,) + (1,) * (len(shape) + 1 - stacked.ndim) + stacked.shape[1:]), (n, *shape)
    )
    # a choice is never negative; a negative one must not count from the end
    index = np.where(a < 0, n, a)
    return np.take_along_axis(stacked, np.broadcast_to(index, shape)[None], axis=0)[0]


@_implements(np.partition)
def _partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> Any:
    return np.sort(a, axis=axis)


@_implements(np.argpartition)
def _argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> Any:
    return np.argsort(a, axis=axis, kind="stable")


@_implements(np.bincount)
def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    if isinstance(x, _core.Array):
        raise TypeError(
            "bincount: the length of the result depends on the values of a traced array; use "
            "np.add.at(np.zeros_like(weights, shape=n), x, weights)"
        )
    x = np.asarray(x)
    if x.ndim != 1 or (x.size and x.min() < 0):
        raise ValueError("bincount: a vector of integers that are not negative is needed")
    if np.shape(weights) != x.shape:
        raise ValueError(f"bincount: weights of shape {np.shape(weights)} for {x.size} numbers")
    weights = _array(weights).astype(np.float64)
    out = np.zeros_like(weights, shape=max(int(x.max(initial=-1)) + 1, minlength))
    np.add.at(out, x, weights)
    return out


# looking values up


@_implements(np.digitize)
def _digitize(x: Any, bins: Any, right: bool = False) -> Any:
    edges = known(bins)
    if edges is None:
        raise TypeError("digitize: the bins must be known; inside jit and vmap use np.searchsorted, for rising bins")
    side: Any = "left" if right else "right"
    steps = np.diff(edges)
    if np.all(steps >= 0):
        return np.searchsorted(bins, x, side)
    if np.all(steps <= 0):
        return len(edges) - np.searchsorted(bins[::-1], x, side)
    raise ValueError("bins must be monotonically increasing or decreasing")


@_implements(np.isin)
def _isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: str | None = None
) -> Any:
    element, tests = _array(element), np.ravel(_array(test_elements))
    found = np.any(np.equal(element[..., None], tests), axis=-1)
    return np.logical_not(found) if invert else found


@_implements(np.unravel_index)
def _unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    lengths = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    value, size = known(indices), math.prod(lengths)
    if value is not None and value.size and not (value.min() >= 0 and value.max() < size):
        raise ValueError(f"index {value.max() if value.max() >= size else value.min()} is out of bounds for {size}")
    out, rest = [], indices
    for n in lengths[:0:-1] if order == "C" else lengths[:-1]:
        out.append(rest % n)
        rest = rest // n
    # an index out of range, which is not seen here inside jit, is one along this axis
    out.append(rest)
    return tuple(reversed(out)) if order == "C" else tuple(out)


@_implements(np.unique)
def _unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    value = known(ar)
    if value is None:
        raise TypeError(
            "unique: how many elements differ depends on the values of a traced array, which are not known inside jit "
            "and vmap; np.sort keeps all of them"
        )
    _, first, inverse, counts = np.unique(value, True, True, True, axis, equal_nan=equal_nan)
    # of equal elements the first has the derivative
    out = np.take(np.ravel(ar) if axis is None else ar, first, axis=0 if axis is None else axis)
    more = [x for x, wanted in ((first, return_index), (inverse, return_inverse), (counts, return_counts)) if wanted]
    return (out, *more) if more else out
