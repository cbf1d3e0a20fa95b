"""The rows of the table: which function, at what size, who takes part, and what is asked of mlgrad."""

from dataclasses import dataclass

import numpy as np

from mlgrad import _problems
from mlgrad._problems import Problem

ALL = ("NumPy by hand", "autograd", "JAX", "jax.jit", "mlgrad", "mlgrad.jit")


@dataclass(frozen=True)
class Row:
    """One line: the ratio is the time of `peer` over that of `ours`, and should be at least `goal`."""

    name: str
    problem: Problem
    size: int
    ours: str
    peer: str
    goal: float | None = None
    gradient_only: bool = False
    contenders: tuple[str, ...] = ALL

    def by_hand(self, *arguments):
        value, gradient = self.problem.by_hand(*arguments)
        return gradient if self.gradient_only else (value, gradient)


def _scalar_sine(xp):
    return lambda x: xp.sin(x**2)


SCALAR_SINE = Problem(
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

# the README's small examples, recorded anew at each call
README = [
    Row(
        f"README: {problem.name}",
        problem,
        size,
        ours="mlgrad",
        peer="autograd",
        goal=10,
        gradient_only=True,
        contenders=("NumPy by hand", "autograd", "mlgrad"),
    )
    for problem, size in (
        (_problems.SINE, 5),
        (POLYNOMIAL, 1),
        (NEWTON, 1),
        (_problems.ROSENBROCK, 5),
        (_problems.LOGISTIC, 100),
    )
]

ROWS = [
    *README,
    Row("sin(x²) at a scalar", SCALAR_SINE, 1, ours="mlgrad.jit", peer="jax.jit", goal=3, gradient_only=True),
    Row("chain, 1e2", _problems.CHAIN, 100, ours="mlgrad.jit", peer="jax.jit"),
    Row("chain, 1e4", _problems.CHAIN, 10_000, ours="mlgrad.jit", peer="jax.jit"),
    Row("chain, 1e6", _problems.CHAIN, 1_000_000, ours="mlgrad.jit", peer="jax.jit", goal=3),
    Row("training step, batch 64", _problems.NETWORK, 64, ours="mlgrad.jit", peer="NumPy by hand", goal=1),
    Row("Rosenbrock, 1e2", _problems.ROSENBROCK, 100, ours="mlgrad.jit", peer="jax.jit"),
    Row("Rosenbrock, 1e6", _problems.ROSENBROCK, 1_000_000, ours="mlgrad.jit", peer="jax.jit"),
    Row("logistic, 50 x 20", _problems.LOGISTIC, 1_000, ours="mlgrad.jit", peer="jax.jit"),
    Row("logistic, 50000 x 20", _problems.LOGISTIC, 1_000_000, ours="mlgrad.jit", peer="jax.jit"),
]
