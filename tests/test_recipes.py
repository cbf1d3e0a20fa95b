"""Gradients that are recorded again: what is remembered of a recording serves another one only where that is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlgrad
from mlgrad import _core, grad, value_and_grad

X = np.array([0.3, -0.7, 1.1])


def slope(f: Any, x: Any, h: float = 1e-6) -> Any:
    """Central differences, one coordinate at a time."""
    x = np.asarray(x, float)
    steps = np.eye(x.size).reshape(x.size, *x.shape) * h
    return np.array([(f(x + s) - f(x - s)) / (2 * h) for s in steps]).reshape(x.shape)


def test_the_second_call_looks_nothing_up_but_the_recipe() -> None:
    f = grad(lambda x: np.sum(np.sin(x) * x))
    f(X)
    before = _core.cache_stats()
    for k in range(5):
        np.testing.assert_allclose(f(X + k), np.cos(X + k) * (X + k) + np.sin(X + k))
    after = _core.cache_stats()
    assert after["hits"] - before["hits"] == 5
    assert after["misses"] == before["misses"]


def test_other_values_of_arguments_numbers_and_captured_arrays() -> None:
    for rate in (0.5, 2.5, -3.5):
        held = np.array([1.0, 2.0, rate])

        def f(x: Any, held: Any = held, rate: float = rate) -> Any:
            return np.sum(np.exp(rate * x) * held)

        for x in (X, X + 1):
            np.testing.assert_allclose(grad(f)(x), rate * np.exp(rate * x) * held, rtol=1e-13)
            held[0] += 1.0


def test_numbers_that_a_simplification_looks_at() -> None:
    for n in (0, 1, 2, 3, -1):
        for c in (0.0, 1.0, -1.0, 2.0):
            got = grad(lambda x, n=n, c=c: np.sum(c * x**n + c))(X)
            np.testing.assert_allclose(got, c * n * X ** (n - 1.0), rtol=1e-13, atol=1e-15)


def test_branches_taken_otherwise() -> None:
    def f(x: Any) -> Any:
        total = 0.0
        for k in range(3):
            total = total + (np.sin(x[k]) if x[k] > 0 else x[k] ** 2 * x[0])
        return total

    for signs in ([1, 1, 1], [1, -1, 1], [-1, -1, -1], [1, -1, 1], [1, 1, -1]):
        x = np.abs(X) * signs
        np.testing.assert_allclose(grad(f)(x), slope(f, x), atol=1e-8)


def test_what_has_been_looked_at_is_part_of_the_recording() -> None:
    def quiet(x: Any) -> Any:
        y = np.exp(x)
        return np.sum(y * y)

    def nosy(x: Any) -> Any:
        y = np.exp(x)
        assert bool(np.sum(y) > 0)
        return np.sum(y * y)

    for _ in range(2):
        for f in (quiet, nosy):
            np.testing.assert_allclose(grad(f)(X), 2 * np.exp(2 * X), rtol=1e-13)


def test_one_recording_and_several_questions() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x * x * y)

    a, b = X, X + 2
    for _ in range(2):
        np.testing.assert_allclose(grad(f)(a, b), 2 * a * b)
        np.testing.assert_allclose(grad(f, 1)(a, b), a * a)
        both = grad(f, (0, 1))(a, b)
        np.testing.assert_allclose(both[0], 2 * a * b)
        np.testing.assert_allclose(both[1], a * a)
        swapped = grad(f, (1, 0))(a, b)
        np.testing.assert_allclose(swapped[0], a * a)
        value, gradient = value_and_grad(f)(a, b)
        assert value == pytest.approx(np.sum(a * a * b))
        np.testing.assert_allclose(gradient, 2 * a * b)


def test_results_that_coincide_or_were_known() -> None:
    def f(x: Any) -> Any:
        y = np.sum(x * x)
        assert bool(y > 0)
        return y, {"y": y, "again": y, "x": x, "two": 2}

    for k in range(3):
        x = X + k
        (value, aux), gradient = value_and_grad(f, has_aux=True)(x)
        assert value == aux["y"] == aux["again"] == pytest.approx(np.sum(x * x))
        np.testing.assert_array_equal(aux["x"], x)
        assert aux["two"] == 2
        np.testing.assert_allclose(gradient, 2 * x)
        aux["x"][:] = 0.0
        assert not np.shares_memory(aux["x"], gradient)


def test_results_share_no_memory_from_call_to_call() -> None:
    f = grad(lambda x: np.sum(x * x))
    x = np.ones(5000)
    first, second = f(x), f(x)
    first[:] = 7.0
    np.testing.assert_array_equal(second, 2.0)
    np.testing.assert_array_equal(f(x), 2.0)


def test_shapes_and_dtypes() -> None:
    f = grad(lambda x: np.sum(np.tanh(x) ** 2))
    for dtype in (np.float64, np.float32):
        for shape in ((3,), (1, 3), (3, 1), (), (2, 2)):
            x = np.full(shape, 0.4, dtype)
            got = f(x)
            assert got.shape == shape
            assert got.dtype == dtype
            np.testing.assert_allclose(got, 2 * np.tanh(x) / np.cosh(x) ** 2, rtol=1e-5)


def test_plans_that_were_forgotten_are_made_again() -> None:
    f = grad(lambda x: np.sum(np.cos(x) * 3.0))
    expected = -3.0 * np.sin(X)
    np.testing.assert_allclose(f(X), expected)
    _core.clear_cache()
    np.testing.assert_allclose(f(X), expected)
    np.testing.assert_allclose(f(X), expected)


def test_nested_transforms() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.sin(x) * x**2)

    g = grad(lambda x: np.sum(grad(f)(x) * np.exp(x)))
    for k in range(3):
        x = X + k
        np.testing.assert_allclose(g(x), slope(lambda x: np.sum(grad(f)(x) * np.exp(x)), x), rtol=1e-6, atol=1e-6)


def test_rules_of_the_user_are_asked_each_time() -> None:
    factor = [2.0]

    @mlgrad.custom_vjp
    def f(x: Any) -> Any:
        return np.sum(np.sin(x))

    f.defvjp(lambda x: (f(x), x), lambda x, g: (g * factor[0] * np.ones_like(x),))
    for value in (2.0, 3.0, 1.0):
        factor[0] = value
        np.testing.assert_allclose(grad(lambda x: f(x) * 1.5)(X), np.full(3, 1.5 * value))


def test_errors_at_execution_come_out_again() -> None:
    def f(a: Any) -> Any:
        return np.sum(np.linalg.solve(a, np.ones(2)))

    good, bad = np.eye(2) * 2.0, np.zeros((2, 2))
    for _ in range(2):
        np.testing.assert_allclose(grad(f)(good), np.full((2, 2), -0.25))
        with pytest.raises(np.linalg.LinAlgError):
            grad(f)(bad)
