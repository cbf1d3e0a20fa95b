"""jit replays what it recorded, and never the wrong branch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import mlgrad
import mlgrad.chain
from mlgrad import PerformanceWarning, _core, grad, jit, jvp, value_and_grad, vjp, vmap

X = np.array([0.3, 1.2, 2.0])


def same(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)


class Counted:
    """jit(f), counting how often Python runs f."""

    def __init__(self, f: Callable[..., Any], **kw: Any) -> None:
        self.runs = 0

        def counting(*args: Any, **kwargs: Any) -> Any:
            self.runs += 1
            return f(*args, **kwargs)

        self.jitted = jit(counting, **kw)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.jitted(*args, **kwargs)


def counted(f: Callable[..., Any], **kw: Any) -> Counted:
    return Counted(f, **kw)


# --- replay -----------------------------------------------------------------------------------------------------


def test_a_replay_runs_no_python() -> None:
    f = counted(lambda x, y: np.sum(np.sin(x) * y))
    for k in range(5):
        same(f(X * k, k + 0.5), np.sum(np.sin(X * k) * (k + 0.5)))
    assert f.runs == 1


def test_side_effects_happen_while_recording_only() -> None:
    seen: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        seen.append(x.shape)
        return x * 2

    f(X)
    f(X)
    assert seen == [(3,)]


def test_the_same_bits_as_without() -> None:
    def f(x: Any) -> Any:
        y = np.tanh(np.sin(x) * np.exp(-x * x)) + np.log1p(x * x) / 3
        return y * x - y / 7

    x = np.linspace(-3, 3, 1001)
    want = vjp(f, x)[0]
    np.testing.assert_array_equal(jit(f)(x), want)
    np.testing.assert_array_equal(f(x).shape, want.shape)


def test_another_signature_is_another_recording() -> None:
    f = counted(lambda x: x * 2)
    cases: list[Any] = [
        X, X[:2], X[None], X.astype(np.float32), np.arange(3), np.arange(3, dtype=np.int32), np.float64(3.0), 3.0, 3,
        True, np.array(3.0), np.zeros((0, 2)),
    ]  # fmt: skip
    for _ in range(2):
        for x in cases:
            got, want = f(x), x * 2
            assert got.dtype == np.asarray(want).dtype
            assert got.shape == np.shape(want)
            same(got, want)
    assert f.runs <= len(cases)


def test_python_numbers_stay_weak() -> None:
    f = jit(lambda x, k: x * k)
    small = X.astype(np.float32)
    for _ in range(2):
        assert f(small, 2.0).dtype == np.float32
        assert f(small, np.float64(2.0)).dtype == np.float64
        assert f(small, 2).dtype == np.float32
        assert f(np.arange(3, dtype=np.uint8), 2).dtype == np.uint8
        assert f(np.arange(3, dtype=np.int32), 2.5).dtype == np.float64
        assert f(np.arange(3, dtype=np.int32), True).dtype == np.int32


def test_trees_and_keywords() -> None:
    @jit
    def f(p: Any, *more: Any, scale: Any = 1.0, mode: str = "sum") -> Any:
        total = p["w"] * scale + sum(m for m in more)
        return {"out": np.sum(total) if mode == "sum" else np.max(total), "rest": (p["name"], None, [total])}

    for _ in range(2):
        out = f({"w": X, "name": "n"}, 1.0, X, scale=2.0)
        same(out["out"], np.sum(X * 2 + 1 + X))
        assert out["rest"][:2] == ("n", None)
        same(out["rest"][2][0], X * 2 + 1 + X)
        same(f({"w": X, "name": "m"}, mode="max")["out"], 2.0)
        assert f({"w": X, "name": "m"}, mode="max")["rest"][0] == "m"


def test_static_arguments() -> None:
    f = counted(
        lambda x, n, kind: x**n if kind == "power" else np.full(n, 1.0) * x, static_argnums=1, static_argnames="kind"
    )
    for _ in range(2):
        same(f(2.0, 3, kind="power"), 8.0)
        same(f(2.0, 4, kind="power"), 16.0)
        same(f(2.0, 4, kind="other"), np.full(4, 2.0))
    assert f.runs == 3
    with pytest.raises(TypeError, match="hashable"):
        f(2.0, [3], kind="power")
    # a set is equal to itself also after it has changed
    with pytest.raises(TypeError, match="hashable"):
        jit(lambda x, s: x * len(s))(X, {1, 2})


def test_methods() -> None:
    class Model:
        def __init__(self, w: Any) -> None:
            self.w = w

        @jit
        def predict(self, x: Any) -> Any:
            return self.w * x

    a, b = Model(X), Model(2 * X)
    for _ in range(2):
        same(a.predict(X), X * X)
        same(b.predict(X), 2 * X * X)


def test_results_without_inputs_and_inputs_without_results() -> None:
    same(jit(lambda: np.arange(3.0))(), [0, 1, 2])
    assert jit(lambda x: None)(X) is None
    assert jit(lambda x: ("a", 3))(X) == ("a", 3)
    same(jit(lambda x, y: x)(X, None), X)


def test_printing_shows_shape_and_dtype() -> None:
    @jit
    def f(x: Any) -> Any:
        assert "float64" in repr(x)
        assert "3" in f"{x}"
        return x

    f(X)


# --- guards -----------------------------------------------------------------------------------------------------


def test_branches_that_flip() -> None:
    def f(x: Any) -> Any:
        if np.sum(x) > 0:
            return np.max(x) * 2 if x[0] > 1 else np.sum(x**2)
        return -np.sum(x)

    g, h = counted(f), jit(value_and_grad(f))
    rng = np.random.default_rng(0)
    for _ in range(30):
        x = rng.normal(0, 2, 3)
        same(g(x), f(x))
        same(h(x)[0], f(x))
        same(h(x)[1], grad(f)(x))
    assert g.runs == 3


def test_no_later_error_takes_effect_before_the_guards_in_front_of_it() -> None:
    a = np.array([1.0, 2.0, 3.0])

    def f(x: Any, k: Any) -> Any:
        if k < 3:
            return np.sum(a[k] * x)
        return np.sum(x) - k

    for g in (counted(f), counted(grad(f))):
        for k in (0, 2, 7, 1, 100, -1, 5):
            same(g(X, k), f(X, k) if g.runs and np.shape(g(X, k)) == () else g(X, k))
    same(jit(f)(X, 7), np.sum(X) - 7)


def test_an_index_error_behind_the_guard() -> None:
    calls = 0

    @jit
    def f(x: Any, k: Any) -> Any:
        nonlocal_calls()
        if k < len(x):
            return x[k] * 2
        return np.sum(x) * k

    def nonlocal_calls() -> None:
        nonlocal calls
        calls += 1

    same(f(X, 1), 2.4)
    same(f(X, 2), 4.0)
    same(f(X, 9), np.sum(X) * 9)  # x[9] would be out of range
    same(f(X, 0), 0.6)
    same(f(X, 8), np.sum(X) * 8)
    assert calls <= 4
    with pytest.raises(IndexError, match="index -4"):
        f(X, -4)


def test_guards_are_checked_in_the_order_of_recording() -> None:
    f = counted(lambda x: (x[0] * x[1] if x[1] > 0 else x[0] - x[1]) if x[0] > 0 else np.sum(x))
    same(f(np.array([1.0, 1.0])), 1.0)
    same(f(np.array([1.0, -1.0])), 2.0)
    same(f(np.array([-1.0, 1.0])), 0.0)
    same(f(np.array([-1.0, -1.0])), -2.0)
    for x in ([2.0, 3.0], [2.0, -3.0], [-2.0, 3.0], [-2.0, -3.0]):
        v = np.array(x)
        same(f(v), v[0] * v[1] if v[0] > 0 and v[1] > 0 else v[0] - v[1] if v[0] > 0 else v.sum())
    assert f.runs == 3


def test_integers_that_leave_are_guards() -> None:
    def f(x: Any, n: Any) -> Any:
        total = x[np.argmax(x)] * 0
        for k in range(n):
            total = total + x[k] * [2.0, 3.0, 5.0][int(np.argmin(x))]
        return total

    g = jit(f)
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, n = rng.normal(size=3), int(rng.integers(0, 4))
        same(g(x, n), f(x, n))


def test_whether_an_operation_succeeds_is_a_guard() -> None:
    def f(a: Any) -> Any:
        try:
            return np.sum(np.linalg.cholesky(a))
        except np.linalg.LinAlgError:
            return np.sum(a) * -1.0

    good, bad = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])
    g, h = jit(f), jit(grad(f))
    for a in (good, bad, good, bad, 2 * good, 2 * bad):
        same(g(a), f(a))
        same(h(a), grad(f)(a))
    g, h = jit(f), jit(grad(f))
    for a in (bad, good, bad):
        same(g(a), f(a))
        same(h(a), grad(f)(a))
    strict = jit(lambda a: np.linalg.cholesky(a))
    strict(good)
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError, match="cholesky"):
            strict(bad)
        same(strict(good), np.linalg.cholesky(good))


def test_a_data_dependent_shape_is_a_guard() -> None:
    f = jit(lambda x: np.sum(x[x > 0]) / len(x[x > 0]))
    for x in ([1.0, -1.0, 2.0], [1.0, 1.0, 2.0], [-1.0, -1.0, 2.0], [-3.0, 5.0, 2.0]):
        v = np.array(x)
        same(f(v), np.mean(v[v > 0]))


def test_a_loop_count_beyond_32_variants() -> None:
    def f(x: Any) -> Any:
        while np.sum(x) < 100:  # the line that varies
            x = x + 1.0
        return np.sum(x * x)

    g = jit(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(60):
            x = np.array([100.0 - 3 * k, 0.0])
            same(g(x), f(x))
        for k in range(60):
            x = np.array([100.0 - 3 * k, 0.25])
            same(g(x), f(x))
    warned = [w for w in caught if issubclass(w.category, PerformanceWarning)]
    assert len(warned) == 1
    text = str(warned[0].message)
    line = f.__code__.co_firstlineno + 1
    assert f"{line}" in text, text
    assert "where" in text or "while_loop" in text, text


def test_a_float_that_leaves() -> None:
    for use in (lambda x: float(x[0]), lambda x: x.tolist(), lambda x: x[0].item(), lambda x: np.asarray(x)):
        with pytest.raises(TypeError, match="pure_callback"):
            jit(lambda x: (use(x), x)[1])(X)
    # not even on purpose
    with pytest.raises(TypeError, match="pure_callback"):
        jit(lambda x: x * float(mlgrad.stop_gradient(x[0])))(X)


def test_an_error_while_recording_is_not_kept() -> None:
    fail = True

    @jit
    def f(x: Any) -> Any:
        if check():
            raise ZeroDivisionError("on purpose")
        return x * 2

    def check() -> bool:
        return fail

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        f(X)
    fail = False
    same(f(X), 2 * X)


def test_shape_errors_name_the_operation() -> None:
    f = jit(lambda x, y: x @ y)
    same(f(X, X), X @ X)
    with pytest.raises(ValueError, match=r"matmul.*\(3,\).*\(4,\)"):
        f(X, np.ones(4))


# --- what a function captures -----------------------------------------------------------------------------------

FACTOR = 2.0
TABLE = np.array([1.0, 2.0, 3.0])
LAYERS = [np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])]
SETTINGS = {"power": 2, "w": np.ones(3)}


def helper(x: Any) -> Any:
    return x * FACTOR


def test_a_global_that_is_rebound() -> None:
    global FACTOR
    f, g = counted(lambda x: x * FACTOR + 1), counted(lambda x: helper(x) + 1)
    try:
        for factor in (2.0, 3.0, 2.0, 4, np.float64(5.0), np.array([1.0, 2.0, 3.0])):
            FACTOR = factor
            for _ in range(2):
                same(f(X), X * factor + 1)
                same(g(X), X * factor + 1)
        assert f.runs <= 6
    finally:
        FACTOR = 2.0


def test_a_helper_that_is_rebound() -> None:
    global helper
    f = jit(lambda x: helper(x))
    original = helper
    same(f(X), 2 * X)
    try:
        helper = lambda x: x - 1
        same(f(X), X - 1)
    finally:
        helper = original
    same(f(X), 2 * X)


def test_a_closure_cell_that_is_rebound() -> None:
    k: Any = 1.0
    f = counted(lambda x: x * k)
    g = jit(grad(lambda x: np.sum(x * x * k)))
    for value in (1.0, 2.0, 3, X, 2 * X, 1.0):
        k = value
        for _ in range(2):
            same(f(X), X * value)
            same(g(X), 2 * X * value)


def _scaled(x: Any) -> Any:
    return x**2 * FACTOR


def _total(x: Any) -> Any:
    return np.sum(_scaled(x))


def _identity(rules: Callable[[Any], None]) -> Any:
    f = mlgrad.custom_vjp(lambda x: x * 1.0)
    rules(f)
    return f


class _Callable:
    def __call__(self, x: Any) -> Any:
        return _total(x)


def _with_keyword(x: Any, *, f: Any = _total) -> Any:
    return f(x)


IN_OTHER_HANDS: dict[str, Any] = {
    "grad": grad(_total),
    "jacfwd": mlgrad.jacfwd(_scaled),
    "jacrev": mlgrad.jacrev(_scaled),
    "jacobian": mlgrad.jacobian(_scaled),
    "hessian": mlgrad.hessian(_total),
    "elementwise_grad": mlgrad.elementwise_grad(_scaled),
    "vmap": vmap(_scaled),
    "checkpoint": mlgrad.checkpoint(_scaled),
    "gradient": mlgrad.gradient(_total),
    "laplacian": mlgrad.laplacian(_total),
    "divergence": mlgrad.divergence(_scaled),
    "partial_derivative": mlgrad.partial_derivative(_total, "x"),
    "compose": mlgrad.chain.compose(_total, np.sin),
    "a rule": grad(lambda x: np.sum(_RULED(x))),
    "a callable object": _Callable(),
    "a method": _Callable().__call__,
    "a default": lambda x, f=_total: f(x),
    "a keyword's default": _with_keyword,
    "a list": (lambda fs: lambda x: fs[0](x))([_total]),
    "a dict": (lambda fs: lambda x: fs["f"](x))({"f": _total}),
    "a partial": functools.partial(lambda f, x: f(x), _total),
}
_RULED = _identity(lambda f: f.defvjp(lambda x: (x * 1.0, None), lambda _, g: (g * FACTOR,)))


@pytest.mark.parametrize("name", IN_OTHER_HANDS)
def test_a_global_that_a_function_in_other_hands_reads(name: str) -> None:
    global FACTOR
    plain = IN_OTHER_HANDS[name]
    f = jit(plain)
    try:
        for factor in (2.0, 3.0, 5.0):
            FACTOR = factor
            same(f(X), plain(X))
            same(f(X), plain(X))
    finally:
        FACTOR = 2.0


@pytest.mark.parametrize("n", [3, 5000])
def test_a_captured_array_is_read_at_each_replay(n: int) -> None:
    a, b = np.ones(n), np.ones(n)  # equal, and must not be merged
    x = np.linspace(1, 2, n)
    f = counted(lambda x: np.sum(x * a) + 10 * np.sum(x * b))
    g = jit(grad(lambda x: np.sum(x * a) + 10 * np.sum(x * b)))
    for k in range(4):
        a[:] = k
        b[0] = 2 * k
        same(f(x), np.sum(x * a) + 10 * np.sum(x * b))
        same(g(x), a + 10 * b)
    assert f.runs == 1


def test_a_captured_array_behind_a_guard() -> None:
    a = np.array([1.0, 2.0])
    f = jit(lambda x: x * 2 if a.sum() > 0 else x * 3)  # plain NumPy: frozen where it was read
    same(f(X), 2 * X)
    limit = np.array([1.0])
    g = jit(lambda x: x * 2 if np.sum(x) > limit[0] else x * 3)
    same(g(X), 2 * X)


def test_globals_of_many_kinds() -> None:
    global LAYERS
    f = counted(lambda x: sum(np.sum(x * w) for w in LAYERS) * SETTINGS["power"] + np.sum(TABLE * x))
    want = lambda: sum(np.sum(X * w) for w in LAYERS) * SETTINGS["power"] + np.sum(TABLE * X)
    original = LAYERS
    try:
        same(f(X), want())
        LAYERS[0][:] = 7.0  # in place
        same(f(X), want())
        assert f.runs == 1
        LAYERS[1] = np.array([0.0, 1.0, 0.0])  # another array in the list
        same(f(X), want())
        LAYERS.append(np.ones(3))
        same(f(X), want())
        LAYERS = [np.zeros(3)]
        same(f(X), want())
        SETTINGS["power"] = 3
        same(f(X), want())
        TABLE[1] = -1.0
        same(f(X), want())
    finally:
        LAYERS = original[:2]
        LAYERS[0][:], LAYERS[1] = [1.0, 2.0, 3.0], np.array([4.0, 5.0, 6.0])
        SETTINGS["power"], TABLE[1] = 2, 2.0


def test_what_numpy_takes_out_of_a_small_array_in_a_closure() -> None:
    table = np.array([2.0, 3.0, 5.0])
    tables = {"a": np.arange(3), "b": [np.ones(2)]}

    def f(x: Any) -> Any:
        return x * table[0] + np.sum(table) + int(tables["a"][2]) * x + tables["b"][0][1]

    jitted, gradient = mlgrad.jit(f), mlgrad.jit(mlgrad.grad(f))
    for change in (
        lambda: None,
        lambda: table.__setitem__(0, 7.0),
        lambda: table.__setitem__(slice(None), -1.0),
        lambda: tables["a"].__setitem__(2, 9),
        lambda: tables["b"][0].fill(4.0),
    ):
        change()
        assert jitted(1.5) == f(1.5)
        assert gradient(1.5) == table[0] + tables["a"][2]
    recordings = jitted.cache_info()["recordings"]
    for k in range(5):
        assert jitted(float(k)) == f(float(k))
    assert jitted.cache_info()["recordings"] == recordings


def test_a_list_of_arrays_in_a_closure() -> None:
    ws = [X * 1.0, X * 2.0]
    f, g = jit(lambda x: sum(np.sum(w * x) for w in ws)), jit(grad(lambda x: sum(np.sum(w * x) for w in ws)))
    for _ in range(2):
        same(f(X), sum(np.sum(w * X) for w in ws))
        same(g(X), sum(ws))
        ws[1] = X * 5.0
        same(g(X), sum(ws))
        ws.append(np.ones(3))
    same(f(X), sum(np.sum(w * X) for w in ws))


def test_a_buffer_inside_a_jitted_function() -> None:
    @jit
    def f(x: Any) -> Any:
        buf = np.zeros(3)
        s = 0.0
        for k in range(3):
            buf[:] = k
            s = s + np.sum(x * buf)
        return s

    for x in (X, 2 * X):
        same(f(x), 3 * np.sum(x))


# --- plans ------------------------------------------------------------------------------------------------------


def test_a_learning_rate_that_changes_plans_once() -> None:
    step = counted(lambda w, rate: w - rate * grad(lambda w: np.sum((w * X - 1) ** 2))(w))
    w = np.ones(3)
    w = step(w, 0.5)
    before = _core.cache_stats()
    for k in range(50):
        w = step(w, 0.1 / (k + 1))
    assert step.runs == 1
    assert _core.cache_stats()["misses"] == before["misses"]


def test_cache_info() -> None:
    f = jit(lambda x: np.sin(x) * 2)
    f(X)
    f(X)
    f(X[:2])
    info = f.cache_info()
    assert (info["recordings"], info["hits"], info["signatures"], info["variants"]) == (2, 1, 2, 2)
    assert "signature 1" in f.explain_plan()


def test_numbers_that_a_simplification_looked_at() -> None:
    """0, 1, -1 and small powers enter a plan's key; the same function with others must not get that plan."""
    for n in (0, 1, 2, 3, -1, 0.5, 2, 1, 0, -1, 7.25):
        same(vjp(lambda x: x**n * n + n, X)[0], X**n * n + n)
        same(grad(lambda x: np.sum(x**n * n))(X), n * n * X ** (n - 1.0))
        same(jit(lambda x, n: x**n * n + n)(X, n), X**n * n + n)


# --- composition ------------------------------------------------------------------------------------------------


def test_jit_and_grad_in_every_order() -> None:
    f = lambda x: np.sum(np.sin(x) * x**2)
    want = grad(f)(X)
    transforms: list[Callable[..., Any]] = [
        jit(grad(f)), grad(jit(f)), jit(grad(jit(f))), jit(jit(grad(f))), lambda x: jit(value_and_grad(jit(f)))(x)[1],
        lambda x: vjp(jit(f), x)[1](1.0)[0],
    ]  # fmt: skip
    for g in transforms:
        for _ in range(2):
            same(g(X), want)
    second = vmap(lambda e: jvp(grad(f), (X,), (e,))[1])(np.eye(3))
    for g in (jit(grad(f)), grad(jit(f)), jit(grad(jit(f)))):
        for _ in range(2):
            same(vmap(lambda e, g=g: jvp(g, (X,), (e,))[1])(np.eye(3)), second)
            same(jit(lambda x, g=g: jvp(g, (x,), (np.ones(3),))[1])(X), second.sum(1))


def test_jit_and_vmap() -> None:
    m = np.arange(6.0).reshape(2, 3)
    f = lambda row: np.sum(np.exp(row)) * row
    want = np.stack([f(r) for r in m])
    for g in (jit(vmap(f)), vmap(jit(f)), jit(vmap(jit(f)))):
        for _ in range(2):
            same(g(m), want)
    h = jit(vmap(grad(lambda w, row: np.sum(w * row) ** 2), in_axes=(None, 0)))
    same(h(X, m), np.stack([2 * np.sum(X * r) * r for r in m]))


def test_a_jitted_function_with_an_if_inside_grad() -> None:
    f = jit(lambda x: np.sum(x**2) if x[0] > 0 else np.sum(x**3))
    same(grad(f)(X), 2 * X)
    same(grad(f)(-X), 3 * X**2)
    same(grad(grad(lambda s: f(s * X)))(1.0), 2 * np.sum(X**2))


def test_a_jitted_function_that_captures_a_traced_value() -> None:
    def f(x: Any) -> Any:
        inner = jit(lambda y: np.sum(x * y**2))
        return inner(np.ones(3)) + inner(2 * np.ones(3))

    same(grad(f)(X), np.full(3, 5.0))
    same(jit(grad(f))(X), np.full(3, 5.0))


def test_recursion() -> None:
    @jit
    def f(x: Any, n: int) -> Any:
        return x if n == 0 else np.sin(f(x, n - 1))

    for _ in range(2):
        same(f(X, 3), np.sin(np.sin(np.sin(X))))


def test_special_functions() -> None:
    f = jit(grad(lambda x: np.sum(scipy.special.gammaln(x) + scipy.special.erf(x) * scipy.special.xlogy(x, x))))
    same(f(X), f(X.copy()))
    np.testing.assert_allclose(f(X), grad(f.__wrapped__.__wrapped__)(X), rtol=1e-13)


def test_many_small_calls_keep_their_results_apart() -> None:
    f = jit(value_and_grad(lambda x: np.sum(x**2)))
    results = [f(X + k) for k in range(100)]
    for k, (value, g) in enumerate(results):
        same(value, np.sum((X + k) ** 2))
        same(g, 2 * (X + k))


def test_layouts_of_arguments() -> None:
    f = jit(lambda x: x * 2 + np.arange(3))
    m = np.arange(12.0).reshape(4, 3)
    for x in (m, np.asfortranarray(m), m[::-1], m[::2], m.astype(">f8"), np.broadcast_to(X, (4, 3)), m[:, ::-1]):
        for _ in range(2):
            same(f(x), x * 2 + np.arange(3))
    read_only = X.copy()
    read_only.flags.writeable = False
    same(f(read_only), X * 2 + np.arange(3))


def test_subclasses_are_taken_as_arrays_or_refused() -> None:
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
    with pytest.raises(TypeError, match=r"MaskedArray|masked"):
        jit(lambda x: x * 2)(masked)


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 33, 41)])
def test_products_are_made_in_the_order_that_is_asked_for(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(11)
    batch, n, _ = shape
    q, k, weight = rng.standard_normal(shape), rng.standard_normal(shape), rng.standard_normal((batch, n, n))
    f = jit(lambda a, b: np.swapaxes(a @ np.swapaxes(b, 1, 2), 1, 2))
    np.testing.assert_array_equal(f(q, k), jit(lambda a, b: b @ np.swapaxes(a, 1, 2))(q, k))
    np.testing.assert_allclose(f(q, k), np.einsum("bim,bjm->bji", q, k), rtol=1e-12, atol=1e-12)
    # one product is added to the other where that lies
    both = jit(lambda a, b: np.swapaxes(a @ np.swapaxes(b, 1, 2) + b @ np.swapaxes(a, 1, 2), 1, 2))
    expected = np.einsum("bim,bjm->bji", q, k) + np.einsum("bim,bjm->bji", k, q)
    np.testing.assert_allclose(both(q, k), expected, rtol=1e-12, atol=1e-12)
    pull = jit(grad(lambda q, k: np.sum((q @ np.swapaxes(k, 1, 2)) * weight), argnums=(0, 1)))
    dq, dk = pull(q, k)
    np.testing.assert_allclose(dq, np.einsum("bij,bjm->bim", weight, k), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dk, np.einsum("bij,bim->bjm", weight, q), rtol=1e-12, atol=1e-12)
    # both are results of products, and nothing is moved afterwards
    assert "region" not in pull.explain_plan()


def test_results_that_no_cache_holds() -> None:
    n = (36 << 17) + 3  # 36 MiB and a bit: the last block is no whole line
    x = np.arange(n, dtype=np.float64)
    f = jit(lambda x: (x * 2.0 + 1.0, np.sum(x)))
    y, total = f(x)
    np.testing.assert_array_equal(y, x * 2.0 + 1.0)
    assert total == n * (n - 1) // 2
    rows = x[: 3000 * 1501].reshape(3000, 1501)
    z, sums = jit(lambda a: (lambda z: (z, np.sum(z, axis=1)))(a - np.max(a, axis=1, keepdims=True)))(rows)
    np.testing.assert_array_equal(z, np.broadcast_to(np.arange(-1500.0, 1.0), rows.shape))
    np.testing.assert_array_equal(sums, np.full(3000, -1500 * 1501 / 2))


@pytest.mark.parametrize("shape", [(70, 1000), (300, 13), (5, 3000)])
def test_rows_divided_by_a_number_each_have_the_bits_of_a_division(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-320, 300, shape)
    x.flat[::7] = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324], x.flat[::7].size)
    scale = rng.standard_normal((shape[0], 1)) * 10.0 ** rng.integers(-9, 9, (shape[0], 1))
    scale[3] = 0.0
    # the largest absolute number of each row is a column, and so is what follows from it
    y = np.where(np.isfinite(x), x, 0.0) + scale * 0.0
    with np.errstate(all="ignore"):
        f = jit(lambda x, y, s: x / (np.max(np.abs(y), axis=1, keepdims=True) * s))
        expected = x / (np.max(np.abs(y), axis=1, keepdims=True) * scale)
        np.testing.assert_array_equal(f(x, y, scale), expected)
        same = np.signbit(f(x, y, scale)) == np.signbit(expected)
    assert np.all(same | np.isnan(expected))
