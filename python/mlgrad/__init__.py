"""Derivatives of plain NumPy code.

>>> import numpy as np, mlgrad
>>> f = lambda x: np.sum(np.sin(x**2))
>>> mlgrad.grad(f)(np.array([0.0, 1.0, 2.0]))
array([ 0.        ,  1.08060461, -2.61457448])

Transforms: `grad`, `value_and_grad`, `elementwise_grad`, `jacobian`, `jacfwd`, `jacrev`, `hessian`, `hvp`, `vjp`,
`jvp`, `linearize`, `vmap`, `jit`, `stop_gradient`, `custom_vjp`, `custom_jvp`, `pure_callback`, `debug_print`,
`debug_nans` and `Tape`. Control flow: `cond`, `switch`, `scan`, `fori_loop`, `while_loop`, `checkpoint`. Modules:
`mlgrad.numpy`, `mlgrad.scipy.special`, `mlgrad.nn`, `mlgrad.chain`, `mlgrad.implicit`, `mlgrad.optimize` (needs
SciPy), `mlgrad.symbolic` (needs SymPy), `mlgrad.tree`, `mlgrad.testing`, `mlgrad.plot`; they are imported when they
are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlgrad import _core, _linalg
from mlgrad._control import checkpoint, cond, fori_loop, scan, switch, while_loop
from mlgrad._core import Array, PerformanceWarning, Tape, num_threads, set_num_threads
from mlgrad._custom import custom_jvp, custom_vjp
from mlgrad._debug import debug_nans
from mlgrad._host import ShapeDtypeStruct, debug_print, pure_callback
from mlgrad._jacobian import elementwise_grad, hessian, hvp, jacfwd, jacobian, jacrev
from mlgrad._partial import (
    curl,
    directional_derivative,
    divergence,
    gradient,
    laplacian,
    mixed_partial,
    partial_derivative,
    taylor,
    total_derivative,
)
from mlgrad._transforms import grad, jit, jvp, linearize, stop_gradient, value_and_grad, vjp, vmap

if TYPE_CHECKING:
    from mlgrad import chain, implicit, nn, numpy, optimize, plot, scipy, symbolic, testing, tree

__all__ = [
    "Array",
    "PerformanceWarning",
    "ShapeDtypeStruct",
    "Tape",
    "chain",
    "checkpoint",
    "cond",
    "curl",
    "custom_jvp",
    "custom_vjp",
    "debug_nans",
    "debug_print",
    "directional_derivative",
    "divergence",
    "elementwise_grad",
    "fori_loop",
    "grad",
    "gradient",
    "hessian",
    "hvp",
    "implicit",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "laplacian",
    "linearize",
    "mixed_partial",
    "nn",
    "num_threads",
    "numpy",
    "optimize",
    "partial_derivative",
    "plot",
    "pure_callback",
    "scan",
    "scipy",
    "set_num_threads",
    "stop_gradient",
    "switch",
    "symbolic",
    "taylor",
    "testing",
    "total_derivative",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]

__version__: str = _core.__version__

_MODULES = frozenset({"chain", "implicit", "nn", "numpy", "optimize", "plot", "scipy", "symbolic", "testing", "tree"})

_linalg.register()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mlgrad.{name}")
    raise AttributeError(f"module 'mlgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
