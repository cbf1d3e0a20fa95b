"""Small expressions: the closed forms of operations, with names and numbers put in, as text and as LaTeX.

A form is a Python expression in `a`, `b`, `c` (inputs), `y` (the result), `n` and `g`; it comes from the table beside
the operations (`rust/core/src/ops/form.rs`).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import lru_cache


@lru_cache(maxsize=512)
def parse(form: str) -> ast.expr:
    """Return the expression of a form."""
    return ast.parse(form, mode="eval").body


def name(text: str) -> ast.expr:
    """Return a name, which may be any text."""
    return ast.Name(text)


def number(value: float) -> ast.expr:
    """Return a number: a whole one without a decimal point."""
    size: float | int = abs(value)
    if math.isfinite(size) and size == int(size) and size < 1e15:
        size = int(size)
    constant: ast.expr = ast.Name(repr(size)) if not math.isfinite(size) else ast.Constant(size)
    return ast.UnaryOp(ast.USub(), constant) if math.copysign(1, value) < 0 and size != 0 else constant


def value_of(e: ast.expr) -> float | int | None:
    """Return the number that an expression is, or None."""
    if isinstance(e, ast.Constant) and isinstance(e.value, int | float) and not isinstance(e.value, bool):
        return e.value
    if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub):
        inner = value_of(e.operand)
        return None if inner is None else -inner
    return None


def substitute(e: ast.expr, names: Mapping[str, ast.expr]) -> ast.expr:
    """Return `e` with names replaced, and what comes to a number or falls away simplified."""
    return simplify(_Substitution(names).visit(ast.parse(ast.unparse(e), mode="eval").body))


class _Substitution(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.names.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        # the function's own name is no operand
        return ast.Call(node.func, [self.visit(x) for x in node.args], node.keywords)


def simplify(e: ast.expr) -> ast.expr:
    """Return `e` with numbers computed and with 1·x, x¹, x + 0 and 0·x gone."""
    if isinstance(e, ast.UnaryOp):
        inner = simplify(e.operand)
        if isinstance(e.op, ast.USub) and isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.USub):
            return inner.operand
        return ast.UnaryOp(e.op, inner)
    if isinstance(e, ast.Call):
        return ast.Call(e.func, [simplify(x) for x in e.args], e.keywords)
    if not isinstance(e, ast.BinOp):
        return e
    left, right = simplify(e.left), simplify(e.right)
    x, y = value_of(left), value_of(right)
    if x is not None and y is not None:
        computed = _compute(e.op, x, y)
        if computed is not None:
            return number(computed)
    op = e.op
    if isinstance(op, ast.Mult):
        if x == 0 or y == 0:
            return number(0)
        if x == 1:
            return right
        if y == 1:
            return left
    if isinstance(op, ast.Div) and y == 1:
        return left
    if isinstance(op, ast.Pow) and y == 1:
        return left
    if isinstance(op, ast.Add) and x == 0:
        return right
    if isinstance(op, ast.Add | ast.Sub) and y == 0:
        return left
    return ast.BinOp(left, op, right)


def _compute(op: ast.operator, x: float, y: float) -> float | None:
    if isinstance(op, ast.Add):
        return x + y
    if isinstance(op, ast.Sub):
        return x - y
    if isinstance(op, ast.Mult):
        return x * y
    return None


_SYMBOLS: dict[type[ast.AST], tuple[str, int]] = {
    ast.Add: (" + ", 5), ast.Sub: (" - ", 5), ast.Mult: ("*", 6), ast.Div: ("/", 6), ast.FloorDiv: ("//", 6),
    ast.Mod: (" % ", 6), ast.MatMult: (" @ ", 6), ast.Pow: ("**", 8), ast.BitAnd: (" & ", 4), ast.BitOr: (" | ", 2),
    ast.BitXor: (" ^ ", 3), ast.LShift: (" << ", 4), ast.RShift: (" >> ", 4),
    ast.Lt: (" < ", 1), ast.LtE: (" <= ", 1), ast.Gt: (" > ", 1), ast.GtE: (" >= ", 1), ast.Eq: (" == ", 1),
    ast.NotEq: (" != ", 1),
}  # fmt: skip
_ATOM = 9


def text(e: ast.expr) -> str:
    """Return the expression as Python writes it, closely spaced."""
    return _text(e)[0]


def _inside(e: ast.expr, level: int) -> str:
    written, own = _text(e)
    return f"({written})" if own < level else written


def _text(e: ast.expr) -> tuple[str, int]:
    match e:
        case ast.Name(id=name):
            return name, _ATOM
        case ast.Constant(value=v):
            return (f"{v:.6g}" if isinstance(v, float) else str(v)), _ATOM
        case ast.UnaryOp(op=op, operand=x):
            return ("~" if isinstance(op, ast.Invert) else "-") + _inside(x, 7), 6 if isinstance(op, ast.USub) else 7
        case ast.BinOp(left=left, op=op, right=right):
            symbol, level = _SYMBOLS[type(op)]
            # the power binds to the right, everything else to the left
            first, second = (level + 1, 5) if isinstance(op, ast.Pow) else (level, level + 1)
            return _inside(left, first) + symbol + _inside(right, second if second != 5 else 7), level
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            symbol, level = _SYMBOLS[type(op)]
            return _inside(left, level + 1) + symbol + _inside(right, level + 1), level
        case ast.Call(func=func, args=args):
            return f"{text(func)}({', '.join(map(text, args))})", _ATOM
        case ast.Attribute(value=value, attr=attr):
            return f"{_inside(value, _ATOM)}.{attr}", _ATOM
        case ast.Subscript(value=value, slice=index):
            return f"{_inside(value, _ATOM)}[{text(index)}]", _ATOM
        case ast.Tuple(elts=elts):
            return ", ".join(map(text, elts)), 0
    return ast.unparse(e), 0


_FUNCTIONS = {
    "sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "arcsin": r"\arcsin", "arccos": r"\arccos", "arctan": r"\arctan",
    "sinh": r"\sinh", "cosh": r"\cosh", "tanh": r"\tanh", "log": r"\ln", "log2": r"\log_2", "log10": r"\log_{10}",
    "expit": r"\sigma", "erf": r"\operatorname{erf}", "digamma": r"\psi", "det": r"\det", "max": r"\max",
    "min": r"\min", "maximum": r"\max", "minimum": r"\min", "sum": r"\textstyle\sum", "prod": r"\textstyle\prod",
    "gammaln": r"\ln\Gamma",
}  # fmt: skip
_WRITTEN: dict[str, Callable[..., str]] = {
    "exp": lambda x: rf"e^{{{x}}}",
    "exp2": lambda x: rf"2^{{{x}}}",
    "sqrt": lambda x: rf"\sqrt{{{x}}}",
    "cbrt": lambda x: rf"\sqrt[3]{{{x}}}",
    "abs": lambda x: rf"\left|{x}\right|",
    "floor": lambda x: rf"\lfloor {x} \rfloor",
    "ceil": lambda x: rf"\lceil {x} \rceil",
    "inv": lambda x: rf"{{{x}}}^{{-1}}",
    "where": lambda c, a, b: rf"\begin{{cases}} {a} & {c} \\ {b} & \text{{otherwise}} \end{{cases}}",
}

_LATEX_SYMBOLS = {" % ": r" \bmod ", "//": r" \,/\!\!/\, ", " & ": r" \wedge ", " | ": r" \vee "}


def latex_name(written: str) -> str:
    """Return a name as LaTeX: u12 with an index, long names upright."""
    stem = written.rstrip("0123456789")
    digits = written[len(stem) :]
    if stem.isalpha() and len(stem) == 1:
        return f"{stem}_{{{digits}}}" if digits else stem
    if written == "pi":
        return r"\pi"
    escaped = "".join("\\" + c if c in "_{}#%&$" else c for c in written)
    return rf"\mathrm{{{escaped}}}"


def latex_number(v: float | int) -> str:
    """Return a number as LaTeX, with powers of ten written out."""
    written = f"{v:.6g}"
    mantissa, e, exponent = written.partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else written


def latex(e: ast.expr) -> str:
    """Return the expression as LaTeX."""
    return _latex(e)[0]


def _latex_inside(e: ast.expr, level: int) -> str:
    written, own = _latex(e)
    return rf"\left({written}\right)" if own < level else written


def _latex(e: ast.expr) -> tuple[str, int]:
    match e:
        case ast.Name(id=name):
            return latex_name(name), _ATOM
        case ast.Constant(value=v) if isinstance(v, int | float):
            return latex_number(v), _ATOM
        case ast.UnaryOp(operand=x):
            return "-" + _latex_inside(x, 6), 5
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return rf"\frac{{{latex(left)}}}{{{latex(right)}}}", 7
        case ast.BinOp(left=ast.Call(func=ast.Name(id=f), args=[x]), op=ast.Pow(), right=right) if f in _FUNCTIONS:
            return rf"{_FUNCTIONS[f]}^{{{latex(right)}}}\left({latex(x)}\right)", 7
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            # a root or an exponential would swallow the exponent
            return rf"{_latex_inside(left, _ATOM)}^{{{latex(right)}}}", 8
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            both = _latex_inside(left, 6) + (r" \cdot " if value_of(right) is not None else r" \, ")
            return both + _latex_inside(right, 6), 6
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            return _latex_inside(left, 6) + r" \, " + _latex_inside(right, 6), 6
        case ast.BinOp(left=left, op=op, right=right):
            symbol, level = _SYMBOLS[type(op)]
            symbol = {" % ": r" \bmod ", "//": r" \,/\!\!/\, ", " & ": r" \wedge ", " | ": r" \vee "}.get(
                symbol, symbol
            )
            return _latex_inside(left, level) + symbol + _latex_inside(right, level + 1), level
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            symbol = {ast.LtE: r" \le ", ast.GtE: r" \ge ", ast.Eq: " = ", ast.NotEq: r" \ne "}.get(
                type(op), _SYMBOLS[type(op)][0]
            )
            return _latex_inside(left, 2) + symbol + _latex_inside(right, 2), 1
        case ast.Call(func=ast.Name(id=f), args=args) if f in _WRITTEN:
            return _WRITTEN[f](*map(latex, args)), 7 if f in ("exp", "exp2", "sqrt", "cbrt") else _ATOM
        case ast.Call(func=func, args=args):
            f = text(func)
            head = _FUNCTIONS.get(f, rf"\operatorname{{{f.replace('_', chr(92) + '_')}}}")
            return rf"{head}\left({', '.join(map(latex, args))}\right)", _ATOM
        case ast.Attribute(value=value, attr="T"):
            return rf"{_latex_inside(value, _ATOM)}^{{\top}}", 8
        case ast.Subscript(value=value, slice=index):
            return rf"{_latex_inside(value, _ATOM)}_{{{latex(index)}}}", _ATOM
    return rf"\mathtt{{{text(e)}}}", _ATOM
