"""Special functions by SciPy's names and with SciPy's arguments, for traced and for plain arrays, without SciPy.

SciPy's own ufuncs (``scipy.special.expit``, ``erf``, ``gammaln`` ...) may be called on traced arrays as well; its
functions that are no ufuncs, such as ``scipy.special.logsumexp``, may not: use those of this module.

>>> import mlgrad
>>> from mlgrad.scipy.special import logsumexp
>>> mlgrad.grad(logsumexp)([0.0, 0.0])
[np.float64(0.5), np.float64(0.5)]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlgrad import _core

__all__ = [
    "beta",
    "betaln",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "expit",
    "gamma",
    "gammaln",
    "kl_div",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "ndtr",
    "polygamma",
    "psi",
    "rel_entr",
    "softmax",
    "xlog1py",
    "xlogy",
]


def _of_one(name: str, summary: str, example: str) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        return _core.call_ufunc(name, x)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{summary}

    Parameters
    ----------
    x : array or float
        Of any shape; integers become float64.

    Returns
    -------
    Like `x`
        Of the same shape, float32 or float64.

    Raises
    ------
    TypeError
        If `x` is not real.

    Examples
    --------
    >>> from mlgrad.scipy import special
    >>> {example}
    """
    return f


def _of_two(name: str, summary: str, example: str) -> Callable[[Any, Any], Any]:
    def f(x: Any, y: Any) -> Any:
        return _core.call_ufunc(name, x, y)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{summary}

    Parameters
    ----------
    x, y : array or float
        Of shapes that broadcast; integers become float64.

    Returns
    -------
    array or scalar
        Of the broadcast shape, float32 or float64.

    Raises
    ------
    TypeError
        If an argument is not real.
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> from mlgrad.scipy import special
    >>> {example}
    """
    return f


erf = _of_one("erf", "Compute the error function.", "bool(special.erf(0.0) == 0.0)\n    True")
erfc = _of_one("erfc", "Compute 1 - erf(x) without cancellation.", "bool(special.erfc(10.0) > 0)\n    True")
erfinv = _of_one("erfinv", "Invert the error function.", "round(float(special.erfinv(special.erf(0.5))), 12)\n    0.5")
expit = _of_one("expit", "Compute the logistic function 1 / (1 + exp(-x)).", "special.expit(0.0)\n    np.float64(0.5)")
log_expit = _of_one(
    "log_expit", "Compute log(expit(x)) without overflow.", "special.log_expit(-1000.0)\n    np.float64(-1000.0)"
)
gammaln = _of_one("gammaln", "Compute log|Γ(x)|.", "round(float(special.gammaln(5.0)), 10)\n    3.1780538303")
digamma = _of_one(
    "digamma", "Compute the derivative of gammaln.", "round(float(special.digamma(1.0)), 10)\n    -0.5772156649"
)
xlogy = _of_two("xlogy", "Compute x·log(y), 0 where x = 0.", "special.xlogy(0.0, 0.0)\n    np.float64(0.0)")
xlog1py = _of_two("xlog1py", "Compute x·log(1 + y), 0 where x = 0.", "special.xlog1py(0.0, -1.0)\n    np.float64(0.0)")
entr = _of_one("entr", "Compute -x·log(x); 0 at 0 and -inf below.", "bool(special.entr(1.0) == 0.0)\n    True")
logit = _of_one("logit", "Compute log(x / (1 - x)), the inverse of expit.", "special.logit(0.5)\n    np.float64(0.0)")
ndtr = _of_one(
    "ndtr", "Compute the distribution function of the standard normal.", "special.ndtr(0.0)\n    np.float64(0.5)"
)
betaln = _of_two("betaln", "Compute log|B(x, y)|.", "round(float(special.betaln(2.0, 3.0)), 10)\n    -2.4849066498")
rel_entr = _of_two("rel_entr", "Compute x·log(x / y).", "special.rel_entr(2.0, 2.0)\n    np.float64(0.0)")
kl_div = _of_two("kl_div", "Compute x·log(x / y) - x + y.", "special.kl_div(2.0, 2.0)\n    np.float64(0.0)")
gamma = _of_one("gamma", "Compute the gamma function.", "round(float(special.gamma(5.0)), 10)\n    24.0")
log_ndtr = _of_one(
    "log_ndtr", "Compute log(ndtr(x)) without underflow.", "bool(special.log_ndtr(-100.0) < -5000)\n    True"
)
beta = _of_two("beta", "Compute the beta function.", "round(float(special.beta(2.0, 3.0)), 10)\n    0.0833333333")
psi = digamma


def polygamma(n: int, x: Any) -> Any:
    """Compute the n-th derivative of digamma.

    Parameters
    ----------
    n : int
        The order, from 0.
    x : array or float
        Of any shape.

    Returns
    -------
    Like `x`
        Of the same shape.

    Raises
    ------
    ValueError
        If `n` is negative.
    TypeError
        If `n` is not an integer.

    Examples
    --------
    >>> from mlgrad.scipy import special
    >>> round(float(special.polygamma(1, 1.0)), 10)
    1.6449340668
    """
    return _core.call_ufunc("polygamma", n, x)


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Any:
    """Compute log(sum(b·exp(a))) without overflow.

    Parameters
    ----------
    a : array
        Of any shape.
    axis : int, tuple of int, or None
        What to sum over; None for everything.
    b : array, optional
        Factors, of a shape that broadcasts against `a`.
    keepdims : bool
        Whether the axes stay, with length 1.

    Returns
    -------
    array or scalar
        Of the shape of ``np.sum(a, axis, keepdims=keepdims)``; nan where the sum is negative.

    Raises
    ------
    numpy.exceptions.AxisError
        If an axis is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad.scipy import special
    >>> special.logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    """
    a = _array(a)
    top, shifted = _shift(a, axis)
    terms = np.exp(shifted)
    if b is not None:
        terms = _array(b) * terms
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.sum(terms, axis=axis, keepdims=True)
        # where nothing is added up (all -inf) the derivative is 0
        out = np.where(total == 0, -np.inf, np.log(total) + top)
    if keepdims:
        return out
    return _scalar(np.reshape(out, ()) if axis is None else np.squeeze(out, axis=axis))


def softmax(x: Any, axis: Any = None) -> Any:
    """Compute exp(x) / sum(exp(x)) without overflow.

    Parameters
    ----------
    x : array
        Of any shape.
    axis : int, tuple of int, or None
        What to sum over; None for everything.

    Returns
    -------
    Like `x`
        Of the same shape; sums to 1 over `axis`.

    Raises
    ------
    numpy.exceptions.AxisError
        If an axis is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad.scipy import special
    >>> special.softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    e = np.exp(_shift(_array(x), axis)[1])
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """Compute log(softmax(x)) without overflow or cancellation.

    Parameters
    ----------
    x : array
        Of any shape.
    axis : int, tuple of int, or None
        What to sum over; None for everything.

    Returns
    -------
    Like `x`
        Of the same shape.

    Raises
    ------
    numpy.exceptions.AxisError
        If an axis is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad.scipy import special
    >>> special.log_softmax(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """
    shifted = _shift(_array(x), axis)[1]
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _array(x: Any) -> Any:
    """Leave arrays as they are, and make arrays of lists, whose elements may be traced, and of numbers."""
    if isinstance(x, _core.Array | np.ndarray):
        return x
    from mlgrad import numpy as mnp

    return mnp.asarray(x)


def _scalar(x: Any) -> Any:
    """Turn an ndarray of shape () into a NumPy scalar, as NumPy's ufuncs do."""
    return x[()] if isinstance(x, np.ndarray) else x


def _shift(a: Any, axis: Any) -> tuple[Any, Any]:
    # The result does not depend on the shift: it is a constant for derivatives of any order.
    top = _core.stop_gradient(np.max(a, axis=axis, keepdims=True))
    top = np.where(np.isfinite(top), top, 0)
    return top, a - top
