"""Views, writes, indices and masks of traced arrays under jit, vmap and Tape."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

import mlgrad

X = np.array([3.0, 1.0, 2.0])
M = np.arange(6.0).reshape(2, 3)


def shifted(a: Any) -> Any:
    """`a` with its elements moved on by one, in place."""
    b = a * 1
    b[1:] = a[:-1]
    b.T[0] += 10
    return b


def test_writes_under_jit() -> None:
    f = mlgrad.jit(shifted)
    for x in (X, 2 * X, -X):
        np.testing.assert_array_equal(f(x), shifted(x))


def test_writes_under_vmap() -> None:
    np.testing.assert_array_equal(mlgrad.vmap(shifted)(M), [shifted(r) for r in M])


def test_masks_under_jit_are_guards() -> None:
    f = mlgrad.jit(lambda a: a[a > 1.5].sum())
    for x in (X, X, -X, X, np.array([9.0, 0.0, 0.0])):
        assert f(x) == x[x > 1.5].sum()


def test_integers_under_jit_are_guards() -> None:
    f = mlgrad.jit(lambda a: a[: int(np.argmax(a)) + 1] * 2)
    for x in (X, -X, X[::-1]):
        np.testing.assert_array_equal(f(x), x[: np.argmax(x) + 1] * 2)


def test_traced_indices_under_jit() -> None:
    f = mlgrad.jit(lambda a, i: a[i])
    np.testing.assert_array_equal(f(X, np.array([0, 1])), X[:2])
    np.testing.assert_array_equal(f(X, np.array([2, -1])), X[[2, 2]])
    with pytest.raises(IndexError, match="out of bounds"):
        f(X, np.array([0, 5]))


def test_held_index_arrays_are_read_at_each_replay() -> None:
    mask, index = np.array([True, False, True]), np.array([0, 1])
    f = mlgrad.jit(lambda a: (a[mask], a[index]))
    assert [r.tolist() for r in f(X)] == [[3.0, 2.0], [3.0, 1.0]]
    mask[1], index[0] = True, 2
    assert [r.tolist() for r in f(X)] == [[3.0, 1.0, 2.0], [2.0, 1.0]]


def test_indices_under_vmap() -> None:
    f = mlgrad.vmap(lambda a, i: a[i])
    np.testing.assert_array_equal(f(M, np.array([2, 0])), [2.0, 3.0])
    with pytest.raises(IndexError, match="out of bounds"):
        f(M, np.array([2, 5]))


@pytest.mark.parametrize(
    "f",
    [lambda a: a[a > 1], lambda a: a if a[0] > 0 else -a, lambda a: float(a[0]), np.nonzero, lambda a: int(a.argmax())],
)
def test_values_are_not_known_under_vmap(f: Any) -> None:
    with pytest.raises(TypeError, match=r"not known.*np\.where"):
        mlgrad.vmap(f)(M)


def test_a_tape_variable() -> None:
    with mlgrad.Tape() as t:
        x = t.variable(2.0)
        y = (3 * x**2 + 1) ** 5
        y.backward()
    assert (x.grad, y.value) == (1713660.0, 371293.0)
    y.backward()
    assert x.grad == 2 * 1713660.0
    x.zero_grad()
    assert x.grad is None


def test_handles_may_be_dropped_at_any_time() -> None:
    class Holder:
        """Holds an Array in a cycle."""

    def f(x: Any) -> Any:
        keep = []
        for i in range(200):
            h = Holder()
            h.array, h.self = x * i, h
            keep.append(np.sin(h.array)[1:])
            keep[-1][0] = x[0]
            if i % 7 == 0:
                keep.clear()
        return np.sum(x * x)

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        np.testing.assert_array_equal(mlgrad.grad(f)(X), 2 * X)
    finally:
        gc.set_threshold(*threshold)


def test_handles_may_be_dropped_in_another_thread() -> None:
    def f(x: Any) -> Any:
        box = [x * i for i in range(5000)]

        def drop() -> None:
            while box:
                box.pop()

        t = threading.Thread(target=drop)
        t.start()
        y = x
        for _ in range(5000):
            y = y * 1.0001
        t.join()
        return np.sum(y)

    np.testing.assert_allclose(mlgrad.grad(f)(np.ones(2)), 1.0001**5000 * np.ones(2))


def test_another_thread_is_refused() -> None:
    raised = []

    def f(x: Any) -> Any:
        def use() -> None:
            try:
                x + 1
            except RuntimeError as e:
                raised.append(str(e))

        t = threading.Thread(target=use)
        t.start()
        t.join()
        return np.sum(x)

    mlgrad.grad(f)(X)
    assert "another thread" in raised[0]
