"""Control flow with recorded bodies: values and derivatives against Python loops and against JAX."""

import functools
import gc
import pickle
import subprocess
import sys
import textwrap
from typing import NamedTuple

import jax
import numpy as np
import pytest

import mlgrad
import mlgrad.numpy as mnp
from mlgrad import checkpoint, cond, fori_loop, scan, switch, while_loop
from mlgrad.implicit import root
from mlgrad.testing import check_grads

jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

XS = np.linspace(-1.0, 1.5, 24).reshape(8, 3)
W = np.array([[0.3, -0.2, 0.5], [0.1, 0.4, -0.3], [-0.6, 0.2, 0.1]])
X = np.array([0.3, -0.4, 0.9])


def same(a, b, tol=1e-12):
    fa, fb = mlgrad.tree.flatten(a)[0], jax.tree.leaves(b) if not isinstance(b, np.ndarray) else [b]
    assert len(fa) == len(fb)
    for x, y in zip(fa, fb, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tol, atol=tol)
        assert np.shape(x) == np.shape(y)


# each pair: the program in mlgrad and in JAX, as functions of (lib, np-like) so that they are written once
class Mine:
    np = np
    cond, switch, scan = staticmethod(cond), staticmethod(switch), staticmethod(scan)
    fori_loop, while_loop, checkpoint = staticmethod(fori_loop), staticmethod(while_loop), staticmethod(checkpoint)
    grad, vmap = staticmethod(mlgrad.grad), staticmethod(mlgrad.vmap)


class Jax:
    np = jnp
    cond, switch, scan = staticmethod(jax.lax.cond), staticmethod(jax.lax.switch), staticmethod(jax.lax.scan)
    fori_loop, while_loop = staticmethod(jax.lax.fori_loop), staticmethod(jax.lax.while_loop)
    checkpoint, grad, vmap = staticmethod(jax.checkpoint), staticmethod(jax.grad), staticmethod(jax.vmap)


def rnn(m, x):
    def step(h, u):
        h = m.np.tanh(W @ h + u)
        return h, m.np.sum(h * u)

    h, ys = m.scan(step, x, XS)
    return m.np.sum(h**2) + m.np.sum(ys * m.np.cos(ys))


def lstm(m, x):
    def step(state, u):
        h, c = state["h"], state["c"]
        z = W @ h + u
        i, f, o = 1 / (1 + m.np.exp(-z)), 1 / (1 + m.np.exp(-2 * z)), m.np.tanh(z)
        c = f * c + i * m.np.tanh(z + x)
        h = o * m.np.tanh(c)
        return {"h": h, "c": c}, (h, None)

    state, (hs, _) = m.scan(step, {"h": x, "c": 0 * x}, XS, reverse=True)
    return m.np.sum(state["c"] * state["h"]) + m.np.sum(hs**3)


def captured(m, x):
    k = m.np.sin(x)

    def step(c, u):
        return c * k[0] + u * x[1], c

    c, ys = m.scan(step, x[2], XS[:, 0])
    return c + m.np.sum(ys**2)


def scan_in_scan(m, x):
    def outer(c, u):
        inner = lambda d, v: (m.np.sin(d) * v + x, m.np.sum(d))
        d, s = m.scan(inner, c, m.np.stack([u, u**2]))
        return d, s

    c, s = m.scan(outer, x, XS)
    return m.np.sum(c) + m.np.sum(s**2)


def cond_in_scan(m, x):
    def step(c, u):
        c = m.cond(m.np.sum(u) > 0, lambda c, u: m.np.sin(c) + u, lambda c, u: c * x, c, u)
        return c, m.np.max(c)

    c, ys = m.scan(step, x, XS)
    return m.np.sum(c) + m.np.sum(ys)


def switch_by_scan(m, x):
    def step(c, i):
        return m.switch(i, [lambda c: c * x, m.np.sin, lambda c: c + 1.0], c), c[0]

    c, ys = m.scan(step, x, np.array([0, 1, 2, 1, 0, 5, -3]))
    return m.np.sum(c) + m.np.sum(ys)


def grad_in_scan(m, x):
    g = m.grad(lambda c, u: m.np.sum(m.np.sin(c) * c * u * x))
    c, _ = m.scan(lambda c, u: (c - 0.1 * g(c, u), None), x, XS)
    return m.np.sum(c**2)


def vmap_in_scan(m, x):
    f = m.vmap(lambda a, b: m.np.sin(a * b), (0, None))
    c, _ = m.scan(lambda c, u: (f(c, u[0]) + u, None), x, XS)
    return m.np.sum(c**2)


def scan_in_checkpoint(m, x):
    block = m.checkpoint(lambda c, us: m.scan(lambda c, u: (m.np.tanh(c * x + u), None), c, us)[0])
    c, _ = m.scan(lambda c, us: (block(c, us), None), x, XS.reshape(2, 4, 3))
    return m.np.sum(c)


def nested_checkpoint(m, x):
    inner = m.checkpoint(lambda c: m.np.sin(c * x))
    outer = m.checkpoint(lambda c: inner(inner(c)) + c)
    return m.np.sum(outer(outer(x)) ** 2)


def conditional(m, x):
    return m.cond(x[0] > 0.0, lambda x: m.np.sum(m.np.sin(x) * x[1]), lambda x: m.np.sum(x**3), x)


def fori(m, x):
    return m.np.sum(m.fori_loop(1, 6, lambda i, c: m.np.sin(c) * i + x, x))


SMOOTH = [
    rnn, lstm, captured, scan_in_scan, cond_in_scan, switch_by_scan, grad_in_scan, vmap_in_scan, scan_in_checkpoint,
    nested_checkpoint, conditional, fori,
]  # fmt: skip


def newton(m, x):
    # a square root for each entry, in one loop
    def go_on(state):
        return m.np.max(m.np.abs(state[0] ** 2 - x**2 - 1)) > 1e-13

    y, _n = m.while_loop(go_on, lambda s: ((s[0] + (x**2 + 1) / s[0]) / 2, s[1] + 1), (1 + x**2, 0))
    return m.np.sum(y * x)


def while_in_scan(m, x):
    def step(c, u):
        d = m.while_loop(lambda d: m.np.sum(d**2) < 4.0, lambda d: d * 1.7 + 0.1 * x, c + 0.01)
        return m.np.sin(d) * u, m.np.sum(d)

    c, ys = m.scan(step, x, XS)
    return m.np.sum(c) + m.np.sum(ys)


def while_in_cond(m, x):
    double = lambda x: m.while_loop(lambda d: m.np.sum(d**2) < 30.0, lambda d: d * x * x + d, x)
    return m.np.sum(m.cond(x[0] > 0, double, lambda x: x * 3, x))


def dynamic_fori(m, x):
    n = m.np.sum(m.np.abs(x) < 0.5) + 2
    return m.np.sum(m.fori_loop(0, n, lambda i, c: m.np.sin(c) * x + i, x))


WHILE = [newton, while_in_scan, while_in_cond, dynamic_fori]


BATCH = np.stack([X, -X, 2 * X])


@functools.cache
def oracle(f):
    """Values, gradients and Hessians of JAX for the rows of BATCH; forward mode where JAX has no other."""
    g = lambda x: f(Jax, x)
    first = jax.jacfwd if f in WHILE else jax.grad
    all_of = jax.jit(lambda x: (g(x), first(g)(x), jax.jacfwd(first(g))(x)))
    return tuple(np.stack(part) for part in zip(*map(all_of, BATCH), strict=True))


@pytest.mark.parametrize("f", SMOOTH + WHILE)
def test_values(f):
    value = oracle(f)[0]
    g = lambda x: f(Mine, x)
    out = g(X)
    if f not in (grad_in_scan, vmap_in_scan, conditional):
        assert type(out) is np.float64
    same(float(out), value[0])
    same(mlgrad.jit(g)(X), value[0])
    same(mlgrad.vmap(g)(BATCH), value)


@pytest.mark.parametrize("f", SMOOTH + WHILE)
def test_first_derivatives(f):
    value, slope, _ = oracle(f)
    g = lambda x: f(Mine, x)
    same(mlgrad.grad(g)(X), slope[0], 1e-10)
    same(mlgrad.jit(mlgrad.grad(g))(X), slope[0], 1e-10)
    same(mlgrad.jvp(g, (X,), (W[0],))[1], slope[0] @ W[0], 1e-10)
    same(mlgrad.jit(mlgrad.vmap(mlgrad.grad(g)))(BATCH), slope, 1e-10)
    same(mlgrad.grad(lambda b: np.sum(mlgrad.vmap(g)(b) ** 2))(BATCH), 2 * value[:, None] * slope, 1e-10)


@pytest.mark.parametrize("f", SMOOTH + WHILE)
def test_second_derivatives(f):
    _, slope, curve = oracle(f)
    g = lambda x: f(Mine, x)
    same(mlgrad.hessian(g)(X), curve[0], 1e-8)
    same(mlgrad.jacrev(mlgrad.jacfwd(g))(X), curve[0], 1e-8)
    twice = mlgrad.grad(lambda x: np.sum(np.sin(mlgrad.grad(g)(x))))
    same(twice(X), curve[0] @ np.cos(slope[0]), 1e-8)
    same(mlgrad.vmap(mlgrad.hessian(g))(BATCH), curve, 1e-8)


@pytest.mark.parametrize("f", [lstm, cond_in_scan, while_in_scan])
def test_finite_differences(f):
    check_grads(lambda x: f(Mine, x), (X,), order=2)


def test_third_derivative_through_loops():
    f = lambda x: scan(lambda c, u: (np.sin(c * x) + u, None), x, XS[:, 0])[0]
    g = lambda x: jax.lax.scan(lambda c, u: (jnp.sin(c * x) + u, None), x, XS[:, 0])[0]
    d = lambda t, h: t(t(t(h)))
    same(d(mlgrad.grad, f)(0.7), d(jax.grad, g)(0.7), 1e-9)
    w = lambda m: lambda x: m.while_loop(lambda s: s[1] < 4, lambda s: (m.np.sin(s[0]) * x, s[1] + 1), (x, 0))[0]
    same(d(mlgrad.grad, w(Mine))(0.7), d(jax.jacfwd, w(Jax))(0.7), 1e-9)


# -- values at hand, trees, edges


def test_outside_a_transform_numpy_comes_back():
    carry, ys = scan(lambda c, x: (c + x, c * x), 0.0, np.arange(4.0))
    assert type(carry) is np.float64
    assert type(ys) is np.ndarray
    np.testing.assert_array_equal(ys, [0, 0, 2, 9])
    assert type(cond(True, np.sin, np.cos, 1.0)) is np.float64
    assert while_loop(lambda i: i < 10, lambda i: i * 2, 1) == 16
    assert fori_loop(0, 5, lambda i, v: v + i, 0) == 10
    assert switch(7, [lambda: 1, lambda: 2]) == 2
    assert switch(-1, [lambda: 1, lambda: 2]) == 1
    assert switch(0, [lambda x: x], 4.0) == 4.0
    x = np.ones(3)
    assert checkpoint(np.sin)(x).sum() == np.sin(x).sum()


class State(NamedTuple):
    a: object
    b: object


def test_trees_and_none():
    def step(c, x):
        assert x["n"] is None
        return State(c.a + x["u"][0], (c.b[0] * 2, None)), [c.a, {"k": x["u"][1]}]

    xs = {"u": (np.arange(3.0), np.ones((3, 2))), "n": None}
    c, ys = scan(step, State(1.0, (np.ones(2), None)), xs)
    assert isinstance(c, State)
    assert c.a == 4.0
    assert c.b[1] is None
    np.testing.assert_array_equal(c.b[0], [8, 8])
    np.testing.assert_array_equal(ys[0], [1, 1, 2])
    assert ys[1]["k"].shape == (3, 2)
    assert cond(False, lambda x: {"v": x, "w": None}, lambda x: {"v": -x, "w": None}, 2.0) == {"v": -2.0, "w": None}
    assert scan(lambda c, _: (c * 2, None), 1.0, None, length=5) == (32.0, None)


def test_static_operands():
    f = lambda x, name, fun: fun(x) if name == "go" else x
    assert cond(np.bool_(True), f, f, 0.0, "go", np.cos) == 1.0
    g = checkpoint(lambda x, n, *, scale: sum([x**k for k in range(n)]) * scale)
    np.testing.assert_allclose(mlgrad.grad(lambda x: g(x, 4, scale=2.0))(2.0), 2 * (1 + 4 + 12))


@pytest.mark.parametrize("n", [0, 1])
def test_short_loops(n):
    xs = np.ones((n, 2))

    def f(x):
        c, ys = scan(lambda c, u: (c * x + u, c), x * np.ones(2), xs)
        return np.sum(c) + np.sum(ys)

    same(mlgrad.value_and_grad(f)(3.0), (6.0, 2.0) if n == 0 else (3.0 * 3 * 2 + 2 + 6, 14.0))
    assert mlgrad.hessian(f)(3.0) == (0.0 if n == 0 else 4.0)
    assert mlgrad.vmap(mlgrad.grad(f))(np.array([1.0, 3.0])).shape == (2,)
    w = lambda x: while_loop(lambda s: s[1] < n, lambda s: (s[0] * x, s[1] + 1), (x, 0))[0]
    same(mlgrad.value_and_grad(w)(3.0), (3.0, 1.0) if n == 0 else (9.0, 6.0))
    same(mlgrad.grad(mlgrad.grad(w))(3.0), 0.0 if n == 0 else 2.0)
    assert fori_loop(3, n, lambda i, v: v + 1, 5.0) == 5.0


def test_empty_arrays():
    c, ys = scan(lambda c, u: (c, u + c), np.zeros(0), np.zeros((3, 0)))
    assert c.shape == (0,)
    assert ys.shape == (3, 0)


def test_python_numbers_adapt():
    x32 = np.ones(3, np.float32)
    c, ys = scan(lambda c, u: (c + u, c), 0, x32)
    assert c.dtype == np.float32
    assert ys.dtype == np.float32
    assert c == 3
    c, _ = scan(lambda c, u: (c + 1, None), 0.0, x32)
    assert c.dtype == np.float64
    assert c == 3
    assert cond(True, lambda x: x, lambda x: 0.0, np.float32(2.0)).dtype == np.float32
    assert cond(True, lambda x: x, lambda x: 0, 2.5) == 2.5
    assert fori_loop(0, 3, lambda i, v: v + i, 0).dtype == np.int64
    assert fori_loop(0, 3, lambda i, v: v + i * 0.5, 0) == 1.5
    c, _ = scan(lambda c, u: (c * 1.0, None), np.float32(1), np.ones(2))
    assert c.dtype == np.float32


def test_large_carries_and_slices():
    # slices that are no whole number of vectors, in both directions, beyond what is straight code
    x = np.linspace(0, 1, 1501)
    us = np.linspace(-1, 1, 5 * 1501).reshape(5, 1501)
    for reverse in (False, True):
        f = lambda m: lambda x: m.scan(lambda c, u: (m.np.sin(c) + u, c * u), x, us, reverse=reverse)
        same(f(Mine)(x), f(Jax)(x))
        g = lambda m: lambda x: m.np.sum(f(m)(x)[0]) + m.np.sum(f(m)(x)[1] ** 2)
        same(mlgrad.grad(g(Mine))(x), jax.grad(g(Jax))(x))
    w = lambda m: (
        lambda x: m.np.sum(m.while_loop(lambda s: s[1] < 40, lambda s: (m.np.sin(s[0]) + x, s[1] + 1), (x, 0))[0])
    )
    same(mlgrad.grad(w(Mine))(x), jax.jacfwd(w(Jax))(x[:1501]), 1e-11)


def test_outer_arrays_get_gradients():
    w = np.array([0.5, -0.2])

    def f(w):
        k = np.exp(w[1])
        c, _ = scan(lambda c, u: (c * w[0] + k * u, None), 1.0, np.arange(3.0))
        return cond(c > 0, lambda: c * w[1], lambda: c) + while_loop(lambda v: v < 2.9, lambda v: v + w[0] ** 2, w[0])

    same(mlgrad.grad(f)(w), finite(f, w), 1e-6)


def finite(f, x, eps=1e-6):
    return np.array([(f(x + eps * e) - f(x - eps * e)) / (2 * eps) for e in np.eye(len(x))])


def test_what_is_not_taken_is_not_computed():
    singular = np.zeros((2, 2))
    assert cond(False, lambda a: np.linalg.inv(a)[0, 0], lambda a: 1.0, singular) == 1.0
    outer = lambda a: cond(a[0, 0] != 0, lambda: np.linalg.inv(a)[0, 0], lambda: a[0, 0])
    assert mlgrad.jit(outer)(singular) == 0.0
    np.testing.assert_array_equal(mlgrad.grad(outer)(singular), [[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(np.linalg.LinAlgError):
        cond(True, lambda a: np.linalg.inv(a)[0, 0], lambda a: 1.0, singular)


def test_structural_zeros():
    f = lambda x: cond(x > 0, np.sqrt, lambda x: x * 0.0, x)
    xs = np.array([4.0, 0.0, -1.0])
    np.testing.assert_array_equal(mlgrad.vmap(mlgrad.grad(f))(xs), [0.25, 0, 0])
    np.testing.assert_array_equal(mlgrad.grad(lambda x: np.sum(mlgrad.vmap(f)(x)))(xs), [0.25, 0, 0])
    np.testing.assert_array_equal(mlgrad.vmap(mlgrad.grad(mlgrad.grad(f)))(xs), [-1 / 32, 0, 0])
    np.testing.assert_array_equal(mlgrad.vmap(mlgrad.hessian(f))(xs), [-1 / 32, 0, 0])
    np.testing.assert_array_equal(np.diag(mlgrad.hessian(lambda x: np.sum(mlgrad.vmap(f)(x)))(xs)), [-1 / 32, 0, 0])
    # lanes that are done do not come back as nan
    w = lambda x: while_loop(lambda v: v > 0, lambda v: np.sqrt(v) - 1, x)
    slopes = [1.0, 0.125, 1 / 6 / (2 * np.sqrt(2)) / (2 * np.sqrt(np.sqrt(2) - 1))]
    same(mlgrad.vmap(mlgrad.grad(w))(np.array([0.0, 4.0, 9.0])), np.array(slopes))
    same(mlgrad.grad(lambda x: np.sum(mlgrad.vmap(w)(x)))(np.array([0.0, 4.0])), np.array([1.0, 0.125]))


def test_under_vmap():
    xs = np.array([1.0, 5.0, 70.0])
    count = lambda x: while_loop(lambda s: s[0] < 100, lambda s: (s[0] * 2, s[1] + 1), (x, 0))
    a, n = mlgrad.vmap(count)(xs)
    np.testing.assert_array_equal(a, [128, 160, 140])
    np.testing.assert_array_equal(n, [7, 5, 1])
    # a condition that is the same for all stays a scalar
    f = lambda x: while_loop(lambda s: s[1] < 3, lambda s: (s[0] * x, s[1] + 1), (x, 0))[0]
    np.testing.assert_array_equal(mlgrad.vmap(f)(xs), xs**4)
    np.testing.assert_allclose(mlgrad.vmap(mlgrad.grad(f))(xs), 4 * xs**3)
    pick = lambda i, x: switch(i, [np.sin, np.cos, lambda x: x * 2], x)
    np.testing.assert_allclose(mlgrad.vmap(pick)(np.array([2, 0, 9]), xs), [2.0, np.sin(5.0), 140.0])
    np.testing.assert_allclose(mlgrad.vmap(pick, (None, 0))(1, xs), np.cos(xs))
    np.testing.assert_allclose(mlgrad.vmap(pick, (0, None))(np.array([0, 1]), 2.0), [np.sin(2.0), np.cos(2.0)])
    # twice
    two = mlgrad.vmap(mlgrad.vmap(lambda x, y: cond(x > y, lambda: x - y, lambda: x * y), (0, None)), (None, 0))
    x, y = np.array([1.0, 3.0]), np.array([2.0, 0.5, 4.0])
    np.testing.assert_array_equal(two(x, y), np.where(x > y[:, None], x - y[:, None], x * y[:, None]))
    out = mlgrad.vmap(lambda x: scan(lambda c, u: (c + u, c * x), x, np.arange(3.0)), out_axes=(0, 1))(xs)
    assert out[0].shape == (3,)
    assert out[1].shape == (3, 3)
    np.testing.assert_array_equal(out[1][2], (xs + 1) * xs)


def test_in_place_writes_in_a_body():
    def step(c, u):
        c[0] += u
        c *= 2
        return c, c[0]

    start = np.array([1.0, 2.0])
    c, ys = scan(step, start, np.arange(3.0))
    np.testing.assert_array_equal(c, [16, 16])
    np.testing.assert_array_equal(ys, [2, 6, 16])
    np.testing.assert_array_equal(start, [1, 2])


def test_raises_where_a_body_raises():
    with pytest.raises(np.linalg.LinAlgError):
        scan(lambda c, a: (c + np.linalg.inv(a)[0, 0], None), 0.0, np.zeros((2, 2, 2)))
    with pytest.raises(ZeroDivisionError):
        scan(lambda c, a: (c / 0 if isinstance(c, int) else 1 / 0, None), 0.0, np.zeros(2))
    # the tape goes on
    f = lambda x: scan(lambda c, u: (c + u, None), x, np.ones(2))[0]

    def g(x):
        with pytest.raises(ValueError, match="boom"):
            cond(x > 0, lambda: fail(), lambda: x)
        return f(x) * x

    def fail():
        raise ValueError("boom")

    assert mlgrad.grad(g)(1.0) == 4.0


# -- messages


def test_messages():
    with pytest.raises(TypeError, match=r"np\.where.*cond"):
        scan(lambda c, u: (c if u > 0 else -c, None), 1.0, np.ones(3))
    with pytest.raises(
        TypeError, match=r"carry\['h'\]\[1\] goes into the body as float64\(2,\) and comes out as float64\(4,\)"
    ):
        scan(
            lambda c, u: ({"h": (c["h"][0], np.concatenate([c["h"][1]] * 2))}, None),
            {"h": (1.0, np.ones(2))},
            np.ones(3),
        )
    with pytest.raises(TypeError, match=r"carry goes into the body as float32.*comes out as float64"):
        scan(lambda c, u: (c + u, None), np.float32(1), np.ones(3))
    with pytest.raises(TypeError, match="structure"):
        scan(lambda c, u: ((c, c), None), 1.0, np.ones(3))
    with pytest.raises(TypeError, match="pair"):
        scan(lambda c, u: c, 1.0, np.ones(3))
    with pytest.raises(ValueError, match=r"xs\[1\] has shape \(2,\).*steps is 3"):
        scan(lambda c, u: (c, None), 1.0, (np.ones(3), np.ones(2)))
    with pytest.raises(ValueError, match="length"):
        scan(lambda c, u: (c, None), 1.0)
    with pytest.raises(ValueError, match="scalar"):
        scan(lambda c, u: (c, None), 1.0, 2.0)
    with pytest.raises(TypeError, match="length must be an int"):
        scan(lambda c, u: (c, None), 1.0, length=2.5)
    with pytest.raises(ValueError, match="negative"):
        scan(lambda c, u: (c, None), 1.0, length=-1)
    with pytest.raises(TypeError, match=r"false_fun returns \* and true_fun returns \(\*, \*\)"):
        cond(True, lambda: (1.0, 2.0), lambda: 1.0)
    with pytest.raises(TypeError, match=r"result of false_fun is float64\(2,\) and that of true_fun is float64\(3,\)"):
        cond(True, lambda: np.ones(3), lambda: np.ones(2))
    with pytest.raises(ValueError, match="pred must be a scalar"):
        cond(np.ones(2) > 0, lambda: 1.0, lambda: 2.0)
    with pytest.raises(TypeError, match="integer"):
        switch(1.5, [lambda: 1.0, lambda: 2.0])
    with pytest.raises(ValueError, match="no branches"):
        switch(1, [])
    with pytest.raises(TypeError, match="must return a bool"):
        while_loop(lambda c: c, lambda c: c + 1, 1)
    with pytest.raises(TypeError, match="function"):
        scan(3, 1.0, np.ones(3))
    with pytest.raises(TypeError, match="integers"):
        fori_loop(0, 2.5, lambda i, c: c, 1.0)
    with pytest.raises(TypeError, match="function"):
        checkpoint(3)
    kept = []
    with pytest.raises(TypeError, match="outside the function"):
        mlgrad.grad(lambda x: scan(lambda c, u: (kept.append(c), (c, None))[1], x, np.ones(3))[0] + kept[0])(1.0)
    kept.clear()
    with pytest.raises(TypeError, match="outside the function"):
        mlgrad.grad(lambda x: cond(x > 0, lambda: kept[0], lambda: (kept.append(x * 2), x)[1]))(1.0)


def test_checkpoint_pickles_and_binds():
    f = pickle.loads(pickle.dumps(checkpoint(np.sin)))
    assert mlgrad.grad(f)(0.0) == 1.0

    class Model:
        @checkpoint
        def layer(self, x):
            return np.sin(x)

    assert mlgrad.grad(Model().layer)(0.0) == 1.0


def test_jit_records_once_and_follows_the_condition():
    calls = []

    @mlgrad.jit
    def f(x):
        calls.append(1)
        return cond(x > 0, np.sqrt, np.exp, x) + while_loop(lambda v: v < 10, lambda v: v * 2 + 1, x)

    for x in (4.0, -0.5, 0.5, 20.0):
        y = x
        while y < 10:
            y = y * 2 + 1
        np.testing.assert_allclose(f(x), (np.sqrt(x) if x > 0 else np.exp(x)) + y)
    assert len(calls) == 1


def test_stop_gradient_in_a_body():
    f = lambda x: scan(lambda c, u: (c * mlgrad.stop_gradient(c) + x, None), x, length=2)[0]
    # c1 = x*[x] + x, c2 = c1*[c1] + x
    x = 0.5
    c1 = x * x + x
    np.testing.assert_allclose(mlgrad.grad(f)(x), (x + 1) * c1 + 1)
    np.testing.assert_allclose(mlgrad.jvp(f, (x,), (1.0,))[1], (x + 1) * c1 + 1)


LOOPS = {
    "scan": lambda step, x: scan(lambda c, _: (step(c), None), x, length=3)[0],
    "fori_loop": lambda step, x: fori_loop(0, 3, lambda i, c: step(c), x),
    "while_loop": lambda step, x: while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, step(c[1])), (0, x))[1],
    "the condition of while_loop": lambda step, x: while_loop(lambda c: step(c) < 9.0, lambda c: c + 1.0, x),
    "cond in scan": lambda step, x: scan(lambda c, _: (cond(c > -9, step, step, c), None), x, length=3)[0],
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_does_not_write_into_arrays_from_outside(name):
    """The body is recorded once: the write would not happen at each step."""

    def f(x):
        buffer = x * 1.0

        def step(c):
            buffer[0] *= 2
            return c + buffer[0] * buffer[1]

        return LOOPS[name](step, 0.5)

    for transform in (mlgrad.grad, mlgrad.jit, mlgrad.vmap):
        with pytest.raises(TypeError, match=r"writes into an array from outside.*y = y.copy\(\)"):
            transform(f)(np.ones((3, 3) if transform is mlgrad.vmap else 3))

    def inside(x):
        def step(c):
            buffer = mnp.array(x)
            buffer[0] *= 2
            buffer[1:] += c
            return c + buffer[0] * buffer[1]

        return LOOPS[name](step, 0.5)

    x = np.array([0.3, 0.2, 1.0])
    check_grads(inside, (x,), order=2)


# -- size


def test_one_plan_for_many_steps():
    f = lambda x, us: np.sum(scan(lambda c, u: (np.tanh(c * 0.9 + u), None), x, us)[0])
    sizes = []
    for n in (100, 10_000):
        g = mlgrad.jit(mlgrad.grad(f))
        g(np.ones(4), np.zeros((n, 4)))
        sizes.append(mlgrad._core.cache_stats()["entries"])
    # another length: another outer plan, the same bodies
    assert sizes[1] - sizes[0] <= 2


def test_ctrl_c_stops_a_loop():
    # in a process of its own: one that is started in the background inherits an ignored SIGINT
    code = """
        import os, signal, threading
        import mlgrad
        signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        try:
            timer.start()
            mlgrad.while_loop(lambda c: c >= 0.0, lambda c: c * 0.5 + 1, 1.0)
        except KeyboardInterrupt:
            print("stopped")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout == "stopped\n", done.stderr


def test_checkpoint_bounds_the_memory_of_a_scan():
    n, inner = 10_000, 100
    x = np.linspace(0.1, 1, 64)

    def plain(x):
        return np.sum(scan(lambda c, _: (np.sin(c) + 0.1, None), x, length=n)[0])

    def blocks(x):
        block = checkpoint(lambda c: scan(lambda c, _: (np.sin(c) + 0.1, None), c, length=inner)[0])
        return np.sum(scan(lambda c, _: (block(c), None), x, length=n // inner)[0])

    def nested(x):
        small = checkpoint(lambda c: scan(lambda c, _: (np.sin(c) + 0.1, None), c, length=20)[0])
        middle = checkpoint(lambda c: scan(lambda c, _: (small(c), None), c, length=20)[0])
        return np.sum(scan(lambda c, _: (middle(c), None), x, length=25)[0])

    peaks, grads = [], []
    for f in (plain, blocks, nested):
        mlgrad._core.clear_cache()
        gc.collect()  # what other tests left behind is not to go while this is counted
        before = mlgrad._core.memory_stats(reset_peak=True)["in_use"]
        grads.append(mlgrad.grad(f)(x))
        peaks.append(mlgrad._core.memory_stats()["peak"] - before)
    np.testing.assert_allclose(grads[1], grads[0], rtol=1e-12)
    np.testing.assert_allclose(grads[2], grads[0], rtol=1e-12)
    carry = x.nbytes
    assert peaks[0] > n * carry
    assert peaks[1] < 4 * (n // inner + inner) * carry + 300_000
    assert peaks[2] < 4 * 65 * carry + 300_000
    assert peaks[0] > 8 * peaks[1]


def test_checkpoint_keeps_only_its_inputs():
    x = np.linspace(0, 1, 200_000)
    body = lambda c: np.sort(np.sin(c)[::-1]) * np.sin(np.cumsum(c))

    def chain(wrap):
        f = wrap(body)
        return lambda x: np.sum(functools.reduce(lambda v, _: f(v), range(12), x))

    peaks, grads = [], []
    for wrap in (lambda f: f, checkpoint):
        mlgrad._core.clear_cache()
        gc.collect()  # what other tests left behind is not to go while this is counted
        before = mlgrad._core.memory_stats(reset_peak=True)["in_use"]
        grads.append(mlgrad.grad(chain(wrap))(x))
        peaks.append(mlgrad._core.memory_stats()["peak"] - before)
    np.testing.assert_array_equal(grads[0], grads[1])
    assert peaks[1] < 0.6 * peaks[0], peaks


@pytest.mark.parametrize("order", [1, 2])
def test_a_body_may_look_at_values_from_outside(order):
    c = np.array([0.1, 0.2, 0.3])

    def branching(x, y):
        z = np.sin(mnp.array(c)) * 2
        w = y * 3 + 1
        if z[0] > 0 and np.max(w * 2) > 0:
            return x * z * w
        return x

    def masked(x, y):
        w = mnp.array([3.0, -1.0, 2.0]) * y
        return np.sum(w[w > 0]) * x

    def solved(x, y):
        return x * root(lambda z, a: z + 0.1 * z**3 - a, np.zeros(3), mnp.array(c)) * y

    places = {
        "cond": lambda f: lambda x: mlgrad.cond(np.sum(x) > 0, lambda x, f=f: f(x, c), lambda x: x, x),
        "checkpoint": lambda f: lambda x: (lambda y: mlgrad.checkpoint(lambda z: f(z, y))(x))(x * 2),
        "scan": lambda f: lambda x: (lambda y: mlgrad.scan(lambda s, _: (f(s, y), None), x, length=2)[0])(x * 2),
        "cond in checkpoint": lambda f: (
            lambda x: mlgrad.checkpoint(lambda x: mlgrad.cond(np.sum(x) > 0, lambda x: f(x, c + 1), lambda x: x, x))(x)
        ),
    }
    plain = {
        "cond": lambda f: lambda x: f(x, c),
        "checkpoint": lambda f: lambda x: f(x, x * 2),
        "scan": lambda f: lambda x: f(f(x, x * 2), x * 2),
        "cond in checkpoint": lambda f: lambda x: f(x, c + 1),
    }
    x = np.array([0.4, 0.5, 0.6])
    for body in (branching, masked, solved):
        for name, place in places.items():
            f, g = place(body), plain[name](body)
            for _ in range(order):
                f, g = mlgrad.jacobian(f), mlgrad.jacobian(g)
            np.testing.assert_allclose(f(x), g(x), rtol=1e-9, atol=1e-12, err_msg=f"{name} of {body.__name__}")
