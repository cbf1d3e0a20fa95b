"""Random programs of views, copies and writes leave the same arrays behind as in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from array_helpers import check

Rng = np.random.Generator


def a_slice(rng: Rng, n: int) -> slice:
    start, stop = (None if rng.random() < 0.4 else int(rng.integers(-n - 1, n + 2)) for _ in range(2))
    return slice(start, stop, [None, 1, 2, -1, -2][int(rng.integers(5))])


def a_key(rng: Rng, shape: tuple[int, ...], advanced: bool) -> Any:
    key: list[Any] = []
    for n in shape:
        kind = rng.random()
        if kind < 0.5 or n == 0:
            key.append(a_slice(rng, n))
        elif kind < 0.7:
            key.append(int(rng.integers(-n, n)))
        elif kind < 0.85 and advanced:
            key.append(rng.integers(-n, n, size=int(rng.integers(1, 4))))
            # a second index array would have to fit the first
            advanced = False
        else:
            key.append(slice(None))
    if rng.random() < 0.3:
        key.insert(int(rng.integers(len(key) + 1)), None)
    if rng.random() < 0.2:
        key[-1:] = [...]
    return tuple(key)


def a_shape(rng: Rng, size: int) -> tuple[int, ...]:
    if size == 0:
        return (0,)
    out = []
    while size > 1 and len(out) < 3:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        out.append(int(rng.choice(divisors)))
        size //= out[-1]
    return (*out, size) if size > 1 or not out else tuple(out)


def derive(rng: Rng, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """A view or a copy of an array of this shape."""
    kind = int(rng.integers(10))
    rank = len(shape)
    if kind < 3:
        key = a_key(rng, shape, advanced=False)
        return lambda a: a[key]
    if kind == 3:
        perm = [int(k) for k in rng.permutation(rank)]
        return lambda a: a.transpose(perm)
    if kind == 4:
        to = a_shape(rng, int(np.prod(shape)))
        return lambda a: a.reshape(to)
    if kind == 5:
        return lambda a: a.ravel()
    if kind == 6:
        return lambda a: a.T * 2
    if kind == 7:
        key = a_key(rng, shape, advanced=True)
        return lambda a: a[key]
    if kind == 8 and rank:
        axis = int(rng.integers(rank))
        return lambda a: np.flip(a, axis)
    return lambda a: np.expand_dims(a, 0)


def change(rng: Rng, shape: tuple[int, ...]) -> Callable[[Any], None]:
    """A write into an array of this shape."""
    kind = int(rng.integers(5))
    v = float(rng.integers(1, 5))
    if kind == 0:
        key = a_key(rng, shape, advanced=True)

        def assign(a: Any) -> None:
            a[key] = v

        return assign
    if kind == 1:
        key = a_key(rng, shape, advanced=False)

        def assign_own(a: Any) -> None:
            a[key] = a[key] * 2 + v

        return assign_own
    if kind == 2:

        def add(a: Any) -> None:
            a += v

        return add
    if kind == 3:

        def mask(a: Any) -> None:
            a[a > 7 * v] = -v

        return mask
    return lambda a: np.multiply(a, a * 0 + v, out=a)


@pytest.mark.parametrize("seed", range(80))
def test_programs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = [(12,), (3, 4), (2, 3, 4), (4, 1, 3)][seed % 4]
    start = np.arange(float(np.prod(shape))).reshape(shape)
    # the program is drawn along a run in NumPy, since it depends on shapes
    arrays: list[Any] = [start.copy()]
    steps: list[tuple[str, int, Callable[[Any], Any]]] = []
    for _ in range(14):
        i = int(rng.integers(len(arrays)))
        a = arrays[i]
        if rng.random() < 0.55 or a.size == 0:
            f = derive(rng, a.shape)
            b = f(a)
            if isinstance(b, np.ndarray) and b.flags.writeable:
                arrays.append(b)
                steps.append(("derive", i, f))
        else:
            g = change(rng, a.shape)
            g(a)
            steps.append(("change", i, g))

    def program(a: Any) -> list[Any]:
        live = [a]
        for kind, i, f in steps:
            if kind == "derive":
                live.append(f(live[i]))
            else:
                f(live[i])
        return live

    for got, want in zip(program(start.copy()), arrays, strict=True):
        np.testing.assert_array_equal(got, want)
    check(program, start)
