"""Jacobians, Hessians, partial and total derivatives, vector calculus and Taylor polynomials, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlgrad

RNG = np.random.default_rng(7)
A = RNG.standard_normal((4, 3))
X = RNG.standard_normal(3)


def network(x: Any) -> Any:
    return np.tanh(A @ x)


def loss(x: Any) -> Any:
    return np.sum(network(x) ** 2) * np.sum(x)


def central(f: Any, x: Any, step: float = 1e-6) -> Any:
    columns = [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(x.size).reshape((x.size, *x.shape))]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("jac", [mlgrad.jacobian, mlgrad.jacfwd, mlgrad.jacrev])
def test_jacobians_agree_with_the_closed_form(jac: Any) -> None:
    want = (1 - network(X) ** 2)[:, None] * A
    assert_allclose(jac(network)(X), want, rtol=1e-13)
    assert_allclose(mlgrad.jit(jac(network))(X), want, rtol=1e-13)
    batch = np.stack([X, 2 * X])
    assert_allclose(mlgrad.vmap(jac(network))(batch), np.stack([jac(network)(x) for x in batch]), rtol=1e-13)


@pytest.mark.parametrize("jac", [mlgrad.jacobian, mlgrad.jacfwd, mlgrad.jacrev])
def test_jacobians_of_trees(jac: Any) -> None:
    def f(p: Any, n: int) -> Any:
        return {"s": p["a"] * p["b"], "t": p["b"] ** n}

    got = jac(f)({"a": np.array([1.0, 2.0]), "b": 3.0}, 2)
    assert_allclose(got["s"]["a"], 3 * np.eye(2))
    assert_allclose(got["s"]["b"], [1.0, 2.0])
    assert_allclose(got["t"]["a"], [0.0, 0.0])
    assert got["t"]["b"] == 6.0
    both = jac(lambda x, y: x * y, (0, 1))(2.0, np.array([1.0, 5.0]))
    assert_allclose(both[0], [1.0, 5.0])
    assert_allclose(both[1], 2 * np.eye(2))


def test_hessian_and_its_products() -> None:
    want = central(mlgrad.grad(loss), X)
    assert_allclose(mlgrad.hessian(loss)(X), want, rtol=1e-6, atol=1e-8)
    v = RNG.standard_normal(3)
    assert_allclose(mlgrad.hvp(loss, (X,), (v,)), mlgrad.hessian(loss)(X) @ v, rtol=1e-12)
    blocks = mlgrad.hessian(lambda x, y: np.sum(x**2) * y, (0, 1))(X, 2.0)
    assert_allclose(blocks[0][0], 4 * np.eye(3))
    assert_allclose(blocks[0][1], 2 * X)
    assert_allclose(blocks[1][0], 2 * X)
    third = mlgrad.jacobian(mlgrad.hessian(loss))(X)
    assert_allclose(third, np.transpose(third, (2, 0, 1)), rtol=1e-10)
    assert_allclose(third, central(mlgrad.hessian(loss), X), rtol=1e-5, atol=1e-6)


def test_linearize_records_once() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(None)
        return network(x)

    value, push = mlgrad.linearize(f, X)
    assert_allclose(value, network(X), rtol=1e-15)
    for e in np.eye(3):
        assert_allclose(push(e), mlgrad.jvp(network, (X,), (e,))[1], rtol=1e-14)
    assert len(calls) == 1
    with pytest.raises(ValueError, match=r"\(2,\)"):
        push(np.ones(2))
    with pytest.raises(ValueError, match="1 primals"):
        push(X, X)


def test_partial_derivatives() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return np.sin(x) * np.exp(y * z**2)

    x, y, z = 0.7, 0.3, 1.2
    e = np.exp(y * z**2)
    for variable, want in (("x", np.cos(x) * e), ("y", z**2 * np.sin(x) * e), ("z", 2 * y * z * np.sin(x) * e)):
        assert_allclose(mlgrad.partial_derivative(f, variable)(x, y, z), want, rtol=1e-13)
        assert_allclose(mlgrad.partial_derivative(f, "xyz".index(variable))(x, y, z), want, rtol=1e-13)
    assert_allclose(mlgrad.partial_derivative(f, "y")(x, z=z, y=y), z**2 * np.sin(x) * e, rtol=1e-13)
    assert_allclose(mlgrad.mixed_partial(f, "x", "y", "y")(x, y, z), z**4 * np.cos(x) * e, rtol=1e-12)
    assert_allclose(mlgrad.partial_derivative(f, "x", 4)(x, y, z), np.sin(x) * e, rtol=1e-12)
    assert mlgrad.partial_derivative(f, "x", 0)(x, y, z) == f(x, y, z)
    with pytest.raises(ValueError, match="no parameter 'w'"):
        mlgrad.partial_derivative(f, "w")(x, y, z)
    with pytest.raises(ValueError, match="3 positional"):
        mlgrad.partial_derivative(f, 3)(x, y, z)


def test_gradients_and_directions() -> None:
    assert_allclose(mlgrad.gradient(lambda x, y: 3 * x**2 * y)(2.0, 5.0), [60.0, 12.0])
    assert_allclose(mlgrad.gradient(loss)(X), mlgrad.grad(loss)(X))
    v = np.array([1.0, -2.0, 2.0])
    slope = mlgrad.grad(loss)(X) @ v
    assert_allclose(mlgrad.directional_derivative(loss, v)(X), slope, rtol=1e-13)
    assert_allclose(mlgrad.directional_derivative(loss, v, unit=True)(X), slope / 3, rtol=1e-13)
    with pytest.raises(ValueError, match="zero vector"):
        mlgrad.directional_derivative(loss, np.zeros(3), unit=True)


def test_total_derivative() -> None:
    d = mlgrad.total_derivative(lambda x, y: x**2 * y, np.cos, np.sin)(0.4)
    c, s = np.cos(0.4), np.sin(0.4)
    assert_allclose(float(d), -2 * c * s * s + c**3, rtol=1e-13)
    assert [t.variable for t in d.terms] == ["x", "y"]
    assert_allclose([t.partial for t in d.terms], [2 * c * s, c**2], rtol=1e-13)
    assert_allclose([t.rate for t in d.terms], [-s, c], rtol=1e-13)
    assert "∂z/∂x · dx/dt" in str(d)


def test_chain_rule_in_matrix_form() -> None:
    def g(u: Any) -> Any:
        return np.stack([u[0] + u[1], u[0] - u[1]])

    def f(p: Any) -> Any:
        return np.exp(p[0] * p[1])

    u = np.array([0.3, 0.2])
    product = mlgrad.jacobian(f)(g(u)) @ mlgrad.jacobian(g)(u)
    assert_allclose(mlgrad.jacobian(lambda u: f(g(u)))(u), product, rtol=1e-13)
    assert_allclose(product, np.exp(u[0] ** 2 - u[1] ** 2) * np.array([2 * u[0], -2 * u[1]]), rtol=1e-13)


def test_vector_calculus() -> None:
    p = np.array([0.5, -1.0, 2.0])

    def field(r: Any) -> Any:
        x, y, z = r
        return np.stack([x * y, y * z**2, np.sin(x) * z])

    x, y, z = p
    assert_allclose(mlgrad.divergence(field)(p), y + z**2 + np.sin(x), rtol=1e-13)
    assert_allclose(mlgrad.curl(field)(p), [-2 * y * z, -z * np.cos(x), -x], rtol=1e-13)
    assert_allclose(mlgrad.curl(lambda r: np.stack([-r[1], r[0]]))(np.ones(2)), 2.0)
    assert_allclose(mlgrad.laplacian(lambda r: 1 / np.sqrt(np.sum(r**2)))(p), 0.0, atol=1e-14)
    # the curl of a gradient and the divergence of a curl vanish
    assert_allclose(mlgrad.curl(mlgrad.grad(loss))(p), np.zeros(3), atol=1e-12)
    assert_allclose(mlgrad.divergence(mlgrad.curl(field))(p), 0.0, atol=1e-13)
    with pytest.raises(ValueError, match="2 or 3"):
        mlgrad.curl(lambda r: r)(np.ones(4))
    with pytest.raises(ValueError, match="shape"):
        mlgrad.divergence(np.sum)(p)


def test_taylor_polynomials() -> None:
    p = mlgrad.taylor(np.exp, 0.5, 12)
    t = np.linspace(0, 1, 5)
    assert_allclose(p(t), np.exp(t), rtol=1e-12)
    assert p.order == 12
    assert str(mlgrad.taylor(lambda x: x**3 - 2 * x, 1.0, 3)) == "-1 + (x - 1) + 3 (x - 1)^2 + (x - 1)^3"
    q = mlgrad.taylor(lambda v: np.exp(v[0]) * np.cos(v[1]), np.zeros(2), 5)
    at = np.array([0.1, -0.2])
    assert_allclose(q(at), np.exp(0.1) * np.cos(0.2), rtol=1e-6)
    with pytest.raises(ValueError, match="order"):
        mlgrad.taylor(np.exp, 0.0, -1)


def test_elementwise_grad() -> None:
    assert_allclose(mlgrad.elementwise_grad(mlgrad.elementwise_grad(np.sin))(X), -np.sin(X), rtol=1e-14)
