"""NumPy's functions that leave out nan, for traced arrays; nansum and the like are in the core."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from mlgrad._rare import _array, _implements, _inexact
from mlgrad._vectors import known


@_implements(np.nancumsum)
def _nancumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    a = _array(a)
    return np.cumsum(np.where(np.isnan(a), 0, a), axis=axis, dtype=dtype)


@_implements(np.nancumprod)
def _nancumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    a = _array(a)
    return np.cumprod(np.where(np.isnan(a), 1, a), axis=axis, dtype=dtype)


def _without_nan(a: Any, axis: int | None, instead: float) -> Any:
    a = _array(a)
    value = known(a)
    if value is not None and np.any(np.all(np.isnan(value), axis=axis)):
        raise ValueError("All-NaN slice encountered")
    return np.where(np.isnan(a), instead, a)


@_implements(np.nanargmax)
def _nanargmax(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
    return np.argmax(_without_nan(a, axis, -np.inf), axis=axis, keepdims=keepdims)


@_implements(np.nanargmin)
def _nanargmin(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
    return np.argmin(_without_nan(a, axis, np.inf), axis=axis, keepdims=keepdims)


def _quantiles(name: str, a: Any, q: Any, axis: Any, keepdims: bool) -> Any:
    """Return the quantiles of what is not nan; nan where there is nothing."""
    a, levels = _inexact(a), known(q)
    if levels is None:
        raise TypeError(f"{name}: the levels decide which elements are taken and cannot be traced")
    levels = levels.astype(np.float64)
    if not np.all((levels >= 0) & (levels <= 1)):
        raise ValueError(f"{name}: the levels must lie in the range from 0 to {100 if 'percentile' in name else 1}")
    axes = tuple(range(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim)
    rest = [k for k in range(a.ndim) if k not in axes]
    rows = np.reshape(np.transpose(a, (*rest, *axes)), (*[a.shape[k] for k in rest], -1))
    # nan comes last
    rows = np.sort(rows, axis=-1)
    last = np.maximum(np.sum(~np.isnan(rows), axis=-1) - 1, 0)
    place = np.reshape(levels, levels.shape + (1,) * last.ndim) * last
    below = np.floor(place)
    index = np.stack((below, np.minimum(below + 1, last)), axis=-1).astype(np.int64)
    ends = np.take_along_axis(np.broadcast_to(rows, levels.shape + rows.shape), index, axis=-1)
    share = (place - below).astype(a.dtype)
    out = ends[..., 0] + share * (ends[..., 1] - ends[..., 0])
    if keepdims:
        shape = [1 if k in axes else n for k, n in enumerate(a.shape)]
        out = np.reshape(out, (*levels.shape, *shape))
    return out


def _only_linear(name: str, method: str, weights: Any) -> None:
    if method != "linear":
        raise TypeError(f"{name}: method={method!r} is not supported for traced arrays; use 'linear'")
    if weights is not None:
        raise TypeError(f"{name}: the argument weights= is not supported for traced arrays; leave it out")


def _levels(name: str, unit: float) -> Any:
    """Return the rule of a function whose levels are counted in parts of `unit`."""

    def rule(
        a: Any,
        q: Any,
        axis: Any = None,
        out: None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
        *,
        weights: Any = None,
    ) -> Any:
        _only_linear(name, method, weights)
        return _quantiles(name, a, q if unit == 1 else np.true_divide(q, unit), axis, keepdims)

    return rule


_implements(np.nanquantile)(_levels("nanquantile", 1))
_implements(np.nanpercentile)(_levels("nanpercentile", 100))


@_implements(np.nanmedian)
def _nanmedian(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    return _quantiles("nanmedian", a, 0.5, axis, keepdims)
