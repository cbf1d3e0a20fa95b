"""Solvers that are black boxes: called with NumPy values, also where values are not known while recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function
from mlgrad._vectors import describe, dtype_of, known, shape_of
from mlgrad.implicit.errors import ConvergenceError, stopped


def plain(f: Function, args: tuple[Any, ...], name: str) -> Function:
    """Return ``y -> f(y, *args)`` on NumPy values, with NumPy values for results; a solver may differentiate it."""

    def value(leaf: Any) -> Any:
        if isinstance(leaf, _core.Array):
            leaf = known(leaf)
            if leaf is None:
                raise TypeError(
                    f"{name}: under jit or vmap a solver in Python needs all values: pass traced values that F takes "
                    "from outside (closures, globals) as arguments"
                )
        a = np.asarray(leaf)
        return a[()] if a.ndim == 0 else a

    def call(y: Any, *_: Any) -> Any:
        found = f(y, *args)
        differentiated = any(isinstance(leaf, _core.Array) for leaf in _core.tree_flatten(y)[0])
        return found if differentiated else _core.tree_map(value, found)

    return call


def solution_in(name: str, found: Any) -> Any:
    """Return what a solver found: the `x` or `root` of SciPy's results, anything else as it is."""
    for flag in ("success", "converged"):
        if getattr(found, flag, True) is False or (
            isinstance(getattr(found, flag, True), np.bool_) and not found[flag]
        ):
            message = getattr(found, "message", None) or getattr(found, "flag", "no message")
            residual = getattr(found, "fun", None)
            size = float(np.max(np.abs(residual), initial=0.0)) if residual is not None else float("nan")
            raise ConvergenceError(f"{name}: the solver failed: {message} (residual {size:.3g})", size)
    if hasattr(found, "converged") and hasattr(found, "root"):
        return found.root
    if hasattr(found, "success") and hasattr(found, "x"):
        return found.x
    return found


def call_solver(name: str, solve: Function, y0: Any, args: tuple[Any, ...]) -> Any:
    """Call ``solve(y0, *args)`` with NumPy values; the result has the structure, shapes and dtypes of `y0`.

    The result does not depend on anything for derivatives.
    """
    leaves, structure = _core.tree_flatten((y0, tuple(args)))
    numeric = [k for k, leaf in enumerate(leaves) if isinstance(leaf, _core.Array)]
    starts, y_structure = _core.tree_flatten(y0)
    shapes = [(shape_of(s), dtype_of(s)) for s in starts]

    def host(*values: Any) -> tuple[Any, ...]:
        full = list(leaves)
        for k, v in zip(numeric, values, strict=True):
            full[k] = np.asarray(v)[()]
        y0, args = _core.tree_unflatten(structure, full)
        found = solution_in(name, _core.untraced(solve, y0, *args))
        got, got_structure = _core.tree_flatten(found)
        if got_structure != y_structure or any(
            np.size(g) != int(np.prod(s)) for g, (s, _) in zip(got, shapes, strict=True)
        ):
            raise ValueError(f"{name}: the solver returned {describe(found)} for a start with {describe(y0)}")
        return tuple(np.asarray(g).astype(d).reshape(s) for g, (s, d) in zip(got, shapes, strict=True))

    given = stopped([leaves[k] for k in numeric])
    values = [known(x) for x in given]
    results: Any
    if all(v is not None for v in values):
        results = host(*values)
    else:
        from mlgrad import ShapeDtypeStruct, pure_callback

        results = pure_callback(host, tuple(ShapeDtypeStruct(s, d) for s, d in shapes), *given)
    return _core.tree_unflatten(y_structure, list(results))
