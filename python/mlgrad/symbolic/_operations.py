"""What each operation of the tape is in SymPy, on arrays of expressions."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlgrad import _expressions
from mlgrad._recording import Node

Objects = np.ndarray[Any, Any]


class Operations:
    """The operations with one copy of SymPy."""

    def __init__(self, sympy: Any) -> None:
        self.sympy = sympy
        self.names = _namespace(sympy)
        self._constants = {float(c): c for c in _known_constants(sympy)}

    def number(self, value: Any) -> Any:
        """Return a number: exact where it is short in binary or a constant of formulas, a Float otherwise."""
        sp = self.sympy
        if isinstance(value, bool | np.bool_):
            return sp.true if value else sp.false
        if isinstance(value, int | np.integer):
            return sp.Integer(int(value))
        v = float(value)
        if math.isnan(v):
            return sp.nan
        if math.isinf(v):
            return sp.oo if v > 0 else -sp.oo
        if abs(v) in self._constants:
            return self._constants[abs(v)] * (1 if v > 0 else -1)
        numerator, denominator = v.as_integer_ratio()
        if denominator <= 1024 and abs(numerator) < 10**15:
            return sp.Rational(numerator, denominator)
        return sp.Float(repr(v))

    def numbers(self, values: Any) -> Objects:
        """Return an array of numbers as expressions."""
        array = np.asarray(values)
        out = np.empty(array.shape, object)
        for index in np.ndindex(array.shape):
            out[index] = self.number(array[index])
        return out

    def apply(self, node: Node, inputs: list[Objects], constants: list[Any]) -> Objects:
        """Return the value of a node, given those of its inputs; `constants`: the plain values of constant ones."""
        special = getattr(self, f"_{node.op}", None)
        if special is not None:
            return np.asarray(special(node, inputs, constants), object)
        if node.form is None or node.form[1] != "elementwise":
            raise NotImplementedError(
                f"to_sympy: {node.op} has no counterpart in SymPy; use functions of numbers, sums, products and "
                "indexing"
            )
        expression = compile(ast.unparse(_expressions.parse(node.form[0])), node.op, "eval")
        fixed = {"n": self.sympy.Integer(node.attributes["n"])} if "n" in node.attributes else {}

        def one(*operands: Any) -> Any:
            return eval(expression, self.names, {**fixed, **dict(zip("abc", operands, strict=False))})

        return self._each(one, *inputs)

    @staticmethod
    def _each(f: Callable[..., Any], *inputs: Objects) -> Objects:
        out = np.empty(inputs[0].shape, object)
        for index in np.ndindex(out.shape):
            out[index] = f(*(x[index] for x in inputs))
        return out

    # --- elementwise operations that SymPy writes in another way ------------------------------------------------

    def _alias(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return inputs[0]

    def _stop_gradient(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        raise NotImplementedError(
            "to_sympy: stop_gradient has no counterpart in SymPy, whose derivatives would pass it"
        )

    def _astype(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        sp = self.sympy

        def convert(x: Any) -> Any:
            logic = isinstance(x, sp.logic.boolalg.Boolean)
            if node.dtype.kind == "b":
                return x if logic else sp.Ne(x, 0)
            if logic:
                return sp.Piecewise((1, x), (0, True))
            return x if node.dtype.kind == "f" else self.names["trunc"](x)

        return self._each(convert, *inputs)

    def _equal(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._each(self.sympy.Eq, *inputs)

    def _not_equal(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._each(self.sympy.Ne, *inputs)

    # --- shape --------------------------------------------------------------------------------------------------

    def _broadcast_to(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return np.broadcast_to(inputs[0], node.shape)

    def _reshape(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return inputs[0].reshape(node.shape)

    def _transpose(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return inputs[0].transpose(node.attributes["axes"])

    def _window(self, window: Any, shape: tuple[int, ...]) -> Any:
        starts, steps = window
        return np.ix_(*(a + s * np.arange(n) for a, s, n in zip(starts, steps, shape, strict=True)))

    def _slice(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return inputs[0][self._window(node.attributes["windows"][0], node.shape)] if node.shape else inputs[0]

    def _update_slice(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        out = inputs[0].copy()
        out[self._window(node.attributes["windows"][0], inputs[1].shape)] = inputs[1]
        return out

    def _assemble(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        out = np.full(node.shape, self.sympy.Integer(0), object)
        for window, piece in zip(node.attributes["windows"], inputs, strict=True):
            out[self._window(window, piece.shape)] += piece
        return out

    # --- reductions, products, scans ----------------------------------------------------------------------------

    def _reduced(self, node: Node, x: Objects, f: Callable[..., Any]) -> Objects:
        axes = node.attributes["axes"]
        rest = [a for a in range(x.ndim) if a not in axes]
        flat = x.transpose(*rest, *axes).reshape(*(x.shape[a] for a in rest), -1)
        out = np.empty(flat.shape[:-1], object)
        for index in np.ndindex(out.shape):
            out[index] = f(*flat[index])
        return out

    def _sum(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._reduced(node, inputs[0], self.sympy.Add)

    def _prod(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._reduced(node, inputs[0], self.sympy.Mul)

    def _max(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._reduced(node, inputs[0], self.sympy.Max)

    def _min(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._reduced(node, inputs[0], self.sympy.Min)

    def _any(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._reduced(node, inputs[0], self.sympy.Or)

    def _all(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._reduced(node, inputs[0], self.sympy.And)

    def _matmul(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return np.asarray(inputs[0] @ inputs[1], object)

    def _cumsum(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        axis, x = node.attributes["axis"], inputs[0]
        if node.attributes["reverse"]:
            return np.flip(np.cumsum(np.flip(x, axis), axis), axis)
        return np.cumsum(x, axis)

    def _recurrence(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        axis = node.attributes["axis"]
        a, b = (np.moveaxis(x, axis, 0) for x in inputs)
        out = np.empty(a.shape, object)
        order = range(len(a))
        before: Any = self.sympy.Integer(0)
        for k in reversed(order) if node.attributes["reverse"] else order:
            before = a[k] * before + b[k]
            out[k] = before
        return np.moveaxis(out, 0, axis)

    # --- indexing by constants ----------------------------------------------------------------------------------

    def _index(self, node: Node, given: Any) -> Any:
        if given is None:
            raise NotImplementedError(f"to_sympy: {node.op} with an index that depends on the arguments")
        return np.asarray(given)

    def _gather(self, node: Node, inputs: list[Objects], constants: list[Any]) -> Objects:
        out: Objects = inputs[0][self._index(node, constants[1])]
        return out

    def _scatter_add(self, node: Node, inputs: list[Objects], constants: list[Any]) -> Objects:
        out = np.full(node.shape, self.sympy.Integer(0), object)
        index = self._index(node, constants[0])
        for k in np.ndindex(index.shape):
            out[index[k]] = out[index[k]] + inputs[1][k]
        return out

    def _scatter(self, node: Node, inputs: list[Objects], constants: list[Any]) -> Objects:
        out = inputs[0].copy()
        index = self._index(node, constants[1])
        for k in np.ndindex(index.shape):
            out[index[k]] = inputs[2][k]
        return out

    # --- linear algebra, matrix by matrix -----------------------------------------------------------------------

    def _matrices(self, node: Node, f: Callable[..., Any], *inputs: Objects) -> Objects:
        out = np.empty(node.shape, object)
        for index in np.ndindex(inputs[0].shape[:-2]):
            result = f(*(self.sympy.Matrix(x[index].tolist()) for x in inputs))
            out[index] = np.array(result.tolist(), object) if isinstance(result, self.sympy.MatrixBase) else result
        return out

    def _det(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._matrices(node, lambda a: a.det(), *inputs)

    def _inv(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._matrices(node, lambda a: a.inv(), *inputs)

    def _solve(self, node: Node, inputs: list[Objects], _: list[Any]) -> Objects:
        return self._matrices(node, lambda a, b: a.LUsolve(b), *inputs)


def _known_constants(sp: Any) -> list[Any]:
    """Return numbers that are not what they are written as: their floats stand for the constants themselves."""
    two, ten = sp.log(2), sp.log(10)
    roots = [sp.sqrt(2), 1 / sp.sqrt(2), sp.sqrt(sp.pi), 1 / sp.sqrt(sp.pi), 2 / sp.sqrt(sp.pi), sp.sqrt(2 * sp.pi)]
    multiples = [sp.pi * q for q in (1, 2, 4, sp.Rational(1, 2), sp.Rational(1, 4), sp.Rational(1, 180))]
    return [*multiples, 180 / sp.pi, 1 / sp.pi, two, ten, 1 / two, 1 / ten, sp.E, *roots, sp.sqrt(2 / sp.pi)]


def _namespace(sp: Any) -> dict[str, Any]:
    """Return the functions that forms are written in."""

    def trunc(x: Any) -> Any:
        return sp.sign(x) * sp.floor(sp.Abs(x))

    def cbrt(x: Any) -> Any:
        third = sp.Rational(1, 3)
        if x.is_nonnegative:
            return x**third
        return sp.Piecewise((x**third, x >= 0), (-((-x) ** third), True))

    def where(c: Any, a: Any, b: Any) -> Any:
        return sp.Piecewise((a, c), (b, True))

    both: dict[str, Any] = {
        name: getattr(sp, name)
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "sign", "floor", "erf", "erfc",
                     "erfinv", "digamma", "polygamma")
    }  # fmt: skip
    return {
        **both,
        "abs": sp.Abs, "ceil": sp.ceiling, "trunc": trunc, "cbrt": cbrt, "where": where, "pi": sp.pi,
        "arcsin": sp.asin, "arccos": sp.acos, "arctan": sp.atan, "arcsinh": sp.asinh, "arccosh": sp.acosh,
        "arctanh": sp.atanh, "arctan2": sp.atan2, "gammaln": sp.loggamma,
        "exp2": lambda x: 2**x, "expm1": lambda x: sp.exp(x) - 1, "log1p": lambda x: sp.log(1 + x),
        "log2": lambda x: sp.log(x) / sp.log(2), "log10": lambda x: sp.log(x) / sp.log(10),
        "expit": lambda x: 1 / (1 + sp.exp(-x)), "log_expit": lambda x: -sp.log(1 + sp.exp(-x)),
        "hypot": lambda a, b: sp.sqrt(a**2 + b**2), "fmod": lambda a, b: a - b * trunc(a / b),
        "logaddexp": lambda a, b: sp.log(sp.exp(a) + sp.exp(b)),
        "logaddexp2": lambda a, b: sp.log(2**a + 2**b) / sp.log(2),
        "xlogy": lambda a, b: a * sp.log(b), "xlog1py": lambda a, b: a * sp.log(1 + b),
        "copysign": lambda a, b: sp.Abs(a) * sp.sign(b),
        "maximum": sp.Max, "minimum": sp.Min, "fmax": sp.Max, "fmin": sp.Min,
        "logical_and": sp.And, "logical_or": sp.Or, "logical_xor": sp.Xor, "logical_not": sp.Not,
        "isnan": lambda x: sp.false, "isinf": lambda x: sp.false, "isfinite": lambda x: sp.true,
        "signbit": lambda x: x < 0,
    }  # fmt: skip
