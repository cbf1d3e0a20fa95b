"""The rows of the table: which function, at what size, and what is asked of mlgrad."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from functions import small
from functions.lstm import LSTM
from functions.mixture import MIXTURE
from functions.networks import LOGISTIC, RELU_FIT, THREE_LAYERS, mlp
from functions.rowwise import ATTENTION, LAYER_NORM, SOFTMAX
from mlgrad import _problems
from mlgrad._problems import Problem


@dataclass(frozen=True)
class Row:
    """One line: the time of the best peer, or of `peer` where one is named, over that of `ours` should reach `goal`."""

    name: str
    size: str
    problem: Problem
    n: int
    goal: float | None = None
    peer: str | None = None
    ours: str = "mlgrad.jit"
    gradient_only: bool = False
    #: How many times faster than HIPS autograd mlgrad should be without jit, for rows of few numbers.
    eager_goal: float | None = None
    #: Backends that take no part, and why.
    without: dict[str, str] = field(default_factory=dict)
    #: A definition for jax.jit alone, where it would compile the common one for minutes.
    rolled: Callable[[], Callable] | None = None
    #: How far results may differ, relative to the largest element.
    tolerance: float = 1e-9
    #: Whether the row counts in the geometric mean.
    counts: bool = True

    @property
    def title(self):
        return f"{self.name} {self.size}".strip()

    @property
    def transform(self):
        return "grad" if self.gradient_only else "value_and_grad"


_UNROLLED = {"torch.compile": "it would unroll and compile every step, for minutes"}

ROWS = [
    Row("scalar", "1", small.SCALAR, 1, 6, "jax.jit", eager_goal=20),
    Row("rosenbrock", "10", _problems.ROSENBROCK, 10, 6, eager_goal=20),
    Row("rosenbrock", "1000", _problems.ROSENBROCK, 1000, 6, eager_goal=20),
    Row("rosenbrock", "1e6", _problems.ROSENBROCK, 1_000_000, 1.6),
    Row("chain", "100", _problems.CHAIN, 100, 5, eager_goal=20),
    Row("chain", "1e4", _problems.CHAIN, 10_000, 5),
    Row("chain", "1e6", _problems.CHAIN, 1_000_000, 5),
    Row("chain", "1e7", _problems.CHAIN, 10_000_000, 5),
    Row("logistic", "10000x100", LOGISTIC, 10_000, 1.4),
    Row("relu fit", "100000x20", RELU_FIT, 100_000, 1.6),
    Row("mlp", "1x4x8", mlp(4, 8, 3), 1, 6, eager_goal=20),
    Row("mlp", "32x64x64", mlp(64, 64, 10), 32, 1.5),
    Row("mlp", "128x784x256 f32", mlp(784, 256, 10, np.float32), 128, 1.1, tolerance=2e-4),
    Row("mlp", "512x1024x1024 f32", mlp(1024, 1024, 10, np.float32), 512, 1.0, tolerance=2e-4),
    Row("three-layer net", "4-8-4-1", THREE_LAYERS, 1, 6, eager_goal=20),
    Row("loop", "1000x4", small.LOOP, 4, 4, "jax.jit", eager_goal=25, without=_UNROLLED, rolled=small.rolled_loop),
    Row("softmax", "1000x1000", SOFTMAX, 1000, 2),
    Row("layer norm", "1000x1000", LAYER_NORM, 1000, 2),
    Row("attention", "64x64x64", ATTENTION, 64, 2),
    Row("gaussian mixture", "10000x10x25", MIXTURE, 10_000, 1.0),
    Row("lstm", "2x50x64x16", LSTM, 16, 1.0, without=_UNROLLED),
]

_FEW = ("JAX", "jax.jit", "torch", "torch.compile", "mlgrad.jit")

# the README's small examples, recorded anew at each call
README = [
    Row(
        problem.name,
        size,
        problem,
        n,
        20,
        "autograd",
        ours="mlgrad",
        gradient_only=True,
        without=dict.fromkeys(_FEW, "this row is about calls that are not jitted"),
        counts=False,
    )
    for problem, n, size in (
        (_problems.SINE, 5, "5"),
        (small.POLYNOMIAL, 1, ""),
        (small.NEWTON, 1, ""),
        (_problems.ROSENBROCK, 5, "5"),
        (_problems.LOGISTIC, 100, "5x20"),
    )
]
