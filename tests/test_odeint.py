"""odeint against closed forms, SciPy, finite differences and JAX."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mlgrad import grad, jacfwd, jacobian, jacrev, jit, jvp, vmap
from mlgrad.implicit import ConvergenceError, odeint


def close(got, want, tolerance=1e-6):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.max(np.abs(want), initial=0.0))


def lotka_volterra(y, t, p):
    return np.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])


P, Y0, T = np.array([1.5, 1.0, 1.0, 3.0]), np.array([1.0, 1.0]), np.linspace(0.0, 8.0, 9)
TIGHT = {"rtol": 1e-11, "atol": 1e-11}


class TestClosedForms:
    def test_decay(self):
        t = np.array([0.0, 0.3, 1.0, 2.5])
        f = lambda y0, rate: odeint(lambda y, t, rate: -rate * y, y0, t, rate)
        close(f(2.0, 1.5), 2 * np.exp(-1.5 * t))
        close(jacobian(f)(2.0, 1.5), np.exp(-1.5 * t))
        for jac in (jacfwd, jacrev):
            close(jac(f, 1)(2.0, 1.5), -2 * t * np.exp(-1.5 * t))
            close(jacfwd(jac(f, 1), 1)(2.0, 1.5), 2 * t**2 * np.exp(-1.5 * t), 1e-5)

    def test_oscillator(self):
        t = np.linspace(0, 10, 50)
        f = lambda w: odeint(lambda y, t, w: np.stack([y[1], -(w**2) * y[0]]), np.array([1.0, 0.0]), t, w)[:, 0]
        close(f(2.0), np.cos(2 * t), 1e-5)
        close(jacobian(f)(2.0), -t * np.sin(2 * t), 1e-5)

    def test_explicit_time(self):
        # y' = y cos t: y = y0 exp(sin t)
        t = np.linspace(0, 6, 7)
        close(odeint(lambda y, t: y * np.cos(t), 1.3, t), 1.3 * np.exp(np.sin(t)))

    def test_times(self):
        # y' = -y from t0: dy(t1)/dt1 = y', dy(t1)/dt0 = +y(t1) for y(t0) held
        f = lambda t: odeint(lambda y, t: -y, 1.0, t)
        t = np.array([0.2, 0.7, 1.9])
        y = np.exp(-(t - t[0]))
        want = np.diag(-y) + np.outer(y, [1, 0, 0])
        want[0, 0] = 0
        for jac in (jacfwd, jacrev):
            close(jac(f)(t), want)

    def test_time_in_the_equation_and_in_the_limits(self):
        f = lambda t: odeint(lambda y, t: np.cos(t), 0.0, t)[-1]
        close(grad(f)(np.array([0.4, 1.0, 2.0])), [-math.cos(0.4), 0, math.cos(2.0)], 1e-5)

    def test_backwards(self):
        t = np.array([2.0, 1.0, 0.0])
        close(odeint(lambda y, t: -y, math.exp(-2.0), t), np.exp(-t))
        close(grad(lambda y0: odeint(lambda y, t: -y, y0, t)[-1])(1.0), math.exp(2))

    def test_one_time_and_equal_times(self):
        close(odeint(lambda y, t: y, np.ones(2), np.array([1.0])), [[1, 1]])
        close(odeint(lambda y, t: y, 1.0, np.array([0.0, 0.0, 1.0, 1.0])), [1, 1, math.e, math.e])

    def test_tree(self):
        f = lambda y, t: {"a": y["b"], "b": -y["a"]}
        out = odeint(f, {"a": np.zeros(2), "b": 1.0}, np.array([0.0, 1.0]))
        assert out["a"].shape == (2, 2)
        close(out["b"], [1.0, out["b"][1]])

    def test_float32(self):
        out = odeint(lambda y, t: -y, np.float32(1), np.array([0.0, 1.0], np.float32))
        assert out.dtype == np.float32
        close(out[1], math.exp(-1), 1e-4)


class TestLotkaVolterra:
    def loss(self, y0, p):
        return np.sum(odeint(lotka_volterra, y0, T, p, **TIGHT) ** 2)

    def reference(self, y0, p):
        found = solve_ivp(
            lambda t, y: lotka_volterra(y, t, p), (0, 8), y0, t_eval=T, method="DOP853", rtol=1e-13, atol=1e-13
        )
        return found.y.T

    def test_scipy(self):
        close(odeint(lotka_volterra, Y0, T, P, **TIGHT), self.reference(Y0, P), 1e-9)

    def test_gradients_against_finite_differences(self):
        want = []
        for k in range(6):
            d = 1e-5 * np.eye(6)[k]
            up, down = (np.sum(self.reference(Y0 + s * d[:2], P + s * d[2:]) ** 2) for s in (1, -1))
            want.append((up - down) / 2e-5)
        by_y, by_p = grad(self.loss, (0, 1))(Y0, P)
        close(np.concatenate([by_y, by_p]), want, 1e-6)
        by_y, by_p = jit(grad(self.loss, (0, 1)))(Y0, P)
        close(np.concatenate([by_y, by_p]), want, 1e-6)

    def test_forward_is_reverse(self):
        d = np.array([1.0, -0.5, 0.3, 2.0])
        forward = jvp(lambda p: self.loss(Y0, p), (P,), (d,))[1]
        close(forward, grad(self.loss, 1)(Y0, P) @ d, 1e-10)

    def test_second_order(self):
        g = grad(self.loss, 1)
        d = np.array([1.0, -0.5, 0.3, 2.0])
        got = jvp(lambda p: g(Y0, p), (P,), (d,))[1]
        close(got, (g(Y0, P + 1e-5 * d) - g(Y0, P - 1e-5 * d)) / 2e-5, 1e-5)

    def test_vmap_and_jit(self):
        starts = np.array([[1.0, 1.0], [2.0, 0.5], [0.3, 3.0]])
        f = lambda y0: odeint(lotka_volterra, y0, T, P)
        close(vmap(f)(starts), [f(y0) for y0 in starts], 1e-7)
        close(
            jit(vmap(grad(lambda y0: f(y0)[-1, 0])))(starts), [grad(lambda y0: f(y0)[-1, 0])(y0) for y0 in starts], 1e-6
        )
        close(jit(f)(Y0), f(Y0), 1e-12)

    def test_values_from_outside(self):
        f = lambda p: odeint(lambda y, t: lotka_volterra(y, t, p), Y0, T)[-1, 0]
        g = lambda p: odeint(lotka_volterra, Y0, T, p)[-1, 0]
        close(grad(f)(P), grad(g)(P), 1e-12)

    def test_jax(self):
        import jax
        from jax.experimental.ode import odeint as jax_odeint

        with jax.enable_x64(True):

            def theirs(y0, p):
                f = lambda y, t, p: jax.numpy.stack(
                    [p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]]
                )
                return jax.numpy.sum(jax_odeint(f, y0, T, p, rtol=1e-11, atol=1e-11) ** 2)

            want = jax.grad(theirs, (0, 1))(Y0, P)
            for a, b in zip(grad(self.loss, (0, 1))(Y0, P), want, strict=True):
                close(a, np.asarray(b), 1e-6)


class TestTolerances:
    @pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-8, 1e-10])
    def test_errors_follow(self, tol):
        got = odeint(lotka_volterra, Y0, T, P, rtol=tol, atol=tol)
        reference = odeint(lotka_volterra, Y0, T, P, rtol=1e-13, atol=1e-13)
        assert tol / 100 < np.max(np.abs(got - reference)) < 300 * tol

    def test_largest_step(self):
        # a short pulse that long steps jump over
        pulse = lambda y, t: np.exp(-((t - 5.0) ** 2) * 1e4)
        total = math.sqrt(math.pi / 1e4)
        close(odeint(pulse, 0.0, np.array([0.0, 10.0]), hmax=0.01)[1], total)


class TestRejectedSteps:
    def test_nan_in_a_step_that_was_tried_does_not_reach_the_gradient(self):
        # a step beyond y = 0 gives nan, and is tried again, shorter
        slope = lambda y, t, p: -p * np.sqrt(y)
        t = np.array([0.0, 1.999])
        end = lambda y0, p: odeint(slope, y0, t, p, rtol=1e-4, atol=1e-4)[1]
        root = 1.0 - t[1] / 2
        for transform in (lambda f: f, jit):
            y0, p = transform(grad(end, (0, 1)))(1.0, 1.0)
            np.testing.assert_allclose([y0, p], [root, -root * t[1]], atol=0.05)
            assert y0 > 0 > p
        assert np.isfinite(jvp(lambda p: end(1.0, p), (1.0,), (1.0,))[1])


class TestFailures:
    def test_the_solution_ends(self):
        # y' = y² from 1 blows up at t = 1
        with pytest.raises(ConvergenceError, match=r"could not be continued beyond t = (1|0\.99)") as caught:
            odeint(lambda y, t: y**2, 1.0, np.array([0.0, 2.0]))
        assert abs(caught.value.residual - 1) < 1e-3

    def test_not_a_number(self):
        with pytest.raises(ConvergenceError, match="nan"):
            odeint(lambda y, t: np.sqrt(y - 2), 1.0, np.array([0.0, 1.0]))

    def test_too_many_steps(self):
        with pytest.raises(ConvergenceError, match="more than 5"):
            odeint(lotka_volterra, Y0, T, P, mxstep=5)

    def test_one_of_a_batch(self):
        out = vmap(lambda y0: odeint(lambda y, t: y**2, y0, np.array([0.0, 2.0]))[1])(np.array([0.1, 1.0]))
        close(out[0], 1 / (1 / 0.1 - 2))
        assert np.isnan(out[1])

    def test_arguments(self):
        with pytest.raises(ValueError, match="vector of times"):
            odeint(lambda y, t: y, 1.0, 2.0)
        with pytest.raises(ValueError, match="increase or decrease"):
            odeint(lambda y, t: y, 1.0, np.array([0.0, 1.0, 0.5]))
        with pytest.raises(ValueError, match="structure of y"):
            odeint(lambda y, t: (y, y), 1.0, np.array([0.0, 1.0]))
        with pytest.raises(ValueError, match="f gives 2 numbers for the 1 of y"):
            odeint(lambda y, t: np.stack([y, y]), 1.0, np.array([0.0, 1.0]))
