"""NumPy's functions on the coefficients of polynomials, for traced arrays; the highest power comes first."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._rare import _array, _implements, _inexact


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
    if N == 0:
        return np.zeros((x.size, 0), dtype=x.dtype)
    columns = [np.ones_like(x)]
    for _ in range((x.size if N is None else N) - 1):
        columns.append(columns[-1] * x)
    columns = columns[: x.size if N is None else N]
    return np.stack(columns if increasing else columns[::-1], axis=1)


def _coefficients(name: str, p: Any) -> Any:
    p = np.atleast_1d(p if isinstance(p, _core.Array) or not isinstance(p, np.poly1d) else p.coeffs)
    if p.ndim != 1:
        raise ValueError(f"{name}: coefficients must have one axis, got shape {p.shape}")
    return p


def _same_length(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    a, b = _coefficients(name, a), _coefficients(name, b)
    n = max(a.size, b.size)
    return np.pad(a, (n - a.size, 0)), np.pad(b, (n - b.size, 0))


@_implements(np.polyadd)
def _polyadd(a1: Any, a2: Any) -> Any:
    a, b = _same_length("polyadd", a1, a2)
    return a + b


@_implements(np.polysub)
def _polysub(a1: Any, a2: Any) -> Any:
    a, b = _same_length("polysub", a1, a2)
    return a - b


@_implements(np.polymul)
def _polymul(a1: Any, a2: Any) -> Any:
    return np.convolve(_coefficients("polymul", a1), _coefficients("polymul", a2))


@_implements(np.polyder)
def _polyder(p: Any, m: int = 1) -> Any:
    p = _coefficients("polyder", p)
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    for _ in range(m):
        p = p[:-1] * np.arange(p.size - 1, 0, -1)
    return p


@_implements(np.polyint)
def _polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    p = _coefficients("polyint", p)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    constants = np.zeros(m) if k is None else np.atleast_1d(_array(k))
    if constants.size == 1 and m > 1:
        constants = constants * np.ones(m)
    if constants.size < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    for i in range(m):
        p = np.concatenate((p / np.arange(p.size, 0, -1), constants[i : i + 1]))
    return p


@_implements(np.poly)
def _poly(seq_of_zeros: Any) -> Any:
    zeros = np.atleast_1d(seq_of_zeros)
    if zeros.ndim != 1:
        raise TypeError(
            "poly: the characteristic polynomial of a matrix goes through its eigenvalues, which may be complex; for "
            "traced arrays give the roots, as in np.poly(np.linalg.eigvalsh(a)) for a symmetric matrix"
        )
    p = np.ones(1, dtype=_inexact(zeros).dtype)
    for k in range(zeros.size):
        p = np.convolve(p, np.stack((1.0, -zeros[k])))
    return p


@_implements(np.polyfit)
def _polyfit(
    x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None, cov: Any = False
) -> Any:
    x, y = _inexact(x), _inexact(y)
    if full or cov:
        raise TypeError("polyfit: full and cov are not supported for traced arrays; leave them out")
    if deg < 0:
        raise ValueError("expected deg >= 0")
    if x.ndim != 1 or x.size == 0 or y.ndim not in (1, 2) or y.shape[0] != x.size:
        raise TypeError(f"polyfit: x of shape (m,) and y of shape (m,) or (m, k) are needed, got {x.shape}, {y.shape}")
    if rcond is None:
        rcond = x.size * float(np.finfo(x.dtype).eps)
    columns = np.vander(x, int(deg) + 1)
    if w is not None:
        w = _inexact(w)
        columns = columns * w[:, None]
        y = y * (w[:, None] if y.ndim == 2 else w)
    # the same conditioning as NumPy's
    scale = np.sqrt(np.sum(columns * columns, axis=0))
    c = np.linalg.lstsq(columns / scale, y, rcond)[0]
    return c / (scale[:, None] if y.ndim == 2 else scale)
