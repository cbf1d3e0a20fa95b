"""Functions for networks that NumPy lacks. All take traced and plain arrays.

>>> import mlgrad, numpy as np
>>> from mlgrad import nn
>>> mlgrad.grad(lambda z: nn.softmax_cross_entropy(z, 1))(np.zeros(2))
array([ 0.5, -0.5])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad.scipy import special

__all__ = [
    "gelu",
    "log_softmax",
    "one_hot",
    "relu",
    "sigmoid",
    "sigmoid_cross_entropy",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
]


def relu(x: Any) -> Any:
    """Compute max(x, 0). Its derivative at 0 is 0 (that of ``np.maximum(x, 0)`` is 1/2 there).

    Parameters
    ----------
    x : array or float
        Of any shape.

    Returns
    -------
    Like `x`
        Of the same shape and dtype; nan stays nan.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    >>> mlgrad.vmap(mlgrad.grad(relu))(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    """
    out = np.where(np.less_equal(x, 0), 0, x)
    return out if isinstance(out, _core.Array) else out[()]


def sigmoid(x: Any) -> Any:
    """Compute the logistic function 1 / (1 + exp(-x)) without overflow.

    Parameters
    ----------
    x : array or float
        Of any shape.

    Returns
    -------
    Like `x`
        Of the same shape.

    Examples
    --------
    >>> sigmoid(0.0)
    np.float64(0.5)
    """
    return special.expit(x)


def softplus(x: Any) -> Any:
    """Compute log(1 + exp(x)) without overflow. Its derivative is the sigmoid.

    Parameters
    ----------
    x : array or float
        Of any shape.

    Returns
    -------
    Like `x`
        Of the same shape.

    Examples
    --------
    >>> softplus(1000.0)
    np.float64(1000.0)
    """
    return np.logaddexp(x, 0.0)


def silu(x: Any) -> Any:
    """Compute x·sigmoid(x), also known as swish.

    Parameters
    ----------
    x : array or float
        Of any shape.

    Returns
    -------
    Like `x`
        Of the same shape.

    Examples
    --------
    >>> silu(0.0)
    np.float64(0.0)
    """
    return x * special.expit(x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """Compute x·Φ(x), with Φ the distribution function of the standard normal.

    Parameters
    ----------
    x : array or float
        Of any shape.
    approximate : bool
        Whether to use the approximation by tanh.

    Returns
    -------
    Like `x`
        Of the same shape.

    Examples
    --------
    >>> round(float(gelu(1.0)), 10)
    0.8413447461
    """
    if approximate:
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return x * special.ndtr(x)


def softmax(x: Any, axis: Any = -1) -> Any:
    """Compute exp(x) / sum(exp(x)) over the last axis.

    Parameters
    ----------
    x : array
        Of any shape.
    axis : int, tuple of int, or None
        What to sum over.

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
    >>> softmax(np.zeros((2, 4)))[0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    return special.softmax(x, axis=axis)


def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Compute log(softmax(x)) over the last axis without overflow or cancellation.

    Parameters
    ----------
    x : array
        Of any shape.
    axis : int, tuple of int, or None
        What to sum over.

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
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    return special.log_softmax(x, axis=axis)


def one_hot(labels: Any, classes: int, dtype: Any = np.float64) -> Any:
    """Spread class numbers into rows with one 1.

    Parameters
    ----------
    labels : array of int
        Of any shape; labels outside 0 ... classes - 1 give rows of zeros.
    classes : int
        How many there are.
    dtype : dtype
        Of the result.

    Returns
    -------
    array
        Of the shape of `labels` and a last axis of length `classes`.

    Examples
    --------
    >>> one_hot([1, 0], 3)
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    if not isinstance(labels, _core.Array):
        labels = np.asarray(labels)
    return np.equal(labels[..., None], np.arange(classes)).astype(dtype)


def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """Compute -log of the probability that softmax gives to the label, along the last axis.

    Parameters
    ----------
    logits : array, shape (..., classes)
        Scores of any size.
    labels : array of int, shape (...), or array of float, shape (..., classes)
        Class numbers, or probabilities.

    Returns
    -------
    array or scalar, shape (...)
        One loss a row; take the mean yourself. Its gradient is ``softmax(logits) - labels``.

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    IndexError
        If a class number is out of range; so is a negative one.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_cross_entropy(np.zeros((3, 2)), [0, 1, 1])
    array([0.69314718, 0.69314718, 0.69314718])
    """
    logits = _as_array(logits)
    labels = _as_array(labels)
    if logits.ndim == 0:
        raise ValueError("softmax_cross_entropy: logits must have an axis of classes, got shape ()")
    log_probabilities = log_softmax(logits)
    if np.issubdtype(labels.dtype, np.floating):
        if labels.shape != logits.shape:
            raise ValueError(
                f"softmax_cross_entropy: probabilities of shape {labels.shape} do not fit logits of shape "
                f"{logits.shape}; they must be the same"
            )
        return -np.sum(labels * log_probabilities, axis=-1)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"softmax_cross_entropy: class numbers of shape {labels.shape} do not fit logits of shape {logits.shape}; "
            f"they must have shape {logits.shape[:-1]}"
        )
    # a class number does not count from the end: a negative one is out of range as well
    labels = np.where(labels < 0, logits.shape[-1], labels)
    return -np.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]


def sigmoid_cross_entropy(logits: Any, labels: Any) -> Any:
    """Compute -log of the probability that the logistic function gives to a yes or no, element by element.

    Parameters
    ----------
    logits : array or float
        Scores of any size.
    labels : array or float
        1 for yes, 0 for no, or the probability of yes; of a shape that broadcasts against `logits`.

    Returns
    -------
    array or scalar
        Of the broadcast shape. Its derivative is ``sigmoid(logits) - labels``.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> sigmoid_cross_entropy(1000.0, 1.0)
    np.float64(0.0)
    """
    return np.logaddexp(logits, 0.0) - np.multiply(labels, logits)


def _as_array(x: Any) -> Any:
    return x if isinstance(x, _core.Array) else np.asarray(x)
