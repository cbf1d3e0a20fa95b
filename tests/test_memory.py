"""Memory: what is too large, what is long, and what must not stay behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import time
import weakref
from typing import Any

import numpy as np
import pytest

from mlgrad import Tape, _core, grad, jit, value_and_grad, vjp


def run(code: str, timeout: float = 600.0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_too_large_for_memory() -> None:
    x = np.ones(1_000_000)
    for f in (lambda x: np.outer(x, x), lambda x: x[:, None] @ x[None, :], lambda x: x[:, None] * x):
        with pytest.raises(MemoryError):
            jit(f)(x)
        with pytest.raises(MemoryError):
            vjp(f, x)
    # products that are needed whole
    with pytest.raises(MemoryError):
        grad(lambda x: np.sum(np.cumsum(np.outer(x, x))))(x)
    # lengths whose product does not fit in 64 bits
    with pytest.raises((MemoryError, ValueError)):
        grad(lambda x: np.broadcast_to(x[:1], (2**40, 2**40))[0, 0])(x)
    np.testing.assert_array_equal(grad(lambda x: np.sum(x))(x), np.ones_like(x))


def test_what_is_too_large_but_never_whole() -> None:
    """A sum over a broadcast product needs no array of that shape."""
    x = np.linspace(0, 1, 5000)
    gc.collect()
    before = _core.memory_stats(reset_peak=True)["in_use"]
    gradient = grad(lambda x: np.sum(np.exp(x[:, None] * x)))(x)
    peak = _core.memory_stats()["peak"]
    assert peak - before < 0.5 * x.size * x.nbytes  # the array would take all of it
    np.testing.assert_allclose(gradient, 2 * np.exp(np.outer(x, x)) @ x, rtol=1e-10)


def test_two_million_nodes() -> None:
    out = run(
        """
        import mlgrad
        def f(x):
            for _ in range(1_000_000):
                x = x * 1.0000001 + 1e-9
            return x
        print(mlgrad.grad(f)(0.5))
        """
    )
    assert float(out) == pytest.approx(1.0000001**1_000_000, rel=1e-9)


def test_a_long_tape_is_freed_where_nothing_was_computed() -> None:
    run(
        """
        import numpy as np, mlgrad
        def f(x):
            y = x
            for _ in range(300_000):
                y = y + x
            raise ZeroDivisionError
        try:
            mlgrad.grad(f)(1.0)
        except ZeroDivisionError:
            pass
        with mlgrad.Tape() as t:
            x = t.variable(1.0)
            for _ in range(300_000):
                x = x * 1.0
        """
    )


def test_a_long_chain_over_small_arrays_stays_correct() -> None:
    def f(x: Any) -> Any:
        total = 0.0
        for k in range(3000):
            x = np.sin(x) + x[::-1] * 0.01
            if k % 500 == 0 and np.sum(x) < -1e9:
                break
            total = total + x[k % 4]
        return total

    x = np.array([0.1, 0.2, 0.3, 0.4])
    u = np.array([0.5, -1.0, 0.25, 1.0])
    numeric = (f(x + 1e-6 * u) - f(x - 1e-6 * u)) / 2e-6
    assert np.sum(grad(f)(x) * u) == pytest.approx(numeric, rel=1e-6)


def test_planning_is_linear_in_reads_and_passes() -> None:
    """Adjoints of reads that pass a long loop unchanged must not pile up."""

    def f(x: Any, n: int) -> Any:
        total = 0.0
        for k in range(n):
            x = x + np.sqrt(x[::-1] + 2) * 0.01
            total = total + x[k % 4]
        return total

    few, many = 200, 2000
    times: dict[int, list[float]] = {few: [], many: []}
    grad(f)(np.ones(4), 100)
    for _ in range(5):
        for n in times:
            _core.clear_cache()
            start = time.process_time()
            grad(f)(np.ones(4), n)
            times[n].append(time.process_time() - start)
    assert min(times[many]) < 40 * min(times[few]), times  # 10 times as long, and 100 where adjoints pile up


def test_nothing_stays_behind() -> None:
    captured = np.ones(1000)
    x = np.ones(1000)
    gc.collect()

    def count() -> tuple[int, int]:
        return sys.getrefcount(captured), sys.getrefcount(x)

    before = count()
    for _ in range(5):
        grad(lambda x: np.sum(x * captured))(x)
        value_and_grad(lambda x: (np.sum(x * captured), x), has_aux=True)(x)
        with pytest.raises(ZeroDivisionError):
            grad(lambda x: x * captured / (1 // 0))(x)
        jit(lambda x: x * captured)(x)
        _, pull = vjp(lambda x: x * captured, x)
        pull(x)
        del pull
    gc.collect()
    assert count() == before


def test_a_jitted_function_is_collected_with_what_it_holds() -> None:
    class Holder:
        pass

    holder = Holder()
    holder.f = jit(lambda x, h=holder: x * 2)  # a cycle through the jitted function
    holder.f(np.ones(3))
    dead = weakref.ref(holder)
    del holder
    gc.collect()
    assert dead() is None


def test_the_collector_runs_while_a_transform_is_made() -> None:
    run(
        """
        import gc
        import mlgrad
        gc.collect()
        gc.freeze()
        gc.set_threshold(1, 1, 1)
        for _ in range(300):
            kept = [make(lambda x: x * 2.0) for make in (mlgrad.grad, mlgrad.value_and_grad, mlgrad.jit, mlgrad.vmap)]
        assert kept[0](3.0) == 2.0
        """
    )


def test_a_tape_is_collected_with_what_it_holds() -> None:
    class Holder:
        pass

    holder = Holder()
    tape = Tape()
    with tape as t:
        holder.x = t.variable(np.ones(3)) * 2
        holder.tape = t
    dead = weakref.ref(holder)
    del holder, tape, t
    gc.collect()
    assert dead() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow() -> None:
    # in a process of its own: what other tests have left to the allocator is used up and given back at any time
    out = run(
        """
        import gc
        import numpy as np
        from mlgrad import grad, jit, value_and_grad

        def resident():
            gc.collect()
            with open("/proc/self/statm") as f:
                return int(f.read().split()[1]) * 4096

        x = np.linspace(0, 1, 100_000)
        small = np.ones(3)
        f = jit(value_and_grad(lambda x: np.sum(np.tanh(x) @ np.ones((3, 3)))))
        shapes = [np.ones(n) for n in range(1, 60)]

        def work():
            for _ in range(20):
                grad(lambda x: np.sum(np.sort(np.sin(x)) * x))(x)
                f(small)
            for s in shapes:
                grad(lambda x: np.sum(x**2))(s)

        def rounds(n):
            sizes = []
            for _ in range(n):
                work()
                sizes.append(resident())
            return sizes

        early, late = rounds(6)[3:], rounds(6)[3:]
        print(min(late) - max(early))
        """
    )
    assert int(out) < 6e6  # one array of each round would be 4.8e6


def test_handles_that_were_dropped_are_not_computed() -> None:
    """Only what is still referred to is kept when a value is asked for."""

    def f(x: Any) -> Any:
        for _ in range(2000):
            y = np.sin(x) * 1e-3  # never read
            x = x + 1e-6
            del y
            if x[0] < 0:
                break
        return np.sum(x)

    x = np.ones(10_000)
    np.testing.assert_array_equal(grad(f)(x), x)


@pytest.mark.parametrize("kind", ["plain", "first jitted"])
def test_large_arguments_are_not_copied(kind: str) -> None:
    g = value_and_grad(lambda x: np.sum(np.sin(x) * x))
    g = jit(g) if kind == "first jitted" else g
    g(np.ones(1000))
    x = np.full(5_000_000, 0.5)
    gc.collect()
    before = _core.memory_stats(reset_peak=True)["in_use"]
    _, gradient = g(x)
    # a copy of x would be as much again
    assert _core.memory_stats()["peak"] - before < 1.5 * gradient.nbytes


LARGE = 200_000


def test_large_arguments_are_read_only_during_the_call() -> None:
    x = np.linspace(0.0, 1.0, LARGE)

    def f(y: Any) -> Any:
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 5.0
        return np.sum(y * y)

    for g in (grad(f), jit(grad(f)), value_and_grad(f, argnums=(0,))):
        g(x)
        x[0] += 1.0
    # arguments that were read-only stay so; what fails gives them back
    x.flags.writeable = False
    np.testing.assert_array_equal(grad(lambda y: np.sum(y * y))(x), 2 * x)
    assert not x.flags.writeable
    x.flags.writeable = True
    for call in (grad, lambda f: jit(grad(f))):
        with pytest.raises(ZeroDivisionError):
            call(lambda y: 1 / 0)(x)
        assert x.flags.writeable
    with pytest.raises(TypeError, match="int64"):
        grad(lambda y: np.sum(y))(np.arange(LARGE))


def test_what_comes_of_large_arguments_shares_no_memory_with_them() -> None:
    x = np.linspace(0.0, 1.0, LARGE)
    same = lambda y: (np.sum(y * y), {"y": y, "again": y})
    plain = value_and_grad(same, has_aux=True)
    for g in (plain, plain, jit(plain), jit(plain)):
        (_, aux), gradient = g(x)
        for result in (aux["y"], aux["again"], gradient):
            assert not np.shares_memory(result, x)
            assert result.flags.writeable
        assert not np.shares_memory(aux["y"], aux["again"])
        # a result is lent as well, and free again afterwards
        np.testing.assert_allclose(grad(lambda y: np.sum(y * y))(gradient), 2 * gradient)
        gradient[:] = 0.0


def test_parts_of_others_arrays_are_copied() -> None:
    whole = np.zeros(2 * LARGE)
    x = whole[:LARGE]

    def f(y: Any) -> Any:
        whole[:] = 7.0
        return np.sum(y * y)

    x[:] = 3.0
    np.testing.assert_array_equal(grad(f)(x), np.full(LARGE, 6.0))


def test_large_arguments_twice_and_nested() -> None:
    x = np.linspace(0.1, 1.0, LARGE)
    a, b = grad(lambda x, y: np.sum(x * x * y), (0, 1))(x, x)
    np.testing.assert_allclose(a, 2 * x * x)
    np.testing.assert_allclose(b, x * x)
    assert x.flags.writeable
    second = grad(lambda x: np.sum(grad(lambda y: np.sum(y**3))(x)))(x)
    np.testing.assert_allclose(second, 6 * x)
    # vjp goes on after the call: it has a copy
    _, pull = vjp(lambda y: y * y, x)
    before = x.copy()
    x[:] = 0.0
    np.testing.assert_allclose(pull(np.ones(LARGE))[0], 2 * before)
