"""Transforms that are composed of others: Jacobians, Hessians, and products with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._transforms import Function, grad, jvp, linearize, vjp, vmap


def _positions(name: str, argnums: int | Sequence[int], count: int) -> list[int]:
    given = [argnums] if isinstance(argnums, int) else list(argnums)
    out = []
    for k in given:
        if not -count <= k < count:
            raise ValueError(f"{name}: argnums={k}, but the function was called with {count} positional arguments")
        out.append(k % count)
    return out


def _composed(
    name: str,
    f: Function,
    argnums: int | Sequence[int],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    inner: Callable[[Function, list[Any]], list[Any]],
) -> Any:
    """`inner` on the arguments at `argnums`, on one tape; an int gives one result, a sequence a tuple."""
    positions = _positions(name, argnums, len(args))

    def run() -> Any:
        primals = [_core.lift(args[k]) for k in positions]

        def partial(*chosen: Any) -> Any:
            full = list(args)
            for k, x in zip(positions, chosen, strict=True):
                full[k] = x
            return f(*full, **kwargs)

        return inner(partial, primals)

    result = _core.traced(run)
    return result


def _each(argnums: int | Sequence[int], tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """`leaf` applied to the per-argument results inside each leaf of the function's result."""
    return _core.tree_map(leaf, tree)


def _basis(like: Any) -> Any:
    """The unit vectors of the space of `like`, stacked along a new first axis."""
    n = math.prod(like.shape)
    return np.eye(n, dtype=like.dtype).reshape((n, *like.shape))


def _zeros(like: Any) -> Any:
    return np.zeros(like.shape, like.dtype)


def _reverse(f: Function, primals: list[Any], single: bool) -> Any:
    value, back = vjp(f, *primals)
    leaves, structure = _core.tree_flatten(value)
    rows = []
    for i, y in enumerate(leaves):

        def pull(ct: Any, i: int = i) -> Any:
            all_cts = [ct if j == i else _zeros(z) for j, z in enumerate(leaves)]
            return back(_core.tree_unflatten(structure, all_cts))

        stacked = vmap(pull)(_basis(y))
        parts = tuple(
            _core.tree_map(lambda g, x, y=y: g.reshape(y.shape + x.shape), part, primal)
            for part, primal in zip(stacked, primals, strict=True)
        )
        rows.append(parts[0] if single else parts)
    return _core.tree_unflatten(structure, rows)


def _forward(f: Function, primals: list[Any], single: bool) -> Any:
    value, push = linearize(f, *primals)
    out_leaves, out_structure = _core.tree_flatten(value)
    in_leaves, in_structure = _core.tree_flatten(tuple(primals))
    columns: list[list[Any]] = []
    for i, x in enumerate(in_leaves):

        def along(t: Any, i: int = i) -> Any:
            tangents = [t if j == i else _zeros(z) for j, z in enumerate(in_leaves)]
            return _core.tree_flatten(push(*_core.tree_unflatten(in_structure, tangents)))[0]

        stacked = vmap(along, 0, -1)(_basis(x))
        columns.append([d.reshape(y.shape + x.shape) for d, y in zip(stacked, out_leaves, strict=True)])
    rows = []
    for j in range(len(out_leaves)):
        parts = _core.tree_unflatten(in_structure, [c[j] for c in columns])
        rows.append(parts[0] if single else parts)
    return _core.tree_unflatten(out_structure, rows)
