"""Products of a batch with what is between them, some entries at a time, and rows that are added up on the way."""

import numpy as np
import pytest

import mlgrad
from mlgrad import _core

THREADS = (1, 2, 3, 8)


@pytest.fixture(autouse=True)
def _threads():
    before = _core.num_threads()
    yield
    _core.set_num_threads(before)


def _leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])]
    if isinstance(tree, tuple | list):
        return [leaf for item in tree for leaf in _leaves(item)]
    return [np.asarray(tree)]


def _same_on_any_threads(f, *args):
    """Return the results of `f`, which have the same bits with any number of threads, and the plan."""
    compiled = mlgrad.jit(f)
    results = []
    for n in THREADS:
        _core.set_num_threads(n)
        results.append(_leaves(compiled(*args)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()
    return results[0], str(compiled.explain_plan())


def _softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def _attention(params, weight):
    q, k, v = params["q"], params["k"], params["v"]
    p = _softmax(q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5)
    return np.sum((p @ v) * weight)


def _attention_by_hand(params, weight):
    q, k, v = params["q"], params["k"], params["v"]
    scale = q.shape[-1] ** -0.5
    p = _softmax(q @ k.swapaxes(-1, -2) * scale)
    dp = weight @ v.swapaxes(-1, -2)
    ds = p * (dp - np.sum(dp * p, axis=-1, keepdims=True)) * scale
    gradient = {"q": ds @ k, "k": ds.swapaxes(-1, -2) @ q, "v": p.swapaxes(-1, -2) @ weight}
    return np.sum((p @ v) * weight), gradient


@pytest.mark.parametrize(
    ("batch", "queries", "keys", "width", "by_parts"),
    [
        ((64,), 64, 64, 64, True),
        ((13,), 50, 50, 64, True),
        ((3, 7), 33, 70, 41, True),
        ((400,), 17, 9, 23, True),
        ((16,), 1, 1000, 64, True),
        ((97,), 40, 40, 1, False),
        ((5,), 50, 50, 30, False),
        ((1,), 64, 64, 64, False),
        ((0,), 8, 8, 8, False),
        ((9,), 0, 8, 8, False),
    ],
)
def test_attention_of_any_shape(batch, queries, keys, width, by_parts):
    rng = np.random.default_rng(1)
    sizes = {"q": queries, "k": keys, "v": keys}
    params = {name: rng.standard_normal((*batch, n, width)) for name, n in sizes.items()}
    weight = rng.standard_normal((*batch, queries, width))
    results, plan = _same_on_any_threads(mlgrad.value_and_grad(_attention), params, weight)
    for got, want in zip(results, _leaves(_attention_by_hand(params, weight)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)
    if by_parts:
        assert "parts of a batch" in plan


def test_attention_in_float32():
    rng = np.random.default_rng(2)
    params = {name: rng.standard_normal((40, 48, 56)).astype(np.float32) for name in "qkv"}
    weight = rng.standard_normal((40, 48, 56)).astype(np.float32)
    results, plan = _same_on_any_threads(mlgrad.value_and_grad(_attention), params, weight)
    assert "parts of a batch" in plan
    wide = {name: x.astype(np.float64) for name, x in params.items()}
    for got, want in zip(results, _leaves(_attention_by_hand(wide, weight.astype(np.float64))), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


def test_one_matrix_and_one_row_for_all_entries():
    rng = np.random.default_rng(3)
    x, y, w = rng.standard_normal((48, 60, 50)), rng.standard_normal((48, 50, 64)), rng.standard_normal((64, 50))
    mask = rng.standard_normal((60, 1)) > 0

    def f(x, y):
        h = np.tanh(x @ y) * mask
        return ((h + h.sum(axis=2, keepdims=True)) @ np.swapaxes(y, 1, 2)) * x, h @ w

    got, plan = _same_on_any_threads(f, x, y)
    for mine, want in zip(got, f(x, y), strict=True):
        np.testing.assert_allclose(mine, want, rtol=1e-10, atol=1e-10)
    assert "parts of a batch" in plan


def test_what_crosses_entries_is_in_memory():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((40, 40, 40)), rng.standard_normal((40, 40, 40))

    def f(a, b):
        c = a @ b
        # by another axis, backwards, one entry for all, all entries for one
        turned = np.swapaxes(c, 0, 1) @ b
        back = c[::-1] @ a
        first = c[0] @ b
        total = np.sum(c, axis=0) @ a
        return turned, back, first, total, c + np.mean(c)

    got, _ = _same_on_any_threads(f, a, b)
    for mine, want in zip(got, f(a, b), strict=True):
        np.testing.assert_allclose(mine, want, rtol=1e-10, atol=1e-9)


def test_sums_to_which_products_are_added():
    rng = np.random.default_rng(5)
    a, b, s = (rng.standard_normal((64, 48, 48)) for _ in range(3))

    def f(a, b, s):
        c = np.exp(0.01 * (a @ b))
        d = s + c @ a
        return d + b @ c, c

    got, _ = _same_on_any_threads(f, a, b, s)
    for mine, want in zip(got, f(a, b, s), strict=True):
        np.testing.assert_allclose(mine, want, rtol=1e-11, atol=1e-11)


def test_small_entries_go_together():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((3000, 8, 6)), rng.standard_normal((3000, 6, 8))

    def f(a, b):
        return np.sum(np.tanh(a @ b) @ a)

    results, plan = _same_on_any_threads(mlgrad.value_and_grad(f, argnums=(0, 1)), a, b)
    t = np.tanh(a @ b)
    inner = np.swapaxes(np.sum(a, axis=2, keepdims=True), 1, 2) * (1 - t * t)
    np.testing.assert_allclose(results[0], np.sum(t @ a), rtol=1e-9)
    np.testing.assert_allclose(results[2], np.swapaxes(a, 1, 2) @ inner, rtol=1e-8, atol=1e-9)
    direct = np.sum(t, axis=1)[:, :, None] * np.ones_like(a)
    np.testing.assert_allclose(results[1], inner @ np.swapaxes(b, 1, 2) + direct, rtol=1e-8, atol=1e-9)
    assert "parts of a batch" in plan


def test_results_of_a_product_before_an_error_of_a_later_call():
    rng = np.random.default_rng(7)
    a = rng.standard_normal((64, 48, 48))
    f = mlgrad.jit(lambda a: np.tanh(a @ a) @ a)
    before = f(a)
    with pytest.raises(ValueError, match="matmul"):
        f(a[:, :, :40])
    assert f(a).tobytes() == before.tobytes()


def _norm(params, weight):
    x = params["x"]
    centred = x - np.mean(x, axis=1, keepdims=True)
    scale = np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + 1e-5)
    return np.sum((centred / scale * params["gain"] + params["bias"]) * weight)


def _norm_by_hand(params, weight):
    x = params["x"]
    centred = x - np.mean(x, axis=1, keepdims=True)
    y = centred / (scale := np.sqrt(np.mean(centred * centred, axis=1, keepdims=True) + 1e-5))
    dy = weight * params["gain"]
    slope = y * np.mean(dy * y, axis=1, keepdims=True)
    gradient = {
        "x": (dy - np.mean(dy, axis=1, keepdims=True) - slope) / scale,
        "gain": np.sum(weight * y, axis=0),
        "bias": np.sum(weight, axis=0),
    }
    return np.sum((y * params["gain"] + params["bias"]) * weight), gradient


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("rows", "row"), [(200, 1000), (31, 1003), (600, 512), (300, 520), (3, 4096), (40, 64), (2, 600)]
)
def test_layer_norm_of_any_shape(rows, row, dtype):
    rng = np.random.default_rng(8)
    params = {"x": rng.standard_normal((rows, row)), "gain": rng.standard_normal(row), "bias": rng.standard_normal(row)}
    weight = rng.standard_normal((rows, row))
    narrow = {name: x.astype(dtype) for name, x in params.items()}
    results, _ = _same_on_any_threads(mlgrad.value_and_grad(_norm), narrow, weight.astype(dtype))
    tolerance = 1e-9 if dtype is np.float64 else 2e-3
    for got, want in zip(results, _leaves(_norm_by_hand(params, weight)), strict=True):
        scale = np.max(np.abs(want))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(scale, 30))


def test_several_sums_over_rows_of_one_value():
    rng = np.random.default_rng(9)
    x, w = rng.standard_normal((150, 1024)), rng.standard_normal(1024)

    def f(x, w):
        y = x * w - np.max(x, axis=1, keepdims=True)
        return np.sum(y, axis=0), np.sum(x, axis=0), np.max(y, axis=0), np.sum(y * y, axis=0), y

    got, _ = _same_on_any_threads(f, x, w)
    for mine, want in zip(got, f(x, w), strict=True):
        np.testing.assert_allclose(mine, want, rtol=1e-10, atol=1e-10)
