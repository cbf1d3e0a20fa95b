"""The log-likelihood of a Gaussian mixture with full covariances, as benchmarks of differentiation tools have it.

Each inverse covariance is LᵀL; the parameters are the logarithms of L's diagonal and its packed strict lower triangle.
The terms that do not depend on the parameters are left out; a Wishart prior with γ = 1 and m = 0 is added.
"""

import numpy as np

from mlgrad._problems import Problem

DIMENSIONS, COMPONENTS = 10, 25
ROWS, COLUMNS = np.tril_indices(DIMENSIONS, -1)
#: Where each element of L is found in its packed triangle; anything on and above the diagonal, where STRICT is 0.
PLACES = np.zeros((DIMENSIONS, DIMENSIONS), dtype=np.int64)
PLACES[ROWS, COLUMNS] = np.arange(len(ROWS))
STRICT = np.tril(np.ones((DIMENSIONS, DIMENSIONS)), -1)


def _log_sum_exp(xp, a, axis):
    top = xp.max(a, axis=axis, keepdims=True)
    return xp.squeeze(top, axis=axis) + xp.log(xp.sum(xp.exp(a - top), axis=axis))


def _mixture(xp):
    places, strict, eye = xp.asarray(PLACES), xp.asarray(STRICT), xp.asarray(np.eye(DIMENSIONS))

    def f(params, x):
        alpha, mean, log_diagonal, packed = (params[k] for k in ("alpha", "mean", "log_diagonal", "packed"))
        diagonal = xp.exp(log_diagonal)
        lower = packed[:, places] * strict + diagonal[:, :, None] * eye
        z = (x[None, :, :] - mean[:, None, :]) @ xp.swapaxes(lower, 1, 2)
        joint = (alpha + xp.sum(log_diagonal, axis=1))[:, None] - 0.5 * xp.sum(z**2, axis=2)
        prior = 0.5 * (xp.sum(diagonal**2) + xp.sum(packed**2))
        return xp.sum(_log_sum_exp(xp, joint, 0)) - x.shape[0] * _log_sum_exp(xp, alpha, 0) + prior

    return f


def _mixture_by_hand(params, x):
    alpha, mean, log_diagonal, packed = (params[k] for k in ("alpha", "mean", "log_diagonal", "packed"))
    diagonal = np.exp(log_diagonal)
    lower = np.zeros((COMPONENTS, DIMENSIONS, DIMENSIONS))
    lower[:, ROWS, COLUMNS] = packed
    every = np.arange(DIMENSIONS)
    lower[:, every, every] = diagonal
    centred = x - mean[:, None, :]
    z = centred @ lower.swapaxes(1, 2)
    joint = (alpha + np.sum(log_diagonal, axis=1))[:, None] - 0.5 * np.sum(z * z, axis=2)
    value = np.sum(_log_sum_exp(np, joint, 0)) - len(x) * _log_sum_exp(np, alpha, 0)
    value += 0.5 * (np.sum(diagonal**2) + np.sum(packed**2))
    weight = np.exp(joint - np.max(joint, axis=0))
    weight /= np.sum(weight, axis=0)
    z *= -weight[:, :, None]
    d_lower = z.swapaxes(1, 2) @ centred
    total = np.sum(weight, axis=1)
    share = np.exp(alpha - np.max(alpha))
    gradient = {
        "alpha": total - len(x) * share / np.sum(share),
        "mean": -(np.sum(z, axis=1)[:, None, :] @ lower)[:, 0, :],
        "log_diagonal": total[:, None] + d_lower[:, every, every] * diagonal + diagonal**2,
        "packed": d_lower[:, ROWS, COLUMNS] + packed,
    }
    return value, gradient


def _arguments(n, rng):
    params = {
        "alpha": rng.standard_normal(COMPONENTS),
        "mean": rng.standard_normal((COMPONENTS, DIMENSIONS)),
        "log_diagonal": 0.3 * rng.standard_normal((COMPONENTS, DIMENSIONS)),
        "packed": 0.3 * rng.standard_normal((COMPONENTS, len(ROWS))),
    }
    return params, rng.standard_normal((n, DIMENSIONS))


MIXTURE = Problem("log-likelihood of a Gaussian mixture", _mixture, _mixture_by_hand, _arguments)
