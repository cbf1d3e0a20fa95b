"""Two layers of long short-term memory over fifty steps, with a linear reading and squared error."""

import numpy as np

from mlgrad._problems import Problem

LAYERS, STEPS, UNITS = 2, 50, 64


def _sigmoid(xp, x):
    return 1.0 / (1.0 + xp.exp(-x))


def _lstm(xp):
    def f(params, x, target):
        h = c = [xp.zeros(x.shape[1:])] * LAYERS
        total = 0.0
        for t in range(STEPS):
            below, h_now, c_now = x[t], [], []
            for layer, h_old, c_old in zip(params["layers"], h, c, strict=True):
                gates = below @ layer["wx"] + h_old @ layer["wh"] + layer["b"]
                keep = _sigmoid(xp, gates[:, :UNITS])
                write = _sigmoid(xp, gates[:, UNITS : 2 * UNITS])
                show = _sigmoid(xp, gates[:, 2 * UNITS : 3 * UNITS])
                c_now.append(keep * c_old + write * xp.tanh(gates[:, 3 * UNITS :]))
                below = show * xp.tanh(c_now[-1])
                h_now.append(below)
            h, c = h_now, c_now
            total = total + xp.sum((below @ params["out"] + params["bias"] - target[t]) ** 2)
        return total / STEPS

    return f


def _step(layer, below, h_old, c_old):
    """One layer at one step; returns h and c, and what its derivative needs."""
    gates = below @ layer["wx"] + h_old @ layer["wh"] + layer["b"]
    sigmoids = _sigmoid(np, gates[:, : 3 * UNITS])
    keep, write, show = np.split(sigmoids, 3, axis=1)
    new = np.tanh(gates[:, 3 * UNITS :])
    c = keep * c_old + write * new
    squashed = np.tanh(c)
    return show * squashed, c, (below, h_old, c_old, sigmoids, keep, write, show, new, squashed)


def _step_back(layer, gradient, saved, dh, dc):
    """Add the derivative of a step to `gradient`; returns those of below, h_old and c_old."""
    below, h_old, c_old, sigmoids, keep, write, show, new, squashed = saved
    dc = dc + dh * show * (1.0 - squashed * squashed)
    d_gates = np.concatenate([dc * c_old, dc * new, dh * squashed, dc * write * (1.0 - new * new)], axis=1)
    d_gates[:, : 3 * UNITS] *= sigmoids * (1.0 - sigmoids)
    gradient["wx"] += below.T @ d_gates
    gradient["wh"] += h_old.T @ d_gates
    gradient["b"] += np.sum(d_gates, axis=0)
    return d_gates @ layer["wx"].T, d_gates @ layer["wh"].T, dc * keep


def _lstm_by_hand(params, x, target):
    layers = params["layers"]
    h = c = [np.zeros(x.shape[1:])] * LAYERS
    tape, gaps, tops = [], [], []
    for t in range(STEPS):
        below, h_now, c_now, saved = x[t], [], [], []
        for k, layer in enumerate(layers):
            below, cell, needed = _step(layer, below, h[k], c[k])
            h_now.append(below)
            c_now.append(cell)
            saved.append(needed)
        h, c = h_now, c_now
        tape.append(saved)
        tops.append(below)
        gaps.append(below @ params["out"] + params["bias"] - target[t])
    gradient = {
        "layers": [{name: np.zeros_like(w) for name, w in layer.items()} for layer in layers],
        "out": np.zeros_like(params["out"]),
        "bias": np.zeros_like(params["bias"]),
    }
    dh = dc = [np.zeros(x.shape[1:])] * LAYERS
    for saved, top, gap in zip(reversed(tape), reversed(tops), reversed(gaps), strict=True):
        d_out = gap * (2.0 / STEPS)
        gradient["out"] += top.T @ d_out
        gradient["bias"] += np.sum(d_out, axis=0)
        from_above, dh_before, dc_before = d_out @ params["out"].T, [], []
        for k in reversed(range(LAYERS)):
            from_above, d_h, d_c = _step_back(layers[k], gradient["layers"][k], saved[k], dh[k] + from_above, dc[k])
            dh_before.insert(0, d_h)
            dc_before.insert(0, d_c)
        dh, dc = dh_before, dc_before
    return sum(np.sum(gap * gap) for gap in gaps) / STEPS, gradient


def _arguments(n, rng):
    def weights(*shape):
        return rng.standard_normal(shape) * UNITS**-0.5

    layers = [
        {"wx": weights(UNITS, 4 * UNITS), "wh": weights(UNITS, 4 * UNITS), "b": weights(4 * UNITS)}
        for _ in range(LAYERS)
    ]
    params = {"layers": layers, "out": weights(UNITS, UNITS), "bias": weights(UNITS)}
    return params, rng.standard_normal((STEPS, n, UNITS)), rng.standard_normal((STEPS, n, UNITS))


LSTM = Problem("LSTM, 2 layers of 64, 50 steps", _lstm, _lstm_by_hand, _arguments)
