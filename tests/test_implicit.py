"""Implicit functions: roots, fixed points, minima, linear systems, by any solver and under every transform."""

import math

import numpy as np
import pytest
import scipy.optimize

from mlgrad import grad, hessian, jacfwd, jacobian, jacrev, jit, jvp
from mlgrad.implicit import (
    ConvergenceError,
    argmin,
    custom_root,
    fixed_point,
    implicit_function,
    root,
)
from mlgrad.testing import check_grads


def close(got, want, tolerance=1e-9):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.max(np.abs(want), initial=0.0))


def cubic(y, a):
    return y**3 - a


def by_newton(a):
    return root(cubic, 1.0, a)


def by_scipy(a):
    return root(cubic, 1.0, a, solver=scipy.optimize.root)


def by_brentq(a):
    return root(cubic, 1.0, a, solver=lambda f, y0: scipy.optimize.brentq(f, 0, 10, xtol=1e-14, rtol=1e-14))


@custom_root(cubic)
def by_a_loop_of_ones_own(y0, a):
    y = float(y0)
    while abs(y**3 - a) > 1e-13 * a:
        y = (2 * y + a / y**2) / 3
    return y


def by_a_loop(a):
    return by_a_loop_of_ones_own(1.0, a)


def by_fixed_point(a):
    return fixed_point(lambda y, a: y - (y**3 - a) / 30, 1.5, a, maxiter=3000)


def by_argmin(a):
    return argmin(lambda y, a: y**4 / 4 - a * y, 1.0, a)


def from_outside(a):
    return root(lambda y: y**3 - a, 1.0)


CUBE_ROOTS = [by_newton, by_scipy, by_brentq, by_a_loop, by_fixed_point, by_argmin, from_outside]


@pytest.mark.parametrize("f", CUBE_ROOTS, ids=lambda f: f.__name__)
class TestEveryTransform:
    def test_value_and_slopes(self, f):
        close(f(8.0), 2.0)
        close(grad(f)(8.0), 1 / 12)
        close(jvp(f, (8.0,), (2.0,)), (2.0, 1 / 6))
        close(grad(grad(f))(8.0), -1 / 144)
        close(jacfwd(jacfwd(f))(8.0), -1 / 144)
        close(jacfwd(grad(f))(8.0), -1 / 144)
        close(jacrev(jacfwd(f))(8.0), -1 / 144)
        close(grad(grad(grad(f)))(8.0), 10 / 27 / 256)


class TestImplicitFunction:
    @staticmethod
    def circle(x, y):
        return x**2 + y**2 - 25

    def test_several_arguments_and_trees(self):
        def F(a, options, y):
            return {"sum": y["u"] + y["v"] - a, "product": np.sum(y["u"] * y["v"]) - options["b"] * options["times"]}

        y = implicit_function(F, {"u": 3.0, "v": 0.5})
        out = y(3.0, {"b": 1.0, "times": 2})
        close([out["u"], out["v"]], [2, 1])
        slope = grad(lambda a, b: y(a, {"b": b, "times": 2})["u"], (0, 1))(3.0, 1.0)
        # u + v = a, u v = 2 b: u' = u / (u - v) by a, -2 / (u - v) by b
        close(slope, (2.0, -2.0))

    def test_more_derivatives_agree_with_finite_differences(self):
        y = implicit_function(lambda x, s, y: np.tanh(y) + y * np.exp(s) - np.sum(x**2), 0.3)
        check_grads(y, (np.array([0.3, 0.8]), 0.4), order=2)

    def test_report(self):
        y = implicit_function(self.circle, 1.0, lambda f, y0: 4.00001, report=True)
        value, report = y(3.0)
        assert value == 4.00001
        close(report.residual, 4.00001**2 - 16)
        assert 1e-5 <= report.distance <= 3e-5
        assert abs(-3 / 4.00001 + 0.75) <= report.error < 1e-4
        with pytest.raises(TypeError, match="report"):
            grad(lambda x: y(x)[0])(3.0)


class TestRoot:
    def test_the_start_has_no_derivative(self):
        close(grad(lambda y0: root(cubic, y0, 8.0))(1.0), 0.0)

    def test_far_start(self):
        assert abs(root(lambda y: np.arctan(y), 20.0)) < 1e-12
        close(root(lambda y, a: np.exp(y) - a, 10.0, 2.0), math.log(2))

    def test_failure_gives_the_residual(self):
        with pytest.raises(ConvergenceError, match="largest element of F is 1") as caught:
            root(lambda y: y**2 + 1, 0.3)
        assert 1 <= caught.value.residual < 1.1
        with pytest.raises(ConvergenceError):
            jit(lambda a: root(lambda y, a: y**2 + a, 0.3, a))(1.0)
        g = jit(lambda a: root(lambda y, a: y**2 - a, 1.0, a))
        close(g(4.0), 2.0)
        with pytest.raises(ConvergenceError):
            g(-1.0)
        close(g(9.0), 3.0)

    def test_failure_of_a_black_box(self):
        with pytest.raises(ConvergenceError, match="the solver failed"):
            root(lambda y: y**2 + 1, 0.3, solver=scipy.optimize.root)
        with pytest.raises(ValueError, match="the solver returned"):
            root(lambda y: y - 1, 0.3, solver=lambda f, y0: np.ones(2))

    def test_singular(self):
        with pytest.raises(np.linalg.LinAlgError):
            grad(lambda a: root(lambda y, a: (y - a) ** 2, 0.0, a, solver=lambda f, y0: 2.0))(2.0)

    def test_shapes(self):
        with pytest.raises(ValueError, match="1 equations for 2 unknowns"):
            root(lambda y: y[:1], np.ones(2))
        with pytest.raises(TypeError, match="y0 must hold floats"):
            root(lambda y: y, "a")

    def test_float32(self):
        y = root(cubic, np.float32(1), np.float32(8))
        assert y.dtype == np.float32
        close(y, 2, 1e-6)

    def test_not_differentiated(self):
        # the solver works on plain NumPy values
        seen = []

        def solver(f, y0):
            seen.append(type(y0))
            y = y0
            for _ in range(100):
                y = y - f(y) / (3 * y**2)
            return y

        close(grad(lambda a: root(cubic, 1.0, a, solver=solver))(8.0), 1 / 12)
        assert all(issubclass(t, float | np.generic | np.ndarray) for t in seen)


class TestFromOutside:
    def test_two_levels(self):
        def f(a):
            def inner(b):
                return root(lambda y: y**3 - a * b, 1.0)

            return grad(inner)(2.0) * a

        # (a b)^(1/3), by b: a^(1/3) b^(-2/3) / 3
        close(f(8.0), 8 * 2 / 3 * 2 ** (-2 / 3))
        close(grad(f)(8.0), 4 / 9 * 8 ** (1 / 3) * 2 ** (-2 / 3))

    def test_arguments_and_values_from_outside(self):
        def f(a, b):
            scale = np.exp(a)
            return root(lambda y, b: scale * y**3 + y - b * a, 0.5, b)

        def g(a, b):
            return root(lambda y, a, b: np.exp(a) * y**3 + y - b * a, 0.5, a, b)

        close(hessian(f, (0, 1))(0.7, 1.3), hessian(g, (0, 1))(0.7, 1.3))


def cosine(x):
    return fixed_point(lambda y, x: np.cos(x * y), 0.5, x)


class TestFixedPoint:
    def test_cosine(self):
        x, y = 0.8, cosine(0.8)
        s = math.sin(x * y)
        close(y, math.cos(x * y))
        close(grad(cosine)(x), -y * s / (1 + x * s))
        check_grads(cosine, (x,), order=2)

    def test_no_contraction(self):
        with pytest.raises(ConvergenceError, match="contraction"):
            fixed_point(lambda y: 2 * y + 1, 0.5)

    def test_tree(self):
        out = fixed_point(lambda y, x: {"a": 0.5 * y["b"] + x, "b": np.cos(y["a"])}, {"a": 0.0, "b": 0.0}, 0.1)
        close(out["b"], math.cos(out["a"]))


class TestArgmin:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 4)), rng.normal(size=30)
    V, Z = rng.normal(size=(20, 4)), rng.normal(size=20)

    def ridge(self, w, strength):
        return np.sum((self.X @ w - self.Y) ** 2) + strength * np.sum(w**2)

    def test_implicit_sgd_step(self):
        # w₊ = argmin ½ (x·w - y)² + |w - w₀|²/(2 η), whose closed form is known
        x, y, eta = np.array([1.0, 2.0, -1.0]), 0.5, 0.3

        def step(w0):
            return argmin(
                lambda w, w0: 0.5 * (np.dot(x, w) - y) ** 2 + np.sum((w - w0) ** 2) / (2 * eta), np.zeros(3), w0
            )

        w0 = np.array([0.3, -0.2, 0.9])
        close(step(w0), w0 - eta / (1 + eta * x @ x) * (x @ w0 - y) * x)
        close(jacobian(step)(w0), np.eye(3) - eta / (1 + eta * x @ x) * np.outer(x, x))

    def test_maml(self):
        # a gradient through a gradient step: (I - α H) ∇L'(w - α ∇L(w))
        rng = np.random.default_rng(2)
        a, b, alpha = rng.normal(size=(4, 4)), rng.normal(size=4), 0.05

        def train(w):
            return np.sum(np.tanh(a @ w) ** 2)

        def test(w):
            return np.sum((w - b) ** 4)

        w = rng.normal(size=4)
        got = grad(lambda w: test(w - alpha * grad(train)(w)))(w)
        close(got, (np.eye(4) - alpha * hessian(train)(w)) @ grad(test)(w - alpha * grad(train)(w)), 1e-12)

    def test_implicit_maml(self):
        # the inner problem solved exactly, with a proximal term: (I + H/λ)⁻¹ ∇L' (Rajeswaran et al., 2019)
        rng = np.random.default_rng(2)
        a, b, strength = rng.normal(size=(4, 4)), rng.normal(size=4), 3.0

        def train(w):
            return np.sum(np.tanh(a @ w) ** 2)

        def adapted(w0):
            return argmin(lambda w, w0: train(w) + strength / 2 * np.sum((w - w0) ** 2), w0, w0)

        w0 = rng.normal(size=4) * 0.3
        w = adapted(w0)
        want = np.linalg.solve(np.eye(4) + hessian(train)(w) / strength, 2 * (w - b))
        close(grad(lambda w0: np.sum((adapted(w0) - b) ** 2))(w0), want)

    def test_no_minimum(self):
        with pytest.raises(ConvergenceError, match="did not find a minimum"):
            argmin(lambda y: np.sum(y), np.zeros(2))

    def test_report(self):
        _, report = argmin(self.ridge, np.zeros(4), 0.7, report=True)
        assert report.residual < 1e-12
        assert report.error < 1e-12
        close(report.condition, np.linalg.cond(self.X.T @ self.X + 0.7 * np.eye(4), 1))
