"""Normalisations of rows: a reduction of each row in the middle of an elementwise chain."""

import numpy as np

from mlgrad._problems import Problem


def _softmax(xp, x):
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def _weighted_softmax(xp):
    return lambda x, weight: xp.sum(_softmax(xp, x) * weight)


def _weighted_softmax_by_hand(x, weight):
    p = _softmax(np, x)
    mean = np.sum(p * weight, axis=1, keepdims=True)
    return np.sum(mean), p * (weight - mean)


SOFTMAX = Problem(
    "softmax of rows",
    _weighted_softmax,
    _weighted_softmax_by_hand,
    lambda n, rng: (rng.standard_normal((n, n)), rng.standard_normal((n, n))),
)


def _layer_norm(xp):
    def f(params, weight):
        x = params["x"]
        centred = x - xp.mean(x, axis=1, keepdims=True)
        scale = xp.sqrt(xp.mean(centred**2, axis=1, keepdims=True) + 1e-5)
        return xp.sum((centred / scale * params["gain"] + params["bias"]) * weight)

    return f


def _layer_norm_by_hand(params, weight):
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


def _layer_norm_arguments(n, rng):
    params = {"x": rng.standard_normal((n, n)), "gain": rng.standard_normal(n), "bias": rng.standard_normal(n)}
    return params, rng.standard_normal((n, n))


LAYER_NORM = Problem("layer norm of rows", _layer_norm, _layer_norm_by_hand, _layer_norm_arguments)


def _attention(xp):
    def f(params, weight):
        q, k, v = params["q"], params["k"], params["v"]
        p = _softmax(xp, q @ xp.swapaxes(k, 1, 2) * q.shape[-1] ** -0.5)
        return xp.sum((p @ v) * weight)

    return f


def _attention_by_hand(params, weight):
    q, k, v = params["q"], params["k"], params["v"]
    scale = q.shape[-1] ** -0.5
    p = _softmax(np, q @ k.swapaxes(1, 2) * scale)
    dp = weight @ v.swapaxes(1, 2)
    ds = p * (dp - np.sum(dp * p, axis=2, keepdims=True)) * scale
    return np.sum((p @ v) * weight), {"q": ds @ k, "k": ds.swapaxes(1, 2) @ q, "v": p.swapaxes(1, 2) @ weight}


def _attention_arguments(n, rng):
    return {name: rng.standard_normal((n, n, n)) for name in "qkv"}, rng.standard_normal((n, n, n))


ATTENTION = Problem("softmax(QKᵀ/√d)V", _attention, _attention_by_hand, _attention_arguments)
