"""implicit_derivative: points on curves and systems, to any order."""

import math
import subprocess
import sys

import numpy as np
import pytest
import sympy

import mlgrad
from mlgrad.implicit import implicit_derivative


def close(got, want, tolerance=1e-12):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.max(np.abs(want), initial=0.0))


def newton(F, x, y):
    for _ in range(50):
        y = y - F(x, y) / mlgrad.grad(F, 1)(x, y)
    return float(y)


def circle(x, y):
    return x**2 + y**2 - 25


class TestWorkedExamples:
    def test_circle(self):
        close(implicit_derivative(circle)(3.0, 4.0), -3 / 4)
        close(implicit_derivative(circle, order=2)(3.0, 4.0), -25 / 64)
        close(implicit_derivative(circle, order=2)(4, 3), -25 / 27)

    def test_quadratic_form(self):
        close(implicit_derivative(lambda x, y: x**2 + x * y + y**2 - 7)(1.0, 2.0), -4 / 5)

    def test_ellipse(self):
        y = 3 * math.sqrt(3) / 2
        close(implicit_derivative(lambda x, y: x**2 / 4 + y**2 / 9 - 1)(1.0, y), -9 / (4 * y))

    @pytest.mark.parametrize("x", [0.3, 0.5, 0.9])
    def test_sine_of_a_product(self, x):
        F = lambda x, y: np.sin(x * y) - x
        y = math.asin(x) / x
        close(implicit_derivative(F)(x, y), (1 - y * math.cos(x * y)) / (x * math.cos(x * y)))

    @pytest.mark.parametrize(
        ("text", "F", "x", "start"),
        [
            ("x**3 + y**3 - 6*x*y", lambda x, y: x**3 + y**3 - 6 * x * y, 3.0, 3.1),
            ("x**3 + y**3 - 6*x*y", lambda x, y: x**3 + y**3 - 6 * x * y, 1.0, 0.2),
            ("exp(x*y) - x - y", lambda x, y: np.exp(x * y) - x - y, 0.3, 1.0),
            ("exp(x*y) - x - y", lambda x, y: np.exp(x * y) - x - y, 0.2, 1.2),
        ],
    )
    def test_to_order_four_as_sympy(self, text, F, x, start):
        point = newton(F, x, start)
        s, y = sympy.Symbol("x"), sympy.Function("y")
        equation = sympy.sympify(text).subs(sympy.Symbol("y"), y(s))
        values = {y(s): sympy.Float(point, 30), s: sympy.Float(x, 30)}
        slopes = {}
        for order in range(1, 5):
            slope = y(s).diff(s, order)
            solved = sympy.solve(equation.diff(s, order), slope)[0]
            for k in range(order - 1, 0, -1):
                solved = solved.subs(y(s).diff(s, k), sympy.Float(slopes[k], 30))
            slopes[order] = want = float(solved.subs(values).evalf())
            close(implicit_derivative(F, order=order)(x, point), want, 1e-11)

    def test_system(self):
        rng = np.random.default_rng(1)
        a, b = rng.normal(size=(2, 2)), rng.normal(size=(2, 2)) + 3 * np.eye(2)

        def F(x, y):
            return a @ x + b @ y + 0.1 * np.sin(y) - c

        x, y = rng.normal(size=2), rng.normal(size=2)
        c = a @ x + b @ y + 0.1 * np.sin(y)
        f_y = b + 0.1 * np.diag(np.cos(y))
        close(implicit_derivative(F)(x, y), -np.linalg.solve(f_y, a))


class TestShapes:
    def test_linear_equation_has_no_second_derivative(self):
        close(implicit_derivative(lambda x, y: 2 * y - 3 * x, order=2)(2.0, 3.0), 0.0)

    def test_matrices(self):
        # y is the inverse of x: dy = -y dx y, d²y = 2 y dx y dx y
        x = np.array([[2.0, 1.0], [0.5, 3.0]])
        y = np.linalg.inv(x)
        F = lambda x, y: x @ y - np.eye(2)
        first, second = implicit_derivative(F)(x, y), implicit_derivative(F, order=2)(x, y)
        assert first.shape == (2,) * 4
        assert second.shape == (2,) * 6
        d = np.array([[0.3, -0.2], [0.1, 0.7]])
        close(np.tensordot(first, d, 2), -y @ d @ y)
        close(np.tensordot(np.tensordot(second, d, 2), d, 2), 2 * y @ d @ y @ d @ y)

    def test_scalar_x_and_vector_y(self):
        F = lambda t, y: np.stack([y[0] - np.cos(t), y[1] - np.sin(t)])
        t = 0.7
        y = np.array([math.cos(t), math.sin(t)])
        for order, want in enumerate([[-y[1], y[0]], -y, [y[1], -y[0]], y], 1):
            close(implicit_derivative(F, order=order)(t, y), want)

    def test_vector_x_and_scalar_y(self):
        x = np.array([1.0, 2.0, 2.0])
        F = lambda x, r: r**2 - np.sum(x**2)
        close(implicit_derivative(F)(x, 3.0), x / 3)
        close(implicit_derivative(F, order=2)(x, 3.0), np.eye(3) / 3 - np.outer(x, x) / 27)

    def test_float32(self):
        d = implicit_derivative(circle)(np.float32(3), np.float32(4))
        assert d.dtype == np.float32
        close(d, -0.75, 1e-6)

    def test_other_numbers_of_equations(self):
        with pytest.raises(ValueError, match="F returns 3 elements for y of shape"):
            implicit_derivative(lambda x, y: np.stack([x, y, y]))(1.0, 1.0)


class TestChecks:
    def test_not_on_the_curve(self):
        with pytest.raises(ValueError, match=r"not on the curve.*F\(x, y\) = \[1\.\]"):
            implicit_derivative(circle)(1.0, 5.0)
        with pytest.raises(ValueError, match=r"not on the curve.*F\(x, y\) = \[-25\.\]"):
            implicit_derivative(circle)(0.0, 0.0)

    def test_tolerance(self):
        y = math.sqrt(24.0) + 1e-4
        with pytest.raises(ValueError, match="not on the curve"):
            implicit_derivative(circle)(1.0, y)
        close(implicit_derivative(circle, tol=1e-3)(1.0, y), -1 / y)

    def test_a_point_not_a_number(self):
        with pytest.raises((ValueError, np.linalg.LinAlgError)):
            implicit_derivative(circle)(3.0, math.nan)

    @pytest.mark.parametrize("point", [(5.0, 0.0), (-5.0, 0.0)])
    def test_singular(self, point):
        with pytest.raises(np.linalg.LinAlgError, match="F_y is singular"):
            implicit_derivative(circle)(*point)

    def test_singular_to_working_precision(self):
        a = np.array([[1.0, 2.0], [0.5, 1.0 + 1e-17]]) * 3.3
        a[1] += 1e-16
        with pytest.raises(np.linalg.LinAlgError, match="singular"):
            implicit_derivative(lambda x, y: a @ y - x)(np.zeros(2), np.zeros(2))

    def test_node_of_the_folium(self):
        with pytest.raises(np.linalg.LinAlgError, match="singular"):
            implicit_derivative(lambda x, y: x**3 + y**3 - 6 * x * y)(0.0, 0.0)

    def test_arguments(self):
        with pytest.raises(ValueError, match="order must be at least 1"):
            implicit_derivative(circle, order=0)
        with pytest.raises(TypeError, match="expected a function"):
            implicit_derivative(3.0)
        with pytest.raises(TypeError, match="x must hold floats"):
            implicit_derivative(circle)("a", 1.0)


class TestTransforms:
    def test_vmap_and_jit(self):
        x, y = np.array([3.0, 4.0, 0.0]), np.array([4.0, -3.0, 5.0])
        close(mlgrad.vmap(implicit_derivative(circle))(x, y), -x / y)
        close(mlgrad.jit(mlgrad.vmap(implicit_derivative(circle, order=2)))(x, y), -25 / y**3)

    def test_derivatives_of_the_derivative(self):
        # -x/y, whose partial derivatives are -1/y and x/y²; along the curve they add up to the second derivative
        by_x, by_y = mlgrad.grad(implicit_derivative(circle), (0, 1))(3.0, 4.0)
        close([by_x, by_y], [-1 / 4, 3 / 16])
        close(by_x + by_y * -0.75, -25 / 64)


class TestReport:
    @pytest.mark.parametrize("offset", [0.0, 1e-12, 1e-9, 1e-7, 1e-5, -1e-4])
    @pytest.mark.parametrize("order", [1, 2, 3])
    def test_the_bounds_hold(self, order, offset):
        y = math.sqrt(24.0)
        exact = [-1 / y, -25 / y**3, -75 / y**5][order - 1]
        got, report = implicit_derivative(circle, order=order, tol=1e-3, report=True)(1.0, y + offset)
        assert abs(got - exact) <= report.error
        assert abs(offset) <= report.distance + 1e-15
        assert report.error <= 5 * abs(got - exact) + 1e-12
        close(report.residual, abs(circle(1.0, y + offset)))
        close(report.condition, 1.0)
        assert "condition number" in str(report)

    def test_condition_number(self):
        rng = np.random.default_rng(3)
        a = rng.normal(size=(4, 4))
        _, report = implicit_derivative(lambda x, y: a @ y - x, report=True)(a @ np.ones(4), np.ones(4))
        close(report.condition, np.linalg.cond(a, 1), 1e-9)

    @pytest.mark.parametrize("seed", range(20))
    def test_the_bounds_hold_for_systems(self, seed):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(3, 3)) + 2 * np.eye(3)
        y = rng.normal(size=3)
        x = a @ y + 0.2 * y**3
        F = lambda x, y: a @ y + 0.2 * y**3 - x
        off = 1e-4 * rng.normal(size=3)
        got, report = implicit_derivative(F, tol=0.1, report=True)(x, y + off)
        exact = np.linalg.inv(a + 0.6 * np.diag(y**2))
        assert np.max(np.abs(off)) <= report.distance
        assert np.max(np.abs(got - exact)) <= report.error


def test_it_is_imported_when_it_is_used():
    code = (
        "import sys, mlgrad; assert not any('implicit' in m or 'optimize' in m for m in sys.modules); mlgrad.implicit"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
