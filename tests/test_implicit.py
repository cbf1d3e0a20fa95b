"""Implicit functions: roots, fixed points, minima, linear systems, by any solver and under every transform."""

import math

import numpy as np
import pytest
import scipy.optimize

import mlgrad
from mlgrad import grad, hessian, jacfwd, jacobian, jacrev, jit, jvp, vmap
from mlgrad.implicit import (
    ConvergenceError,
    Linear,
    argmin,
    custom_fixed_point,
    custom_root,
    fixed_point,
    implicit_derivative,
    implicit_function,
    linear_solve,
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

    def test_jit(self, f):
        g = jit(f)
        close([g(8.0), g(27.0)], [2.0, 3.0])
        g = jit(grad(f))
        close([g(8.0), g(27.0)], [1 / 12, 1 / 27])
        close(jit(grad(grad(f)))(27.0), -2 / 9 / 243)
        close(grad(jit(f))(8.0), 1 / 12)

    def test_vmap(self, f):
        a = np.array([1.0, 8.0, 27.0])
        close(vmap(f)(a), [1.0, 2.0, 3.0])
        close(vmap(grad(f))(a), 1 / 3 / np.array([1.0, 4.0, 9.0]))
        close(jit(vmap(grad(grad(f))))(a), -2 / 9 / np.array([1.0, 32.0, 243.0]))
        close(grad(lambda a: np.sum(vmap(f)(a)))(a), 1 / 3 / np.array([1.0, 4.0, 9.0]))


class TestImplicitFunction:
    @staticmethod
    def circle(x, y):
        return x**2 + y**2 - 25

    def test_both_branches(self):
        upper = implicit_function(self.circle, 1.0)
        lower = implicit_function(self.circle, 1.0, lambda f, y0: scipy.optimize.brentq(f, -10, 0, xtol=1e-14))
        close(upper(3.0), 4.0)
        close(lower(3.0), -4.0)
        close(grad(upper)(3.0), -0.75)
        close(grad(lower)(3.0), 0.75)
        close(grad(grad(upper))(3.0), -25 / 64)
        close(jit(grad(grad(lower)))(3.0), 25 / 64)

    @pytest.mark.parametrize(
        "solver",
        [None, scipy.optimize.root, lambda f, y0: scipy.optimize.fsolve(f, y0, xtol=1e-13), mlgrad.optimize.root],
    )
    def test_system_to_order_two(self, solver):
        def F(x, y):
            return np.stack([y[0] ** 2 + y[1] - x[0], y[1] ** 3 + y[0] * x[1] - 2])

        y = implicit_function(F, np.array([1.2, 0.9]), solver)
        x = np.array([2.0, 1.0])
        close(y(x), [1, 1])
        first = implicit_derivative(F)(x, np.ones(2))
        second = implicit_derivative(F, order=2)(x, np.ones(2))
        for jac in (jacfwd, jacrev):
            close(jac(y)(x), first, 1e-7)
            close(jacfwd(jac(y))(x), second, 1e-7)
            close(jit(jacrev(jac(y)))(x), second, 1e-7)

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

    def test_failure_of_one_example_is_nan(self):
        out = vmap(lambda a: root(lambda y, a: y**2 - a, 1.0, a))(np.array([4.0, -1.0, 9.0]))
        close(out[[0, 2]], [2.0, 3.0])
        assert np.isnan(out[1])

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

    def test_many_unknowns_by_products(self):
        # a tridiagonal system of 500: y + 0.1 y³ - neighbours/4 = b
        n = 500
        b = np.random.default_rng(0).normal(size=n)

        def F(y, b):
            left = np.concatenate([np.zeros(1), y[:-1]])
            right = np.concatenate([y[1:], np.zeros(1)])
            return y + 0.1 * y**3 - 0.25 * (left + right) - b

        loss = lambda b: np.sum(root(F, np.zeros(n), b) ** 2)
        y = root(F, np.zeros(n), b)
        assert np.max(np.abs(F(y, b))) < 1e-9
        j = np.eye(n) + np.diag(0.3 * y**2) - 0.25 * (np.eye(n, k=1) + np.eye(n, k=-1))
        want = np.linalg.solve(j.T, 2 * y)
        close(grad(loss)(b), want, 1e-8)
        close(jit(grad(loss))(b), want, 1e-8)
        d = np.random.default_rng(1).normal(size=n)
        curvature = jvp(grad(loss), (b,), (d,))[1]
        step = 1e-5
        close(curvature, (grad(loss)(b + step * d) - grad(loss)(b - step * d)) / (2 * step), 1e-6)

    def test_python_branches_in_the_equation(self):
        F = lambda y, a: y**3 - a if y > 0 else y - a
        close(root(F, -3.0, 8.0), 2.0)
        close(grad(lambda a: root(F, -3.0, a))(8.0), 1 / 12)

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

    def test_the_other_solvers(self):
        x = np.random.default_rng(0).normal(size=(3, 3)) + 4 * np.eye(3)
        b = np.ones(3)
        close(
            grad(lambda k: np.sum(linear_solve(lambda v: x @ v + k * v, b, method="gmres")))(0.3),
            -np.sum(np.linalg.inv(x + 0.3 * np.eye(3)) @ np.linalg.solve(x + 0.3 * np.eye(3), b)),
        )
        close(grad(lambda s: fixed_point(lambda y: np.cos(s * y), 0.5))(0.8), grad(cosine)(0.8))


def cosine(x):
    return fixed_point(lambda y, x: np.cos(x * y), 0.5, x)


class TestFixedPoint:
    def test_cosine(self):
        x, y = 0.8, cosine(0.8)
        s = math.sin(x * y)
        close(y, math.cos(x * y))
        close(grad(cosine)(x), -y * s / (1 + x * s))
        check_grads(cosine, (x,), order=2)

    def test_decorator(self):
        @custom_fixed_point(lambda y, x: np.cos(x * y))
        def solve(y, x):
            for _ in range(300):
                y = math.cos(x * y)
            return y

        close(grad(solve, 1)(0.5, 0.8), grad(cosine)(0.8))
        close(jit(grad(grad(solve, 1), 1))(0.5, 0.8), grad(grad(cosine))(0.8))

    def test_a_solver_of_ones_own(self):
        def steffensen(T, y):
            for _ in range(50):
                a, b = T(y), T(T(y))
                if b - 2 * a + y == 0:
                    break
                y = y - (a - y) ** 2 / (b - 2 * a + y)
            return y

        mine = lambda x: fixed_point(lambda y, x: np.cos(x * y), 0.5, x, solver=steffensen)
        for transform in (lambda f: f, grad, lambda f: grad(grad(f)), jit, lambda f: jit(grad(f))):
            close(transform(mine)(0.8), transform(cosine)(0.8))

    def test_contraction_on_a_vector_without_a_jacobian(self, monkeypatch):
        n = 1000
        rng = np.random.default_rng(0)
        m = rng.normal(size=(n, n)) / np.sqrt(n) * 0.8
        x = rng.normal(size=n)

        def T(y, x):
            return 0.5 * np.tanh(m @ y + x)

        eye = np.eye
        monkeypatch.setattr(np, "eye", lambda k, *a, **o: pytest.fail("a Jacobian") if k >= n else eye(k, *a, **o))
        loss = lambda x: np.sum(fixed_point(T, np.zeros(n), x) ** 2)
        got = grad(loss)(x)
        monkeypatch.undo()
        y = fixed_point(T, np.zeros(n), x)
        close(T(y, x), y)
        d = 0.5 * (1 - np.tanh(m @ y + x) ** 2)
        close(got, d * np.linalg.solve(np.eye(n) - (d[:, None] * m).T, 2 * y), 1e-8)

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

    @pytest.mark.parametrize("method", ["dense", "cg", "gmres"])
    @pytest.mark.parametrize("solver", [None, mlgrad.optimize.minimize])
    def test_ridge_regression(self, method, solver):
        def w(s):
            return argmin(self.ridge, np.zeros(4), s, linear=Linear(method), solver=solver)

        s = 0.7
        inverse = np.linalg.inv(self.X.T @ self.X + s * np.eye(4))
        want = inverse @ self.X.T @ self.Y
        tolerance = 1e-9 if solver is None else 1e-5
        close(w(s), want, tolerance)
        close(jacobian(w)(s), -inverse @ want, tolerance)
        close(jacrev(w)(s), -inverse @ want, tolerance)
        close(jacfwd(jacrev(w))(s), 2 * inverse @ inverse @ want, tolerance)

    def test_hypergradient(self):
        def validation(s):
            return np.mean((self.V @ argmin(self.ridge, np.zeros(4), s) - self.Z) ** 2)

        s = 0.7
        a = self.X.T @ self.X + s * np.eye(4)
        w = np.linalg.solve(a, self.X.T @ self.Y)
        want = 2 / 20 * (self.V.T @ (self.V @ w - self.Z)) @ -np.linalg.solve(a, w)
        close(grad(validation)(s), want)
        close(jit(grad(validation))(s), want)
        strengths = np.array([0.1, 0.7, 3.0])
        close(vmap(grad(validation))(strengths)[1], want)
        close(vmap(grad(validation))(strengths), [grad(validation)(t) for t in strengths])
        check_grads(validation, (s,), order=2)

    def test_bilevel_descent(self):
        def validation(log_strength):
            return np.mean((self.V @ argmin(self.ridge, np.zeros(4), np.exp(log_strength)) - self.Z) ** 2)

        found = mlgrad.optimize.minimize(validation, 0.0, tol=1e-9)
        grid = np.linspace(-5, 10, 400)
        assert found.fun <= np.min(vmap(validation)(grid)) + 1e-9

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

    @pytest.mark.parametrize("linear", [Linear("dense"), Linear("cg")])
    def test_a_curved_valley(self, linear):
        def valley(y, a):
            return np.sum(100 * (y[1:] - y[:-1] ** 2) ** 2 + (a - y[:-1]) ** 2)

        close(argmin(valley, np.array([-0.5, 0.3]), 1.5, linear=linear), [1.5, 2.25])
        close(jacobian(lambda a: argmin(valley, np.array([-0.5, 0.3]), a, linear=linear))(1.5), [1.0, 3.0], 1e-7)

    def test_no_minimum(self):
        with pytest.raises(ConvergenceError, match="did not find a minimum"):
            argmin(lambda y: np.sum(y), np.zeros(2))

    def test_report(self):
        _, report = argmin(self.ridge, np.zeros(4), 0.7, report=True)
        assert report.residual < 1e-12
        assert report.error < 1e-12
        close(report.condition, np.linalg.cond(self.X.T @ self.X + 0.7 * np.eye(4), 1))


class TestLinearSolve:
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(40, 40)) + 8 * np.eye(40), rng.normal(size=40)
    S = A @ A.T

    @pytest.mark.parametrize("method", ["dense", "gmres"])
    def test_general(self, method):
        close(linear_solve(self.A, self.B, method=method), np.linalg.solve(self.A, self.B))
        close(linear_solve(lambda v: self.A @ v, self.B, method=method), np.linalg.solve(self.A, self.B))

        def loss(a, b):
            return np.sum(linear_solve(lambda v, a: a @ v, b, a, method=method) ** 2)

        x = np.linalg.solve(self.A, self.B)
        w = np.linalg.solve(self.A.T, 2 * x)
        by_a, by_b = grad(loss, (0, 1))(self.A, self.B)
        close(by_b, w)
        close(by_a, -np.outer(w, x))
        close(jit(grad(loss))(self.A, self.B), -np.outer(w, x))
        close(jacfwd(lambda b: linear_solve(self.A, b, method=method))(self.B), np.linalg.inv(self.A))

    @pytest.mark.parametrize("n", [1, 3, 4, 30, 100, 270])
    @pytest.mark.parametrize("lowest", [1.0, -1.0], ids=["definite", "indefinite"])
    def test_symmetric_dense(self, n, lowest):
        # by Cholesky's factor where there is one, else by elimination
        rng = np.random.default_rng(n)
        q = np.linalg.qr(rng.normal(size=(n, n)))[0]
        eigenvalues = np.arange(1.0, n + 1) * (lowest ** np.arange(n))
        s = (q * eigenvalues) @ q.T
        s, b = (s + s.T) / 2, rng.normal(size=n)
        solve = lambda s, b: linear_solve(s, b, symmetric=True, method="dense")
        x, inverse = np.linalg.solve(s, b), np.linalg.inv(s)
        close(solve(s, b), x)
        close(jit(jacobian(solve, 1))(s, b), inverse)
        close(grad(lambda s: np.sum(solve(s, b)))(s), -np.outer(np.sum(inverse, axis=0), x))
        close(jvp(lambda s: solve(s, b), (s,), (s,))[1], -x)
        close(vmap(solve)(np.stack([s, 2 * s]), np.stack([b, b])), np.stack([x, x / 2]))
        close(solve(s.astype(np.float32), b.astype(np.float32)), x, 1e-3)

    def test_symmetric_and_singular(self):
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            linear_solve(np.full((2, 2), 3.0), np.ones(2), symmetric=True, method="dense")

    @pytest.mark.parametrize("method", ["dense", "cg", "gmres"])
    def test_symmetric_to_order_two(self, method):
        def f(k, b):
            return np.sum(linear_solve(lambda v, k: self.S @ v + k * v, b, k, symmetric=True, method=method))

        def plain(k, b):
            return np.sum(np.linalg.solve(self.S + k * np.eye(40), b))

        close(f(2.0, self.B), plain(2.0, self.B))
        close(grad(f)(2.0, self.B), grad(plain)(2.0, self.B), 1e-8)
        close(grad(grad(f))(2.0, self.B), grad(grad(plain))(2.0, self.B), 1e-8)
        close(jacfwd(grad(f, 1))(2.0, self.B), jacfwd(grad(plain, 1))(2.0, self.B), 1e-8)
        ks = np.array([1.0, 2.0, 4.0])
        close(vmap(f, (0, None))(ks, self.B), [plain(k, self.B) for k in ks])
        close(vmap(grad(f), (0, None))(ks, self.B), [grad(plain)(k, self.B) for k in ks], 1e-8)

    def test_restarts(self):
        x = linear_solve(lambda v: self.A @ v, self.B, method="gmres", restart=4, tol=1e-12)
        close(x, np.linalg.solve(self.A, self.B))

    def test_trees(self):
        b = {"a": np.array([1.0, 2.0]), "b": 3.0}
        x = linear_solve(lambda v: {"a": 2 * v["a"] + v["b"], "b": 4 * v["b"] + np.sum(v["a"])}, b, method="gmres")
        close(2 * x["a"] + x["b"], b["a"])
        close(4 * x["b"] + np.sum(x["a"]), 3.0)

    def test_zero_right_side(self):
        for method in ("cg", "gmres", "dense"):
            close(linear_solve(lambda v: self.S @ v, np.zeros(40), method=method, symmetric=True), np.zeros(40))

    def test_failures_give_the_residual(self):
        with pytest.raises(ConvergenceError, match="cg reached a relative residual of") as caught:
            linear_solve(lambda v: self.S @ v, self.B, method="cg", maxiter=2)
        assert 1e-3 < caught.value.residual < 10
        with pytest.raises(ConvergenceError, match="gmres reached"):
            linear_solve(lambda v: self.A @ v, self.B, method="gmres", maxiter=2, restart=2)
        with pytest.raises(ConvergenceError, match="not positive definite"):
            linear_solve(lambda v: -v, self.B, method="cg")
        with pytest.raises(ConvergenceError):
            linear_solve(lambda v: np.concatenate([v[:1] * 0, v[1:]]), self.B, method="gmres")
        with pytest.raises(np.linalg.LinAlgError):
            linear_solve(np.zeros((2, 2)), np.ones(2))

    def test_arguments(self):
        with pytest.raises(ValueError, match="method must be one of"):
            linear_solve(self.A, self.B, method="lu")
        with pytest.raises(ValueError, match="A must be 3 by 3"):
            linear_solve(np.eye(2), np.ones(3))
        with pytest.raises(ValueError, match="must be square"):
            linear_solve(lambda v: v[:2], np.ones(3))


def test_a_minimum_where_the_objective_is_a_small_difference_of_large_numbers():
    """Rounding hides what the last steps gain, in f but not in its gradient."""
    rng = np.random.default_rng(0)
    for n in (3, 210):  # damped steps, truncated conjugate gradients
        for _ in range(12):
            x, y = rng.uniform(-1, 1, (2, n))
            f = lambda z, x, y, at=0.0: np.sum((z - x) ** 2) + np.sum(np.sin(z) * y) / 5 + np.sum(z**4) / 10 - at
            first = argmin(f, np.zeros(n), x, y)
            again = argmin(f, np.zeros(n), x, y, float(f(first, x, y)))
            np.testing.assert_allclose(again, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize("condition", [1e4, 1e6, 1e8, 1e10])
def test_roots_of_ill_conditioned_equations(condition):
    """No step makes F smaller than rounding does: that is the root."""
    rng = np.random.default_rng(1)
    for n in (5, 6):
        u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
        a = u * np.geomspace(1, 1 / condition, n) @ v
        y = rng.standard_normal(n)
        for _ in range(5):
            found = root(lambda y, b: a @ y - b, np.zeros(n), a @ y)
            np.testing.assert_allclose(found, y, rtol=0, atol=1e-14 * condition)


def test_no_root_and_no_minimum_still_fail():
    for F in (lambda y: y**2 + 1, lambda y: y**2 + 1e-12, lambda y: np.exp(y), lambda y: np.abs(y) + 1e-3):
        with pytest.raises((ConvergenceError, np.linalg.LinAlgError)):
            root(F, 1.3)
    for f in (lambda y: -(y**2) + 0.1 * y, lambda y: y, lambda y: -np.exp(-y)):
        with pytest.raises((ConvergenceError, np.linalg.LinAlgError)):
            argmin(f, 1.3, maxiter=60)
