"""The parameters of an optimisation: a tree for the user's function, a float64 vector for SciPy."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function, jit
from mlgrad._vectors import as_float_leaves, ravel, shape_of


def scipy_optimize(what: str) -> Any:
    """Return `scipy.optimize`, or say how to get it."""
    try:
        return importlib.import_module("scipy.optimize")
    except ImportError as error:
        raise ImportError(
            f"mlgrad.optimize.{what} needs SciPy, which is not installed: pip install 'mlgrad[optimize]'"
        ) from error


class Parameters:
    """The start of an optimisation, and how vectors become trees of its structure."""

    def __init__(self, what: str, x0: Any) -> None:
        if isinstance(x0, list | tuple) and x0 and all(isinstance(x, int | float) for x in x0):
            x0 = np.array(x0, float)  # as SciPy takes it
        tree = as_float_leaves(what, "x0", x0)
        vector, self.unravel = ravel(tree)
        self.what = what
        self.tree = tree
        self.start: np.ndarray[Any, Any] = np.asarray(vector, float)
        leaves, self.structure = _core.tree_flatten(tree)
        self.shapes = [shape_of(leaf) for leaf in leaves]
        self.single = tree is leaves[0] if len(leaves) == 1 else False
        if not self.start.size:
            raise ValueError(f"{what}: x0 holds no numbers to optimise")

    def flat(self, f: Function, args: tuple[Any, ...]) -> Function:
        """Return `f` as a function of the vector."""
        given = _several(args)
        return lambda v: f(self.unravel(v), *given)

    def vector_valued(self, f: Function, args: tuple[Any, ...]) -> Function:
        """Return `f`, whose result is an array or tree, as a function from vector to vector."""
        given = _several(args)
        return lambda v: ravel(f(self.unravel(v), *given))[0]

    def compiled(self, f: Function, use_jit: bool) -> Function:
        """Return `f` for float64 arguments, jitted if wanted; what jit refuses is told with the way out."""
        fast = jit(f) if use_jit else f

        def call(*args: Any) -> Any:
            try:
                return fast(*(np.asarray(a, float) for a in args))
            except TypeError as error:
                if use_jit:
                    error.add_note(f"mlgrad.optimize.{self.what} jits the function; pass jit=False to run it as it is")
                raise

        return call

    def bounds(self, bounds: Any, optimize: Any) -> Any:
        """Return the bounds as SciPy takes them."""
        if bounds is None or self.single:
            return bounds
        if isinstance(bounds, optimize.Bounds):
            pair: Any = (bounds.lb, bounds.ub)
        elif isinstance(bounds, tuple | list) and len(bounds) == 2:
            pair = bounds
        else:
            raise TypeError(
                f"{self.what}: for a tree of parameters, bounds is a pair (lower, upper), each a number or a "
                "tree like x0"
            )
        return optimize.Bounds(*(self.side(name, side) for name, side in zip(("lower", "upper"), pair, strict=True)))

    def side(self, name: str, side: Any) -> Any:
        """Return one side of the bounds, as a vector."""
        if side is None:
            side = -np.inf if name == "lower" else np.inf
        leaves, structure = _core.tree_flatten(side)
        if structure != self.structure:
            if len(leaves) != 1 or leaves[0] is not side or np.ndim(side) > 1:
                raise ValueError(
                    f"{self.what}: the {name} bounds must be a number, or a tree of the structure of x0 (with -inf and "
                    "inf for no bound)"
                )
            return np.broadcast_to(np.asarray(side, float), self.start.shape)
        parts = [np.broadcast_to(np.asarray(b, float), s).ravel() for b, s in zip(leaves, self.shapes, strict=True)]
        return np.concatenate(parts)


def _several(args: Any) -> tuple[Any, ...]:
    """Return further arguments as SciPy takes them: a tuple, or the only one."""
    return args if isinstance(args, tuple) else (args,)
