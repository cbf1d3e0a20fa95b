"""Solutions of F(y, args) = 0 as differentiable functions of args, whoever found them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._jacobian import jacfwd
from mlgrad._transforms import Function, jvp, vjp
from mlgrad._vectors import ravel, shape_of
from mlgrad.implicit._closure import Closed, attached
from mlgrad.implicit._solvers import transposed_jacobian
from mlgrad.implicit.errors import stopped
from mlgrad.implicit.linear_solve import Linear, solve_products
from mlgrad.implicit.report import make_report


def on_vectors(name: str, F: Function, unravel: Function, n: int) -> Function:
    """Return ``F(y, *args)``, on trees, as a function between vectors of length n."""

    def flat(v: Any, *args: Any) -> Any:
        r = ravel(F(unravel(v), *args))[0]
        if shape_of(r) != (n,):
            raise ValueError(f"{name}: {shape_of(r)[0]} equations for {n} unknowns; there must be one for each")
        return r

    return flat


class Solution:
    """A point y with F(y, *args) = 0: with the rules of its derivatives, and its report.

    ``F_y dy + F_args dargs = 0``, so that ``dy = -inv(F_y) F_args dargs``, and transposed for the reverse walk. Both
    are written in terms of y itself, which is what makes derivatives of every order right.
    """

    def __init__(
        self, name: str, F: Function, y: Any, args: tuple[Any, ...], how: Linear, symmetric: bool = False
    ) -> None:
        fixed, self.unravel = ravel(_core.lift(stopped(y)))
        self.n = fixed.shape[0]
        self.how, self.symmetric = how, symmetric
        self.F = Closed(on_vectors(name, F, self.unravel, self.n), fixed, args)
        self.vector = attached(name, fixed, self.F.leaves, self.backward, self.forward) if self.F.leaves else fixed

    @property
    def tree(self) -> Any:
        """Return the solution in the structure of y."""
        return self.unravel(self.vector)

    def forward(self, leaves: Any, v: Any, tangents: Any) -> Any:
        drift = jvp(lambda *a: self.F(v, *a), leaves, tangents)[1]
        return -self.solve(v, leaves, drift, transposed=False)

    def backward(self, leaves: Any, v: Any, cotangent: Any) -> Any:
        w = self.solve(v, leaves, cotangent, transposed=True)
        return vjp(lambda *a: self.F(v, *a), *leaves)[1](-w)

    def solve(self, v: Any, leaves: Any, b: Any, transposed: bool) -> Any:
        """Return F_y⁻¹ b at v, or the same with F_y transposed."""
        if self.how.chosen(self.n, self.symmetric) == "dense":
            f_y = transposed_jacobian(lambda u: self.F(u, *leaves), v)
            if self.symmetric:
                return _core.solve_symmetric(f_y, b)
            return np.linalg.solve(f_y if transposed else f_y.T, b)

        def product(p: Any, v: Any, *leaves: Any) -> Any:
            if transposed and not self.symmetric:
                return vjp(lambda u: self.F(u, *leaves), v)[1](p)[0]
            return jvp(lambda u: self.F(u, *leaves), (v,), (p,))[1]

        return solve_products(product, b, (v, *leaves), self.how, self.symmetric)

    def report_parts(self) -> tuple[Any, ...]:
        """Return what `make_report` wants, as Arrays."""
        v, leaves = stopped(self.vector), stopped(self.F.leaves)

        def matrices(v: Any) -> tuple[Any, Any]:
            f_y = jacfwd(lambda u: self.F(u, *leaves))(v)
            columns = [
                jacfwd(lambda x, k=k: self.F(v, *leaves[:k], x, *leaves[k + 1 :]))(leaf).reshape(self.n, -1)
                for k, leaf in enumerate(leaves)
            ]
            return f_y, np.concatenate(columns, axis=1) if columns else np.zeros((self.n, 0))

        def derivative(v: Any) -> Any:
            f_y, f_x = matrices(v)
            return -np.linalg.solve(f_y, f_x)

        residual = self.F(v, *leaves)
        f_y = matrices(v)[0]
        inverse = np.linalg.inv(f_y)
        step = -(inverse @ residual)
        condition = np.max(np.sum(np.abs(f_y), axis=0)) * np.max(np.sum(np.abs(inverse), axis=0))
        d, slope = jvp(derivative, (v,), (step,))
        return residual, condition, step, d, slope


def solution(
    name: str, F: Function, y: Any, args: tuple[Any, ...], how: Linear, symmetric: bool = False, report: bool = False
) -> Any:
    """Return y as a differentiable function of args; with `report` a pair with the report, whose parts are Arrays."""
    found = Solution(name, F, y, args, how, symmetric)
    return (found.tree, found.report_parts()) if report else found.tree


def reported(run: Function, report: bool) -> Any:
    """Run what gives a `solution`, and finish its report."""
    if not report:
        return _core.traced(run)

    y, parts = _core.traced(run)
    if any(isinstance(p, _core.Array) for p in parts):
        raise TypeError("report=True gives values: call it outside grad, jit, vmap and the like")
    return y, make_report(*parts)
