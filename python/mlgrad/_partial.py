"""Functions of several variables: partial, directional and total derivatives, vector calculus, Taylor polynomials."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._jacobian import jacfwd, jacobian
from mlgrad._transforms import Function, grad, jvp

Variable = int | str


def _name(f: Function) -> str:
    return getattr(f, "__name__", repr(f))


def _as_function_of(what: str, f: Function, variable: Variable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`f` as a function of one variable, given by position or name, and that variable's value."""
    if isinstance(variable, str) and variable in kwargs:
        return (lambda x: f(*args, **{**kwargs, variable: x})), kwargs[variable]
    position = variable
    if isinstance(variable, str):
        try:
            names = list(inspect.signature(f).parameters)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{what}: {_name(f)} has no named parameters; give the position instead") from error
        if variable not in names:
            raise ValueError(f"{what}: {_name(f)} has no parameter {variable!r}; it has {', '.join(names) or 'none'}")
        position = names.index(variable)
    if not isinstance(position, int):
        raise TypeError(f"{what}: a variable is a position or a name, got {variable!r}")
    if not -len(args) <= position < len(args):
        raise ValueError(f"{what}: no argument {variable!r} among the {len(args)} positional arguments given")
    k = position % len(args)
    return (lambda x: f(*args[:k], x, *args[k + 1 :], **kwargs)), args[k]


def partial_derivative(f: Function, variable: Variable = 0, order: int = 1) -> Function:
    """Return the partial derivative of `f` with respect to one variable, as a function of all of them.

    Parameters
    ----------
    f : callable
        Returns a float or a float array.
    variable : int or str
        The variable, by position or by name.
    order : int
        How often to differentiate, at least 0.

    Returns
    -------
    callable
        Takes what `f` takes. Its result has the shape of the result of `f`, followed `order` times by the shape of the
        variable.

    Raises
    ------
    TypeError
        If the variable is not floating-point.
    ValueError
        If there is no such variable, or `order` is negative.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> f = lambda x, y, z: np.sin(x) * np.exp(y * z**2)
    >>> mlgrad.partial_derivative(f, "y")(np.pi / 2, 0.0, 3.0)
    np.float64(9.0)
    >>> mlgrad.partial_derivative(f, 1, order=2)(np.pi / 2, 0.0, 3.0)
    np.float64(81.0)
    """
    if order < 0:
        raise ValueError(f"partial_derivative: order must be at least 0, got {order}")
    return _repeated("partial_derivative", f, (variable,) * order)


def mixed_partial(f: Function, *variables: Variable) -> Function:
    """Return the derivative of `f` by each of `variables` in turn, as a function of all variables.

    Parameters
    ----------
    f : callable
        Returns a float or a float array.
    *variables : int or str
        Positions or names, the first differentiated first; repeated ones give higher derivatives.

    Returns
    -------
    callable
        Takes what `f` takes. Its result has the shape of the result of `f`, followed by the shapes of the variables in
        order.

    Raises
    ------
    TypeError
        If a variable is not floating-point.
    ValueError
        If there is no such variable.

    Examples
    --------
    >>> import mlgrad
    >>> mlgrad.mixed_partial(lambda x, y: 3 * x**2 * y, "x", "y")(2.0, 7.0)
    np.float64(12.0)
    """
    return _repeated("mixed_partial", f, variables)


def _repeated(what: str, f: Function, variables: tuple[Variable, ...]) -> Function:
    def derivative(*args: Any, **kwargs: Any) -> Any:
        def of(chosen: tuple[Variable, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not chosen:
                return f(*args, **kwargs)

            def inner(*a: Any, **k: Any) -> Any:
                return of(chosen[:-1], a, k)

            # the last variable is differentiated last, so its derivative is the outermost
            inner.__signature__ = signature  # type: ignore[attr-defined]
            inner.__name__ = _name(f)
            g, x = _as_function_of(what, inner, chosen[-1], args, kwargs)
            return jacobian(g)(x)

        try:
            signature: Any = inspect.signature(f)
        except (TypeError, ValueError):
            signature = None
        return of(variables, args, kwargs)

    derivative.__name__ = f"{what}({_name(f)})"
    return derivative


def gradient(f: Function) -> Function:
    """Return the gradient of a scalar function with respect to all its arguments.

    Parameters
    ----------
    f : callable
        Returns a real scalar.

    Returns
    -------
    callable
        Takes what `f` takes. One argument gives its gradient; several floats give an array with one partial derivative
        each; several arguments of other kinds give a tuple.

    Raises
    ------
    TypeError
        If an argument is not floating-point.
    ValueError
        If the result of `f` is not a scalar.

    Examples
    --------
    >>> import mlgrad
    >>> mlgrad.gradient(lambda x, y: 3 * x**2 * y)(1.0, 2.0)
    array([12.,  3.])
    """

    def gradient_of(*args: Any) -> Any:
        if len(args) == 1:
            return grad(f)(*args)
        parts = grad(f, tuple(range(len(args))))(*args)
        if all(not isinstance(a, dict | list | tuple) and np.ndim(a) == 0 for a in args):
            return np.stack(parts)
        return parts

    gradient_of.__name__ = f"gradient({_name(f)})"
    return gradient_of


def directional_derivative(f: Function, direction: Any, unit: bool = False) -> Function:
    """Return the derivative of `f` in one direction.

    Parameters
    ----------
    f : callable
        A function of one argument, or of several where `direction` is a tuple.
    direction : array_like or tuple of array_like
        The direction: of the shape of the argument, a tuple for several arguments.
    unit : bool
        Whether to scale the direction to length 1 first.

    Returns
    -------
    callable
        Takes what `f` takes; returns the derivative, of the shape of the result of `f`.

    Raises
    ------
    ValueError
        If the direction does not fit the arguments, or has no length while `unit` is asked for.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> f = lambda x: x[0] ** 2 + 4 * x[1]
    >>> mlgrad.directional_derivative(f, np.array([3.0, 4.0]))(np.array([1.0, 2.0]))
    np.float64(22.0)
    """
    parts = direction if isinstance(direction, tuple) else (direction,)
    vectors = tuple(np.asarray(p, float) for p in parts)
    if unit:
        length = math.sqrt(sum(float(np.sum(v * v)) for v in vectors))
        if length == 0:
            raise ValueError("directional_derivative: the zero vector has no direction; give another one")
        vectors = tuple(v / length for v in vectors)

    def derivative(*args: Any) -> Any:
        return jvp(f, args, vectors)[1]

    derivative.__name__ = f"directional_derivative({_name(f)})"
    return derivative


@dataclass(frozen=True)
class Term:
    """One term of a total derivative: the partial derivative times the rate of its variable."""

    variable: str
    partial: float
    rate: float

    @property
    def product(self) -> float:
        """The contribution of this variable."""
        return self.partial * self.rate


@dataclass(frozen=True)
class TotalDerivative:
    """dz/dt with the terms that it is the sum of."""

    point: float
    terms: tuple[Term, ...]

    @property
    def value(self) -> float:
        """The sum of all terms."""
        return sum(t.product for t in self.terms)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        lines = [f"dz/dt at t = {self.point:.10g}"]
        lines += [
            f"  ∂z/∂{t.variable} · d{t.variable}/dt = {t.partial:.10g} · {t.rate:.10g} = {t.product:.10g}"
            for t in self.terms
        ]
        return "\n".join([*lines, f"  sum = {self.value:.10g}"])


def total_derivative(f: Function, *inner: Callable[[Any], Any]) -> Callable[[float], TotalDerivative]:
    """Return the derivative of f(x(t), y(t), …) by t, term by term.

    Parameters
    ----------
    f : callable
        Takes one float a variable; returns a float.
    *inner : callable
        For each variable its value as a function of t.

    Returns
    -------
    callable
        Takes t; returns a `TotalDerivative`: `value` (also by ``float()``), and `terms` with the partial derivative and
        the rate of each variable; printed, it shows them.

    Raises
    ------
    ValueError
        If no variable is given.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> print(mlgrad.total_derivative(lambda x, y: x**2 * y, np.cos, np.sin)(0.0))
    dz/dt at t = 0
      ∂z/∂x · dx/dt = 0 · -0 = -0
      ∂z/∂y · dy/dt = 1 · 1 = 1
      sum = 1
    """
    if not inner:
        raise ValueError("total_derivative: give a function of t for each variable of f")
    try:
        names = list(inspect.signature(f).parameters)[: len(inner)]
    except (TypeError, ValueError):
        names = []
    names += [f"x{k + 1}" for k in range(len(names), len(inner))]

    def derivative(t: float) -> TotalDerivative:
        point = float(t)
        values, rates = zip(*(jvp(x, (point,), (1.0,)) for x in inner), strict=True)
        partials = grad(f, tuple(range(len(inner))))(*values)
        terms = (Term(n, float(p), float(r)) for n, p, r in zip(names, partials, rates, strict=True))
        return TotalDerivative(point, tuple(terms))

    return derivative


def laplacian(f: Function) -> Function:
    """Return the Laplacian of a scalar function: the sum of its unmixed second derivatives.

    Parameters
    ----------
    f : callable
        Takes one float array; returns a float.

    Returns
    -------
    callable
        Takes what `f` takes; returns a float. Costs a pass over the gradient for each element.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.laplacian(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    np.float64(18.0)
    """

    def value(x: Any) -> Any:
        def run() -> Any:
            h = jacfwd(grad(f))(_core.lift(x))
            n = math.prod(np.shape(x))
            return np.trace(h.reshape(n, n))

        return _core.traced(run)

    value.__name__ = f"laplacian({_name(f)})"
    return value


def divergence(f: Function) -> Function:
    """Return the divergence of a vector field: the trace of its Jacobian.

    Parameters
    ----------
    f : callable
        Takes a float array of shape ``(n,)``; returns one of that shape.

    Returns
    -------
    callable
        Takes what `f` takes; returns a float.

    Raises
    ------
    ValueError
        If the shapes are others.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.divergence(lambda x: x**2)(np.array([1.0, 2.0, 3.0]))
    np.float64(12.0)
    """

    def value(x: Any) -> Any:
        def run() -> Any:
            return np.trace(_square_jacobian("divergence", f, x))

        return _core.traced(run)

    value.__name__ = f"divergence({_name(f)})"
    return value


def curl(f: Function) -> Function:
    """Return the curl of a vector field in three dimensions, or the scalar curl of one in two.

    Parameters
    ----------
    f : callable
        Takes a float array of shape ``(3,)`` or ``(2,)``; returns one of that shape.

    Returns
    -------
    callable
        Takes what `f` takes; returns an array of shape ``(3,)``, or a float in two dimensions.

    Raises
    ------
    ValueError
        If the shapes are others.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> mlgrad.curl(lambda r: np.stack([r[0] - r[1], r[0], r[2]]))(np.array([1.0, 2.0, 3.0])).tolist()
    [0.0, 0.0, 2.0]
    """

    def value(x: Any) -> Any:
        def run() -> Any:
            j = _square_jacobian("curl", f, x)
            if j.shape == (2, 2):
                return j[1, 0] - j[0, 1]
            if j.shape != (3, 3):
                raise ValueError(f"curl: the field must have 2 or 3 components, got {j.shape[0]}")
            return np.stack([j[2, 1] - j[1, 2], j[0, 2] - j[2, 0], j[1, 0] - j[0, 1]])

        return _core.traced(run)

    value.__name__ = f"curl({_name(f)})"
    return value


def _square_jacobian(what: str, f: Function, x: Any) -> Any:
    j = jacfwd(f)(_core.lift(x))
    shape = getattr(j, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{what}: the field must map shape (n,) to shape (n,); its Jacobian has shape {shape}")
    return j


class Taylor:
    """A Taylor polynomial, to be called and printed.

    `point` is where it was expanded, `derivatives` are the derivative tensors of order 0, 1, … `order`.
    """

    def __init__(self, point: Any, derivatives: Sequence[Any]) -> None:
        self.point = np.asarray(point, float)
        self.derivatives = tuple(np.asarray(d, float) for d in derivatives)

    @property
    def order(self) -> int:
        """The degree that was asked for."""
        return len(self.derivatives) - 1

    def __call__(self, x: Any) -> Any:
        """Evaluate the polynomial at `x`, of the shape of `point`; a scalar polynomial also at an array of numbers."""
        h = np.asarray(x, float) - self.point
        if self.point.ndim == 0:
            result = 0.0
            for k in reversed(range(self.order + 1)):
                result = result * h + self.derivatives[k] / math.factorial(k)
            return result
        if h.shape != self.point.shape:
            raise ValueError(f"Taylor: expected a point of shape {self.point.shape}, got {h.shape}")
        total: Any = 0.0
        for k, d in enumerate(self.derivatives):
            for _ in range(k):
                d = np.tensordot(d, h, h.ndim)
            total = total + d / math.factorial(k)
        return total

    def _monomials(self) -> list[tuple[float, str]]:
        if self.point.ndim == 0:
            a = float(self.point)
            base = "x" if a == 0 else f"(x {'-' if a > 0 else '+'} {abs(a):.6g})"
            powers = ["", base, *(f"{base}^{k}" for k in range(2, self.order + 1))]
            return [(float(d) / math.factorial(k), powers[k]) for k, d in enumerate(self.derivatives)]
        flat = self.point.ravel()
        names = [
            f"x{i}" if a == 0 else f"(x{i} {'-' if a > 0 else '+'} {abs(a):.6g})" for i, a in enumerate(flat.tolist())
        ]
        out = []
        for k, d in enumerate(self.derivatives):
            tensor = d.reshape((flat.size,) * k)
            for index in itertools.combinations_with_replacement(range(flat.size), k):
                counts = {i: index.count(i) for i in index}
                factor = float(tensor[index]) / math.prod(math.factorial(c) for c in counts.values())
                out.append((factor, " ".join(names[i] + (f"^{c}" if c > 1 else "") for i, c in counts.items())))
        return out

    def __str__(self) -> str:
        text = ""
        for factor, monomial in self._monomials():
            if factor == 0:
                continue
            size = f"{abs(factor):.6g}"
            body = monomial if size == "1" and monomial else f"{size} {monomial}".rstrip()
            sign = "-" if factor < 0 else "+"
            text += f" {sign} {body}" if text else (f"-{body}" if factor < 0 else body)
        return text or "0"

    def __repr__(self) -> str:
        return f"Taylor({self})"


def taylor(f: Function, point: Any, order: int = 3) -> Taylor:
    """Return the Taylor polynomial of a scalar function around a point.

    Parameters
    ----------
    f : callable
        Takes a float or a float array; returns a float.
    point : float or array_like
        Where to expand.
    order : int
        The degree, at least 0. For a point of n elements the derivative of order k has n^k elements.

    Returns
    -------
    Taylor
        The polynomial: callable and printable.

    Raises
    ------
    ValueError
        If `order` is negative.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> p = mlgrad.taylor(np.cos, 0.0, 4)
    >>> print(p)
    1 - 0.5 x^2 + 0.0416667 x^4
    >>> print(mlgrad.taylor(lambda x: x[0] * np.exp(x[1]), np.zeros(2), 2))
    x0 + x0 x1
    """
    if order < 0:
        raise ValueError(f"taylor: order must be at least 0, got {order}")
    x = np.asarray(point, float)
    derivatives = []
    g = f
    for k in range(order + 1):
        derivatives.append(_core.traced(lambda g=g: g(_core.lift(x if x.ndim else float(x)))))
        if k < order:
            g = jacfwd(g)
    return Taylor(x, derivatives)
