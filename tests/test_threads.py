"""Many threads, the number of worker threads, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mlgrad
from mlgrad import _core, grad, jit, jvp, value_and_grad, vjp, vmap


@pytest.fixture
def busy() -> Iterator[None]:
    """Threads that change places as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(work: Callable[[int], None], n: int = 8) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(n)

    def run(k: int) -> None:
        try:
            barrier.wait()
            work(k)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def nested(x: Any, k: float) -> Any:
    inner = grad(lambda y: np.sum(np.sin(y) * x * k))(x)
    return np.sum(inner * x) + (np.sum(x) if np.sum(x) > 0 else 0.0)


@pytest.mark.usefixtures("busy")
def test_nested_transforms_in_eight_threads() -> None:
    x = np.array([0.3, 1.2, 2.0])

    def want(k: float) -> Any:  # Σ k x² cos x + x
        return k * (2 * x * np.cos(x) - x**2 * np.sin(x)) + 1

    def work(thread: int) -> None:
        for i in range(1000):
            k = thread + i / 1000
            np.testing.assert_allclose(grad(nested)(x, k), want(k), rtol=1e-12)

    together(work)


@pytest.mark.usefixtures("busy")
def test_one_jitted_function_in_eight_threads() -> None:
    f = jit(value_and_grad(nested))
    g = vmap(grad(lambda x: np.sum(x**3)))

    def work(thread: int) -> None:
        for i in range(250):
            n = (thread + i) % 5 + 1
            x = np.linspace(0.1, 1, n) * (1 if i % 3 else -1)
            value, gradient = f(x, 2.0)
            np.testing.assert_allclose(value, np.sum(2 * x**2 * np.cos(x)) + max(np.sum(x), 0), rtol=1e-12)
            slope = 2 * (2 * x * np.cos(x) - x**2 * np.sin(x)) + (1 if np.sum(x) > 0 else 0)
            np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(g(x[None]), 3 * x[None] ** 2)

    together(work)


@pytest.mark.usefixtures("busy")
def test_errors_in_threads_do_not_disturb_others() -> None:
    def work(thread: int) -> None:
        for i in range(200):
            if thread % 2:
                with pytest.raises(ValueError, match="matmul"):
                    grad(lambda x: np.sum(x @ np.ones(4)))(np.ones(3))
            else:
                np.testing.assert_allclose(jvp(lambda x: x**2, (1.0 + i,), (1.0,))[1], 2 + 2 * i)

    together(work)


def test_large_work_in_threads(engine: None) -> None:
    _core.set_num_threads(2)
    f = jit(lambda x: np.sum(np.tanh(x) * np.exp(-x)))
    x = np.linspace(0, 1, 200_000)
    want = f(x)

    def work(thread: int) -> None:
        for _ in range(10):
            assert f(x) == want

    together(work)


def test_an_array_in_another_thread_is_an_error() -> None:
    def f(x: Any) -> Any:
        caught: list[BaseException] = []

        def use() -> None:
            try:
                x + 1
            except RuntimeError as e:
                caught.append(e)

        t = threading.Thread(target=use)
        t.start()
        t.join()
        assert len(caught) == 1
        assert "thread" in str(caught[0])
        return np.sum(x)

    np.testing.assert_array_equal(grad(f)(np.ones(3)), np.ones(3))


def test_a_transform_in_another_thread_within_a_transform() -> None:
    def f(x: Any) -> Any:
        out: list[Any] = []
        t = threading.Thread(target=lambda: out.append(grad(lambda y: y**2)(3.0)))
        t.start()
        t.join()
        return np.sum(x) * out[0]

    np.testing.assert_allclose(grad(f)(np.ones(3)), np.full(3, 6.0))


def test_a_pullback_in_another_thread() -> None:
    _, pull = vjp(np.sin, np.ones(3))
    out: list[Any] = []
    t = threading.Thread(target=lambda: out.append(pull(np.ones(3))[0]))
    t.start()
    t.join()
    np.testing.assert_allclose(out[0], np.full(3, np.cos(1.0)))


def test_the_same_bits_for_any_number_of_threads(engine: None) -> None:
    rng = np.random.default_rng(0)
    v, m, tall = rng.normal(size=300_001), rng.normal(size=(257, 129)), rng.normal(size=(3, 70_000))

    def everything(v: Any, m: Any, tall: Any) -> Any:
        p = m @ m.T
        e = np.exp(tall - np.max(tall, axis=1, keepdims=True))
        return (
            np.sum(np.sin(v) * v), np.sum(p * p), np.sum(np.log(np.sum(e, axis=1))), np.mean(np.cumsum(v)),
            np.sum(np.sum(tall, axis=0) ** 2), np.std(v),
        )  # fmt: skip

    def total(*a: Any) -> Any:
        return sum(everything(*a))

    results = []
    for n in (1, 2, 3):
        _core.set_num_threads(n)
        assert mlgrad.num_threads() == n
        results.append((*jit(everything)(v, m, tall), *grad(total, (0, 1, 2))(v, m, tall)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_number_of_threads_is_checked(engine: None) -> None:
    for bad in (0, -1):
        with pytest.raises((ValueError, OverflowError)):
            mlgrad.set_num_threads(bad)
    with pytest.raises(TypeError):
        mlgrad.set_num_threads(1.5)


LONG = {
    "one region over a large array": """
        x = np.ones(20_000_000)
        def f(x):
            y = x
            for _ in range(400):
                y = np.tan(np.sin(y) * np.exp(-y))
            return np.sum(y)
        f = mlgrad.jit(mlgrad.grad(f))
        args = (x,)
    """,
    "many products of matrices": """
        def f(a):
            for _ in range(200):
                a = a @ a * 1e-3
            return np.sum(a)
        f = mlgrad.grad(f)
        args = (np.full((1500, 1500), 1e-3),)
    """,
    "one large product": """
        f = mlgrad.jit(lambda a, b: a @ b)
        args = (np.ones((7000, 7000)), np.ones((7000, 7000)))
    """,
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("name", LONG)
def test_ctrl_c(name: str) -> None:
    code = (
        """
        import os, signal, threading, time
        import numpy as np, mlgrad
        # started in the background, a process inherits an ignored SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)
        mlgrad.set_num_threads(2)
        """
        + LONG[name]
        + """
        # processor time, which does not pass while other processes have the machine
        begin = time.process_time()
        sent = []
        def press():
            while time.process_time() - begin < 1.0:
                time.sleep(0.01)
            sent.append(time.process_time())
            os.kill(os.getpid(), signal.SIGINT)
        t = threading.Thread(target=press, daemon=True)
        try:
            t.start()
            f(*args)
        except KeyboardInterrupt:
            print((time.process_time() - sent[0]) / (sent[0] - begin))
        else:
            raise SystemExit("it was not interrupted")
        assert mlgrad.grad(lambda x: x * x)(3.0) == 6.0
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(done.stdout) < 1.0  # as long as it had worked before; it is a thirtieth


def test_ctrl_c_while_recording() -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:

        def f(x: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1_000_000):
                x = x * 1.0
            return x

        with pytest.raises(KeyboardInterrupt):
            grad(f)(2.0)
        assert grad(lambda x: x * x)(3.0) == 6.0
    finally:
        signal.signal(signal.SIGINT, handler)
