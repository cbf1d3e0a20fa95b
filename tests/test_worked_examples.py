"""The derivatives that one meets when one learns the subject, against their closed forms."""

import math

import numpy as np
import pytest

import mlgrad
from mlgrad import nn
from mlgrad.testing import check_grads

SEVERAL = [-1.3, -0.4, 0.3, 0.7, 1.1]


def close(got, want, tolerance=1e-12):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.max(np.abs(want), initial=0.0))


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def every_way(f, x):
    """f'(x) by each transform; they must agree, and the caller compares one with the closed form."""
    by_grad = mlgrad.grad(f)(x)
    close(mlgrad.jvp(f, (x,), (1.0,))[1], by_grad)
    close(mlgrad.vjp(f, x)[1](np.float64(1.0))[0], by_grad)
    close(mlgrad.jit(mlgrad.grad(f))(x), by_grad)
    close(mlgrad.vmap(mlgrad.grad(f))(np.array([x, x])), [by_grad, by_grad])
    with mlgrad.Tape() as t:
        v = t.variable(x)
        f(v).backward()
    close(v.grad, by_grad)
    return by_grad


class TestChainRule:
    def test_sin_of_a_square(self):
        def f(x):
            return np.sin(x**2)

        value, slope = mlgrad.value_and_grad(f)(1.5)
        close(value, 0.7780731968879212)
        close(slope, -1.8845208681682175)
        close(every_way(f, 1.5), 2 * 1.5 * math.cos(1.5**2))

    def test_logarithm(self):
        close(every_way(lambda x: np.log(3 * x**2 + 1), 2.0), 12 / 13)

    def test_sin_of_five_squares(self):
        close(every_way(lambda x: np.sin(5 * x**2), 0.7), 7 * math.cos(5 * 0.49))

    def test_fifth_power(self):
        close(every_way(lambda x: (3 * x**2 + 1) ** 5, 2.0), 1713660.0)

    def test_gaussian(self):
        close(every_way(lambda x: np.exp(-(x**2)), 1.0), -2 * math.exp(-1))

    @pytest.mark.parametrize("x", SEVERAL)
    def test_layers(self, x):
        e = math.exp
        s, c = math.sin(x), math.cos(x)
        q, r = math.sin(x * x), math.cos(x * x)
        inner = math.sqrt(1 + x * x)
        close(every_way(lambda x: np.sin(x) ** 3, x), 3 * s**2 * c)
        close(every_way(lambda x: np.cos(np.sin(x**2)), x), -math.sin(q) * r * 2 * x)
        close(every_way(lambda x: np.sqrt(1 + x**2), x), x / inner)
        close(
            every_way(lambda x: np.sqrt(1 + np.sqrt(1 + x**2)), x),
            1 / (2 * math.sqrt(1 + inner)) * x / inner,
        )
        close(every_way(lambda x: np.exp(np.sin(x**2)), x), e(q) * r * 2 * x)
        if 0 < e(x) < math.pi:
            close(every_way(lambda x: np.log(np.sin(np.exp(x))), x), math.cos(e(x)) / math.sin(e(x)) * e(x))
        if e(x * x) < math.pi / 2:
            close(every_way(lambda x: np.log(np.cos(np.exp(x**2))), x), -math.tan(e(x * x)) * e(x * x) * 2 * x)

    @pytest.mark.parametrize("x", SEVERAL)
    def test_two_paths(self, x):
        def f(x):
            u = x**2
            return x + u

        close(every_way(f, x), 1 + 2 * x)
        close(every_way(lambda x: np.sin(f(x)), x), math.cos(x + x * x) * (1 + 2 * x))

    def test_polynomial(self):
        close(every_way(lambda x: 3 * x**4 - 5 * x**2 + 7 * x - 2, 1.0), 9.0)

    @pytest.mark.parametrize("x", SEVERAL)
    def test_product_quotient_and_power(self, x):
        s, c, e = math.sin(x), math.cos(x), math.exp(x)
        close(every_way(lambda x: np.sin(x) * np.exp(x), x), c * e + s * e)
        close(every_way(lambda x: np.sin(x) / (2 + np.cos(x)), x), (c * (2 + c) + s * s) / (2 + c) ** 2)
        for n in (-2, 0, 0.5, 1, 2.5, 3, math.pi):
            close(every_way(lambda x, n=n: x**n, abs(x)), n * abs(x) ** (n - 1))

    @pytest.mark.parametrize("x", SEVERAL)
    def test_second_derivative(self, x):
        def f(x):
            return np.sin(x**2)

        want = 2 * math.cos(x * x) - 4 * x * x * math.sin(x * x)
        close(mlgrad.grad(mlgrad.grad(f))(x), want)
        close(mlgrad.jvp(mlgrad.grad(f), (x,), (1.0,))[1], want)
        close(mlgrad.grad(lambda x: mlgrad.jvp(f, (x,), (1.0,))[1])(x), want)
        close(mlgrad.jvp(lambda x: mlgrad.jvp(f, (x,), (1.0,))[1], (x,), (1.0,))[1], want)
        close(mlgrad.jit(mlgrad.grad(mlgrad.grad(f)))(x), want)

    @pytest.mark.parametrize("x", [-40.0, -1.0, 0.0, 0.5, 40.0])
    def test_activations(self, x):
        s = 1 / (1 + math.exp(-x))
        close(every_way(nn.softplus, x), s)
        np.testing.assert_allclose(every_way(nn.sigmoid, x), s * (1 - s), rtol=1e-12, atol=1e-16)
        close(every_way(np.tanh, x), 1 - math.tanh(x) ** 2)
        assert every_way(nn.relu, x) == (1.0 if x > 0 else 0.0)
        for f in (nn.softplus, nn.sigmoid, np.tanh, nn.relu, nn.gelu, nn.silu):
            assert np.isfinite(mlgrad.grad(mlgrad.grad(f))(x))


class TestSeveralVariables:
    @staticmethod
    def f(x, y, z):
        return np.sin(x) * np.exp(y * z**2)

    @pytest.mark.parametrize(("x", "y", "z"), [(0.3, -0.7, 1.1), (1.9, 0.4, -0.6)])
    def test_partial_derivatives(self, x, y, z):
        e = math.exp(y * z * z)
        want = (math.cos(x) * e, z * z * math.sin(x) * e, 2 * y * z * math.sin(x) * e)
        for k, name in enumerate("xyz"):
            close(mlgrad.grad(self.f, k)(x, y, z), want[k])
            close(mlgrad.grad(self.f, argnames=name)(x=x, y=y, z=z), want[k])
        for got, w in zip(mlgrad.grad(self.f, (0, 1, 2))(x, y, z), want, strict=True):
            close(got, w)

    def test_gradient_and_mixed_partial(self):
        def f(v):
            return 3 * v[0] ** 2 * v[1]

        v = np.array([1.5, -2.0])
        close(mlgrad.grad(f)(v), [6 * v[1] * v[0], 3 * v[0] ** 2])

        def g(x, y):
            return 3 * x**2 * y

        close(mlgrad.grad(mlgrad.grad(g, 1), 0)(1.5, -2.0), 9.0)
        close(mlgrad.grad(mlgrad.grad(g, 0), 1)(1.5, -2.0), 9.0)

    def test_total_derivative(self):
        t = 0.8
        x, y = math.cos(t), math.sin(t)
        whole = mlgrad.grad(lambda t: np.cos(t) ** 2 * np.sin(t))(t)
        close(whole, 2 * x * y * -y + x * x * x)
        fx, fy = mlgrad.grad(lambda x, y: x**2 * y, (0, 1))(x, y)
        close(fx * mlgrad.grad(np.cos)(t) + fy * mlgrad.grad(np.sin)(t), whole)

    def test_change_of_variables(self):
        u, v = 0.7, -0.2

        def f(w):
            return np.exp(w[0] * w[1])

        def g(w):
            return np.stack([w[0] + w[1], w[0] - w[1]])

        point = np.array([u, v])
        z = math.exp(u * u - v * v)
        got = mlgrad.grad(lambda w: f(g(w)))(point)
        close(got, [2 * u * z, -2 * v * z])
        jacobian = mlgrad.vmap(lambda e: mlgrad.jvp(g, (point,), (e,))[1], out_axes=1)(np.eye(2))
        close(jacobian, [[1, 1], [1, -1]])
        close(mlgrad.grad(f)(g(point)) @ jacobian, got)

    def test_mean_squared_error_behind_a_relu(self):
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((100_000, 20)), rng.standard_normal(100_000)
        w, b = rng.standard_normal(20), 0.3

        def cost(w, b):
            return np.mean((y - np.maximum(0, X @ w + b)) ** 2)

        z = X @ w + b
        residual = -2 * (y - np.maximum(0, z)) * (z > 0) / len(y)
        for transform in (mlgrad.grad(cost, (0, 1)), mlgrad.jit(mlgrad.grad(cost, (0, 1)))):
            gw, gb = transform(w, b)
            close(gw, X.T @ residual, 1e-11)
            close(gb, np.sum(residual), 1e-11)

    def test_jacobian_of_softmax(self):
        x = np.array([0.2, -1.3, 2.1, 0.0])
        p = np.exp(x) / np.sum(np.exp(x))
        want = np.diag(p) - np.outer(p, p)
        forward = mlgrad.vmap(lambda e: mlgrad.jvp(nn.softmax, (x,), (e,))[1], out_axes=1)(np.eye(4))
        _, pull = mlgrad.vjp(nn.softmax, x)
        reverse = mlgrad.vmap(lambda e: mlgrad.vjp(nn.softmax, x)[1](e)[0])(np.eye(4))
        close(forward, want)
        close(reverse, want)
        close(np.stack([pull(e)[0] for e in np.eye(4)]), want)

    def test_softmax_and_cross_entropy(self):
        z = np.array([0.2, -1.3, 2.1, 0.0])
        p = np.exp(z) / np.sum(np.exp(z))
        close(mlgrad.grad(lambda z: nn.softmax_cross_entropy(z, 1))(z), p - np.eye(4)[1])
        y = np.array([0.1, 0.2, 0.3, 0.4])
        close(mlgrad.grad(lambda z: nn.softmax_cross_entropy(z, y))(z), p - y)

    def test_normalisations_and_attention(self):
        rng = np.random.default_rng(0)

        def layer_norm(x, gain, shift):
            centred = x - np.mean(x, axis=-1, keepdims=True)
            return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5) * gain + shift

        def batch_norm(x, gain, shift):
            return (x - np.mean(x, axis=0)) / np.sqrt(np.var(x, axis=0) + 1e-5) * gain + shift

        def attention(q, k, v):
            return nn.softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v

        x, gain, shift = rng.standard_normal((4, 5)), rng.standard_normal(5), rng.standard_normal(5)
        q, k, v = (rng.standard_normal((3, 4)) for _ in range(3))
        check_grads(layer_norm, (x, gain, shift), rtol=1e-7, atol=1e-7)
        check_grads(batch_norm, (x, gain, shift), rtol=1e-7, atol=1e-7)
        check_grads(attention, (q, k, v), rtol=1e-7, atol=1e-7)


class TestBackpropagation:
    def test_two_layers(self):
        def loss(W1, b1, W2, b2, x, y):
            a1 = sigmoid(W1 * x + b1)
            a2 = sigmoid(W2 * a1 + b2)
            return 0.5 * (a2 - y) ** 2, (W1 * x + b1, a1, W2 * a1 + b2, a2)

        arguments = (0.5, 0.1, 0.8, 0.2, 2.0, 1.0)
        (value, aux), gradients = mlgrad.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(*arguments)
        # figures to eight decimals, as the exercise gives them
        np.testing.assert_allclose(aux, (1.1, 0.75026011, 0.80020808, 0.69001899), atol=5.1e-9)
        np.testing.assert_allclose(value, 0.04804411, atol=5.1e-9)
        np.testing.assert_allclose(gradients, (-0.01987701, -0.0099385, -0.04974427, -0.0663027), atol=5.1e-9)
        # and the closed form to all of them
        a1, a2 = aux[1], aux[3]
        d2 = (a2 - 1.0) * a2 * (1 - a2)
        d1 = d2 * 0.8 * a1 * (1 - a1)
        close(gradients, (d1 * 2.0, d1, d2 * a1, d2))

    def test_three_layers(self):
        rng = np.random.RandomState(42)
        x = rng.randn(4, 1)
        W = [rng.randn(8, 4) * 0.5, rng.randn(4, 8) * 0.5, rng.randn(1, 4) * 0.5]
        b = [np.zeros((n, 1)) for n in (8, 4, 1)]

        def forward(W, b):
            a = [x]
            for Wk, bk in zip(W, b, strict=True):
                a.append(sigmoid(Wk @ a[-1] + bk))
            return a

        def loss(W, b):
            return np.sum(0.5 * (forward(W, b)[-1] - 1.0) ** 2)

        a = forward(W, b)
        d = (a[3] - 1.0) * a[3] * (1 - a[3])
        by_hand = []
        for k in (2, 1, 0):
            by_hand.insert(0, (d @ a[k].T, d))
            d = W[k].T @ d * a[k] * (1 - a[k])
        for transform in (mlgrad.value_and_grad(loss, (0, 1)), mlgrad.jit(mlgrad.value_and_grad(loss, (0, 1)))):
            value, (gW, gb) = transform(W, b)
            close(value, loss(W, b))
            for k in range(3):
                close(gW[k], by_hand[k][0])
                close(gb[k], by_hand[k][1])
            # figures to eight decimals, as the exercise gives them
            np.testing.assert_allclose(value, 0.07247575, atol=5.1e-9)
            sums = [np.sum(np.abs(g)) for g in gW]
            np.testing.assert_allclose(sums, (0.03398996, 0.10656471, 0.15787038), atol=5.1e-9)

    def test_log_loss(self):
        w, x, y = np.array([0.3, -0.8, 0.5]), np.array([1.0, 2.0, -1.5]), 1.0

        def loss(w):
            p = sigmoid(w @ x)
            return -(y * np.log(p) + (1 - y) * np.log(1 - p))

        p = 1 / (1 + math.exp(-(w @ x)))
        close(mlgrad.grad(loss)(w), (p - y) * x)
        close(mlgrad.grad(lambda w: nn.sigmoid_cross_entropy(w @ x, y))(w), (p - y) * x)

    @pytest.mark.parametrize("x", [-2.0, 0.5, 3.0])
    def test_ten_layers(self, x):
        factors, a = [], x
        for _ in range(10):
            a = 1 / (1 + math.exp(-a))
            factors.append(a * (1 - a))

        def deep(x):
            for _ in range(10):
                x = sigmoid(x)
            return x

        assert max(factors) <= 0.25
        slope = every_way(deep, x)
        close(slope, math.prod(factors))
        assert slope <= 0.25**10
