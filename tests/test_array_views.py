"""Views and writes: what NumPy shares is shared, what it copies is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlgrad
from array_helpers import check, on_tape, traced

M = np.arange(12.0).reshape(3, 4)
T = np.arange(24.0).reshape(2, 3, 4)
V = np.arange(6.0)


def changed(make: Any) -> Any:
    """Whether a write into `make(a)` is seen in `a`: the two arrays afterwards."""

    def f(a: Any) -> Any:
        base = a * 1.0
        v = make(base)
        v[...] = v * 10 + 100
        return base, v

    return f


VIEWS = {
    "slice": lambda a: a[1:, ::2],
    "negative step": lambda a: a[::-1, ::-2],
    "integer": lambda a: a[1],
    "newaxis": lambda a: a[:, None, 1:],
    "ellipsis": lambda a: a[..., 2],
    "whole": lambda a: a[...],
    "slice of slice": lambda a: a[:, 1:][1:, :2],
    "transpose": lambda a: a.T,
    "slice of transpose": lambda a: a.T[1:3],
    "row of transpose": lambda a: a.T[1],
    "transpose of slice": lambda a: a[1:].T[::2],
    "reshape": lambda a: a.reshape(4, 3),
    "reshape of transpose": lambda a: a.T.reshape(3, 4),
    "reshape of columns": lambda a: a[:, :2].reshape(6),
    "reshape of rows": lambda a: a[1:].reshape(8),
    "reshape adding ones": lambda a: a[:, ::2].reshape(3, 1, 2),
    "reshape splitting": lambda a: a.T.reshape(2, 2, 3),
    "ravel": lambda a: a.ravel(),
    "ravel of transpose": lambda a: a.T.ravel(),
    "ravel of K order": lambda a: (a.T * 2).T.ravel(),
    "flatten": lambda a: a.flatten(),
    "copy": lambda a: a.copy(),
    "astype": lambda a: a.astype(float),
    "fancy": lambda a: a[[0, 2]],
    "mask": lambda a: a[a > 5],
    "squeeze": lambda a: a[:1].squeeze(),
    "expand_dims": lambda a: np.expand_dims(a, 1),
    "swapaxes": lambda a: a.swapaxes(0, 1)[1:],
    "moveaxis": lambda a: np.moveaxis(a, 0, 1),
    "flip": lambda a: np.flip(a, 1),
    "rot90": lambda a: np.rot90(a),
    "rot180": lambda a: np.rot90(a, 2),
    "split": lambda a: np.split(a, [1])[1],
    "hsplit": lambda a: np.hsplit(a, 2)[1],
    "atleast": lambda a: np.atleast_3d(a),
    "real": lambda a: a.real,
    "concatenate": lambda a: np.concatenate([a, a]),
    "sum": lambda a: a.sum(0),
    "take": lambda a: a.take([0, 1]),
    "unstack": lambda a: np.unstack(a)[1],
    "mT": lambda a: a.mT,
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_and_copies(name: str) -> None:
    check(changed(VIEWS[name]), M)


def test_reshape_of_a_result_in_k_order() -> None:
    # (a.T * 2) lies in memory as a does, so its ravel is a copy and the ravel of its transpose is a view
    def f(a: Any) -> Any:
        b = a.T * 2
        r = b.ravel()
        r[0] = 77
        s = b.T.ravel()
        s[1] = 99
        return b, r, s

    check(f, M)


def test_strides_are_numpys() -> None:
    def f(a: Any) -> Any:
        results = [
            a, a.T, a[::2], a[:, ::-1], a.T[1:], a.T * 2, a[:, None], a.reshape(4, 3), a.T.reshape(2, 2, 3), a + a[0],
            a.T + np.ones(3), np.broadcast_to(a[0], (5, 4)), a.ravel(), a.copy(), a.T.copy(), np.copy(a.T),
            np.zeros_like(a.T),
        ]  # fmt: skip
        # strides of axes of length 1 mean nothing
        return [[s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] for x in results]

    seen: list[Any] = []

    def look(a: Any) -> float:
        seen.extend(f(a))
        return 0.0

    on_tape(look, M)
    assert seen == f(M)


WRITES = {
    "iadd": lambda a: a.__iadd__(1.5),
    "through view": lambda a: a[:2].__imul__(3.0),
    "setitem number": lambda a: a.__setitem__((slice(None), 1), 7.0),
    "setitem row": lambda a: a.__setitem__(1, np.arange(4.0)),
    "setitem broadcast": lambda a: a.__setitem__(slice(1, 3), np.ones((1, 4))),
    "setitem fancy": lambda a: a.__setitem__(([0, 2], [1, 1]), np.array([5.0, 6.0])),
    "setitem mask": lambda a: a.__setitem__(a > 4, 0.0),
    "setitem mask values": lambda a: a.__setitem__(a > 8, np.array([1.0, 2.0, 3.0])),
    "setitem own": lambda a: a.__setitem__(slice(1, None), a[:-1]),
    "setitem own reversed": lambda a: a.__setitem__(slice(None), a[::-1]),
    "setitem element": lambda a: a.__setitem__((1, 2), -1.0),
    "setitem int array": lambda a: a.__setitem__(np.array([0, 0, 1]), 4.0),
    "setitem bool row": lambda a: a.__setitem__(np.array([True, False, True]), 4.0),
    "fill": lambda a: a.fill(3.0),
    "fill view": lambda a: a.T[1].fill(3.0),
    "sort": lambda a: a.sort(),
    "sort axis": lambda a: a[::-1].sort(axis=0),
    "out": lambda a: np.add(a, 1.0, out=a),
    "out view": lambda a: np.multiply(a[0], a[1], out=a[2]),
    "out of sum": lambda a: np.sum(a, axis=0, out=a[1]),
    "transposed": lambda a: a.T.__setitem__(0, np.array([9.0, 8.0, 7.0])),
    "reshaped": lambda a: a.reshape(-1).__setitem__(slice(None, None, 3), -5.0),
    "negative": lambda a: a[::-1, ::-1].__setitem__(0, np.arange(4.0)),
    "twice": lambda a: [a[0].__iadd__(a[1]), a[1].__iadd__(a[0])],
    "augmented item": lambda a: a.__setitem__(0, a[0].__iadd__(1.0)),
    "itruediv": lambda a: a.__itruediv__(4.0),
    "ipow": lambda a: a.__ipow__(2),
    "imatmul": lambda a: a[:, :3].__imatmul__(np.eye(3) * 2),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes(name: str) -> None:
    def f(a: Any) -> Any:
        b = a * 1.0
        view = b[1:]
        WRITES[name](b)
        return b, view

    check(f, M)


def test_a_view_follows_later_writes() -> None:
    def f(a: Any) -> Any:
        b = a * 1.0
        v = b[:3]
        w = v[::-1]
        first = v + 0
        b[0] = 50.0
        second = v + w
        w[0] = -4.0
        return first, second, b, v, w

    check(f, V)


def test_an_element_is_a_copy() -> None:
    def f(a: Any) -> Any:
        b = a * 1.0
        e = b[2]
        b[2] = 9.0
        return e, b[2]

    check(f, V)


def test_scalars_are_rebound_by_augmented_assignment() -> None:
    def f(a: Any) -> Any:
        s = a[1]
        t = s
        s += 10
        u = a.sum()
        w = u
        u *= 2
        return s, t, u, w

    check(f, V)


def test_views_of_scalars_are_copies() -> None:
    def f(a: Any) -> Any:
        s = a[1]
        for v in (s[...], s[None], np.reshape(s, (1,)), np.atleast_1d(s)):
            v += 1.0
        return s

    check(f, V)


def test_zero_dimensional_arrays_are_written_in_place() -> None:
    def f(a: Any) -> Any:
        z = np.zeros_like(a, shape=())
        y = z
        z += 3.0
        z[...] = z * 2
        return y * 1.0

    check(f, V)


def test_scalars_take_no_items() -> None:
    with pytest.raises(TypeError, match="item assignment"):
        on_tape(lambda a: a[0].__setitem__((), 1.0), V)


def test_read_only() -> None:
    for make in (
        lambda a: np.broadcast_to(a, (2, 6)),
        lambda a: np.broadcast_to(a, (2, 6))[0],
        lambda a: np.diagonal(a.reshape(2, 3)),
    ):
        with pytest.raises(ValueError, match="read-only"):
            make(V)[0] = 1.0
        with pytest.raises(ValueError, match="read-only"):
            on_tape(lambda a, make=make: make(a).__setitem__(0, 1.0), V)


def test_the_argument_is_not_written() -> None:
    x = np.arange(3.0)

    def f(a: Any) -> Any:
        a += 1
        a[0] = 7.0 * a[1]
        return np.sum(a * a)

    g = mlgrad.grad(f)(x)
    np.testing.assert_array_equal(x, np.arange(3.0))
    # (7 (x1 + 1))² + (x1 + 1)² + (x2 + 1)²
    np.testing.assert_allclose(g, [0.0, 2 * 49 * 2 + 2 * 2, 6.0])


def test_derivatives_through_views() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        v = b[:2]
        v *= 2
        b.T[2] = b[0] * b[1]
        return np.sum(b**2)

    # (2a)² + (2b)² + (4ab)²
    a, b, c = 1.5, -2.0, 3.0
    np.testing.assert_allclose(mlgrad.grad(f)(np.array([a, b, c])), [8 * a + 32 * a * b**2, 8 * b + 32 * a**2 * b, 0.0])


def test_a_buffer_filled_in_a_loop() -> None:
    def f(x: Any) -> Any:
        out = np.zeros_like(x)
        for k in range(len(x)):
            out[k] = x[k] ** (k + 1)
        return np.sum(out)

    np.testing.assert_allclose(mlgrad.grad(f)(np.array([2.0, 3.0, 4.0])), [1.0, 6.0, 48.0])


def test_recorded_arrays_keep_their_value() -> None:
    buffer = np.zeros(3)

    def f(x: Any) -> Any:
        s = 0.0
        for k in range(3):
            buffer[:] = k
            s = s + np.sum(x * buffer)
        return s

    np.testing.assert_allclose(mlgrad.grad(f)(np.ones(3)), [3.0, 3.0, 3.0])


def test_shared_storage() -> None:
    seen: list[bool] = []

    def f(a: Any) -> Any:
        b = traced(M)
        seen.extend([np.shares_memory(b, b[1:]), np.shares_memory(b, b.T.ravel()), np.may_share_memory(b.T, b[0])])
        return 0.0

    on_tape(f, V)
    assert seen == [True, False, True]


INDICES = {
    "int": 1,
    "negative": -1,
    "slice": np.s_[1:],
    "steps": np.s_[::2, ::-1, 1:3],
    "empty": np.s_[1:1],
    "beyond": np.s_[:, 5:99],
    "newaxis": np.s_[None, :, None, 1],
    "ellipsis": np.s_[..., 1, :],
    "list": [1, 0, 1],
    "two lists": np.s_[[0, 1], [2, 0]],
    "apart": np.s_[[0, 1], :, [2, 0]],
    "with int": np.s_[0, :, [1, 3, 3]],
    "int apart": np.s_[[0, 1], :, 2],
    "broadcast": np.s_[np.array([[0], [1]]), np.array([0, 2])],
    "2-d": np.array([[0, 1], [1, 1]]),
    "negative array": np.array([-1, 0]),
    "small ints": np.array([1, 0], dtype=np.int8),
    "mask": np.array([True, False]),
    "mask 2-d": T[:, :, 0] > 5,
    "mask 3-d": T % 3 == 0,
    "mask later": np.s_[:, np.array([True, False, True])],
    "mask and slice": np.s_[np.array([True, True]), 1:, ::2],
    "true": True,
    "empty list": [],
    "numpy int": np.int64(1),
    "array and new": np.s_[:, None, [0, 2]],
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing(name: str) -> None:
    key = INDICES[name]
    check(lambda a: a[key], T)

    def write(a: Any) -> Any:
        a[key] = -1.0
        return a

    check(write, T)

    def write_values(a: Any) -> Any:
        a[key] = a[key] * 2 + 1
        return a

    check(write_values, T)


def test_traced_indices() -> None:
    check(lambda a, i: (a[i], a[:, i], a[i, i], a.T[i][..., None]), M, np.array([2, 0, 0]))
    check(lambda a: (a[np.argmax(a[:, 1])], a[np.argsort(a[:, 0])[::-1]], a[a[:, 0].argmin() : 2]), M)
    check(lambda a: (a[a > 3], a[a[:, 0] > 3], a[:, a[0] > 1]), M)
