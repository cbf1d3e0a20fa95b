"""Calls of Python functions from inside transforms, built on `_core.host_call`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgrad import _core


class ShapeDtypeStruct:
    """The shape and dtype of an array, without the array: what `pure_callback` is told of its results.

    Parameters
    ----------
    shape : sequence of int
        The lengths of the axes.
    dtype : dtype-like
        What NumPy takes as a dtype.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.ShapeDtypeStruct((2, 3), np.float64)
    ShapeDtypeStruct(shape=(2, 3), dtype=float64)
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape: tuple[int, ...] = tuple(int(n) for n in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShapeDtypeStruct):
            return NotImplemented
        return (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype})"


def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    vmap_method: str = "sequential",
    **kwargs: Any,
) -> Any:
    """Call a Python function with NumPy arrays, and take its results back into the program.

    The function runs when the program runs: at once where the values of the arguments are known, at each replay under
    `jit`, in the order in which the calls were recorded and as often as they were. An exception that it raises comes
    out as itself. It has no derivative: put the call into a function with a rule of its own (`custom_vjp`), whose `bwd`
    may be a callback too. In a loop whose steps give it the same arguments it runs once.

    Parameters
    ----------
    callback : callable
        Takes NumPy arrays (NumPy scalars for shape ``()``) in the places of Arrays, everything else as it is given. It
        should have no effects and not depend on anything but its arguments.
    result_shape_dtypes : tree
        The shapes and dtypes of its results: `ShapeDtypeStruct` or arrays, in the structure of what it returns.
    *args, **kwargs
        Trees of Arrays and anything else.
    vmap_method : {'sequential', 'expand_dims', 'broadcast_all'}
        Under `vmap`: one call an example, or one call for all, whose mapped arguments and results have the batch as
        first axis. The other arguments then have a first axis of length 1, or are repeated.

    Returns
    -------
    tree
        Of the structure of `result_shape_dtypes`; NumPy outside a transform.

    Raises
    ------
    TypeError
        If the callback returns another structure or a dtype that cannot be cast, or if a derivative is asked for.
    ValueError
        If a result has another shape than was said.

    Examples
    --------
    >>> import math, mlgrad, numpy as np
    >>> @mlgrad.custom_vjp
    ... def gamma(x):
    ...     return mlgrad.pure_callback(math.gamma, mlgrad.ShapeDtypeStruct((), np.float64), x)
    >>> gamma.defvjp(lambda x: (gamma(x), x), lambda x, g: (g * gamma(x) * mlgrad.scipy.special.digamma(x),))
    >>> mlgrad.jit(mlgrad.value_and_grad(gamma))(4.0)
    (np.float64(6.0), np.float64(7.5367060105...))
    """
    name = f"pure_callback of {getattr(callback, '__name__', None) or repr(callback)}"
    return _core.host_call(callback, result_shape_dtypes, args, kwargs, vmap_method, name)


class _Print:
    """Prints a format with its arguments; two of one format are equal."""

    def __init__(self, fmt: str) -> None:
        self.fmt = fmt

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Print) and self.fmt == other.fmt

    def __hash__(self) -> int:
        return hash(self.fmt)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        print(self.fmt.format(*args, **kwargs))


def debug_print(fmt: str, *args: Any, **kwargs: Any) -> None:
    """Print values inside a transform: at each replay under `jit`, for each example under `vmap`.

    In the bodies of control flow it prints at each step, and in the branch that is taken. Derivatives print once what
    the function prints.

    Parameters
    ----------
    fmt : str
        As for `str.format`. It is not an f-string, which would be made before the values are known.
    *args, **kwargs
        What the format refers to: Arrays, which it gets as NumPy, and anything else.

    Examples
    --------
    >>> import mlgrad
    >>> @mlgrad.jit
    ... def f(x):
    ...     y = x**2
    ...     mlgrad.debug_print("x = {}, x² = {y:.2f}", x, y=y)
    ...     return y
    >>> f(3.0)
    x = 3.0, x² = 9.00
    np.float64(9.0)
    >>> f(4.0)
    x = 4.0, x² = 16.00
    np.float64(16.0)
    """
    if not isinstance(fmt, str):
        got = type(fmt).__name__
        raise TypeError(f"debug_print: the first argument must be a format such as 'x = {{}}', got a {got}")
    _core.host_call(_Print(fmt), None, args, kwargs, "sequential", "debug_print")
