"""Functions with derivative rules of their own, built on `_core.attach`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from mlgrad import _core

Function = Callable[..., Any]

# the call whose rule is being recorded: the function, its arguments and its results
_Call = tuple["_Custom", tuple[Any, ...], Any]
_recording: ContextVar[_Call | None] = ContextVar("_recording", default=None)


class _Custom:
    """What custom_vjp and custom_jvp have in common: a function, and how it is called."""

    _kind = "custom"

    def __init__(self, f: Function, nondiff_argnums: int | Sequence[int] = ()) -> None:
        if not callable(f):
            raise TypeError(f"{self._kind}: expected a function, got {type(f).__name__}")
        functools.update_wrapper(self, f)
        self._f = f
        try:
            self._signature: inspect.Signature | None = inspect.signature(f)
        except (TypeError, ValueError):  # some builtins have none
            self._signature = None
        given = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        if not all(isinstance(k, int) for k in given):
            raise TypeError(
                f"{self._kind}: nondiff_argnums must be an int or a sequence of ints, got {nondiff_argnums!r}"
            )
        self._nondiff_argnums = given

    @property
    def _name(self) -> str:
        return getattr(self, "__name__", None) or repr(self._f)

    def __repr__(self) -> str:
        return f"<mlgrad {self._kind}({self._name})>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # by name, as functions are: the name stands for this object, not for the function inside
        return getattr(self, "__qualname__", self._name)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments by position, defaults included: rules speak of positions."""
        if self._signature is None:
            if kwargs:
                raise TypeError(f"{self._name}: a {self._kind} function without signature takes no keyword arguments")
            return args
        bound = self._signature.bind(*args, **kwargs)
        if bound.kwargs:
            names = ", ".join(bound.kwargs)
            raise TypeError(
                f"{self._name}: a {self._kind} function cannot take the keyword-only argument(s) {names}: its rules "
                "get arguments by position; make them positional"
            )
        bound.apply_defaults()
        return bound.args

    def _split(self, args: tuple[Any, ...]) -> tuple[tuple[int, ...], tuple[Any, ...], tuple[Any, ...]]:
        """Return the places of the differentiable arguments, those arguments, and the others."""
        n = len(args)
        fixed = []
        for k in self._nondiff_argnums:
            if not -n <= k < n:
                raise ValueError(f"{self._name}: nondiff_argnums names argument {k}, but there are {n}")
            fixed.append(k % n)
        places = tuple(k for k in range(n) if k not in fixed)
        return places, tuple(args[k] for k in places), tuple(args[k] for k in sorted(fixed))

    def _rules(self, places: tuple[int, ...], args: tuple[Any, ...], fixed: tuple[Any, ...]) -> dict[str, Function]:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = self._positional(args, kwargs)
        call = _recording.get()
        if call is not None and call[0] is self and _same(call[1], args):
            # fwd (or the jvp rule) calls the function that it is the rule of, as is usual: this result is known
            return call[2]
        begun = _core.begin_call(args)
        if begun is None:
            return self._f(*args)
        place, own, kept = begun
        places, moving, fixed = self._split(kept)
        rules = self._rules(places, kept, fixed)
        return _core.attach(self._f(*own), moving, name=self._name, since=place, **rules)

    def _run(self, rule: Function, args: tuple[Any, ...], outs: Any, *given: Any) -> Any:
        """Call a rule; where it calls this function on `args`, that gives `outs`."""
        token = _recording.set((self, args, outs))
        try:
            return rule(*given)
        finally:
            _recording.reset(token)


def _same(known: tuple[Any, ...], args: tuple[Any, ...]) -> bool:
    """Return whether these are the very arguments of the call, none written to since."""
    if len(known) != len(args):
        return False
    a, b = _core.tree_flatten(known), _core.tree_flatten(args)
    return a[1] == b[1] and all(x is y and _core.is_unwritten(x) for x, y in zip(a[0], b[0], strict=True))


def _merged(places: tuple[int, ...], moving: Sequence[Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `args` with `moving` in their places."""
    merged = list(args)
    for k, x in zip(places, moving, strict=True):
        merged[k] = x
    return tuple(merged)


class custom_vjp(_Custom):
    """Give a function its own rule for reverse mode.

    Use it where the derivative that follows from the code is slow, inaccurate or undefined: a stable formula, a clipped
    gradient, a solver, a black box behind `pure_callback`.

    Parameters
    ----------
    f : callable
        The function, with arguments and results that are arrays, floats, or trees of them.
    nondiff_argnums : int or sequence of int
        Positions of arguments that are not differentiated, such as functions and options: `bwd` gets them first, and
        gives no cotangent for them.

    Returns
    -------
    custom_vjp
        Called as `f` is. Its rule is set with ``defvjp(fwd, bwd)``:

        - ``fwd(*args)`` returns ``(f(*args), residuals)``, the residuals being any tree;
        - ``bwd(*nondiff, residuals, cotangent)`` returns a tuple with one cotangent for each of the other arguments, of
          the structure and shapes of the argument; None stands for zero.

        Both receive Arrays and are written in NumPy. They run once for each call that is differentiated, whatever
        the order of the derivative; what they compute can be differentiated again, under `vmap` and `jit` too. `bwd`
        may be applied to several cotangents, so its argument has no value while it runs: no `if` on it. Forward mode
        uses the transpose of `bwd`, which has to be linear in the cotangent for that.

    Raises
    ------
    TypeError
        If `fwd` or `bwd` returns another structure than needed, if a derivative is asked for with respect to a value
        that `f` takes from a closure, or if the rule is missing.
    ValueError
        If a cotangent has another shape than its argument.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> @mlgrad.custom_vjp
    ... def softplus(x):
    ...     return np.logaddexp(0, x)
    >>> def fwd(x):
    ...     return softplus(x), x
    >>> def bwd(x, g):
    ...     return (g / (1 + np.exp(-x)),)
    >>> softplus.defvjp(fwd, bwd)
    >>> mlgrad.grad(softplus)(0.0)
    np.float64(0.5)
    >>> mlgrad.grad(mlgrad.grad(softplus))(0.0)
    np.float64(0.25)
    """

    _kind = "custom_vjp"
    _fwd: Function | None = None
    _bwd: Function | None = None

    def defvjp(self, fwd: Function, bwd: Function) -> None:
        """Set the rule: `fwd` gives ``(result, residuals)``, `bwd` the cotangents of the arguments."""
        for name, rule in (("fwd", fwd), ("bwd", bwd)):
            if not callable(rule):
                raise TypeError(f"defvjp of {self._name}: {name} must be a function, got {type(rule).__name__}")
        self._fwd, self._bwd = fwd, bwd

    def _rules(self, places: tuple[int, ...], args: tuple[Any, ...], fixed: tuple[Any, ...]) -> dict[str, Function]:
        if self._fwd is None or self._bwd is None:
            raise TypeError(
                f"{self._name} is a custom_vjp function without a rule; give it one with {self._name}.defvjp(fwd, bwd)"
            )
        fwd, bwd = self._fwd, self._bwd

        def vjp(moving: tuple[Any, ...], outs: Any, cotangents: Any) -> Any:
            whole = _merged(places, moving, args)
            pair = self._run(fwd, whole, outs, *whole)
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise TypeError(f"fwd of {self._name} must return a pair (result, residuals), got {_kind(pair)}")
            result, residuals = pair
            _check_result("fwd", self._name, result, outs)
            found = bwd(*fixed, residuals, cotangents)
            if not isinstance(found, tuple | list) or len(found) != len(moving):
                raise TypeError(
                    f"bwd of {self._name} must return a tuple with one cotangent (or None) for each of its "
                    f"{len(moving)} differentiable argument{'s' * (len(moving) != 1)}, got {_kind(found)}"
                )
            return tuple(found)

        return {"vjp": vjp}


class custom_jvp(_Custom):
    """Give a function its own rule for forward mode, from which reverse mode follows.

    Parameters
    ----------
    f : callable
        The function, with arguments and results that are arrays, floats, or trees of them.
    nondiff_argnums : int or sequence of int
        Positions of arguments that are not differentiated: the rule gets them first.

    Returns
    -------
    custom_jvp
        Called as `f` is. Its rule is set in one of two ways:

        - ``defjvp(rule)``: ``rule(*nondiff, primals, tangents)`` returns ``(f(*primals), tangent)``; the tangent is
          linear in the tangents and has the structure and shapes of the result;
        - ``defjvps(*rules)``: one function (or None) an argument, ``rule(tangent, result, *primals)``, whose results
          are added up.

        They receive Arrays and run once for each call that is differentiated. Tangents have no value while they run.

    Raises
    ------
    TypeError
        If the rule returns another structure than needed, is missing, or is not linear in the tangents (in reverse
        mode).
    ValueError
        If the tangent has another shape than the result.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> @mlgrad.custom_jvp
    ... def log1pexp(x):
    ...     return np.log(1 + np.exp(x))
    >>> log1pexp.defjvps(lambda t, y, x: t * (1 - 1 / (1 + np.exp(x))))
    >>> mlgrad.grad(log1pexp)(100.0)
    np.float64(1.0)
    >>> mlgrad.jvp(log1pexp, (0.0,), (2.0,))
    (np.float64(0.6931471805599453), np.float64(1.0))
    """

    _kind = "custom_jvp"
    _jvp: Function | None = None

    def defjvp(self, rule: Function) -> Function:
        """Set the rule, ``rule(*nondiff, primals, tangents) -> (result, tangent)``, and return it."""
        if not callable(rule):
            raise TypeError(f"defjvp of {self._name}: expected a function, got {type(rule).__name__}")
        self._jvp = rule
        return rule

    def defjvps(self, *rules: Function | None) -> None:
        """Set one rule an argument, ``rule(tangent, result, *primals)``; None for one without derivative."""
        if self._nondiff_argnums:
            raise TypeError(f"defjvps of {self._name}: use defjvp where there are nondiff_argnums")
        for rule in rules:
            if rule is not None and not callable(rule):
                raise TypeError(f"defjvps of {self._name}: expected functions or None, got {type(rule).__name__}")

        def all_together(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            if len(rules) != len(primals):
                raise TypeError(
                    f"defjvps of {self._name} was given {len(rules)} rules, but it has {len(primals)} arguments"
                )
            result = self(*primals)
            total: Any = None
            for rule, tangent in zip(rules, tangents, strict=True):
                if rule is not None and tangent is not None:
                    part = rule(tangent, result, *primals)
                    total = part if total is None else _core.tree_map(lambda a, b: a + b, total, part)
            return result, total

        self._jvp = all_together

    def _rules(self, places: tuple[int, ...], args: tuple[Any, ...], fixed: tuple[Any, ...]) -> dict[str, Function]:
        if self._jvp is None:
            raise TypeError(
                f"{self._name} is a custom_jvp function without a rule; give it one with {self._name}.defjvp(rule)"
            )
        rule = self._jvp

        def jvp(moving: tuple[Any, ...], outs: Any, tangents: Any) -> Any:
            whole = _merged(places, moving, args)
            pair = self._run(rule, whole, outs, *fixed, moving, tangents)
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise TypeError(f"the jvp rule of {self._name} must return a pair (result, tangent), got {_kind(pair)}")
            _check_result("the jvp rule", self._name, pair[0], outs)
            return pair[1]

        return {"jvp": jvp}


def _kind(x: Any) -> str:
    return f"a {type(x).__name__} of {len(x)}" if isinstance(x, tuple | list) else f"a {type(x).__name__}"


def _check_result(what: str, name: str, result: Any, outs: Any) -> None:
    """Refuse a rule whose result has another structure or shape than the function's."""
    (got, a), (want, b) = _core.tree_flatten(result), _core.tree_flatten(outs)
    if a != b:
        raise TypeError(f"{what} of {name} returned a result of the structure {a}, but {name} returns {b}")
    for k, (x, y) in enumerate(zip(got, want, strict=True)):
        shape = getattr(x, "shape", ())
        if shape != y.shape:
            raise ValueError(
                f"{what} of {name} returned a result whose leaf {k} has shape {shape}, but {name} returns {y.shape}"
            )
