"""Trees as vectors, and values where they are at hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgrad import _core


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an Array, ndarray or number."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def dtype_of(x: Any) -> np.dtype[Any]:
    """Return the dtype of an Array, ndarray or number."""
    return np.dtype(x.dtype) if hasattr(x, "dtype") else np.result_type(x)


def known(x: Any) -> np.ndarray[Any, Any] | None:
    """Return the value of `x` as a NumPy array, or None where it is not known (inside jit, vmap and loop bodies)."""
    if not isinstance(x, _core.Array):
        return np.asarray(x)
    try:
        return np.asarray(_core.stop_gradient(x))
    except TypeError:
        return None


def count(tree: Any) -> int:
    """Return how many numbers a tree holds."""
    return sum(math.prod(shape_of(leaf)) for leaf in _core.tree_flatten(tree)[0])


def as_float_leaves(what: str, name: str, tree: Any) -> Any:
    """Return the tree with floating-point leaves; whole numbers are converted, anything else is refused."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, _core.Array):
            if dtype_of(leaf).kind != "f":
                raise TypeError(f"{what}: {name} must hold floats, got an array of dtype {leaf.dtype}")
            return leaf
        value = np.asarray(leaf)
        if value.dtype.kind in "iu":
            value = value.astype(float)
        if value.dtype.kind != "f":
            raise TypeError(f"{what}: {name} must hold floats, got {type(leaf).__name__} of dtype {value.dtype}")
        return value

    return _core.tree_map(convert, tree)


def vector(leaves: Sequence[Any]) -> Any:
    """Return the numbers of all leaves, one after the other."""
    if len(leaves) == 1:
        return np.reshape(leaves[0], (-1,))
    return np.concatenate([np.reshape(leaf, (-1,)) for leaf in leaves]) if leaves else np.zeros(0)


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return a tree of arrays as one vector, and the function that makes such a tree of a vector.

    The leaves of the result have the shapes and dtypes of those of `tree`. Both directions are differentiable.
    """
    leaves, structure = _core.tree_flatten(tree)
    shapes = [shape_of(leaf) for leaf in leaves]
    dtypes = [dtype_of(leaf) for leaf in leaves]
    sizes = [math.prod(s) for s in shapes]
    ends = list(itertools.accumulate(sizes))

    def unravel(v: Any) -> Any:
        parts = []
        for end, size, s, dtype in zip(ends, sizes, shapes, dtypes, strict=True):
            part = np.reshape(v[end - size : end], s)
            parts.append(part.astype(dtype) if dtype_of(part) != dtype else part)
        return _core.tree_unflatten(structure, parts)

    return vector(leaves), unravel


def describe(tree: Any) -> str:
    """Return the shapes of the leaves of a tree, for messages."""
    leaves, _ = _core.tree_flatten(tree)
    shapes = ", ".join(str(shape_of(leaf)) for leaf in leaves)
    return f"shape {shapes}" if len(leaves) == 1 else f"leaves of shapes {shapes}" if leaves else "no leaves"


def shown(x: Any) -> str:
    """Return a value for messages; a dash where it is not known."""
    value = known(x)
    if value is None:
        return "a value not known here"
    return np.array2string(value, precision=6, threshold=8, separator=", ")
