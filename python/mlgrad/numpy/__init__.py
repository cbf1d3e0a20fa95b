"""NumPy's functions by the same names, for traced and for plain arrays.

Most of them are NumPy's own, which mlgrad's arrays answer; use whichever import you prefer. Functions that make an
array out of nothing (`zeros`, `arange`, ...) are different: inside a transform they give a traced array, so that traced
values can be written into it. Outside they return what NumPy returns. `array` also takes nested lists with traced
elements.

>>> import mlgrad
>>> import mlgrad.numpy as np
>>> def f(x):
...     out = np.zeros(3)
...     out[1] = x**2
...     return np.sum(out * np.arange(3))
>>> mlgrad.grad(f)(3.0)
np.float64(6.0)
>>> np.zeros(2)
array([0., 0.])
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mlgrad import _core

__all__ = [
    "arange",
    "array",
    "asarray",
    "empty",
    "eye",
    "full",
    "geomspace",
    "identity",
    "linspace",
    "logspace",
    "ones",
    "take",
    "tri",
    "zeros",
]


def __getattr__(name: str) -> Any:
    try:
        value = getattr(np, name)
    except AttributeError:
        raise AttributeError(
            f"module 'mlgrad.numpy' has no attribute {name!r}: NumPy {np.__version__} has none"
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *dir(np)})


def array(object: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0) -> Any:
    """Make an array of numbers, arrays, or nested sequences of them, which may be traced.

    Parameters
    ----------
    object : number, array, or nested list or tuple
        What to make it of.
    dtype : dtype, optional
        Of the result; by default as NumPy promotes what is in `object`.
    copy : bool or None
        Whether to copy an array that has the dtype already. None gives it back as it is.
    ndmin : int
        The least number of axes; missing ones are put in front.

    Returns
    -------
    array
        Traced if `object` holds anything traced or a transform is being recorded, else what NumPy gives.

    Raises
    ------
    ValueError
        If sequences have different lengths.

    Examples
    --------
    >>> import mlgrad
    >>> import mlgrad.numpy as np
    >>> mlgrad.grad(lambda x: np.sum(np.array([x, x**2, 1.0])))(3.0)
    np.float64(7.0)
    """
    out: Any
    if isinstance(object, _core.Array) and not copy and (dtype is None or object.dtype == np.dtype(dtype)):
        out = object
    else:
        out = _core.array(object, dtype)
    if out is None and isinstance(object, np.ndarray):
        # jit must see the array itself, not a copy, to notice when it is changed in place
        out = _core.full(object.shape, object, object.dtype if dtype is None else np.dtype(dtype))
    if out is None:
        return _traced(np.array(object, dtype=dtype, copy=copy, ndmin=ndmin))
    return np.reshape(out, (1,) * (ndmin - out.ndim) + out.shape) if out.ndim < ndmin else out


def asarray(a: Any, dtype: Any = None) -> Any:
    """Make an array of `a` unless it is one.

    Parameters
    ----------
    a : number, array, or nested list or tuple
        As for `array`.
    dtype : dtype, optional
        Of the result.

    Returns
    -------
    array
        `a` itself if it is an array of this dtype; inside a transform a traced array.

    Raises
    ------
    ValueError
        If sequences have different lengths.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.asarray([1, 2])
    array([1, 2])
    """
    return _traced(a) if dtype is None and isinstance(a, np.ndarray) else array(a, dtype, copy=None)


def take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    """Take elements along an axis; both the array and the indices may be traced.

    NumPy's own `take` passes traced indices on only if the array is traced as well, so that a plain table read at
    traced indices needs this one.

    Parameters
    ----------
    a : array
        What is read.
    indices : array of int
        Which elements.
    axis : int, optional
        The axis that is counted; without it the array is flattened.
    mode : {"raise", "wrap", "clip"}
        What becomes of indices out of range.

    Returns
    -------
    array

    Examples
    --------
    >>> import mlgrad
    >>> import mlgrad.numpy as np
    >>> table = np.array([0.0, 10.0, 20.0])
    >>> mlgrad.jit(lambda i: np.take(table, i))(np.array([2, 0]))
    array([20.,  0.])
    """
    if isinstance(indices, _core.Array) and not isinstance(a, _core.Array):
        a = _traced(np.asarray(a))
    return np.take(a, indices, axis=axis, mode=mode)  # type: ignore[call-overload]


def zeros(shape: Any, dtype: Any = float) -> Any:
    """Make an array of zeros, traced inside a transform.

    Parameters
    ----------
    shape : int or tuple of int
        Its shape.
    dtype : dtype
        Its dtype.

    Returns
    -------
    array
        Writable.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.zeros((1, 2))
    array([[0., 0.]])
    """
    shape = _lengths(shape)
    out = _core.zeros(shape, dtype)
    return np.zeros(shape, dtype) if out is None else out


def ones(shape: Any, dtype: Any = None) -> Any:
    """Make an array of ones, traced inside a transform.

    Parameters
    ----------
    shape : int or tuple of int
        Its shape.
    dtype : dtype, optional
        Its dtype; float64 by default.

    Returns
    -------
    array
        Writable.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.ones(2)
    array([1., 1.])
    """
    shape = _lengths(shape)
    out = _core.ones(shape, dtype)
    return np.ones(shape, dtype) if out is None else out


def empty(shape: Any, dtype: Any = float) -> Any:
    """Make an array to be written into, traced inside a transform.

    Parameters
    ----------
    shape : int or tuple of int
        Its shape.
    dtype : dtype
        Its dtype.

    Returns
    -------
    array
        Writable, and full of zeros: nothing uninitialised is ever recorded.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.empty(2).shape
    (2,)
    """
    return zeros(shape, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Make an array that is one value everywhere; the value may be traced.

    Parameters
    ----------
    shape : int or tuple of int
        Its shape.
    fill_value : number or array
        Broadcast to `shape`.
    dtype : dtype, optional
        Its dtype; that of the value by default.

    Returns
    -------
    array
        Writable.

    Raises
    ------
    ValueError
        If the value does not broadcast to the shape.

    Examples
    --------
    >>> import mlgrad
    >>> import mlgrad.numpy as np
    >>> mlgrad.grad(lambda x: np.sum(np.full(3, x)))(1.0)
    np.float64(3.0)
    """
    shape = _lengths(shape)
    out = _core.full(shape, fill_value, dtype)
    return np.full(shape, fill_value, dtype) if out is None else out


def arange(*args: Any, dtype: Any = None) -> Any:
    """Count: ``arange(stop)`` or ``arange(start, stop, step)``, traced inside a transform.

    Parameters
    ----------
    *args : number
        Traced integers are allowed.
    dtype : dtype, optional
        Of the result.

    Returns
    -------
    array
        Of one axis.

    Raises
    ------
    TypeError
        If a bound is a traced float: the length would depend on it.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.arange(1, 7, 2)
    array([1, 3, 5])
    """
    bounds = [operator.index(a) if isinstance(a, _core.Array) else a for a in args]
    return _traced(np.arange(*bounds, dtype=dtype))


def linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Make evenly spaced numbers; the ends may be traced.

    Parameters
    ----------
    start, stop : number or array
        The ends.
    num : int
        How many numbers.
    endpoint : bool
        Whether `stop` is the last of them.
    dtype : dtype, optional
        Of the result.
    axis : int
        Where the new axis goes, if the ends are arrays.

    Returns
    -------
    array
        With the new axis.

    Raises
    ------
    ValueError
        If `num` is negative.

    Examples
    --------
    >>> import mlgrad
    >>> import mlgrad.numpy as np
    >>> mlgrad.grad(lambda b: np.sum(np.linspace(0.0, b, 3)))(1.0)
    np.float64(1.5)
    """
    out = np.linspace(start, stop, operator.index(num), endpoint=endpoint, dtype=dtype, axis=axis)
    return _traced(out) if isinstance(out, np.ndarray) else out


def logspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, base: Any = 10.0) -> Any:
    """Make numbers with evenly spaced logarithms; the ends may be traced.

    Parameters
    ----------
    start, stop : number or array
        The logarithms of the ends.
    num : int
        How many numbers.
    endpoint : bool
        Whether the end is the last of them.
    base : number
        Of the logarithms.

    Returns
    -------
    array
        With a new first axis.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.logspace(0, 2, 3)
    array([  1.,  10., 100.])
    """
    return np.power(base, linspace(start, stop, num, endpoint))


def geomspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True) -> Any:
    """Make a geometric sequence; the ends may be traced, and have the same sign.

    Parameters
    ----------
    start, stop : number or array
        The ends.
    num : int
        How many numbers.
    endpoint : bool
        Whether `stop` is the last of them.

    Returns
    -------
    array
        With a new first axis.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.geomspace(1.0, 4.0, 3)
    array([1., 2., 4.])
    """
    if isinstance(start, _core.Array) or isinstance(stop, _core.Array):
        return start * np.exp(linspace(0.0, np.log(stop / start), num, endpoint))
    return _traced(np.geomspace(start, stop, operator.index(num), endpoint))


def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = float) -> Any:
    """Make a matrix with ones on a diagonal, traced inside a transform.

    Parameters
    ----------
    N, M : int
        Rows and columns; as many columns as rows by default.
    k : int
        Which diagonal.
    dtype : dtype
        Of the result.

    Returns
    -------
    array, shape (N, M)
        Writable.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.eye(2)
    array([[1., 0.],
           [0., 1.]])
    """
    return _traced(np.eye(operator.index(N), M if M is None else operator.index(M), k, dtype))


def identity(n: Any, dtype: Any = None) -> Any:
    """Make the identity matrix, traced inside a transform.

    Parameters
    ----------
    n : int
        Rows and columns.
    dtype : dtype, optional
        Of the result; float64 by default.

    Returns
    -------
    array, shape (n, n)
        Writable.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.identity(1)
    array([[1.]])
    """
    return eye(n, dtype=float if dtype is None else dtype)


def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = float) -> Any:
    """Make a matrix with ones at and below a diagonal, traced inside a transform.

    Parameters
    ----------
    N, M : int
        Rows and columns; as many columns as rows by default.
    k : int
        Which diagonal.
    dtype : dtype
        Of the result.

    Returns
    -------
    array, shape (N, M)
        Writable.

    Examples
    --------
    >>> import mlgrad.numpy as np
    >>> np.tri(2)
    array([[1., 0.],
           [1., 1.]])
    """
    return _traced(np.tri(operator.index(N), M if M is None else operator.index(M), k, dtype))


def _lengths(shape: Any) -> int | tuple[int, ...]:
    """Turn traced integers in a shape into ints."""
    if isinstance(shape, list | tuple):
        return tuple(operator.index(n) for n in shape)
    return operator.index(shape) if not isinstance(shape, np.ndarray) else tuple(shape.tolist())


def _traced(x: np.ndarray[Any, Any]) -> Any:
    """Put an array on the tape that is being recorded, if there is one."""
    out = _core.full(x.shape, x, x.dtype)
    return x if out is None else out
