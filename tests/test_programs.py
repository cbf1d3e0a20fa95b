"""Random programs of NumPy code: plain NumPy, recorded, jitted, with and without the planner's optimisations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlgrad
import mlgrad.numpy as mnp
from mlgrad import _core, grad, jit, vjp

# more of them, and others at each run, with MLGRAD_TEST_EXAMPLES=5000
EXAMPLES = int(os.environ.get("MLGRAD_TEST_EXAMPLES", "150"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="MLGRAD_TEST_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Step = Callable[[Any, Any, Any], Any]

# every step maps a 2-d array to a 2-d array; b is an earlier array of the program. Smooth, and bounded in value.
SMOOTH: dict[str, Step] = {
    "sin": lambda np, a, b: np.sin(a),
    "tanh": lambda np, a, b: np.tanh(a * 0.7),
    "exp": lambda np, a, b: np.exp(-a * a),
    "log": lambda np, a, b: np.log(1.5 + np.sin(a)),
    "sqrt": lambda np, a, b: np.sqrt(1 + a * a),
    "divide": lambda np, a, b: a / (2 + np.cos(b)),
    "arctan": lambda np, a, b: np.arctan(a),
    "add": lambda np, a, b: 0.5 * (a + b),
    "subtract": lambda np, a, b: a - 0.3 * b,
    "multiply": lambda np, a, b: np.tanh(a) * np.cos(b),
    "power": lambda np, a, b: (1 + np.tanh(a) ** 2) ** 1.5,
    "square": lambda np, a, b: np.tanh(a) ** 2,
    "cube": lambda np, a, b: np.tanh(b) ** 3,
    "negate": lambda np, a, b: -a,
    "transpose": lambda np, a, b: a.T.reshape(a.shape),
    "flip": lambda np, a, b: a[::-1],
    "flip columns": lambda np, a, b: np.flip(a, 1),
    "roll": lambda np, a, b: np.roll(a, 1, axis=1),
    "roll flat": lambda np, a, b: np.roll(a, 3),
    "row": lambda np, a, b: a[:1] + b,
    "column": lambda np, a, b: a * 0.5 + b[:, -1:],
    "sum of rows": lambda np, a, b: np.tanh(np.sum(a, axis=1, keepdims=True)) + b,
    "mean of columns": lambda np, a, b: a - np.mean(b, axis=0),
    "normalise": lambda np, a, b: (a - np.mean(a, axis=1, keepdims=True)) / np.sqrt(np.var(b) + 1),
    "softmax": lambda np, a, b: _softmax(np, a),
    "logsumexp": lambda np, a, b: a - np.log(np.sum(np.exp(np.tanh(b)), axis=1, keepdims=True)),
    "matmul": lambda np, a, b: np.tanh(a @ b.T) @ b * 0.3,
    "outer": lambda np, a, b: np.outer(a[:, 0], b[0]) * 0.3,
    "einsum": lambda np, a, b: np.einsum("ij,kj->ik", np.tanh(a), np.tanh(b)) @ a * 0.1,
    "slice write": lambda np, a, b: _slice_write(a, b),
    "column write": lambda np, a, b: _column_write(a, b),
    "accumulate": lambda np, a, b: _accumulate(a, b),
    "shifted difference": lambda np, a, b: np.concatenate([a[:, 1:] - a[:, :-1], b[:, :1]], axis=1),
    "pad": lambda np, a, b: np.pad(a, ((1, 1), (0, 0)))[1:-1] + b,
    "stack": lambda np, a, b: np.stack([a, b], axis=0)[1],
    "gather": lambda np, a, b: a[_rows(a)] * 0.5 + b,
    "gather columns": lambda np, a, b: a[:, _columns(a)],
    "cumsum": lambda np, a, b: np.tanh(np.cumsum(a, axis=1)),
    "cumprod": lambda np, a, b: np.cumprod(np.cos(a) * 0.9, axis=0),
    "prod": lambda np, a, b: np.prod(np.cos(a), axis=1, keepdims=True) + b,
    "tril": lambda np, a, b: np.tril(a) + np.triu(b),
    "reshape": lambda np, a, b: np.reshape(np.reshape(a, (-1,))[::-1], a.shape),
    "repeat": lambda np, a, b: np.repeat(a, 2, axis=0)[: a.shape[0]],
    "tile": lambda np, a, b: np.tile(a[:, :1], (1, a.shape[1])),
    "norm": lambda np, a, b: a / np.sqrt(np.sum(b * b) + 1),
    "inner gradient": lambda np, a, b: a * 0.1 * np.cos(np.sum(b)),
    "solve": lambda np, a, b: np.linalg.solve(b @ b.T * 0.1 + np.eye(a.shape[0]) * 2, a),
}  # fmt: skip
KINKED: dict[str, Step] = {
    "relu": lambda np, a, b: np.maximum(a, 0),
    "abs": lambda np, a, b: np.abs(a),
    "where": lambda np, a, b: np.where(a > b, a, np.sin(b)),
    "where sqrt": lambda np, a, b: np.where(a > 0, np.sqrt(np.abs(a) + 0.01), 0.0),
    "clip": lambda np, a, b: np.clip(a, -0.5, 0.5),
    "minimum": lambda np, a, b: np.minimum(a, b),
    "max": lambda np, a, b: a - np.max(a, axis=1, keepdims=True),
    "min": lambda np, a, b: a * 0.5 + np.min(b),
    "sort": lambda np, a, b: np.sort(a, axis=1),
    "take_along_axis": lambda np, a, b: np.take_along_axis(a, np.argsort(b, axis=0), axis=0),
    "argmax": lambda np, a, b: a * 0.5 + b[np.argmax(b[:, 0])],
    "if": lambda np, a, b: a * 0.9 if a.sum() > b.sum() + 0.123 else np.cos(b),
    "mask write": lambda np, a, b: _mask_write(a),
}
STEPS = SMOOTH | KINKED


def _softmax(np: Any, a: Any) -> Any:
    e = np.exp(a - np.max(a, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def _slice_write(a: Any, b: Any) -> Any:
    y = a + 0.0 * b  # a traced buffer if either is traced
    y[1:] = b[:-1] * 0.5
    y[0] *= 2.0
    return y


def _column_write(a: Any, b: Any) -> Any:
    y = a - 0.0 * b
    y[:, ::2] += b[:, ::2]
    v = y[:1]
    v -= 0.25
    return y


def _accumulate(a: Any, b: Any) -> Any:
    y = b + 0.0 * a
    y += a
    y *= 0.5
    return y


def _mask_write(a: Any) -> Any:
    y = a * 1.0
    y[y > 0.3] = 0.3
    return y


def _rows(a: Any) -> Any:
    return (np.arange(a.shape[0]) * 3 + 1) % a.shape[0]


def _columns(a: Any) -> Any:
    return (np.arange(a.shape[1]) * 2) % a.shape[1]


Program = list[tuple[str, int, int]]


def programs(steps: dict[str, Step], size: int = 12) -> st.SearchStrategy[Program]:
    place = st.integers(0, 3)
    return st.lists(st.tuples(st.sampled_from(sorted(steps)), place, place), min_size=1, max_size=size)


shapes = st.sampled_from([(1, 1), (2, 3), (3, 2), (4, 4), (1, 7), (9, 1), (5, 13), (33, 3)])


def run(program: Program, module: Any, x: Any, c: Any) -> Any:
    """The last arrays of the program; x is differentiated, c is a constant."""
    known = [x, c, x * c, x + 1]
    for name, i, j in program:
        known = [*known[1:], STEPS[name](module, known[3 - i], known[3 - j])]
    return known


def total(program: Program, module: Any, x: Any, c: Any) -> Any:
    return sum(module.sum(y * (k + 1.5)) for k, y in enumerate(run(program, module, x, c)))


def draw(shape: tuple[int, int], dtype: Any = np.float64) -> tuple[Any, Any]:
    rng = np.random.default_rng(shape[0] * 100 + shape[1])
    return rng.uniform(-1, 1, shape).astype(dtype), rng.uniform(-1, 1, shape).astype(dtype)


@SETTINGS
@given(programs(STEPS), shapes)
def test_recorded_is_jitted_is_numpy(program: Program, shape: tuple[int, int]) -> None:
    x, c = draw(shape)
    want = run(program, np, x, c)
    for got in (
        vjp(lambda x: run(program, np, x, c), x)[0],
        vjp(lambda x: run(program, mnp, x, c), x)[0],
        jit(lambda x, c: run(program, np, x, c))(x, c),
        jit(lambda x: run(program, np, x, c))(x),
    ):
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-12)


@SETTINGS
@given(programs(SMOOTH, 8), shapes)
def test_gradients_are_finite_differences(program: Program, shape: tuple[int, int]) -> None:
    x, c = draw(shape)
    u = np.random.default_rng(5).uniform(-1, 1, shape)
    f = lambda x: total(program, np, x, c)
    eps = 1e-5
    numeric = (f(x + eps * u) - f(x - eps * u)) / (2 * eps)
    g = grad(f)(x)
    scale = max(1.0, abs(float(f(x))), float(np.sum(np.abs(g))))
    assert np.sum(g * u) == pytest.approx(numeric, rel=1e-5, abs=1e-7 * scale)
    tangent = mlgrad.jvp(f, (x,), (u,))[1]
    assert tangent == pytest.approx(np.sum(g * u), rel=1e-9, abs=1e-11 * scale)
    second = mlgrad.jvp(grad(f), (x,), (u,))[1]
    other = grad(lambda x: mlgrad.jvp(f, (x,), (u,))[1])(x)
    size = max(1.0, float(np.max(np.abs(second))))
    np.testing.assert_allclose(second, other, rtol=1e-8, atol=1e-10 * size)


#: What the planner may do; machine code is made where it may fuse.
PLANNERS: list[dict[str, Any]] = [
    {},
    {"simplify": False},
    {"fuse": False},
    {"simplify": False, "fuse": False},
    {"generate": False},
    {"small": 4},
    {"small": 1024},
]


@SETTINGS
@given(programs(STEPS), shapes)
def test_the_planner_changes_nothing(engine: None, program: Program, shape: tuple[int, int]) -> None:
    """With every optimisation on or off: the same forward bits, and adjoints to rounding."""
    x, c = draw(shape)
    values, gradients = [], []
    for options in PLANNERS:
        _core.set_options(**options)
        values.append(jit(lambda x, c: run(program, np, x, c))(x, c))
        gradients.append(jit(grad(lambda x: total(program, np, x, c)))(x))
    for other in values[1:]:
        for a, b in zip(values[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    for other in gradients[1:]:
        scale = max(1.0, float(np.max(np.abs(gradients[0]))))
        np.testing.assert_allclose(gradients[0], other, rtol=1e-12, atol=1e-12 * scale)


_NAMES = """sin tanh exp log sqrt divide arctan add subtract multiply power square cube negate flip roll row column relu
abs where clip minimum slice_write column_write accumulate shifted_difference pad gather"""
ELEMENTWISE = {k: STEPS[k] for k in (n.replace("_", " ") for n in _NAMES.split())}


@SETTINGS
@given(programs(ELEMENTWISE, 20), shapes, st.sampled_from([np.float64, np.float32]))
def test_elementwise_work_has_the_same_bits(engine: None, program: Program, shape: tuple[int, int], dtype: Any) -> None:
    x, c = draw(shape, dtype)
    results = []
    for options in PLANNERS:
        _core.set_options(**options)
        # c traced too, since NumPy's own functions differ in the last bit
        results.append(jit(lambda x, c: run(program, np, x, c))(x, c))
        results.append(vjp(lambda x, c: run(program, np, x, c), x, c)[0])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_array_equal(a, b)


@settings(SETTINGS, max_examples=EXAMPLES // 4)
@given(programs(STEPS, 8), st.sampled_from([(129, 257), (3, 20_000), (20_000, 2)]))
def test_the_number_of_threads_changes_no_bit(engine: None, program: Program, shape: tuple[int, int]) -> None:
    program = [s for s in program if shape[0] < 1000 or s[0] not in ("matmul", "einsum", "solve", "outer")]
    x, c = draw(shape)
    f = jit(mlgrad.value_and_grad(lambda x: total(program, np, x, c)))
    results = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        results.append(f(x))
    for value, g in results[1:]:
        assert value == results[0][0]
        np.testing.assert_array_equal(g, results[0][1])


@settings(SETTINGS, max_examples=EXAMPLES // 2)
@given(programs(SMOOTH, 6), st.sampled_from([(2, 3), (3, 2), (4, 4)]))
def test_vmap_is_a_loop(program: Program, shape: tuple[int, int]) -> None:
    x, c = draw(shape)
    batch = np.stack([x, x * 0.5, x[::-1] - 0.1])
    f = lambda x: run(program, np, x, c)[-1]
    np.testing.assert_allclose(mlgrad.vmap(f)(batch), np.stack([f(b) for b in batch]), rtol=1e-11, atol=1e-12)
    g = grad(lambda x: total(program, np, x, c))
    np.testing.assert_allclose(mlgrad.vmap(g)(batch), np.stack([g(b) for b in batch]), rtol=1e-9, atol=1e-10)
