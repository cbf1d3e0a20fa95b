"""What is easy to get wrong: nesting, buffers, control flow, in-place writes, leaving the tape, and what errors say."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import mlgrad
import mlgrad.numpy as mnp
from mlgrad import Tape, grad, jit, jvp, stop_gradient, value_and_grad, vjp, vmap

X = np.array([0.3, 1.2, 2.0])


def same(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)


# --- nesting ----------------------------------------------------------------------------------------------------


def test_one_argument_twice_has_two_gradients() -> None:
    x = np.array([1.0, 2.0])
    a, b = grad(lambda x, y: np.sum(x * x * y), (0, 1))(x, x)
    same(a, 2 * x * x)
    same(b, x * x)


def test_one_argument_twice_inside_a_gradient() -> None:
    def f(x: Any) -> Any:
        a, b = grad(lambda u, v: u**2 * v, (0, 1))(x, x)
        return a + 3 * b  # 2x² + 3x²

    same(grad(f)(2.0), 20.0)


def test_two_inner_gradients_at_the_same_point() -> None:
    def f(x: Any) -> Any:
        return grad(np.sin)(x) * grad(lambda y: y**3)(x)

    x = 0.7
    same(grad(f)(x), -np.sin(x) * 3 * x**2 + np.cos(x) * 6 * x)


def test_perturbations_are_not_confused() -> None:
    same(grad(lambda x: x * grad(lambda y: x * y)(x))(3.0), 6.0)
    same(grad(lambda x: x * grad(lambda y: x + y)(2.0))(1.0), 1.0)
    same(jvp(lambda x: x * jvp(lambda y: x * y, (2.0,), (1.0,))[1], (3.0,), (1.0,))[1], 6.0)
    same(grad(lambda x: x * jvp(lambda y: x * y, (x,), (1.0,))[1])(3.0), 6.0)
    same(jvp(lambda x: x * grad(lambda y: x * y)(x), (3.0,), (1.0,))[1], 6.0)


def test_an_inner_function_that_ignores_its_argument() -> None:
    same(grad(lambda x: x * grad(lambda y: x * x)(x))(3.0), 0.0)
    same(grad(lambda x: 1.0)(2.0), 0.0)
    same(grad(lambda x: np.ones(3).sum())(X), np.zeros(3))


def test_the_gradient_of_what_an_inner_transform_captured() -> None:
    def f(x: Any) -> Any:
        inner = grad(lambda y: np.sum(x * y**2))  # 2 x y
        return np.sum(inner(np.ones(3)) * x)

    same(grad(f)(X), 4 * X)


def test_values_may_escape_an_inner_transform() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        def g(y: Any) -> Any:
            kept.append(y * x)
            return y * y

        return grad(g)(x) + kept[-1]  # 2x + x²

    same(grad(f)(3.0), 8.0)
    same(grad(grad(f))(3.0), 2.0)


def test_deep_nesting() -> None:
    f: Any = np.sin
    for _ in range(6):
        f = grad(f)
    same(f(0.4), -np.sin(0.4))


def test_argnums_and_argnames() -> None:
    def f(a: Any, b: Any, *, c: Any = 2.0) -> Any:
        return a * b**2 * c**3

    same(grad(f)(2.0, 3.0), 72.0)
    same(grad(f, 1)(2.0, 3.0), 96.0)
    same(grad(f, -1)(2.0, 3.0), 96.0)
    assert isinstance(grad(f, (0,))(2.0, 3.0), tuple)
    same(grad(f, (1, 0))(2.0, 3.0), (96.0, 72.0))
    same(grad(f, argnames="c")(2.0, 3.0, c=1.0), 54.0)
    with pytest.raises((TypeError, ValueError), match="argnums"):
        grad(f, 5)(2.0, 3.0)


def test_other_arguments_are_untouched() -> None:
    seen: list[Any] = []

    def f(x: Any, y: Any, z: Any) -> Any:
        seen.extend([y, z])
        return x * 2.0

    y, z = np.ones(3), object()
    grad(f)(1.0, y, z)
    assert seen[0] is y
    assert seen[1] is z


def test_aux() -> None:
    def f(x: Any) -> Any:
        return np.sum(x**2), {"twice": 2 * x, "name": "aux", "n": 3}

    g, aux = grad(f, has_aux=True)(X)
    same(g, 2 * X)
    assert type(aux["twice"]) is np.ndarray
    same(aux["twice"], 2 * X)
    assert aux["name"] == "aux"
    (value, aux), g = value_and_grad(f, has_aux=True)(X)
    same(value, np.sum(X**2))
    same(g, 2 * X)
    with pytest.raises(TypeError, match="has_aux"):
        grad(lambda x: np.sum(x), has_aux=True)(X)


def test_vjp_and_jvp() -> None:
    out, pull = vjp(lambda x, y: (x * y, np.sum(x)), X, 2 * X)
    assert type(out[0]) is np.ndarray
    same(out[0], 2 * X * X)
    gx, gy = pull((np.ones(3), 3.0))
    same(gx, 2 * X + 3)
    same(gy, X)
    same(pull((np.zeros(3), 1.0))[0], np.ones(3))
    with pytest.raises(ValueError, match=r"shape|cotangent"):
        pull((np.ones(4), 1.0))
    with pytest.raises(TypeError):
        pickle.dumps(pull)
    out, tangent = jvp(lambda x, y: (x * y, np.sum(x)), (X, 2 * X), (np.ones(3), np.zeros(3)))
    same(tangent[0], 2 * X)
    same(tangent[1], 3.0)
    with pytest.raises(ValueError, match=r"shape|tangent"):
        jvp(np.sin, (X,), (np.ones(4),))


Point = namedtuple("Point", "x y")


@dataclass
class Model:
    w: Any
    b: Any


def test_trees() -> None:
    p = {"a": X, "b": [1.0, (np.ones((2, 2)), Point(2.0, np.float64(3.0)))], "none": None}
    g = grad(lambda p: np.sum(p["a"] ** 2) + p["b"][0] * np.sum(p["b"][1][0]) + p["b"][1][1].x * p["b"][1][1].y)(p)
    same(g["a"], 2 * X)
    same(g["b"][0], 4.0)
    same(g["b"][1][0], np.ones((2, 2)))
    assert isinstance(g["b"][1][1], Point)
    same(g["b"][1][1].x, 3.0)
    assert g["none"] is None
    m = grad(lambda m: np.sum(m.w**3) * m.b)(Model(X, 2.0))
    assert isinstance(m, Model)
    same(m.w, 6 * X**2)
    same(m.b, np.sum(X**3))
    with pytest.raises(TypeError, match="str"):
        grad(lambda d: d["x"])({"x": 1.0, "name": "no number"})


def test_stop_gradient() -> None:
    same(grad(lambda x: x * stop_gradient(x))(3.0), 3.0)
    same(grad(grad(lambda x: x**2 * stop_gradient(x)))(3.0), 6.0)
    same(grad(lambda x: x * float(stop_gradient(x)))(3.0), 3.0)
    same(stop_gradient(X), X)
    same(grad(lambda d: d["x"] * stop_gradient(d)["x"])({"x": 3.0})["x"], 3.0)


# --- results ----------------------------------------------------------------------------------------------------


def test_results_are_numpy() -> None:
    g = grad(lambda x: np.sum(x**2))(X)
    assert type(g) is np.ndarray
    assert g.flags.c_contiguous
    assert g.flags.writeable
    assert g.flags.aligned
    assert type(grad(lambda x: x**2)(3.0)) is np.float64
    assert type(grad(lambda x: x**2)(np.float32(3.0))) is np.float32
    assert type(value_and_grad(lambda x: np.sum(x))(X)[0]) is np.float64
    zero_d = grad(lambda x: x**2)(np.array(3.0))
    assert zero_d.shape == ()


@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["plain", "jit"])
@pytest.mark.parametrize("n", [3, 70, 5000])
def test_results_share_memory_with_nothing(wrap: Callable[..., Any], n: int) -> None:
    captured = np.arange(float(n))
    x = np.linspace(0, 1, n)
    functions: list[Callable[..., Any]] = [
        wrap(grad(lambda x: np.sum(x * captured))),
        wrap(lambda x: vjp(lambda y: y, x)[0]),
        wrap(lambda x: vjp(lambda y: captured + 0 * y, x)[0]),
        wrap(grad(lambda x: x[0] * 1.0)),
        wrap(lambda x: grad(lambda y: (np.sum(y), y), has_aux=True)(x)[1]),
        wrap(lambda x: grad(lambda y: (np.sum(y), captured), has_aux=True)(x)[1]),
    ]
    for f in functions:
        first = f(x)
        kept, entry, other = first.copy(), x.copy(), captured.copy()
        first[:] = -7.0
        same(x, entry)
        same(captured, other)
        second = f(x)
        same(second, kept)
        first[:] = -8.0
        same(second, kept)
        assert not np.shares_memory(second, x)
        assert not np.shares_memory(second, captured)
        assert not np.shares_memory(first, second)
    if wrap is jit:
        twice = jit(lambda x: (x, x, x * 2, captured))(x)
    else:
        twice = grad(lambda x: (np.sum(x), (x, x, x * 2, captured)), has_aux=True)(x)[1]
    for i in range(4):
        for j in range(i):
            assert not np.shares_memory(twice[i], twice[j])
    assert not np.shares_memory(twice[0], x)
    assert not np.shares_memory(twice[3], captured)
    a, b = wrap(grad(lambda x, y: np.sum(x + y), (0, 1)))(x, x)
    assert not np.shares_memory(a, b)


def test_results_outlive_everything() -> None:
    big = [grad(lambda x: np.sum(x * k))(np.ones(100_000)) for k in range(5)]
    for k, g in enumerate(big):
        assert np.all(g == k)
    view = big[0][10:20]
    del big
    grad(lambda x: np.sum(x * 9.0))(np.ones(100_000))
    assert np.all(view == 0.0)


def test_minimize_reuses_its_buffer() -> None:
    calls: list[Any] = []

    def rosenbrock(x: Any) -> Any:
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    for f in (value_and_grad(rosenbrock), jit(value_and_grad(rosenbrock))):

        def watched(x: Any, f: Any = f) -> Any:
            value, g = f(x)
            calls.append((x.copy(), g, g.copy()))
            return value, g

        r = scipy.optimize.minimize(watched, np.zeros(5), jac=True, method="L-BFGS-B")
        assert r.success
        np.testing.assert_allclose(r.x, np.ones(5), atol=1e-3)
    for _, g, at_the_time in calls:
        same(g, at_the_time)


# --- buffers and in-place writes --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5000])
def test_a_buffer_that_is_overwritten_after_it_was_recorded(n: int) -> None:
    buf = np.zeros(n)

    def f(x: Any) -> Any:
        s = 0.0
        for k in range(4):
            buf[:] = k
            s = s + np.sum(x * buf)
        buf[:] = 100.0
        return s

    same(grad(f)(np.ones(n)), np.full(n, 6.0))


def test_the_callers_arguments_are_never_written() -> None:
    x = X.copy()

    def f(x: Any) -> Any:
        entry = x * 1.0
        x += 1
        x[0] = 5.0
        x *= entry
        return np.sum(x)

    want = [5.0, 1 + 2 * x[1], 1 + 2 * x[2]]
    same(grad(f)(x), want)
    same(jit(grad(f))(x), want)
    same(x, X)


def test_views_see_writes() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        v = b[:2]
        w = b.reshape(3, 1)
        v *= 2
        w[2] = 7.0
        b[0] += 1
        return np.sum(v) + 10 * np.sum(b) + 100 * np.sum(w)

    same(grad(f)(X), [222, 222, 0])


def test_a_diagonal_is_a_view_that_is_not_written_to() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        d, e = np.diagonal(b), np.diag(b, 1)
        b[1] = 7.0
        b[0, 1] *= 2.0
        with pytest.raises(ValueError, match="read-only"):
            d[0] = 1.0
        return np.concatenate([d, e])

    x = np.arange(1.0, 10).reshape(3, 3)
    same(vjp(f, x)[0], f(x))
    same(grad(lambda x: np.sum(f(x)))(x), [[1, 2, 0], [0, 0, 0], [0, 0, 1]])


def test_copies_do_not_see_writes() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        copies = [b.copy(), b[[0, 1, 2]], mnp.array(b), b + 0, b.flatten(), copy.copy(b), copy.deepcopy(b)]
        b[:] = 0.0
        return sum(np.sum(c) for c in copies)

    same(grad(f)(X), np.full(3, 7.0))


def test_reshape_is_a_view_or_a_copy_as_in_numpy() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        b.reshape(-1)[0] = 0.0  # a view: b changes
        b.T.reshape(-1)[1] = 0.0  # a copy: it does not
        b.ravel()[3] *= 3.0
        b.flatten()[2] = 9.0
        return b

    x = np.arange(1.0, 7).reshape(2, 3)
    want = f(x)
    g = grad(lambda x: np.sum(f(x) * x))(x)
    same(vjp(f, x)[0], want)
    same(g, [[0, 4, 6], [24, 10, 12]])


def test_augmented_assignment_keeps_dtype_and_identity() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        alias = b
        b += 1
        assert alias is b
        c = np.argmax(x) + np.array([1, 2])
        with pytest.raises(TypeError):
            c += 0.5  # NumPy refuses float into int, too
        return np.sum(alias)

    same(grad(f)(X), np.ones(3))


def test_writes_must_fit() -> None:
    def f(x: Any) -> Any:
        b = x * 1.0
        b[:2] = np.ones(3)
        return np.sum(b)

    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)|\(2,\).*\(3,\)"):
        grad(f)(X)


# --- control flow -----------------------------------------------------------------------------------------------


def test_if_while_for() -> None:
    def f(x: Any) -> Any:
        if x > 1:
            return x**2
        while x < 10:
            x = x * 2
        return x

    same(grad(f)(3.0), 6.0)
    same(grad(f)(0.5), 32.0)

    def g(x: Any) -> Any:
        n = np.argmax(x)
        total = x[n]
        for k in range(n):
            total = total + k * x[k]
        return total

    same(grad(g)(np.array([1.0, 2.0, 9.0])), [0, 1, 1])


def test_indexing_a_plain_array_or_list_by_a_traced_integer() -> None:
    a, names = np.array([10.0, 20.0, 30.0]), ["p", "q", "r"]

    def f(x: Any) -> Any:
        k = np.argmax(x)
        assert names[k] == "r"
        assert int(k) == 2
        assert isinstance(int(k), int)
        return np.sum(x) * a[k]

    same(grad(f)(X), np.full(3, 30.0))


def test_an_exception_of_linear_algebra_is_caught_where_it_happens() -> None:
    tries: list[float] = []

    def f(a: Any) -> Any:
        jitter = 0.0
        while True:
            try:
                tries.append(jitter)
                lower = np.linalg.cholesky(a + jitter * np.eye(2))
                break
            except np.linalg.LinAlgError:
                jitter = max(10 * jitter, 1e-3)
        return np.sum(np.log(np.diag(lower)))

    a = np.array([[1.0, 1.0], [1.0, 1.0 - 5e-3]])
    g = grad(f)(a)
    assert tries == [0.0, 1e-3, 1e-2]
    full = np.linalg.inv(a + 1e-2 * np.eye(2)) / 2
    np.testing.assert_allclose(g + g.T, full + full.T, rtol=1e-9)
    with pytest.raises(np.linalg.LinAlgError):
        grad(lambda a: np.sum(np.linalg.inv(a)))(np.ones((2, 2)))
    with pytest.raises(np.linalg.LinAlgError):
        grad(lambda a: np.sum(np.linalg.solve(a, np.ones(2))))(np.zeros((2, 2)))


def test_index_errors_are_caught_where_they_happen() -> None:
    def f(x: Any) -> Any:
        try:
            return x[np.argmax(x) + 1]
        except IndexError:
            return x[0] * 3

    same(grad(f)(np.array([1.0, 5.0, 2.0])), [0, 0, 1])
    same(grad(f)(np.array([1.0, 2.0, 5.0])), [3, 0, 0])


def test_printing_shows_the_value() -> None:
    def f(x: Any) -> Any:
        assert "1.2" in repr(x)
        assert "1.2" in f"{x}"
        return np.sum(x)

    grad(f)(X)


def test_a_loop_with_an_if_is_linear() -> None:
    def plain(x: Any, n: int) -> Any:
        for _ in range(n):
            x = x * 1.0001 + 0.0001
        return x

    def branching(x: Any, n: int) -> Any:
        for _ in range(n):
            x = x * 1.0001 + 0.0001 if x > 0 else x - 1.0
        return x

    few, many = 2_500, 10_000
    same(grad(branching)(0.5, many), grad(plain)(0.5, many))
    gc.collect()
    times: dict[int, list[float]] = {few: [], many: []}
    for _ in range(9):
        for n in times:
            start = time.process_time()
            grad(branching)(0.5, n)
            times[n].append(time.process_time() - start)
    assert min(times[many]) <= 8 * min(times[few]), times


def test_a_learning_rate_that_changes_plans_once() -> None:
    def step(w: Any, rate: float) -> Any:
        return w - rate * grad(lambda w: np.sum((w * X - 1) ** 2))(w)

    from mlgrad import _core

    w = step(np.ones(3), 0.5)
    before = _core.cache_stats()
    for k in range(20):
        w = w - 0.1 / (k + 2) * grad(lambda w, r=0.1 / (k + 2): np.sum((w * X - r) ** 2 * r))(w)
    first = _core.cache_stats()
    for k in range(20):
        w = w - 0.1 / (k + 2) * grad(lambda w, r=0.3 / (k + 2): np.sum((w * X - r) ** 2 * r))(w)
    after = _core.cache_stats()
    assert first["misses"] - before["misses"] <= 2
    assert after["misses"] == first["misses"]


# --- leaving the tape -------------------------------------------------------------------------------------------


def leaving(f: Callable[[Any], Any], remedy: str) -> None:
    for transform in (grad, lambda f: jit(grad(f)), lambda f: lambda x: jvp(f, (x,), (x,))):
        with pytest.raises(TypeError, match=remedy):
            transform(lambda x: (f(x), np.sum(x))[1])(X)


def test_leaving_the_tape_is_an_error_with_a_remedy() -> None:
    leaving(lambda x: float(x[0]), "stop_gradient|pure_callback")
    leaving(lambda x: int(x[0]), "stop_gradient|pure_callback")
    leaving(lambda x: complex(x[0]), "stop_gradient|pure_callback")
    leaving(lambda x: math.sin(x[0]), "stop_gradient|pure_callback")
    leaving(lambda x: np.asarray(x), "stop_gradient|pure_callback")
    leaving(lambda x: np.array([x[0], x[1]]), "stack")
    leaving(lambda x: x.tolist(), "stop_gradient|pure_callback")
    leaving(lambda x: x[0].item(), "stop_gradient|pure_callback")
    leaving(lambda x: range(x[0]), "integer|stop_gradient")
    leaving(lambda x: "%f" % x[0], "stop_gradient|pure_callback")  # noqa: UP031


def test_writing_into_a_plain_array_is_an_error_with_a_remedy() -> None:
    def assign(x: Any) -> None:
        buf = np.zeros(3)
        buf[0] = x[0]

    def assign_all(x: Any) -> None:
        buf = np.zeros(3)
        buf[:] = x

    def add(x: Any) -> None:
        buf = np.zeros(3)
        buf += x

    def out(x: Any) -> None:
        np.sin(x, out=np.zeros(3))

    leaving(assign, "zeros")
    leaving(assign_all, "zeros")
    leaving(add, "zeros")
    leaving(out, "out")


def test_truth_of_an_array() -> None:
    with pytest.raises(ValueError, match=r"any|all"):
        grad(lambda x: np.sum(x) if x > 0 else x)(X)
    same(grad(lambda x: np.sum(x) if x > 0 else 0.0)(np.array([[2.0]])), [[1.0]])


def test_what_an_array_is() -> None:
    def f(x: Any) -> Any:
        assert not isinstance(x, np.ndarray)
        assert isinstance(x, mlgrad.Array)
        assert x.shape == (3,)
        assert x.dtype == np.float64
        assert (x.ndim, x.size, len(x), x.itemsize, x.nbytes) == (1, 3, 3, 8, 24)
        with pytest.raises(TypeError):
            hash(x)
        with pytest.raises(TypeError):
            pickle.dumps(x)
        with pytest.raises(TypeError):
            x[0].__len__()
        with pytest.raises(AttributeError):
            x.no_such_attribute  # noqa: B018
        return np.sum(x)

    grad(f)(X)


def test_an_array_that_escaped() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x)
        return np.sum(x)

    grad(f)(X)
    for use in (lambda a: a + 1, lambda a: np.sin(a), lambda a: a[0], lambda a: a.sum()):
        with pytest.raises(RuntimeError, match="escaped"):
            use(kept[0])
    with pytest.raises(RuntimeError, match="escaped"):
        grad(lambda y: np.sum(y * kept[0]))(X)
    kept.clear()
    jit(f)(X)
    with pytest.raises(RuntimeError, match="escaped"):
        kept[0] + 1
    kept.clear()
    with pytest.raises(ZeroDivisionError):
        grad(lambda x: (f(x), 1 // 0))(X)
    with pytest.raises(RuntimeError, match="escaped"):
        kept[0] + 1
    repr(kept[0])  # must not raise, for debuggers


def test_an_array_that_escaped_from_vmap() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        def g(row: Any) -> Any:
            kept.append(row)
            return np.sum(row)

        return np.sum(vmap(g)(x)) + kept[-1][0]

    with pytest.raises((TypeError, RuntimeError), match=r"escaped|outside the function"):
        grad(f)(np.ones((2, 3)))


def test_errors_leave_no_trace_behind() -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            grad(lambda x: 1 // 0)(X)
        with pytest.raises(ValueError, match="shape"):
            grad(lambda x: np.sum(x @ np.ones(4)))(X)
    assert type(mnp.sin(X)) is np.ndarray
    same(grad(lambda x: np.sum(x))(X), np.ones(3))


# --- errors say what was given and what to do -------------------------------------------------------------------

ERRORS: list[tuple[str, Callable[[Any], Any], type[Exception], str]] = [
    ("add of shapes", lambda x: x + np.ones(4), ValueError, r"add.*\(3,\).*\(4,\)"),
    ("matmul of shapes", lambda x: x @ np.ones((4, 2)), ValueError, r"matmul.*\(3,\).*\(4, 2\)"),
    ("dot of shapes", lambda x: np.dot(x, np.ones(4)), ValueError, r"dot.*\(3,\).*\(4,\)"),
    ("axis", lambda x: np.sum(x, axis=1), np.exceptions.AxisError, r"axis 1.*1"),
    ("axis of a method", lambda x: x.max(axis=-2), np.exceptions.AxisError, r"axis -2.*1"),
    ("axis twice", lambda x: np.sum(x[None], axis=(0, 0)), ValueError, r"axis"),
    ("reshape", lambda x: x.reshape(2, 2), ValueError, r"reshape.*size 3.*\(2, 2\)"),
    ("reshape in Fortran's order", lambda x: x.reshape(3, 1, order="F"), TypeError, r"reshape.*order.*transpose"),
    ("reshape twice unknown", lambda x: x.reshape(-1, -1), ValueError, r"reshape|one unknown"),
    ("index", lambda x: x[3], IndexError, r"index 3.*axis 0.*size 3"),
    ("negative index", lambda x: x[-4], IndexError, r"index -4.*axis 0.*size 3"),
    ("indices", lambda x: x[[0, 7]], IndexError, r"index 7.*axis 0.*size 3"),
    ("too many indices", lambda x: x[0, 0], IndexError, r"too many indices"),
    ("float index", lambda x: x[1.0], IndexError, r"integer"),
    ("float array as index", lambda x: x[np.array([0.0, 1.0])], IndexError, r"integer|float64"),
    ("mask of another length", lambda x: x[np.array([True, False])], IndexError, r"2.*3|3.*2"),
    ("concatenate", lambda x: np.concatenate([x, np.ones((1, 3))]), ValueError, r"concatenate"),
    ("stack", lambda x: np.stack([x, np.ones(2)]), ValueError, r"stack"),
    ("broadcast_to", lambda x: np.broadcast_to(x, (4,)), ValueError, r"broadcast.*\(3,\).*\(4,\)"),
    ("transpose", lambda x: np.transpose(x, (0, 1)), ValueError, r"transpose|axes"),
    ("squeeze", lambda x: np.squeeze(x, 0), ValueError, r"squeeze"),
    ("split", lambda x: np.split(x, 2), ValueError, r"split"),
    ("65 axes", lambda x: x[(None,) * 64], ValueError, r"at most 64 axes, got 65.*np.reshape"),
    ("66 axes", lambda x: np.broadcast_to(x, (1,) * 65 + (3,)), ValueError, r"at most 64 axes, got 66.*np.reshape"),
    ("setting shape", lambda x: setattr(x, "shape", (3, 1)), AttributeError, r"shape.*y = y.reshape\(shape\)"),
    ("setting dtype", lambda x: setattr(x, "dtype", "f4"), AttributeError, r"dtype.*y = y.astype"),
    ("setting strides", lambda x: setattr(x, "strides", (8,)), AttributeError, r"strides.*np.broadcast_to"),
    ("setting flat", lambda x: setattr(x, "flat", 1.0), AttributeError, r"flat.*y\[...\] = "),
    ("setting real", lambda x: setattr(x, "real", 1.0), AttributeError, r"real.*y\[...\] = "),
    ("einsum letters", lambda x: np.einsum("ij->i", x), ValueError, r"einsum"),
    ("einsum lengths", lambda x: np.einsum("i,i->", x, np.ones(4)), ValueError, r"einsum"),
    ("solve", lambda x: np.linalg.solve(np.ones((2, 3)), x), np.linalg.LinAlgError, r"solve.*square"),
    ("det", lambda x: np.linalg.det(x[None]), np.linalg.LinAlgError, r"det.*square"),
    ("max of nothing", lambda x: np.max(x[:0]), ValueError, r"max.*zero-size"),
    ("argmax of nothing", lambda x: np.argmax(x[:0]), ValueError, r"argmax.*empty"),
    ("shift of floats", lambda x: x << 1, TypeError, r"left_shift.*float64"),
    ("invert of floats", lambda x: ~x, TypeError, r"invert.*float64"),
    ("float16", lambda x: x + np.ones(3, np.float16), TypeError, r"float16"),
    ("longdouble", lambda x: x + np.ones(3, np.longdouble), TypeError, r"longdouble|float128"),
    ("objects", lambda x: x + np.array([None, 1, 2]), TypeError, r"object"),
    ("strings", lambda x: x + "a", TypeError, r"str|operand"),
    ("structured", lambda x: x + np.zeros(3, [("a", "f8")]), TypeError, r"structured|void|dtype"),
    ("a function without a rule", lambda x: np.packbits(x > 0), TypeError, r"packbits"),
    ("complex results", lambda x: np.fft.rfft(x), TypeError, r"fft.rfft.*complex"),
    ("a ufunc without a rule", lambda x: np.spacing(x), TypeError, r"spacing"),
    ("nextafter", lambda x: np.nextafter(x, 9.0), TypeError, r"nextafter.*stop_gradient"),
]


@pytest.mark.parametrize(("f", "kind", "message"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_errors(f: Callable[[Any], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        grad(lambda x: np.sum(f(x)))(X)
    with pytest.raises(kind, match=message):
        jit(lambda x: grad(lambda x: np.sum(f(x)))(x))(X)


def test_integers_have_no_gradient() -> None:
    for x in (3, np.arange(3), np.int32(3), True, np.array([True]), {"a": 1.0, "b": 2}):
        with pytest.raises(TypeError, match=r"float|int|bool"):
            grad(lambda x: 1.0)(x)
    with pytest.raises(TypeError, match="int64"):
        grad(lambda x: np.sum(x))(np.arange(3))


def test_complex_and_strings_have_no_gradient() -> None:
    for x in (1j, np.array([1j]), "x", object()):
        with pytest.raises(TypeError):
            grad(lambda x: 1.0)(x)


def test_outputs_must_be_scalar_floats() -> None:
    with pytest.raises((TypeError, ValueError), match=r"scalar.*\(3,\)|\(3,\).*scalar"):
        grad(lambda x: x * 2)(X)
    with pytest.raises((TypeError, ValueError), match=r"scalar|tuple"):
        grad(lambda x: (np.sum(x), np.sum(x)))(X)
    with pytest.raises(TypeError, match=r"scalar|None"):
        grad(lambda x: None)(X)
    with pytest.raises(TypeError, match=r"int64|float"):
        grad(lambda x: np.argmax(x))(X)
    same(grad(lambda x: x * 1.0)(np.array(2.0)), 1.0)


def test_vmap_errors() -> None:
    with pytest.raises(ValueError, match=r"3.*4|4.*3"):
        vmap(lambda x, y: x)(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="in_axes"):
        vmap(lambda x, y: x, in_axes=(0,))(np.ones(3), np.ones(3))
    with pytest.raises(TypeError, match="in_axes"):
        vmap(lambda x: x, in_axes=None)(np.ones(3))
    with pytest.raises((ValueError, np.exceptions.AxisError), match=r"axis|rank|dimension"):
        vmap(lambda x: x)(1.0)
    with pytest.raises(TypeError, match=r"where|cond"):
        vmap(lambda x: x if x > 0 else -x)(X)
    with pytest.raises(TypeError):
        vmap(lambda x: [0, 1][np.argmax(x)])(np.ones((2, 2)))


def test_vmap() -> None:
    m = np.arange(6.0).reshape(2, 3)
    same(vmap(np.sum)(m), m.sum(1))
    same(vmap(np.sum, in_axes=1)(m), m.sum(0))
    same(vmap(lambda x, y: x * y, in_axes=(0, None))(m, X), m * X)
    same(vmap(lambda x: x, out_axes=1)(m), m.T)
    same(vmap(lambda x: 3.0)(m), [3.0, 3.0])
    same(vmap(lambda d: d["a"] * d["b"])({"a": X, "b": X}), X * X)
    same(vmap(vmap(lambda a, b: a * b, (None, 0)), (0, None))(X, X), np.outer(X, X))
    same(vmap(grad(lambda x, y: x**2 * y), (0, None))(X, 3.0), 6 * X)
    jac = vmap(lambda e: vjp(np.sin, X)[1](e)[0])(np.eye(3))
    same(jac, np.diag(np.cos(X)))
    same(grad(lambda x: np.sum(vmap(lambda y: y * x)(np.ones(4))))(2.0), 4.0)
    pair = vmap(lambda x: (x, {"s": np.sum(x)}), out_axes=0)(m)
    same(pair[1]["s"], m.sum(1))


# --- Tape -------------------------------------------------------------------------------------------------------


def test_tape() -> None:
    with Tape() as t:
        x = t.variable(2.0)
        y = (3 * x**2 + 1) ** 5
        assert y.value == 13.0**5
        y.backward()
        same(x.grad, 1713660.0)
        y.backward()
        same(x.grad, 2 * 1713660.0)
        t.zero_grad()
        y.backward()
        same(x.grad, 1713660.0)


def test_tape_with_arrays() -> None:
    with Tape() as t:
        w, b = t.variable(X), t.variable(1.0)
        loss = np.sum((w * b - 1) ** 2)
        loss.backward()
        same(w.grad, 2 * (X - 1))
        same(b.grad, np.sum(2 * (X - 1) * X))
        g = w.grad
        g[:] = 0.0
        same(w.grad, 2 * (X - 1))
        with pytest.raises((TypeError, ValueError), match="scalar"):
            (w * 2).backward()


# --- pickling, forking, printing --------------------------------------------------------------------------------


def loss(w: Any, k: float = 1.0) -> Any:
    return np.sum(np.sin(w) * k)


@pytest.mark.parametrize(
    ("f", "args", "keywords"),
    [
        (grad(loss), (X,), {}), (value_and_grad(loss, argnums=(0, 1)), (X, 2.0), {}), (jit(grad(loss)), (X,), {}),
        (vmap(np.sin), (X,), {}), (jit(loss, static_argnums=1), (X, 2.0), {}), (grad(grad(np.sin)), (0.5,), {}),
        (jit(value_and_grad(loss, argnames="k")), (X,), {"k": 2.0}),
        (mlgrad.hessian(loss), (X,), {}), (mlgrad.jacobian(loss, (0, 1)), (X, 2.0), {}),
        (mlgrad.jacfwd(np.sin), (X,), {}),
        (jit(mlgrad.jacrev(loss)), (X,), {"k": 2.0}), (mlgrad.elementwise_grad(np.sin), (X,), {}),
    ],
)  # fmt: skip
def test_pickle(f: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    want = mlgrad.tree.flatten(f(*args, **keywords))[0]
    g = pickle.loads(pickle.dumps(f))
    assert type(g) is type(f)
    for _ in range(2):
        for a, b in zip(mlgrad.tree.flatten(g(*args, **keywords))[0], want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_transformed_functions_keep_their_name() -> None:
    for f in (grad(loss), value_and_grad(loss), jit(loss), vmap(loss)):
        assert "loss" in f.__name__
        assert f.__wrapped__ is loss
        assert "loss" in repr(f)


class Network:
    def __init__(self) -> None:
        self.w = X.copy()

    @jit
    def predict(self, x: Any) -> Any:
        return self.w * x

    @grad
    def square(self: Any) -> Any:
        return self**2


def test_methods() -> None:
    n = Network()
    same(grad(lambda x: np.sum(n.w * x))(X), n.w)
    same(Network.square(3.0), 6.0)


def run(code: str, *, timeout: float = 600.0) -> str:
    """Runs code in a Python of its own."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_after_fork() -> None:
    out = run(
        """
        import os, warnings
        import numpy as np, mlgrad
        from mlgrad import _core
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run: they do, and must not matter
        _core.set_num_threads(2)
        f = mlgrad.jit(mlgrad.value_and_grad(lambda x: np.sum(np.tanh(np.sin(x) * np.exp(-x * x)))))
        g = mlgrad.grad(lambda x: np.sum(np.cos(x) @ x))
        x, m = np.linspace(0, 1, 500_000), np.ones((200, 200))
        want, also = f(x), g(m)
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                ok = all(np.array_equal(a, b) for a, b in zip(f(x), want)) and np.array_equal(g(m), also)
                os._exit(0 if ok else 1)
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
        assert np.array_equal(f(x)[1], want[1])
        print("fine")
        """
    )
    assert out == "fine\n"


def test_interpreter_shutdown_with_arrays_alive() -> None:
    run(
        """
        import numpy as np, mlgrad
        kept = mlgrad.grad(lambda x: np.sum(x ** 2))(np.ones(100_000))
        f = mlgrad.jit(lambda x: x * 2)
        f(np.ones(100_000))
        t = mlgrad.Tape()
        t.__enter__()
        v = t.variable(np.ones(3)) * 2
        holder = []
        def g(x):
            holder.append(x)
            return np.sum(x)
        mlgrad.grad(g)(np.ones(3))
        class Late:
            def __del__(self):
                kept.sum()
        import sys
        sys.late = Late()
        """
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda f: mlgrad.grad(f)(1.0),
        lambda f: mlgrad.jit(f)(1.0),
        lambda f: mlgrad.vmap(f)(np.ones(2)),
        lambda f: mlgrad.jvp(f, (1.0,), (1.0,)),
        lambda f: mlgrad.vjp(f, 1.0),
        lambda f: mlgrad.linearize(f, 1.0),
        lambda f: mlgrad.jit(mlgrad.hessian(f))(1.0),
    ],
)
def test_a_panic_becomes_a_runtime_error(call: Callable[[Any], Any], capfd: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        mlgrad._core.panic()
        return x

    with pytest.raises(RuntimeError, match=r"asked for.*report"):
        call(f)
    capfd.readouterr()
    # and nothing is left behind
    assert mlgrad.grad(lambda x: x * x)(3.0) == 6.0
