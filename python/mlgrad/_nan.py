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


# the parameters of Hyndman and Fan's family
_FAMILY = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
# what chooses one of the elements, and what lies between two of them
_CHOOSING = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")
_METHODS = (*_CHOOSING, *_FAMILY, "averaged_inverted_cdf", "linear", "midpoint")


def _place(method: str, n: Any, q: Any) -> Any:
    """Return where the quantile lies among n sorted elements: as rust/core/src/numpy/quantile.rs does."""
    if method in _FAMILY:
        alpha, beta = _FAMILY[method]
        return n * q + (alpha + q * (1 - alpha - beta)) - 1
    place = n * q - 1 if "cdf" in method else (n - 1) * q
    if method == "closest_observation":
        place = n * q - 1.5
    low = np.floor(place)
    if method == "inverted_cdf":
        return np.where(place == low, low, low + 1)
    if method == "closest_observation":
        return np.where((place == low) & (low % 2 == 1), low, low + 1)
    if method == "midpoint":
        return 0.5 * (low + np.ceil(place))
    return {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}.get(method, lambda place: place)(place)


def _between(method: str, rows: Any, count: Any, levels: Any) -> Any:
    """Return the quantiles of sorted rows, of which the first `count` elements count."""
    place = _place(method, count, np.reshape(levels, levels.shape + (1,) * count.ndim))
    inside = (place >= 0) & (place < count - 1)
    place = np.clip(place, 0, count - 1)
    below = np.floor(place)
    index = np.stack((below, np.minimum(below + 1, count - 1)), axis=-1).astype(np.int64)
    ends = np.take_along_axis(np.broadcast_to(rows, levels.shape + rows.shape), index, axis=-1)
    out = ends[..., 0]
    if method in _CHOOSING:
        return out
    share = place - below
    if method == "averaged_inverted_cdf":
        share = np.where(inside, np.where(share == 0, 0.5, 1.0), 0.0)
    return out + share.astype(rows.dtype) * (ends[..., 1] - out)


def _quantiles(name: str, a: Any, q: Any, axis: Any, keepdims: bool, method: str = "linear") -> Any:
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
    count = np.maximum(np.sum(~np.isnan(rows), axis=-1), 1)
    if method == "median":
        index = np.stack(((count - 1) // 2, count // 2), axis=-1)
        low, high = np.moveaxis(np.take_along_axis(rows, index, axis=-1), -1, 0)
        out = np.where(count % 2 == 1, low, (low + high) * 0.5)
    else:
        out = _between(method, rows, count, levels)
    if keepdims:
        shape = [1 if k in axes else n for k, n in enumerate(a.shape)]
        out = np.reshape(out, (*levels.shape, *shape))
    return out


def _check(name: str, method: str, weights: Any) -> None:
    if method not in _METHODS:
        raise ValueError(f"{name}: {method!r} is not a valid method; use one of {', '.join(map(repr, _METHODS))}")
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
        _check(name, method, weights)
        return _quantiles(name, a, q if unit == 1 else np.true_divide(q, unit), axis, keepdims, method)

    return rule


_implements(np.nanquantile)(_levels("nanquantile", 1))
_implements(np.nanpercentile)(_levels("nanpercentile", 100))


@_implements(np.nanmedian)
def _nanmedian(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    return _quantiles("nanmedian", a, 0.5, axis, keepdims, "median")
