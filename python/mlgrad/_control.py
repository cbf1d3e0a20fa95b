"""Control flow with bodies that are recorded once. The work is done in `_core`."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import numpy as np

from mlgrad import _core

Function = Callable[..., Any]


def cond(pred: Any, true_fun: Function, false_fun: Function, *operands: Any) -> Any:
    """Return ``true_fun(*operands)`` where `pred` holds, else ``false_fun(*operands)``, decided when the program runs.

    A Python ``if`` looks at a value while the function is recorded. That is not possible inside `vmap`, `scan` and the
    other bodies of control flow, and it makes `jit` record each branch on its own; there `cond` is the remedy. Both
    functions are recorded; one of them is computed. Under `vmap`, with a `pred` that differs between the examples, both
    are computed, and their results chosen as by ``np.where``.

    Parameters
    ----------
    pred : bool or array of shape ()
        Converted to bool.
    true_fun, false_fun : callable
        Take the operands and return results of the same structure, shapes and dtypes; a Python number adapts to the
        dtype of the other branch. Arrays that they take from outside are inputs, with gradients.
    *operands
        Trees of arrays and numbers. Leaves that are neither reach the functions as they are.

    Returns
    -------
    tree
        What the chosen function returns: Arrays inside a transform, NumPy arrays outside.

    Raises
    ------
    TypeError
        If the branches return different structures, shapes or dtypes.
    ValueError
        If `pred` is not a scalar.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> f = lambda x: mlgrad.cond(x > 0, lambda x: np.sqrt(x), lambda x: 0 * x, x)
    >>> mlgrad.grad(f)(4.0)
    np.float64(0.25)
    >>> mlgrad.vmap(mlgrad.grad(f))(np.array([4.0, 0.0, -1.0]))
    array([0.25, 0.  , 0.  ])
    """
    return _core.switch("cond", pred, [false_fun, true_fun], operands)


def switch(index: Any, branches: Sequence[Function], *operands: Any) -> Any:
    """Return ``branches[index](*operands)``, decided when the program runs.

    Parameters
    ----------
    index : int or integer array of shape ()
        One below 0 counts as 0, and one beyond the last branch as the last.
    branches : sequence of callables
        As the functions of `cond`.
    *operands
        As for `cond`.

    Returns
    -------
    tree
        What the chosen function returns: Arrays inside a transform, NumPy arrays outside.

    Raises
    ------
    TypeError
        If `index` is no integer, or the branches return different structures, shapes or dtypes.
    ValueError
        If `index` is not a scalar, or there are no branches.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> f = lambda i, x: mlgrad.switch(i, [np.sin, np.cos, np.exp], x)
    >>> mlgrad.grad(f, 1)(2, 0.0)
    np.float64(1.0)
    """
    return _core.switch("switch", index, list(branches), operands)


def scan(
    f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: int = 1
) -> tuple[Any, Any]:
    """Run ``carry, y = f(carry, x)`` over the slices `x` of `xs` along their first axis.

    The body `f` is recorded once, whatever the number of steps, and runs without Python. In the reverse walk the carry
    of each step is kept, and what lies within a step is computed again; `checkpoint` bounds the memory further (see
    docs/control_flow.md).

    Parameters
    ----------
    f : callable
        Takes the carry and a slice of `xs`, and returns a pair: the next carry, of the same structure, shapes and
        dtypes, and a tree of results (or None). Arrays that it takes from outside are inputs, with gradients.
    init : tree of arrays and numbers
        The first carry. A Python number takes the dtype that the body gives it.
    xs : tree of arrays, optional
        All with the same length of their first axis. None: the body gets None, and `length` says how often.
    length : int, optional
        The number of steps.
    reverse : bool
        Whether the last slice comes first. The results lie as their slices do.
    unroll : int
        Without effect; for compatibility with JAX.

    Returns
    -------
    carry : tree
        The last carry.
    ys : tree
        The results of all steps, stacked along a new first axis.

    Raises
    ------
    TypeError
        If `f` does not return a pair, or a carry that differs in structure, shape or dtype from the one before.
    ValueError
        If the lengths of the first axes differ, or there is neither `xs` nor `length`.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> def decay(a, xs):
    ...     step = lambda c, x: (a * c + x, c)
    ...     return mlgrad.scan(step, 0.0, xs)
    >>> decay(0.5, np.array([1.0, 2.0, 4.0]))
    (np.float64(5.25), array([0. , 1. , 2.5]))
    >>> mlgrad.grad(lambda a: decay(a, np.array([1.0, 2.0, 4.0]))[0])(0.5)
    np.float64(3.0)
    """
    del unroll
    return _core.scan("scan", f, init, xs, _length(length), bool(reverse))


def fori_loop(lower: Any, upper: Any, body_fun: Function, init_val: Any) -> Any:
    """Return the last of ``val = body_fun(i, val)`` for i from `lower` to `upper - 1`.

    Parameters
    ----------
    lower, upper : int or integer array of shape ()
        Where both are known this is a `scan`; where one is an Array, a `while_loop`.
    body_fun : callable
        Takes the index and the value, and returns a value of the same structure, shapes and dtypes.
    init_val : tree of arrays and numbers
        The first value. A Python number takes the dtype that the body gives it.

    Returns
    -------
    tree
        The last value; `init_val` where `upper` is not above `lower`.

    Raises
    ------
    TypeError
        If a bound is no integer, or the value changes in structure, shape or dtype.

    Examples
    --------
    >>> import mlgrad
    >>> mlgrad.grad(lambda x: mlgrad.fori_loop(0, 3, lambda i, v: v * x, 1.0))(2.0)
    np.float64(12.0)
    """
    if isinstance(lower, _core.Array) or isinstance(upper, _core.Array):
        for name, bound in (("lower", lower), ("upper", upper)):
            dtype = getattr(bound, "dtype", np.dtype(type(bound)))
            if dtype.kind not in "iu":
                raise TypeError(f"fori_loop: {name} must be an integer, got {dtype}; use astype(int)")
        start = lower.astype(np.int64) if isinstance(lower, _core.Array) else np.int64(lower)
        return _core.while_loop(
            lambda state: state[0] < upper,
            lambda state: (state[0] + 1, body_fun(state[0], state[1])),
            (start, init_val),
        )[1]
    try:
        indices = np.arange(operator.index(lower), operator.index(upper))
    except TypeError:
        raise TypeError(f"fori_loop: the bounds must be integers, got {lower!r} and {upper!r}") from None
    return _core.scan("fori_loop", lambda value, i: (body_fun(i, value), None), init_val, indices, None, False)[0]


def while_loop(cond_fun: Function, body_fun: Function, init_val: Any) -> Any:
    """Return the last of ``val = body_fun(val)``, run as long as ``cond_fun(val)`` holds.

    The reverse walk keeps the values of all steps on a stack that grows as the loop runs. Second derivatives work too.
    Under `vmap` the loop runs until all examples are done; those that are done earlier keep their values.

    Parameters
    ----------
    cond_fun : callable
        Takes the value and returns a bool of shape ().
    body_fun : callable
        Takes the value and returns one of the same structure, shapes and dtypes. Arrays that it takes from outside are
        inputs, with gradients.
    init_val : tree of arrays and numbers
        The first value. A Python number takes the dtype that the body gives it.

    Returns
    -------
    tree
        The last value.

    Raises
    ------
    TypeError
        If the condition is no bool, or the value changes in structure, shape or dtype.
    ValueError
        If the condition is not a scalar.

    Examples
    --------
    >>> import mlgrad
    >>> def root(a):  # Newton's iteration for the square root
    ...     return mlgrad.while_loop(lambda x: abs(x * x - a) > 1e-12, lambda x: (x + a / x) / 2, a)
    >>> round(float(mlgrad.grad(root)(4.0)), 9)
    0.25
    """
    return _core.while_loop(cond_fun, body_fun, init_val)


def _length(length: Any) -> int | None:
    if length is None:
        return None
    try:
        n = operator.index(length)
    except TypeError:
        raise TypeError(
            f"scan: length must be an int, got {length!r}; a loop of unknown length is a while_loop"
        ) from None
    if n < 0:
        raise ValueError(f"scan: length must not be negative, got {n}")
    return n


class _Checkpoint:
    """A function whose inner values are computed again rather than kept."""

    def __init__(self, f: Function) -> None:
        if not callable(f):
            raise TypeError(f"checkpoint: expected a function, got {type(f).__name__}")
        functools.update_wrapper(self, f)
        self._f = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _core.checkpointed(self._f, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<mlgrad checkpoint({getattr(self._f, '__name__', self._f)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return checkpoint, (self._f,)


def checkpoint(f: Function) -> Function:
    """Return `f` as one operation, of which a reverse walk keeps the arguments alone and computes the rest again.

    This trades time for memory: what lies within `f` needs memory only while it is computed, and once more while its
    derivative is. Checkpoints nest.

    Parameters
    ----------
    f : callable
        Any function of trees. Arrays among its arguments are abstract inside: a Python ``if`` on their values raises
        (use `cond` or ``np.where``). Everything else reaches it unchanged.

    Returns
    -------
    callable
        Takes and returns what `f` does. Outside a transform it is a plain call.

    Raises
    ------
    TypeError
        If `f` is not callable.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> layer = mlgrad.checkpoint(lambda x: np.tanh(np.sin(x) ** 2))
    >>> mlgrad.grad(lambda x: layer(layer(x)))(1.0)
    np.float64(0.48280044192976534)
    """
    return _Checkpoint(f)
