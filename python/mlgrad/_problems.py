"""Functions to measure with: each is written once for every library, and beside it its derivative by hand in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Function = Callable[..., Any]


@dataclass(frozen=True)
class Problem:
    """A scalar function of several arguments, differentiated with respect to the first.

    Attributes
    ----------
    name : str
        What the tables call it.
    define : callable
        Takes a library's NumPy (numpy, jax.numpy, ...) and returns the function.
    by_hand : callable
        The value and the gradient in plain NumPy, of the same arguments.
    arguments : callable
        Takes a size and a ``numpy.random.Generator``, and returns the arguments.
    """

    name: str
    define: Callable[[Any], Function]
    by_hand: Function
    arguments: Callable[[int, np.random.Generator], tuple[Any, ...]]


def _sine(xp: Any) -> Function:
    return lambda x: xp.sum(xp.sin(x**2))


def _sine_by_hand(x: Any) -> tuple[Any, Any]:
    square = x**2
    return np.sum(np.sin(square)), 2 * x * np.cos(square)


def _chain(xp: Any) -> Function:
    return lambda x: xp.sum(xp.tanh(xp.sin(x) * xp.exp(-(x**2)) + xp.log(1 + x**2)))


def _chain_by_hand(x: Any) -> tuple[Any, Any]:
    square = x * x
    s, e = np.sin(x), np.exp(-square)
    t = np.tanh(s * e + np.log(1 + square))
    return np.sum(t), (1 - t * t) * (np.cos(x) * e - 2 * x * s * e + 2 * x / (1 + square))


def _rosenbrock(xp: Any) -> Function:
    return lambda x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def _rosenbrock_by_hand(x: Any) -> tuple[Any, Any]:
    head, tail = x[:-1], x[1:]
    gap, rest = tail - head * head, 1.0 - head
    gradient = np.zeros_like(x)
    gradient[:-1] = -400.0 * head * gap - 2.0 * rest
    gradient[1:] += 200.0 * gap
    return np.sum(100.0 * gap * gap + rest * rest), gradient


def _likelihood(xp: Any) -> Function:
    def f(params: Any, x: Any) -> Any:
        z = (x - params[0]) * xp.exp(-params[1])
        return xp.sum(0.5 * z * z + params[1])

    return f


def _likelihood_by_hand(params: Any, x: Any) -> tuple[Any, Any]:
    scale = np.exp(-params[1])
    z = (x - params[0]) * scale
    square = np.dot(z, z)
    return 0.5 * square + x.size * params[1], np.array([-np.sum(z) * scale, x.size - square])


def _logistic(xp: Any) -> Function:
    def f(w: Any, x: Any, sign: Any) -> Any:
        return xp.mean(xp.logaddexp(0.0, -sign * (x @ w))) + 0.01 * xp.sum(w**2)

    return f


def _logistic_by_hand(w: Any, x: Any, sign: Any) -> tuple[Any, Any]:
    margin = sign * (x @ w)
    slope = -sign / (1.0 + np.exp(margin))
    return np.mean(np.logaddexp(0.0, -margin)) + 0.01 * np.dot(w, w), x.T @ slope / len(x) + 0.02 * w


def _logistic_arguments(n: int, rng: np.random.Generator) -> tuple[Any, ...]:
    features = 20
    rows = max(n // features, 5)
    x = rng.standard_normal((rows, features))
    return rng.standard_normal(features), x, np.where(rng.random(rows) < 0.5, -1.0, 1.0)


def _network(xp: Any) -> Function:
    def f(params: Any, x: Any, target: Any) -> Any:
        z = xp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
        z = z - xp.max(z, axis=1, keepdims=True)
        return xp.mean(xp.log(xp.sum(xp.exp(z), axis=1)) - xp.sum(target * z, axis=1))

    return f


def _network_by_hand(params: Any, x: Any, target: Any) -> tuple[Any, Any]:
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    z = hidden @ params["w2"] + params["b2"]
    z -= np.max(z, axis=1, keepdims=True)
    e = np.exp(z)
    total = np.sum(e, axis=1)
    value = np.mean(np.log(total) - np.sum(target * z, axis=1))
    dz = (e / total[:, None] - target) / x.dtype.type(len(x))
    dpre = dz @ params["w2"].T * (1.0 - hidden * hidden)
    return value, {"w1": x.T @ dpre, "b1": np.sum(dpre, axis=0), "w2": hidden.T @ dz, "b2": np.sum(dz, axis=0)}


def _network_arguments(n: int, rng: np.random.Generator) -> tuple[Any, ...]:
    params = {
        "w1": rng.standard_normal((64, 128)) / 8.0,
        "b1": np.zeros(128),
        "w2": rng.standard_normal((128, 10)) / 11.0,
        "b2": np.zeros(10),
    }
    return params, rng.standard_normal((n, 64)), np.eye(10)[rng.integers(0, 10, n)]


def _vector(n: int, rng: np.random.Generator) -> tuple[Any, ...]:
    return (rng.standard_normal(n),)


SINE = Problem("sum(sin(x²))", _sine, _sine_by_hand, _vector)
CHAIN = Problem("sum(tanh(sin x·exp(-x²) + log(1+x²)))", _chain, _chain_by_hand, _vector)
ROSENBROCK = Problem("Rosenbrock", _rosenbrock, _rosenbrock_by_hand, _vector)
LIKELIHOOD = Problem(
    "normal likelihood",
    _likelihood,
    _likelihood_by_hand,
    lambda n, rng: (np.array([0.1, 0.2]), rng.standard_normal(n)),
)
LOGISTIC = Problem("logistic regression", _logistic, _logistic_by_hand, _logistic_arguments)
NETWORK = Problem("64-128-10 network", _network, _network_by_hand, _network_arguments)
