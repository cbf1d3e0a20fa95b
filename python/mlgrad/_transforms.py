"""The transforms, documented. The work is done in `_core`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlgrad import _core

Function = Callable[..., Any]


def grad(
    f: Function,
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    has_aux: bool = False,
) -> Function:
    """Return the function that computes the gradient of `f`.

    Parameters
    ----------
    f : callable
        Returns a real scalar (shape ``()``), written in NumPy. Its differentiated arguments are float32 or float64
        arrays or floats of any shape, or trees of them (nested dicts, lists, tuples, named tuples, dataclasses).
    argnums : int or sequence of int, optional
        The positions of the arguments to differentiate; 0 unless `argnames` is given. An int gives one result, a
        sequence a tuple of results. The other arguments reach `f` unchanged.
    argnames : str or sequence of str, optional
        The names of arguments to differentiate, however they are passed; a name gives one result, a sequence a tuple.
        With both, a tuple: first the positions, then the names.
    has_aux : bool
        Whether `f` returns a pair ``(value, aux)``; the result is then ``(gradient, aux)``.

    Returns
    -------
    callable
        Takes what `f` takes; returns the gradient, of the shape, dtype and tree structure of the argument, as new NumPy
        arrays (NumPy scalars for shape ``()``).

    Raises
    ------
    TypeError
        If a differentiated argument holds integers, or the result of `f` is not a real floating-point number.
    ValueError
        If the result of `f` is not a scalar, or `f` was not called with an argument that is to be differentiated.

    Notes
    -----
    Differentiated arrays of a megabyte or more are not copied: during the call they are read-only.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> f = lambda x, y: np.sum(3 * x**2 * y)
    >>> mlgrad.grad(f)(2.0, 5.0)
    np.float64(60.0)
    >>> mlgrad.grad(f, (0, 1))(np.array([1.0, 2.0]), 5.0)
    (array([30., 60.]), np.float64(15.0))
    >>> mlgrad.grad(mlgrad.grad(f))(2.0, 5.0)
    np.float64(30.0)
    """
    return _core.grad(f, argnums, argnames, has_aux)


def value_and_grad(
    f: Function,
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    has_aux: bool = False,
) -> Function:
    """Return the function that computes `f` and its gradient together.

    Parameters
    ----------
    f, argnums, argnames, has_aux
        As for `grad`.

    Returns
    -------
    callable
        Takes what `f` takes; returns ``(value, gradient)``, or ``((value, aux), gradient)`` with `has_aux`. This is
        what ``scipy.optimize.minimize(..., jac=True)`` wants.

    Raises
    ------
    TypeError, ValueError
        As for `grad`.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.value_and_grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    (np.float64(9.0), array([ 3., 12.]))
    """
    return _core.value_and_grad(f, argnums, argnames, has_aux)


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Compute `f` and the function that pulls cotangents of its result back to its arguments.

    Parameters
    ----------
    f : callable
        Takes the primals and returns arrays of any shape, or a tree of them.
    *primals : array, float, or tree of them
        The point; every leaf is float32 or float64.
    has_aux : bool
        Whether `f` returns a pair ``(out, aux)``; a third result is then the `aux`.

    Returns
    -------
    out : array or tree
        ``f(*primals)``.
    vjp_fn : callable
        Takes a cotangent of the shape, dtype and structure of `out`, and returns a tuple with one cotangent a primal:
        the vector-Jacobian product. May be called more than once.

    Raises
    ------
    TypeError
        If a primal holds integers.
    ValueError
        If a cotangent does not have the structure or the shapes of `out`.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> out, pull = mlgrad.vjp(lambda x, y: x * y, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    >>> out
    array([3., 8.])
    >>> pull(np.array([1.0, 10.0]))
    (array([ 3., 40.]), array([ 1., 20.]))
    """
    return _core.vjp(f, *primals, has_aux=has_aux)


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Compute `f` and its derivative in a direction, by the forward walk.

    Parameters
    ----------
    f : callable
        Takes the primals and returns arrays of any shape, or a tree of them.
    primals : sequence
        The arguments of `f`; every leaf is float32 or float64.
    tangents : sequence
        The direction: of the length, structure, shapes and dtypes of `primals`.

    Returns
    -------
    out : array or tree
        ``f(*primals)``.
    tangent : array or tree
        The Jacobian-vector product, like `out`.

    Raises
    ------
    TypeError
        If a primal holds integers, or primals and tangents are not sequences.
    ValueError
        If primals and tangents do not match.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.jvp(np.sin, (np.array([0.0, 1.0]),), (np.array([1.0, 2.0]),))
    (array([0.        , 0.84147098]), array([1.        , 1.08060461]))
    """
    return _core.jvp(f, primals, tangents)


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """Return `f` for a whole batch of arguments at once.

    Parameters
    ----------
    f : callable
        Written for one element of the batch. It may not branch on the values of its batched arguments: use
        ``np.where``.
    in_axes : int, None, or sequence of them
        The axis of each argument that runs over the batch; None for an argument that all elements share. One number
        serves all arguments.
    out_axes : int, or tree of int
        Where the batch axis goes in the results.

    Returns
    -------
    callable
        Takes the batched arguments; equal to a loop over `f` whose results are stacked.

    Raises
    ------
    ValueError
        If the sizes of the batch differ between arguments, or an argument lacks the axis.
    TypeError
        If `f` needs the value of a batched argument.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> rows = np.arange(6.0).reshape(2, 3)
    >>> mlgrad.vmap(np.dot, in_axes=(0, None))(rows, np.array([1.0, 10.0, 100.0]))
    array([210., 543.])
    >>> mlgrad.vmap(mlgrad.grad(lambda x: x**3))(np.array([1.0, 2.0, 3.0]))
    array([ 3., 12., 27.])
    """
    return _core.vmap(f, in_axes, out_axes)


def jit(
    f: Function,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    check: bool = False,
) -> Any:
    """Return `f`, recorded at its first call and replayed without Python afterwards.

    Every number or array in the arguments is a variable of the recording; all other leaves (strings, None, functions)
    are part of its key, compared by equality. Where `f` takes a bool or an integer out of a traced value (``if x.sum()
    > 0``), the recording keeps a guard: it is checked at each replay, and where it fails `f` is recorded anew for that
    case. Past 32 cases of one signature there is a `PerformanceWarning`, and `f` runs without jit.

    What `f` names as closure variables and globals is compared at each call, and arrays held there are read at each
    replay. What it reaches in another way, such as attributes of objects and elements of caches, is frozen at
    recording, and so is what NumPy makes of such an array before it meets a traced value (``a[0]``, ``np.sum(a)``),
    where the array has more than 4 KiB or meets one as well; other arrays are compared, and recorded again. So
    are side effects: printing and appending to lists happen while recording only.

    Parameters
    ----------
    f : callable
        Any function of arrays, numbers and trees; often itself a transform, as in ``jit(grad(f))``.
    static_argnums : int or sequence of int
        Positions of arguments that are part of the key. They must be hashable.
    static_argnames : str or sequence of str
        The same by name.
    check : bool
        Whether to record twice each time, and to raise where the two differ in a constant: `f` then depends on
        something that jit does not see, such as a random number.

    Returns
    -------
    callable
        Takes what `f` takes. Its results are new NumPy arrays. ``cache_info()`` counts recordings and replays,
        ``explain_plan()`` shows what is replayed.

    Raises
    ------
    TypeError
        While recording, if a floating-point value is converted to a Python number.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> step = mlgrad.jit(mlgrad.value_and_grad(lambda w, x: np.mean((x @ w) ** 2)))
    >>> step(np.array([1.0, 2.0]), np.eye(2))
    (np.float64(2.5), array([1., 2.]))
    """
    return _core.jit(f, static_argnums, static_argnames, check)


def stop_gradient(x: Any) -> Any:
    """Return the value of `x`, as a constant for derivatives.

    Parameters
    ----------
    x : array, float, or tree of them
        What lies on the tape; anything else is returned as it is.

    Returns
    -------
    Like `x`
        Outside a transform `x` itself.

    Examples
    --------
    >>> import mlgrad
    >>> mlgrad.grad(lambda x: x * mlgrad.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return _core.stop_gradient(x)


def linearize(f: Function, *primals: Any) -> tuple[Any, Function]:
    """Return the value of `f`, and its derivative at that point as a function of tangents.

    `f` is recorded once, however often the derivative is applied.

    Parameters
    ----------
    f : callable
        Returns an array or a tree of arrays.
    *primals
        The arguments of `f`: float32 or float64 arrays, floats, or trees of them.

    Returns
    -------
    value
        What `f` returns.
    jvp_fn : callable
        Takes one tangent a primal, of its structure and shapes; returns the tangent of the result.

    Raises
    ------
    TypeError
        If a primal is not floating-point.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> value, push = mlgrad.linearize(lambda x: x**3, 2.0)
    >>> value, push(1.0), push(0.5)
    (np.float64(8.0), np.float64(12.0), np.float64(6.0))
    """
    result: tuple[Any, Function] = _core.linearize(f, *primals)
    return result
