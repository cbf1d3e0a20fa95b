"""to_sympy: a recorded function as a SymPy expression."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._recording import Function, Recorded, function_name
from mlgrad.symbolic._operations import Objects, Operations
from mlgrad.symbolic._sympy import load

# beyond this an expression for each element is of no use to anybody
_MAX_ELEMENTS = 10_000


@dataclass(frozen=True, eq=False)
class SymbolicFunction:
    """A function as SymPy sees it: what `to_sympy` returns.

    Attributes
    ----------
    name : str
        The function's name.
    symbols : dict
        For each argument (by its name, with the path inside of a tree) its symbol, or a SymPy array of indexed symbols.
    expr
        The result: an expression, a SymPy array, or a tree of them.
    """

    name: str
    symbols: dict[str, Any]
    expr: Any

    def derivative(self, *variables: Any) -> Any:
        """Return the derivative by each of `variables` in turn: names of arguments, or symbols.

        With no variable given, that by the only argument. For an array argument the result is an array over its
        elements.

        Raises
        ------
        ValueError
            If there is no such argument, or several and none is named.
        """
        sympy = load("derivative")
        if not variables:
            if len(self.symbols) != 1:
                raise ValueError(f"derivative: name one of the arguments {', '.join(self.symbols)}")
            variables = tuple(self.symbols)
        result = self.expr
        for v in variables:
            if isinstance(v, str):
                if v not in self.symbols:
                    raise ValueError(f"derivative: there is no argument {v!r}; there are {', '.join(self.symbols)}")
                v = self.symbols[v]
            result = _core.tree_map(lambda e, v=v: sympy.diff(e, v), result)
        return result

    def latex(self) -> str:
        """Return the function and its derivatives by every argument as LaTeX."""
        sympy = load("latex")
        name = "f" if not self.name.isidentifier() else sympy.latex(sympy.Symbol(self.name))
        arguments = ", ".join(sympy.latex(sympy.Symbol(s)) for s in self.symbols)
        rows = [rf"{name}({arguments}) &= {sympy.latex(self.expr)}"]
        for s in self.symbols:
            d = rf"\frac{{\partial {name}}}{{\partial {sympy.latex(sympy.Symbol(s))}}}"
            rows.append(rf"{d} &= {sympy.latex(self.derivative(s))}")
        return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.symbols)}) = {self.expr}"

    def _repr_latex_(self) -> str:
        return self.latex()


def to_sympy(f: Function, *examples: Any, **keywords: Any) -> SymbolicFunction:
    """Return the expression that a function computes.

    The function is recorded once with abstract values, so that Python cannot branch on them: the expression holds for
    all arguments.

    Parameters
    ----------
    f : callable
        A function of floats and float arrays.
    *examples, **keywords
        Arguments of the shapes to record with; only the shapes and dtypes of floats matter. Without any, each
        parameter of `f` that has no default is a number. Other arguments (integers, strings) are passed as they are.

    Returns
    -------
    SymbolicFunction
        The expression with its symbols; array arguments are arrays of indexed symbols such as ``x[0]``. It has
        ``derivative()`` and ``latex()``.

    Raises
    ------
    ImportError
        If SymPy is not installed.
    NotImplementedError
        If `f` uses an operation that SymPy has nothing for (sorting, decompositions, indices that depend on arguments).
    TypeError
        If `f` branches on a value.
    ValueError
        If an array has more than 10,000 elements.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import symbolic
    >>> s = symbolic.to_sympy(lambda x, y: x**2 * np.exp(-y))
    >>> print(s.expr, "|", s.derivative("y"))
    x**2*exp(-y) | -x**2*exp(-y)
    >>> symbolic.to_sympy(lambda w: np.sum(w**2), np.ones(2)).expr
    w[0]**2 + w[1]**2
    """
    sympy = load("to_sympy")
    if not callable(f):
        raise TypeError(f"to_sympy: expected a function, got {type(f).__name__}; pass the function itself")
    if not examples and not keywords:
        examples = (1.0,) * _required(f)
    recorded = Recorded(f, examples, keywords, what="to_sympy", lines=False, abstract=True)
    operations = Operations(sympy)
    for node in recorded.nodes.values():
        if int(np.prod(node.shape)) > _MAX_ELEMENTS:
            raise ValueError(
                f"to_sympy: {node.op} has shape {node.shape}; use arrays of at most {_MAX_ELEMENTS} elements"
            )
    constants = recorded.values(sorted(recorded.constants))
    values: dict[int, Objects] = {}
    symbols = {}
    for argument in recorded.arguments:
        symbols[argument.name], values[argument.node] = _symbols(
            sympy, argument.name, recorded.nodes[argument.node].shape
        )
    for number, node in recorded.nodes.items():
        if number in constants:
            values[number] = operations.numbers(constants[number])
        elif number not in values and node.op == "check_index":
            raise NotImplementedError("to_sympy: an index that depends on the arguments has no counterpart in SymPy")
        elif number not in values:
            inputs = [values[i] for i in node.inputs]
            values[number] = operations.apply(node, inputs, [constants.get(i) for i in node.inputs])
    expr = _core.tree_map(lambda n: _expression(sympy, values[n]), recorded.core.returned)
    return SymbolicFunction(function_name(f), symbols, expr)


def _required(f: Function) -> int:
    """How many numbers to call `f` with."""
    if isinstance(f, np.ufunc):
        return f.nin
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional)


def _symbols(sympy: Any, name: str, shape: tuple[int, ...]) -> tuple[Any, Objects]:
    if shape == ():
        symbol = sympy.Symbol(name, real=True)
        return symbol, np.array(symbol, object)
    base = sympy.IndexedBase(sympy.Symbol(name, real=True), shape=shape, real=True)
    array = np.empty(shape, object)
    for index in np.ndindex(shape):
        array[index] = base[index]
    return sympy.Array(array.tolist(), shape), array


def _expression(sympy: Any, value: Objects) -> Any:
    return value[()] if value.shape == () else sympy.Array(value.tolist(), value.shape)
