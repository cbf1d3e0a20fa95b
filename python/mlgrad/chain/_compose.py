"""compose, and chain_rule: the Jacobian of a composition as a product of the Jacobians of its layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._jacobian import jacobian
from mlgrad._recording import Function, function_name
from mlgrad.chain._graph import show


def _checked(what: str, functions: tuple[Function, ...]) -> None:
    if not functions:
        raise ValueError(f"{what}: give at least one function")
    for f in functions:
        if not callable(f):
            raise TypeError(f"{what}: expected functions, got {type(f).__name__}; pass the functions themselves")


def compose(*functions: Function) -> Function:
    """Return the composition of functions: ``compose(f, g, h)(x)`` is ``f(g(h(x)))``.

    Parameters
    ----------
    *functions : callable
        The outermost first. Each but the last takes one argument, which may be a tree.

    Returns
    -------
    callable
        Takes what the last function takes. It can be transformed, and pickled if the functions can.

    Raises
    ------
    ValueError
        If no function is given.

    Examples
    --------
    >>> import numpy as np, mlgrad
    >>> from mlgrad import chain
    >>> mlgrad.grad(chain.compose(np.sin, np.square))(1.5)
    np.float64(-1.8845208681682175)
    """
    _checked("compose", functions)
    return _Composition(functions)


class _Composition:
    def __init__(self, functions: tuple[Function, ...]) -> None:
        self.functions = functions
        self.__name__ = " ∘ ".join(function_name(f) for f in functions)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        *outer, first = self.functions
        value = first(*args, **kwargs)
        for f in reversed(outer):
            value = f(value)
        return value

    def __repr__(self) -> str:
        return f"<composition {self.__name__}>"


@dataclass(frozen=True, eq=False)
class Layer:
    """One function of a composition at its point.

    `input` and `output` are trees. `matrix` is its Jacobian with all elements of the output as rows and all elements
    of the input as columns, in the order of the leaves. `number` counts from the innermost layer, which is 1.
    """

    number: int
    name: str
    input: Any
    output: Any
    matrix: np.ndarray[Any, Any]

    @property
    def jacobian(self) -> Any:
        """The Jacobian, of the output's shape followed by the input's; the matrix where one of them is a tree."""
        return _shaped(self.matrix, self.input, self.output)


@dataclass(frozen=True, eq=False)
class Product:
    """One multiplication: the Jacobian of the layers `first` to `last`, from those of two parts."""

    first: int
    last: int
    left: str
    right: str
    matrix: np.ndarray[Any, Any]
    cost: int

    @property
    def name(self) -> str:
        """The product's factors in order, such as J3·J2."""
        return "·".join(f"J{k}" for k in range(self.last, self.first - 1, -1))


@dataclass(frozen=True, eq=False)
class ChainRule:
    """The chain rule for a composition at a point: what ``chain_rule(f, g, h)(x)`` returns.

    Attributes
    ----------
    layers : tuple of Layer
        The innermost first.
    value
        The value of the composition.
    matrix : ndarray
        Its Jacobian, elements of the value by elements of the argument.
    order : str
        The cheapest order of multiplication, with brackets.
    products : tuple of Product
        The multiplications in that order.
    cost, forward_cost, reverse_cost : int
        Multiplications of numbers in that order, from the argument to the value, and from the value to the argument.
    """

    layers: tuple[Layer, ...]
    matrix: np.ndarray[Any, Any]
    order: str
    products: tuple[Product, ...]
    cost: int
    forward_cost: int
    reverse_cost: int

    @property
    def value(self) -> Any:
        """The value of the composition."""
        return self.layers[-1].output

    @property
    def jacobian(self) -> Any:
        """The Jacobian, of the value's shape followed by the argument's; the matrix where one of them is a tree."""
        return _shaped(self.matrix, self.layers[0].input, self.value)

    def __str__(self) -> str:
        scalar = all(layer.matrix.size == 1 for layer in self.layers)
        rows = [("layer", "input", "output", "Jacobian")]
        for layer in self.layers:
            m = layer.matrix
            jacobian = show(m[0, 0]) if m.size == 1 else f"{m.shape[0]} x {m.shape[1]}"
            rows.append((f"{layer.number}  {layer.name}", _show_tree(layer.input), _show_tree(layer.output), jacobian))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        if scalar:
            factors = " · ".join(show(layer.matrix[0, 0]) for layer in reversed(self.layers))
            total = show(self.matrix[0, 0])
            lines.append(f"product: {factors}" + (f" = {total}" if len(self.layers) > 1 else ""))
        else:
            lines.append(f"product: {self.order}, a {self.matrix.shape[0]} x {self.matrix.shape[1]} matrix")
            lines += [f"  {p.left} times {p.right}: {p.cost} multiplications" for p in self.products]
            lines.append(
                f"  {self.cost} multiplications; {self.forward_cost} from the argument to the value, "
                f"{self.reverse_cost} from the value to the argument"
            )
        return "\n".join(lines)

    def latex(self) -> str:
        """Return the product of the Jacobians in LaTeX."""
        factors = r" \, ".join(f"J_{{{layer.number}}}" for layer in reversed(self.layers))
        if self.matrix.size == 1 and all(layer.matrix.size == 1 for layer in self.layers):
            numbers = r" \cdot ".join(show(layer.matrix[0, 0]) for layer in reversed(self.layers))
            return f"J = {factors} = {numbers} = {show(self.matrix[0, 0])}"
        m, n = self.matrix.shape
        return rf"J = {factors} \in \mathbb{{R}}^{{{m} \times {n}}}"

    def _repr_latex_(self) -> str:
        return f"${self.latex()}$"


def _show_tree(tree: Any) -> str:
    leaves, _ = _core.tree_flatten(tree)
    return ", ".join(map(show, leaves[:3])) + (", …" if len(leaves) > 3 else "")


def _shaped(matrix: np.ndarray[Any, Any], x: Any, y: Any) -> Any:
    (ins, _), (outs, _) = _core.tree_flatten(x), _core.tree_flatten(y)
    if len(ins) != 1 or len(outs) != 1 or isinstance(x, dict | list | tuple) or isinstance(y, dict | list | tuple):
        return matrix
    return matrix.reshape(np.shape(outs[0]) + np.shape(ins[0]))[()]


def chain_rule(*functions: Function) -> Callable[[Any], ChainRule]:
    """Return a function that differentiates a composition layer by layer.

    Parameters
    ----------
    *functions : callable
        As in `compose`, the outermost first: ``chain_rule(f, g, h)(x)`` is about ``f(g(h(x)))``. Each takes one
        argument, a float, a float array or a tree of them, and returns one such.

    Returns
    -------
    callable
        Takes the argument; returns a `ChainRule`: for each layer its input, output and Jacobian, and the products of
        the Jacobians in the order that needs the fewest multiplications. Printed, it shows them.

    Raises
    ------
    TypeError
        If the argument, or what a layer returns, has a leaf that is not floating-point.
    ValueError
        If no function is given.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import chain
    >>> c = chain.chain_rule(np.sin, np.square)(1.5)
    >>> print(c)
    layer      input  output    Jacobian
    1  square  1.5    2.25      3
    2  sin     2.25   0.778073  -0.628174
    product: -0.628174 · 3 = -1.88452
    >>> c.jacobian
    np.float64(-1.8845208681682175)
    """
    _checked("chain_rule", functions)

    def at(x: Any) -> ChainRule:
        layers = []
        for k, f in enumerate(reversed(functions), 1):
            y, matrix = _linearised(k, f, x)
            layers.append(Layer(k, function_name(f), x, y, matrix))
            x = y
        return _multiply(tuple(layers))

    at.__name__ = f"chain_rule({', '.join(function_name(f) for f in functions)})"
    return at


def _linearised(k: int, f: Function, x: Any) -> tuple[Any, np.ndarray[Any, Any]]:
    """Return the value of a layer, and its Jacobian over the flattened leaves of its argument and value."""
    leaves, structure = _core.tree_flatten(x)
    for leaf in leaves:
        if np.asarray(leaf).dtype.kind != "f":
            raise TypeError(
                f"chain_rule: the argument of layer {k} ({function_name(f)}) has a leaf of dtype "
                f"{np.asarray(leaf).dtype}; pass floats (2.0 instead of 2)"
            )
    shapes = [np.shape(leaf) for leaf in leaves]
    ends = np.cumsum([0, *(math.prod(s) for s in shapes)])
    dtype = np.result_type(*(np.asarray(leaf).dtype for leaf in leaves)) if leaves else np.dtype(float)
    value: list[Any] = []

    def flat(v: Any) -> Any:
        parts = [v[a:b].reshape(s) for a, b, s in zip(ends, ends[1:], shapes, strict=False)]
        outputs, _ = _core.tree_flatten(f(_core.tree_unflatten(structure, parts)))
        return np.concatenate([np.ravel(y) for y in outputs])

    v = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(dtype) if leaves else np.zeros(0)
    value.append(f(x))
    for leaf in _core.tree_flatten(value[0])[0]:
        if np.asarray(leaf).dtype.kind != "f":
            raise TypeError(
                f"chain_rule: layer {k} ({function_name(f)}) returns a leaf of dtype {np.asarray(leaf).dtype}, "
                "which has no derivative; return floats"
            )
    return value[0], np.asarray(jacobian(flat)(v))


def _multiply(layers: tuple[Layer, ...]) -> ChainRule:
    """Multiply the Jacobians in the cheapest order, by dynamic programming over the brackets."""
    n = len(layers)
    # sizes[k] is the number of elements between layer k and layer k + 1; J_k is sizes[k] x sizes[k - 1]
    sizes = [layers[0].matrix.shape[1], *(layer.matrix.shape[0] for layer in layers)]
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [(cost[i][k] + cost[k + 1][j] + sizes[j + 1] * sizes[k + 1] * sizes[i], k) for k in range(i, j)]
            cost[i][j], split[i][j] = min(options)
    products: list[Product] = []

    def product(i: int, j: int) -> tuple[np.ndarray[Any, Any], str]:
        if i == j:
            return layers[i].matrix, f"J{i + 1}"
        k = split[i][j]
        right, right_name = product(i, k)
        left, left_name = product(k + 1, j)
        matrix = left @ right
        step = sizes[j + 1] * sizes[k + 1] * sizes[i]
        products.append(Product(i + 1, j + 1, left_name, right_name, matrix, step))
        return matrix, f"({left_name}·{right_name})"

    matrix, order = product(0, n - 1)
    return ChainRule(
        layers,
        matrix,
        order[1:-1] if n > 1 else order,
        tuple(products),
        cost[0][n - 1],
        _one_way(sizes),
        _one_way(sizes[::-1]),
    )


def _one_way(sizes: Sequence[int]) -> int:
    """Count the multiplications from one end to the other."""
    return sum(sizes[0] * a * b for a, b in itertools.pairwise(sizes[1:]))
