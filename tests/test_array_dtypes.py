"""dtypes follow NumPy 2: promotion, Python scalars, conversions, other byte orders."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest

import mlgrad
from array_helpers import check, on_tape

DTYPES = [np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64]
PAIRS = list(itertools.product(DTYPES, DTYPES))
SAMPLES = {d: np.array([1, 0, 1]).astype(d) for d in DTYPES}
SCALARS = [True, 2, 2.5, np.float64(2.5), np.float32(2.5), np.int64(2), np.int32(2), np.uint8(2), np.bool_(True)]


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda d: d.__name__)
def test_promotion_of_arrays(a: Any, b: Any) -> None:
    check(lambda x, y: (x + y, x * y, x == y, np.maximum(x, y)), SAMPLES[a], SAMPLES[b])


@pytest.mark.parametrize("a", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("s", SCALARS, ids=lambda s: f"{type(s).__name__}")
def test_promotion_with_scalars(a: Any, s: Any) -> None:
    check(lambda x: (x + s, s * x, x < s, np.where(x, x, s)), SAMPLES[a])


@pytest.mark.parametrize("a", DTYPES, ids=lambda d: d.__name__)
def test_division_and_means(a: Any) -> None:
    check(lambda x: (x / (x + 1), np.mean(x), np.max(x), np.any(x)), SAMPLES[a])
    # NumPy sums uint8 in uint64, which mlgrad does not have
    if a is not np.uint8:
        check(lambda x: (np.sum(x), np.prod(x), np.cumsum(x), np.cumprod(x)), SAMPLES[a])
    check(lambda x: (np.sum(x, dtype=np.int64), np.cumsum(x, dtype=float), np.prod(x, dtype=np.float32)), SAMPLES[a])


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod", "trace"])
def test_sums_of_uint8_ask_for_a_dtype(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} of uint8 is uint64 in NumPy.*np\.int64"):
        on_tape(lambda x: getattr(np, name)(x), np.ones((2, 2), dtype=np.uint8))


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda d: d.__name__)
def test_astype(a: Any, b: Any) -> None:
    check(lambda x: x.astype(b), SAMPLES[a])


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda d: d.__name__)
def test_in_place_keeps_the_dtype_or_refuses(a: Any, b: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        try:
            x += y
        except TypeError:
            return "TypeError"
        return x

    check(f, SAMPLES[a], SAMPLES[b])


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda d: d.__name__)
def test_assignment_casts(a: Any, b: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        x[1:] = y[1:]
        x[0] = 1
        return x

    check(f, SAMPLES[a], SAMPLES[b])


def test_arguments_that_are_python_floats_are_weak() -> None:
    x32 = np.ones(2, dtype=np.float32)
    seen = {}

    def f(s: Any) -> Any:
        seen["with float32"] = (s * x32).dtype
        seen["alone"] = (s * 2 + 1).dtype
        seen["still weak"] = ((s * 2 + 1) * x32).dtype
        seen["ufunc"] = (np.sin(s) * x32).dtype
        seen["int"] = (s * np.arange(2)).dtype
        return s * 1.0

    mlgrad.grad(f)(2.0)
    assert seen == {
        "with float32": np.float32,
        "alone": np.float64,
        "still weak": np.float32,
        "ufunc": np.float64,
        "int": np.float64,
    }
    mlgrad.grad(f)(np.float64(2.0))
    assert seen["with float32"] == np.float64


def test_float32_stays() -> None:
    x = np.linspace(0.1, 0.9, 5, dtype=np.float32)
    g = mlgrad.grad(lambda a: np.sum(np.tanh(a * 2.0) ** 2 / (1 + a)))(x)
    assert g.dtype == np.float32


@pytest.mark.parametrize("d", [">f8", "<f8", ">f4", ">i4", ">i8"])
def test_byte_orders(d: str) -> None:
    a = np.arange(6).astype(d)
    native = np.arange(6).astype(np.dtype(d).newbyteorder("="))
    np.testing.assert_array_equal(on_tape(lambda x: x * a, np.ones(6)), native.astype(float))


def test_constants_of_any_layout() -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    for c in (
        base.T,
        base[:, ::2, ::-1],
        base[0, :, 1],
        np.broadcast_to(base[0], (2, 3, 4)),
        base[:0],
        np.asfortranarray(base),
    ):
        check(lambda x, c=c: c * x, np.float64(2.0))
    unaligned = np.frombuffer(bytes(1) + np.arange(3.0).tobytes(), dtype=np.uint8)[1:].view(np.float64)
    check(lambda x: x + unaligned, np.ones(3))


def test_results_are_fresh_writable_and_shared_with_nothing() -> None:
    for n in (3, 5000):
        c = np.ones(n)
        x = np.arange(float(n))
        (_, first) = mlgrad.grad(
            lambda a: (np.sum(a), (a, a[:], a * 1, np.broadcast_to(a, (2, n)), c + 0 * a)), has_aux=True
        )(x)
        for r in first:
            assert r.flags.writeable
            assert r.flags.c_contiguous
            assert not any(np.shares_memory(r, o) for o in (x, c))
        for p, q in itertools.combinations(first, 2):
            assert not np.shares_memory(p, q)


def test_large_results_outlive_their_transform() -> None:
    x = np.arange(100_000.0)
    g = mlgrad.grad(lambda a: np.sum(a * a))(x)
    view = g[::2]
    del g
    for _ in range(5):
        mlgrad.grad(lambda a: np.sum(np.sin(a)))(x)
    np.testing.assert_array_equal(view, 2 * x[::2])


def test_results_of_shape_nothing_are_scalars() -> None:
    g = mlgrad.grad(lambda a: a * a)(3.0)
    assert type(g) is np.float64
    assert type(mlgrad.grad(lambda a: a * a)(np.float32(3.0))) is np.float32


def test_python_ints_out_of_range() -> None:
    with pytest.raises(OverflowError):
        on_tape(lambda x: x + 300, np.ones(2, dtype=np.uint8))
    with pytest.raises(OverflowError):
        on_tape(lambda x: x + 10**30, np.ones(2, dtype=np.int64))


def test_lists_are_arrays() -> None:
    check(lambda x: (x * [1, 2, 3], [1.5, 2, 3] / (x + 1), np.maximum(x, [0, 1, 2])), np.arange(3.0))
    check(operator.matmul, np.eye(2), [[1, 2], [3, 4]])
