"""Jacobians, Hessians and products with them: transforms that are composed of the others, on one tape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function, grad, jvp, vmap

Argnums = int | Sequence[int]


def _positions(name: str, argnums: Argnums, count: int) -> list[int]:
    given = [argnums] if isinstance(argnums, int) else list(argnums)
    for k in given:
        if not -count <= k < count:
            raise ValueError(f"{name}: argnums={k}, but the function was called with {count} positional arguments")
    positions = [k % count for k in given]
    for i, k in enumerate(positions):
        if k in positions[:i]:
            raise ValueError(f"{name}: argnums names argument {k} twice")
    return positions


class _OnArguments:
    """The function that applies `rule` to `f` as a function of its arguments at `argnums`."""

    def __init__(
        self, name: str, f: Function, argnums: Argnums, rule: Callable[[Function, tuple[Any, ...], bool], Any]
    ) -> None:
        if not callable(f):
            raise TypeError(f"{name}: expected a function, got {type(f).__name__}; pass the function itself")
        self._given = name, f, argnums, rule
        self.__wrapped__ = f
        self.__name__ = self.__qualname__ = f"{name}({getattr(f, '__name__', f)})"
        self.__doc__ = getattr(f, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name, f, argnums, rule = self._given
        positions = _positions(name, argnums, len(args))

        def partial(*chosen: Any) -> Any:
            full = list(args)
            for k, x in zip(positions, chosen, strict=True):
                full[k] = x
            return f(*full, **kwargs)

        def run() -> Any:
            return rule(partial, _core.lift(tuple(args[k] for k in positions)), isinstance(argnums, int))

        return _core.traced(run)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        return _OnArguments, self._given

    def __repr__(self) -> str:
        return f"<mlgrad {self.__name__}>"


def _basis(like: Any) -> Any:
    """Return the unit vectors of the space of `like`, stacked along a new first axis."""
    return _core.basis(like.shape, like.dtype)


def _zeros(like: Any) -> Any:
    return _core.zeros(like.shape, like.dtype)


def _reverse(f: Function, primals: tuple[Any, ...], single: bool) -> Any:
    value, back = _core.vjp(f, *primals)
    outputs, structure = _core.tree_flatten(value)
    rows = []
    for i, y in enumerate(outputs):

        def pull(ct: Any, i: int = i) -> Any:
            cts = [ct if j == i else _zeros(z) for j, z in enumerate(outputs)]
            return back(_core.tree_unflatten(structure, cts))

        stacked = vmap(pull)(_basis(y))
        parts = _core.tree_map(lambda g, x, y=y: g.reshape(y.shape + x.shape), stacked, primals)
        rows.append(parts[0] if single else parts)
    return _core.tree_unflatten(structure, rows)


def _forward(f: Function, primals: tuple[Any, ...], single: bool) -> Any:
    value, push = _core.linearize(f, *primals)
    outputs, structure = _core.tree_flatten(value)
    inputs, arguments = _core.tree_flatten(primals)
    columns = []
    for i, x in enumerate(inputs):

        def along(tangent: Any, i: int = i) -> Any:
            tangents = [tangent if j == i else _zeros(z) for j, z in enumerate(inputs)]
            return _core.tree_flatten(push(*_core.tree_unflatten(arguments, tangents)))[0]

        stacked = vmap(along, 0, -1)(_basis(x))
        columns.append([d.reshape(y.shape + x.shape) for d, y in zip(stacked, outputs, strict=True)])
    rows = []
    for j in range(len(outputs)):
        parts = _core.tree_unflatten(arguments, [c[j] for c in columns])
        rows.append(parts[0] if single else parts)
    return _core.tree_unflatten(structure, rows)


def _cheaper(f: Function, primals: tuple[Any, ...], single: bool) -> Any:
    value, _ = _core.linearize(f, *primals)
    rows = sum(math.prod(y.shape) for y in _core.tree_flatten(value)[0])
    columns = sum(math.prod(x.shape) for x in _core.tree_flatten(primals)[0])
    # a column costs about one evaluation of f, a row about two
    return (_forward if columns <= 2 * rows else _reverse)(f, primals, single)


def jacrev(f: Function, argnums: Argnums = 0) -> Function:
    """Return the function that computes the Jacobian of `f` row by row, in reverse mode.

    Parameters
    ----------
    f : callable
        Returns a float array, or a tree of them.
    argnums : int or sequence of int
        The positions of the arguments to differentiate, which hold floats or trees of them.

    Returns
    -------
    callable
        Takes what `f` takes. For a result of shape ``s`` and an argument of shape ``t`` the Jacobian has shape
        ``s + t``; trees give trees of results, each leaf of which is the tree of the argument. A sequence of `argnums`
        gives a tuple.

    Raises
    ------
    TypeError
        If `f` is not callable, or an argument to differentiate is not floating-point.
    ValueError
        If `argnums` names an argument that is not given, or one twice.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.jacrev(lambda x: np.array([2.0, 3.0]) * x**2)(np.array([1.0, 2.0]))
    array([[ 4.,  0.],
           [ 0., 12.]])
    """
    return _OnArguments("jacrev", f, argnums, _reverse)


def jacfwd(f: Function, argnums: Argnums = 0) -> Function:
    """Return the function that computes the Jacobian of `f` column by column, in forward mode.

    Parameters, results and errors are those of `jacrev`.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.jacfwd(np.cumsum)(np.array([1.0, 2.0, 3.0]))
    array([[1., 0., 0.],
           [1., 1., 0.],
           [1., 1., 1.]])
    """
    return _OnArguments("jacfwd", f, argnums, _forward)


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """Return the function that computes the Jacobian of `f`, in the cheaper of the two modes.

    Forward mode costs a pass for each element of the arguments, reverse mode about two for each element of the result;
    the sizes decide. Parameters, results and errors are those of `jacrev`.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> def softmax(z):
    ...     e = np.exp(z - np.max(z))
    ...     return e / np.sum(e)
    >>> p = softmax(np.array([0.0, 1.0]))
    >>> np.allclose(mlgrad.jacobian(softmax)(np.array([0.0, 1.0])), np.diag(p) - np.outer(p, p))
    True
    """
    return _OnArguments("jacobian", f, argnums, _cheaper)


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    """Return the function that computes the Hessian of a scalar function, forward over reverse.

    Parameters
    ----------
    f : callable
        Returns a real scalar.
    argnums : int or sequence of int
        The positions of the arguments to differentiate.

    Returns
    -------
    callable
        Takes what `f` takes. For an argument of shape ``t`` the Hessian has shape ``t + t``. A sequence of `argnums`
        gives a tuple of tuples of blocks.

    Raises
    ------
    TypeError
        If `f` is not callable, or an argument to differentiate is not floating-point.
    ValueError
        If the result of `f` is not a scalar, or `argnums` names an argument that is not given.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.hessian(lambda x: np.prod(x))(np.array([2.0, 3.0, 5.0]))
    array([[0., 5., 3.],
           [5., 0., 2.],
           [3., 2., 0.]])
    """
    return jacfwd(grad(f, argnums), argnums)


def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return the product of the Hessian of a scalar function with a vector, without the Hessian.

    Parameters
    ----------
    f : callable
        Returns a real scalar.
    primals : sequence
        The arguments of `f`, all of them differentiated.
    tangents : sequence
        The vector: of the structure, shapes and dtypes of `primals`.

    Returns
    -------
    The product, like the argument of `f`; a tuple of such where `f` takes several.

    Raises
    ------
    TypeError
        If the primals are not floating-point, or `primals` or `tangents` is not a tuple or list.
    ValueError
        If primals and tangents differ in number, structure or shapes, or the result of `f` is not a scalar.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> x = np.array([1.0, 2.0])
    >>> mlgrad.hvp(lambda x: np.sum(x**3), (x,), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError(
            "hvp: primals and tangents must be tuples with one entry an argument of the function, got "
            f"{type(primals).__name__} and {type(tangents).__name__}; write (x,) for one argument"
        )
    wrt = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(f, wrt), tuple(primals), tuple(tangents))[1]


class _Total:
    """The sum of what `f` returns."""

    def __init__(self, f: Function) -> None:
        self.__wrapped__ = f
        self.__name__ = getattr(f, "__name__", repr(f))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return np.sum(self.__wrapped__(*args, **kwargs))


def elementwise_grad(f: Function, argnums: int = 0) -> Function:
    """Return the function that computes the derivative of an elementwise function at every element.

    Parameters
    ----------
    f : callable
        Returns an array whose element i depends on element i of the argument alone. (Otherwise the result is the
        column sums of the Jacobian.)
    argnums : int
        The position of the argument to differentiate.

    Returns
    -------
    callable
        Takes what `f` takes; returns the derivatives in the shape of the argument.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.elementwise_grad(np.tanh)(np.array([0.0, 1.0]))
    array([1.        , 0.41997434])
    """
    if not callable(f):
        raise TypeError(f"elementwise_grad: expected a function, got {type(f).__name__}; pass the function itself")
    return grad(_Total(f), argnums)
