"""Linear models and networks: matrix products with something elementwise around them."""

import numpy as np

from mlgrad._problems import NETWORK, Problem


def _logistic(xp):
    def f(w, x, y):
        z = x @ w
        return xp.mean(xp.logaddexp(0.0, z) - y * z)

    return f


def _logistic_by_hand(w, x, y):
    z = x @ w
    return np.mean(np.logaddexp(0.0, z) - y * z), x.T @ (1.0 / (1.0 + np.exp(-z)) - y) / len(x)


def _logistic_arguments(n, rng):
    x = rng.standard_normal((n, 100))
    return rng.standard_normal(100) / 10.0, x, np.where(rng.random(n) < 0.5, 0.0, 1.0)


LOGISTIC = Problem("mean(logaddexp(0, Xw) - y·Xw)", _logistic, _logistic_by_hand, _logistic_arguments)


def _relu_fit(xp):
    def f(params, x, y):
        w, b = params
        return xp.mean((y - xp.maximum(0.0, x @ w + b)) ** 2)

    return f


def _relu_fit_by_hand(params, x, y):
    w, b = params
    z = x @ w + b
    r = np.maximum(0.0, z) - y
    g = np.where(z > 0.0, r, 0.0) * (2.0 / len(x))
    return np.mean(r * r), (x.T @ g, np.sum(g))


def _relu_fit_arguments(n, rng):
    x = rng.standard_normal((n, 20))
    return (rng.standard_normal(20), 0.1), x, rng.standard_normal(n)


RELU_FIT = Problem("mean((y - max(0, Xw+b))²)", _relu_fit, _relu_fit_by_hand, _relu_fit_arguments)


def mlp(inputs, hidden, classes, dtype=np.float64):
    """Define a network with a tanh layer and softmax cross-entropy; its size is the batch."""

    def arguments(n, rng):
        def array(*shape, scale=1.0):
            return (rng.standard_normal(shape) * scale).astype(dtype)

        params = {
            "w1": array(inputs, hidden, scale=inputs**-0.5),
            "b1": array(hidden, scale=0.1),
            "w2": array(hidden, classes, scale=hidden**-0.5),
            "b2": array(classes, scale=0.1),
        }
        return params, array(n, inputs), np.eye(classes, dtype=dtype)[rng.integers(0, classes, n)]

    return Problem(f"{inputs}-{hidden}-{classes} network", NETWORK.define, NETWORK.by_hand, arguments)


def _three_layers(xp):
    def f(params, x):
        a = x
        for w, b in zip(params["w"], params["b"], strict=True):
            a = 1.0 / (1.0 + xp.exp(-(w @ a + b)))
        return xp.sum(0.5 * (a - 1.0) ** 2)

    return f


def _three_layers_by_hand(params, x):
    a = [x]
    for w, b in zip(params["w"], params["b"], strict=True):
        a.append(1.0 / (1.0 + np.exp(-(w @ a[-1] + b))))
    g = a[-1] - 1.0
    value, dw, db = 0.5 * np.sum(g * g), [], []
    for k in (2, 1, 0):
        g = g * a[k + 1] * (1.0 - a[k + 1])
        dw.insert(0, g @ a[k].T)
        db.insert(0, g)
        g = params["w"][k].T @ g
    return value, {"w": dw, "b": db}


def _three_layers_arguments(n, rng):
    shapes = ((8, 4), (4, 8), (1, 4))
    params = {"w": [rng.standard_normal(s) * 0.5 for s in shapes], "b": [np.zeros((s[0], 1)) for s in shapes]}
    return params, rng.standard_normal((4, 1))


THREE_LAYERS = Problem("4-8-4-1 network", _three_layers, _three_layers_by_hand, _three_layers_arguments)
