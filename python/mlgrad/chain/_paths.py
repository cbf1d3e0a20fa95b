"""paths: the derivative as a sum over all paths through the graph."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlgrad._recording import Function, parameter_names
from mlgrad.chain._graph import Edge, Graph, show

# For arrays a path cannot be ranked before its end; so many are carried along at each step.
_CARRIED = 1000


@dataclass(frozen=True, eq=False)
class Path:
    """One path from an argument to the result; it contributes the product of its edges' partials to the derivative."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    contribution: Any

    def __str__(self) -> str:
        way = " → ".join(self.nodes)
        if not self.edges:
            return f"{way}: {show(self.contribution)}"
        scalar = all(np.ndim(e.value) == 0 and e.value is not None for e in self.edges)
        forms = " · ".join(_factor(e.partial) for e in self.edges)
        if not scalar:
            return f"{way}: {forms} = {show(self.contribution)}"
        numbers = " · ".join(_factor(show(e.value)) for e in self.edges)
        tail = "" if len(self.edges) == 1 else f" = {show(self.contribution)}"
        return f"{way}: {forms} = {numbers}{tail}"


def _factor(text: str) -> str:
    """Write a factor of a product, in brackets where it would be misread."""
    bare = text.lstrip("-")
    return (
        f"({text})"
        if text.startswith(("-", "g ↦")) or any(s in _outside_brackets(bare) for s in (" + ", " - "))
        else text
    )


def _outside_brackets(text: str) -> str:
    depth, out = 0, []
    for c in text:
        depth += (c in "([") - (c in ")]")
        out.append(c if depth == 0 else "")
    return "".join(out)


@dataclass(frozen=True, eq=False)
class Paths:
    """All paths from an argument to the result: what `paths(f, wrt)(*args)` returns.

    Attributes
    ----------
    wrt : str
        The argument.
    count : int
        How many paths there are, exactly.
    total : float or array
        The sum of the contributions of all of them, listed or not.
    derivative : float or array
        The derivative from the reverse walk, which `total` has been checked against.
    """

    wrt: str
    count: int
    total: Any
    derivative: Any
    listed: tuple[Path, ...] = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether every path is listed."""
        return len(self.listed) == self.count

    def __iter__(self) -> Iterator[Path]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, k: int) -> Path:
        return self.listed[k]

    def __str__(self) -> str:
        many = f"{self.count} path{'s' * (self.count != 1)}"
        lines = [f"{many} from {self.wrt}" + ("" if self.complete else f"; the {len(self)} largest:")]
        lines += [f"  {p}" for p in self.listed]
        return "\n".join([*lines, f"  sum of all = {show(self.total)}"])


def find_paths(graph: Graph, wrt: str, k: int) -> Paths:
    """Return the `k` largest paths from the argument `wrt`, with the count and the sum of all."""
    nodes = graph.by_name
    # how many paths lead from wrt to each node
    ways = dict.fromkeys(nodes, 0)
    ways[wrt] = 1
    for n in graph.nodes:
        if not n.is_argument:
            ways[n.name] = sum(ways[e.source] for e in n.edges)
    outputs = [o for o in graph.outputs if o in nodes]
    count = sum(ways[o] for o in outputs)
    scalar = all(np.ndim(n.value) == 0 for n in graph.nodes if ways[n.name])
    carried = k if scalar else max(k, _CARRIED)
    # the largest partial products from the result back to each node. For scalars this is exact: whatever factors follow
    # are the same for all that have come to one node.
    best: dict[str, list[tuple[Any, Any]]] = {name: [] for name in nodes}
    for o in outputs:
        best[o].append((np.ones_like(nodes[o].value), None))
    for n in reversed(graph.nodes):
        found = sorted(best[n.name], key=lambda c: _size(c[0]), reverse=True)[:carried]
        best[n.name] = found
        for e in n.edges:
            if ways[e.source] and found:
                pulled = e.pull([c for c, _ in found])
                best[e.source] += [(g, (e, rest)) for g, (_, rest) in zip(pulled, found, strict=True)]
    ends = sorted(best[wrt], key=lambda c: _size(c[0]), reverse=True)[:k]
    listed = tuple(_path(wrt, g, chain) for g, chain in ends)
    total, derivative = nodes[wrt].adjoint, graph.gradient[wrt]
    _check(wrt, total, derivative)
    if len(listed) == count:
        _check(wrt, sum((p.contribution for p in listed), np.zeros_like(derivative)), derivative, listed)
    return Paths(wrt, count, total, derivative, listed)


def _size(cotangent: Any) -> float:
    size = float(np.linalg.norm(np.ravel(cotangent)))
    return math.inf if math.isnan(size) else size


def _path(wrt: str, contribution: Any, chain: Any) -> Path:
    edges = []
    while chain is not None:
        edge, chain = chain
        edges.append(edge)
    # the last one that was taken on the way back is the first one from the argument
    return Path((wrt, *(e.target for e in edges)), tuple(edges), contribution)


def _check(wrt: str, total: Any, derivative: Any, listed: tuple[Path, ...] = ()) -> None:
    scale = max([_size(derivative), *(_size(p.contribution) for p in listed)], default=0.0)
    tolerance = 1e-3 if np.asarray(derivative).dtype == np.float32 else 1e-8
    if not np.allclose(total, derivative, rtol=tolerance, atol=tolerance * scale, equal_nan=True) and math.isfinite(
        scale
    ):
        raise ArithmeticError(
            f"paths: the sum over all paths from {wrt}, {show(total)}, is not the derivative of the reverse walk, "
            f"{show(derivative)}; please report this"
        )


def paths(f: Function, wrt: int | str = 0, k: int = 20) -> Callable[..., Paths]:
    """Return a function that lists the paths from one argument of `f` to its result.

    The derivative is the sum over all paths of the product of the local partial derivatives along each.

    Parameters
    ----------
    f : callable
        A function of floats and float arrays.
    wrt : int or str
        The argument: its position, its name, or the name of one of its leaves, such as ``"p['w']"``.
    k : int
        How many paths to list. Paths are never enumerated: a graph with 2**100 of them takes no longer than its size.

    Returns
    -------
    callable
        Takes what `f` takes; returns `Paths`, the largest contributions first. Where arrays are on the way, at most
        1000 partial paths are carried along at each step, ranked by the norm so far; for scalars the ranking is exact.

    Raises
    ------
    ValueError
        If there is no such argument, or `k` is negative.
    ArithmeticError
        If the sum over all paths differs from the reverse walk.

    Examples
    --------
    >>> from mlgrad import chain
    >>> def f(x):
    ...     u = x**2
    ...     return x + u
    >>> print(chain.paths(f, "x")(3.0))
    2 paths from x
      x → u1 → u2: 2*x · 1 = 6 · 1 = 6
      x → u2: 1 = 1
      sum of all = 7
    """
    if k < 0:
        raise ValueError(f"paths: k must be at least 0, got {k}")

    def of(*args: Any, **kwargs: Any) -> Paths:
        graph = Graph(f, args, kwargs, "paths")
        names = [a.name for a in graph.recorded.arguments]
        chosen = wrt
        if not isinstance(chosen, str):
            if not -len(args) <= chosen < len(args):
                raise ValueError(
                    f"paths: wrt={wrt}, but {graph.function} was called with {len(args)} positional arguments"
                )
            chosen = parameter_names(f, len(args))[chosen]
        if chosen not in names:
            inside = [n for n in names if n.startswith((f"{chosen}[", f"{chosen}."))]
            known = ", ".join(itertools.islice(inside or names, 20))
            raise ValueError(
                f"paths: wrt={wrt!r} is not a floating-point leaf of the arguments of {graph.function}; "
                f"choose from {known}"
            )
        return find_paths(graph, chosen, k)

    of.__name__ = f"paths({getattr(f, '__name__', f)})"
    return of
