"""Arguments that end where readable memory ends: nothing behind them is read."""

import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlgrad

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect through libc")

Array = Any


class Edge:
    """Memory that is followed by a page that nobody may touch."""

    def __init__(self, pages: int) -> None:
        self.bytes = pages * mmap.PAGESIZE
        self.map = mmap.mmap(-1, self.bytes + mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        libc = ctypes.CDLL(None, use_errno=True)
        none = 0
        if libc.mprotect(ctypes.c_void_p(address + self.bytes), ctypes.c_size_t(mmap.PAGESIZE), none):
            raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, values: Array) -> Array:
        """Return a copy of the array whose last byte is the last one that can be read."""
        flat = np.frombuffer(self.map, values.dtype, values.size, self.bytes - values.nbytes)
        flat[:] = values.ravel()
        return flat.reshape(values.shape)


@pytest.fixture(scope="module")
def edges() -> list[Edge]:
    return [Edge(2200), Edge(2200)]


def rosenbrock(x: Array, y: Array) -> Array:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - y[:-1]) ** 2)


def elementwise(x: Array, y: Array) -> Array:
    return np.sum(np.where(x > y, x * y - 1.0, np.sqrt(np.abs(y) + 1.0)) / (1.0 + np.maximum(x, y) ** 2))


def stencil(x: Array, y: Array) -> Array:
    return np.sum((x[2:] - 2.0 * x[1:-1] + x[:-2]) ** 2 * y[1:-1])


def reversed_sum(x: Array, y: Array) -> Array:
    return np.sum(np.cumsum(x[::-1]) * y + x[0] * y[-1])


def rows(x: Array, y: Array) -> Array:
    x, y = x[: x.size // 3 * 3].reshape(3, -1), y[: y.size // 3 * 3].reshape(3, -1)
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return np.sum(e / np.sum(e, axis=1, keepdims=True) * y) + np.sum(x.T @ y)


FUNCTIONS = (rosenbrock, elementwise, stencil, reversed_sum, rows)
SIZES = (
    3,
    4,
    5,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    64,
    100,
    255,
    256,
    257,
    258,
    259,
    511,
    999,
    1000,
    1001,
    1023,
    1024,
    1025,
    4099,
)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nothing_behind_an_argument_is_read(f: Callable[..., Array], dtype: Any, edges: list[Edge]) -> None:
    rng = np.random.default_rng(0)
    sizes = [n for n in SIZES if f is not rows or n < 1025]
    for n in [*sizes, *([200_003] if f is not rows else [])]:
        x, y = rng.normal(size=(2, n)).astype(dtype)
        at_edge = [e.place(v) for e, v in zip(edges, (x, y), strict=True)]
        for transform in (mlgrad.value_and_grad(f, (0, 1)), lambda x, y: mlgrad.hvp(lambda x: f(x, y), (x,), (y,))):
            wanted = transform(x, y)
            found = mlgrad.jit(transform)(*at_edge)
            again = transform(*at_edge)
            for a, b, c in zip(*(mlgrad.tree.flatten(r)[0] for r in (wanted, found, again)), strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-5 if dtype is np.float32 else 1e-12, atol=1e-6)
                np.testing.assert_array_equal(c, a)
