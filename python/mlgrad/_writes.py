"""NumPy functions that write into a traced array, with NumPy's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from mlgrad import _core
from mlgrad._rare import _array, _implements


def _own(name: str, a: Any) -> None:
    if not isinstance(a, _core.Array):
        raise TypeError(
            f"{name}: a traced value cannot be written into a plain ndarray; make it with mlgrad.numpy.zeros"
        )


@_implements(np.copyto)
def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    _own("copyto", dst)
    if not np.can_cast(_array(src).dtype, dst.dtype, casting):  # type: ignore[arg-type]
        raise TypeError(f"copyto: cannot cast {_array(src).dtype} to {dst.dtype} according to the rule {casting!r}")
    dst[...] = src if where is True else np.where(where, src, dst)


@_implements(np.fill_diagonal)
def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) > 1):
        raise ValueError(f"fill_diagonal: two axes, or axes of one length, are needed, got shape {a.shape}")
    if wrap:
        raise TypeError("fill_diagonal: wrap=True is not supported for traced arrays")
    k = np.arange(min(a.shape))
    a[(k,) * a.ndim] = val


@_implements(np.put_along_axis)
def _put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    if axis is None:
        raise TypeError("put_along_axis: axis=None is not supported for traced arrays; ravel the array first")
    axis = normalize_axis_index(axis, arr.ndim)
    if indices.ndim != arr.ndim:
        raise ValueError(f"put_along_axis: indices of shape {indices.shape} for an array of shape {arr.shape}")
    shapes = [tuple(-1 if k == other else 1 for other in range(arr.ndim)) for k in range(arr.ndim)]
    grid = [indices if k == axis else np.reshape(np.arange(indices.shape[k]), shape) for k, shape in enumerate(shapes)]
    arr[tuple(grid)] = values


@_implements(np.putmask)
def _putmask(a: Any, /, mask: Any, values: Any) -> None:
    _own("putmask", a)
    repeated = np.resize(values, a.shape)
    a[...] = np.where(np.reshape(mask, a.shape), repeated, a)


@_implements(np.put)
def _put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    _own("put", a)
    ind = np.ravel(_array(ind))
    if mode == "wrap":
        ind = ind % a.size
    elif mode == "clip":
        ind = np.clip(ind, 0, a.size - 1)
    elif mode != "raise":
        raise ValueError(f"put: mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    if ind.size and np.size(v):
        _assign(a, ind, np.resize(v, ind.shape))


@_implements(np.place)
def _place(arr: Any, mask: Any, vals: Any) -> None:
    _own("place", arr)
    if np.size(mask) != arr.size:
        raise ValueError(f"place: a mask of shape {np.shape(mask)} for an array of shape {arr.shape}")
    ind = np.flatnonzero(mask)
    if not ind.size:
        return
    if not np.size(vals):
        raise ValueError("Cannot insert from an empty array!")
    _assign(arr, ind, np.resize(vals, ind.shape))


def _assign(a: Any, ind: Any, values: Any) -> None:
    """Write into the flattened array."""
    flat = np.copy(np.ravel(a))
    flat[ind] = values
    a[...] = np.reshape(flat, a.shape)
