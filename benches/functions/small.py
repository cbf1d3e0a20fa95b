"""Functions of a few numbers, where what counts is the cost of a call and of an operation."""

import numpy as np

from mlgrad._problems import Problem


def _scalar_sine(xp):
    return lambda x: xp.sin(x**2)


SCALAR = Problem(
    "sin(x²)",
    _scalar_sine,
    lambda x: (np.sin(x**2), 2 * x * np.cos(x**2)),
    lambda n, rng: (1.5,),
)


def _polynomial(xp):
    return lambda x: (3 * x**2 + 1) ** 5


POLYNOMIAL = Problem(
    "(3x²+1)⁵",
    _polynomial,
    lambda x: ((3 * x**2 + 1) ** 5, 30 * x * (3 * x**2 + 1) ** 4),
    lambda n, rng: (2.0,),
)


def _newton(xp):
    def root(a):
        x = a
        while abs(x * x - a) > 1e-12 * a:
            x = 0.5 * (x + a / x)
        return x

    return root


NEWTON = Problem(
    "square root by Newton's method",
    _newton,
    lambda a: (np.sqrt(a), 0.5 / np.sqrt(a)),
    lambda n, rng: (2.0,),
)


STEPS = 1000


def loop(xp, steps=STEPS):
    def f(v):
        for _ in range(steps):
            v = v + 0.01 * xp.sin(v) * (1.0 - v)
        return xp.sum(v)

    return f


def rolled_loop():
    """Define the loop with JAX's own loop, which it compiles once rather than a thousand times."""
    import jax
    import jax.numpy as jnp

    return lambda v: jnp.sum(jax.lax.fori_loop(0, STEPS, lambda _, v: v + 0.01 * jnp.sin(v) * (1.0 - v), v))


def _loop_by_hand(v):
    trail = []
    for _ in range(STEPS):
        trail.append(v)
        v = v + 0.01 * np.sin(v) * (1.0 - v)
    g = np.ones_like(v)
    for u in reversed(trail):
        g = g + g * (0.01 * (np.cos(u) * (1.0 - u) - np.sin(u)))
    return np.sum(v), g


LOOP = Problem("1000 steps v += 0.01 sin(v)(1-v)", loop, _loop_by_hand, lambda n, rng: (rng.standard_normal(n),))
