"""kkt: constrained minima, their multipliers, and the derivatives of both."""

import warnings

import numpy as np
import pytest

import mlgrad
from mlgrad import grad, jacfwd, jacobian, jacrev, jit, vmap
from mlgrad.implicit import ConvergenceError, kkt
from mlgrad.testing import check_grads


def close(got, want, tolerance=1e-8):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1.0, np.max(np.abs(want), initial=0.0)))


def square(y, c):
    return np.sum(y**2)


class TestLagrange:
    """Minimise x² + y² with x + y = c."""

    @staticmethod
    def nearest(c):
        return kkt(square, np.zeros(2), c, equality=lambda y, c: y[0] + y[1] - c)

    def test_solution_and_multiplier(self):
        found = self.nearest(3.0)
        close(found.y, [1.5, 1.5])
        close(found.equality, [-3.0])
        assert found.inequality.shape == found.active.shape == (0,)

    def test_sensitivities(self):
        close(jacobian(lambda c: self.nearest(c).y)(3.0), [0.5, 0.5])
        close(jacobian(lambda c: self.nearest(c).equality)(3.0), [-1.0])
        optimum = lambda c: square(self.nearest(c).y, c)
        for c in (0.5, 3.0):
            close(grad(optimum)(c), c)
            close(jit(grad(optimum))(c), c)
            close(grad(grad(optimum))(c), 1.0)
        close(vmap(grad(optimum))(np.array([0.5, 3.0])), [0.5, 3.0])

    def test_nonlinear_constraint(self):
        # the rectangle with the largest area in an ellipse x²/a² + y²/b² = 1 has corners a/√2, b/√2
        def corner(a, b):
            return kkt(
                lambda y, a, b: -4 * y[0] * y[1],
                np.array([0.9, 0.9]),
                a,
                b,
                equality=lambda y, a, b: (y[0] / a) ** 2 + (y[1] / b) ** 2 - 1,
            ).y

        close(corner(2.0, 1.5), np.array([2.0, 1.5]) / np.sqrt(2))
        by_a, by_b = jacobian(corner, (0, 1))(2.0, 1.5)
        close(by_a, [1 / np.sqrt(2), 0])
        close(by_b, [0, 1 / np.sqrt(2)])


def projected(c, **options):
    """The point nearest to c in the box y ≤ 1, y ≥ -2."""
    return kkt(
        lambda y, c: 0.5 * np.sum((y - c) ** 2),
        np.zeros(3),
        c,
        inequality=lambda y, c: {"above": y - 1, "below": -2 - y},
        **options,
    )


C = np.array([2.0, 0.3, -5.0])


class TestInequalities:
    def test_projection(self):
        found = projected(C)
        close(found.y, [1, 0.3, -2])
        close(found.inequality, [1, 0, 0, 0, 0, 3])
        assert found.active.tolist() == [True, False, False, False, False, True]
        assert not np.any(found.weakly_active)

    @pytest.mark.parametrize("jac", [jacfwd, jacrev])
    def test_sensitivities(self, jac):
        close(jac(lambda c: projected(c).y)(C), np.diag([0.0, 1, 0]))
        want = np.zeros((6, 3))
        want[0, 0], want[5, 2] = 1, -1
        close(jac(lambda c: projected(c).inequality)(C), want)
        close(jit(jac(lambda c: projected(c).y))(C), np.diag([0.0, 1, 0]))

    def test_jit_follows_the_active_set(self):
        f = jit(grad(lambda c: np.sum(projected(c).y ** 2)))
        close(f(C), [0, 0.6, 0])
        close(f(np.array([0.5, 4.0, -1.0])), [1.0, 0, -2.0])

    def test_vmap(self):
        batch = np.stack([C, -C, 0.1 * C])
        close(vmap(lambda c: projected(c).y)(batch), np.clip(batch, -2, 1))

    def test_weakly_active(self):
        with pytest.warns(UserWarning, match=r"\[1\] are weakly active"):
            found = projected(np.array([2.0, 1.0, 0.0]))
        close(found.y, [1, 1, 0], 1e-6)
        assert found.weakly_active.tolist() == [False, True, False, False, False, False]

    def test_both_kinds_and_curvature(self):
        # Hock and Schittkowski's problem 71, with its known solution
        def solve(total, product):
            return kkt(
                lambda x, total, product: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
                np.array([1.0, 5.0, 5.0, 1.0]),
                total,
                product,
                equality=lambda x, total, product: np.sum(x**2) - total,
                inequality=lambda x, total, product: np.concatenate(
                    [np.reshape(product - np.prod(x), (1,)), 1 - x, x - 5]
                ),
            )

        found = solve(40.0, 25.0)
        close(found.y, [1.0, 4.742999643, 3.821149984, 1.379408294])
        close(found.equality, [0.1614685668], 1e-6)
        close(found.inequality[:2], [0.5522936, 1.0878712], 1e-6)

        def value(total, product):
            x = solve(total, product).y
            return x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]

        # the envelope theorem: the derivatives of the optimal value are the multipliers
        close(grad(value, (0, 1))(40.0, 25.0), (-found.equality[0], found.inequality[0]), 1e-6)
        check_grads(value, (40.0, 25.0), order=2, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("jit_it", [False, True])
    def test_black_box(self, jit_it):
        def slsqp(f, y0, equality, inequality):
            assert equality is None
            return mlgrad.optimize.minimize(
                f, y0, method="SLSQP", tol=1e-14, constraints={"type": "ineq", "fun": lambda y: -inequality(y)["above"]}
            )

        wrap = jit if jit_it else lambda f: f
        c = np.array([2.0, 0.3, -1.0])
        close(wrap(lambda c: projected(c, solver=slsqp).y)(c), [1, 0.3, -1])
        close(wrap(lambda c: projected(c, solver=slsqp).inequality)(c), [1, 0, 0, 0, 0, 0])
        close(wrap(jacobian(lambda c: projected(c, solver=slsqp).y))(c), np.diag([0.0, 1, 1]))

    def test_values_from_outside(self):
        def optimum(limit):
            return np.sum(kkt(lambda y: np.sum((y - 3) ** 2), np.zeros(2), inequality=lambda y: y - limit).y)

        close(grad(optimum)(1.0), 2.0)

    def test_report(self):
        found, report = projected(C, report=True)
        assert report.residual < 1e-10
        assert 1 <= report.condition < 1e3
        close(found.y, [1, 0.3, -2])

    def test_infeasible(self):
        with pytest.raises(ConvergenceError, match="infeasible"):
            kkt(lambda y: np.sum(y**2), np.zeros(2), inequality=lambda y: np.stack([y[0] + 1, 1 - y[0]]))

    def test_dependent_constraints(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises((np.linalg.LinAlgError, ConvergenceError)):
                grad(
                    lambda c: np.sum(
                        kkt(square, np.zeros(2), c, equality=lambda y, c: np.stack([y[0] - c, 2 * (y[0] - c)])).y
                    )
                )(1.0)
