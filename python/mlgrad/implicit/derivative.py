"""Derivatives of y(x) given by an equation F(x, y) = 0, at a point of the curve."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._jacobian import jacfwd
from mlgrad._transforms import Function, jvp
from mlgrad._vectors import as_float_leaves, dtype_of, known, shape_of, shown
from mlgrad.implicit.report import Report, largest, make_report


def implicit_derivative(F: Function, order: int = 1, *, tol: float = 1e-6, report: bool = False) -> Function:
    """Return the derivative dy/dx, or a higher one, of the function y(x) that the equation F(x, y) = 0 defines.

    No equation is solved for y: the point must lie on the curve. The first derivative is ``-inv(F_y) F_x``. For the
    derivative of order n, F is differentiated n times along the Taylor polynomial of y of degree n-1: the result is
    all of the n-th derivative of F(x, y(x)) but the term ``F_y y⁽ⁿ⁾``, and their sum is 0. So F_y is factorised once
    for all orders.

    Parameters
    ----------
    F : callable
        ``F(x, y)``, with as many elements as y: the left side of the equation F(x, y) = 0.
    order : int
        How often to differentiate, at least 1.
    tol : float
        How far from the curve the point may be: the Newton step for y may be at most ``tol * (1 + norm(y))``.
    report : bool
        Whether to return a pair: the derivative and its `Report`.

    Returns
    -------
    callable
        Takes x and y, floats or float arrays; returns the derivative, of the shape of y followed `order` times by the
        shape of x. It is itself differentiable with respect to x and y, and can be batched and jitted (there the point
        is not checked, since its values are not known).

    Raises
    ------
    ValueError
        If F(x, y) is not 0 at the point, F does not have the size of y, or `order` is below 1.
    numpy.linalg.LinAlgError
        If F_y is singular at the point: y is then no differentiable function of x there.

    Examples
    --------
    >>> from mlgrad.implicit import implicit_derivative
    >>> circle = lambda x, y: x**2 + y**2 - 25
    >>> implicit_derivative(circle)(3.0, 4.0)
    np.float64(-0.75)
    >>> implicit_derivative(circle, order=2)(3.0, 4.0)
    np.float64(-0.390625)
    >>> implicit_derivative(circle)(5.0, 0.0)
    Traceback (most recent call last):
    numpy.linalg.LinAlgError: implicit_derivative: F_y is singular at x = 5., y = 0., so y is...
    """
    if order < 1:
        raise ValueError(f"implicit_derivative: order must be at least 1, got {order}")
    if not callable(F):
        raise TypeError(f"implicit_derivative: expected a function F(x, y), got {type(F).__name__}")

    def derivative(x: Any, y: Any) -> Any:
        point = as_float_leaves("implicit_derivative", "x", x), as_float_leaves("implicit_derivative", "y", y)
        if report:
            return _reported(F, order, tol, *point)
        return _core.traced(lambda: _Point(F, *point, tol=tol).derivatives(order)[-1])

    derivative.__name__ = f"implicit_derivative({getattr(F, '__name__', repr(F))})"
    return derivative


class _Point:
    """A point of the curve, with F_y and its inverse; y and F as vectors."""

    def __init__(self, F: Function, x: Any, y: Any, tol: float | None) -> None:
        self.x, self.y = _core.lift((x, y))
        self.shape = shape_of(y)
        self.n = math.prod(self.shape)
        self.F: Function = lambda x, v: np.reshape(F(x, np.reshape(v, self.shape)), (-1,))
        self.v = np.reshape(self.y, (-1,))
        self.residual = self.F(self.x, self.v)
        if shape_of(self.residual) != (self.n,):
            raise ValueError(
                f"implicit_derivative: F returns {self.residual.shape[0]} elements for y of shape {self.shape}; "
                "there must be one equation for each unknown"
            )
        self.f_y = jacfwd(lambda v: self.F(self.x, v))(self.v)
        try:
            self.inverse = np.linalg.inv(self.f_y)
        except np.linalg.LinAlgError:
            self.refuse_singular(tol)
        self.condition = _one_norm(self.f_y) * _one_norm(self.inverse)
        self.step = -self.solve(self.residual)
        if tol is not None:
            self.check(tol)

    def solve(self, b: Any) -> Any:
        """F_y⁻¹ b, refined once so that the inverse is as good as a factorisation."""
        s = self.inverse @ b
        return s + self.inverse @ (b - self.f_y @ s)

    def at(self) -> str:
        return f"x = {shown(self.x)}, y = {shown(self.y)}"

    def check(self, tol: float) -> None:
        condition, step = known(self.condition), known(self.step)
        if condition is None or step is None:
            return
        if not condition * np.finfo(dtype_of(self.f_y)).eps * self.n < 1:
            self.refuse_singular(tol)
        if not largest(step) <= tol * (1 + largest(known(self.v))):
            self.refuse_distant(largest(step))

    def refuse_distant(self, distance: float | None = None) -> None:
        away = "" if distance is None else f" (about {distance:.3g} away in y)"
        raise ValueError(
            f"implicit_derivative: the point is not on the curve{away}: F(x, y) = {shown(self.residual)} at "
            f"{self.at()}; solve F(x, y) = 0 for y first, for example with mlgrad.implicit.root"
        )

    def refuse_singular(self, tol: float | None) -> None:
        # F on the scale of its own terms tells a point off the curve from one where the curve turns
        f_x = jacfwd(lambda x: self.F(x, self.v))(self.x)
        scales = known(_size(f_x, self.n) * np.max(np.abs(self.x)) + _size(self.f_y, self.n) * np.max(np.abs(self.v)))
        residual = known(self.residual)
        if scales is not None and residual is not None and np.any(np.abs(residual) > (tol or 1e-6) * scales):
            self.refuse_distant()
        raise np.linalg.LinAlgError(
            f"implicit_derivative: F_y is singular at {self.at()}, so y is not a function of x there: F_y = "
            f"{shown(self.f_y)}; choose another point, or solve for x as a function of y"
        )

    def derivatives(self, order: int) -> list[Any]:
        """Return the derivatives of orders 1 to `order`, each of the shape of y, then that of x for each order."""
        known_so_far: list[Any] = []
        dims = len(shape_of(self.x))

        def polynomial(x: Any) -> Any:
            h = x - self.x
            total = self.v
            for k, d in enumerate(known_so_far, 1):
                for _ in range(k):
                    d = np.tensordot(d, h, dims)
                total = total + d / math.factorial(k)
            return total

        for k in range(1, order + 1):
            along: Function = lambda x: self.F(x, polynomial(x))
            for _ in range(k):
                along = jacfwd(along)
            rest = along(self.x)
            known_so_far.append(-self.solve(rest.reshape(self.n, -1)).reshape(rest.shape))
        return [d.reshape(self.shape + d.shape[1:]) for d in known_so_far]


def _one_norm(a: Any) -> Any:
    return np.max(np.sum(np.abs(a), axis=0))


def _size(jacobian: Any, n: int) -> Any:
    return np.sum(np.abs(jacobian.reshape(n, -1)), axis=1)


def _reported(F: Function, order: int, tol: float, x: Any, y: Any) -> tuple[Any, Report]:
    def run() -> Any:
        p = _Point(F, x, y, tol=tol)
        along = np.reshape(p.step, p.shape)
        d, slope = jvp(lambda y: _Point(F, p.x, y, tol=None).derivatives(order)[-1], (p.y,), (along,))
        return d, p.residual, p.condition, p.step, slope

    d, residual, condition, step, slope = _core.traced(run)
    return d, make_report(residual, condition, step, d, slope)
