"""from_sympy: a SymPy expression as a NumPy-style function."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlgrad.symbolic._sympy import load


class _Compiled:
    """A function from source text, which holds nothing of SymPy's."""

    def __init__(self, name: str, source: str) -> None:
        import mlgrad.numpy
        import mlgrad.scipy.special

        namespace = {"numpy": np, "special": mlgrad.scipy.special, "build": mlgrad.numpy.array}
        exec(compile(source, f"<from_sympy {name}>", "exec"), namespace)
        self.source = source
        self.__name__ = name
        self._function: Any = namespace[name]

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(self._function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Compiled, (self.__name__, self.source)

    def __repr__(self) -> str:
        return f"<function {self.__name__} from SymPy>"


def from_sympy(expr: Any, symbols: Sequence[Any] | None = None, name: str = "f") -> _Compiled:
    """Return a NumPy-style function that computes a SymPy expression.

    Parameters
    ----------
    expr : Expr, Matrix, Array, or (nested) list or tuple of Expr
        The expression. Common subexpressions are computed once.
    symbols : sequence of Symbol or IndexedBase, optional
        The arguments in order. Without it: all free symbols and indexed bases, sorted by name.
    name : str
        The function's name.

    Returns
    -------
    callable
        Takes one number or array a symbol (elementwise, as NumPy broadcasts them), an array for an IndexedBase. It
        works under every transform, can be pickled, and does not use SymPy when it is called. Its text is in
        ``source``. A matrix, an array or a list gives an array.

    Raises
    ------
    ImportError
        If SymPy is not installed.
    NotImplementedError
        If the expression has a function that NumPy and mlgrad.scipy.special have nothing for.
    ValueError
        If the expression has a free symbol that is not among `symbols`, or a name that Python cannot use.

    Examples
    --------
    >>> import mlgrad, sympy
    >>> from mlgrad import symbolic
    >>> x, y = sympy.symbols("x y")
    >>> f = symbolic.from_sympy(sympy.sin(x) * y**2)
    >>> round(mlgrad.grad(f, 1)(0.5, 3.0), 6)
    np.float64(2.876553)
    """
    sp = load("from_sympy")
    if not str(name).isidentifier():
        raise ValueError(f"from_sympy: {name!r} is no name for a function")
    elements, shape = _elements(sp, expr)
    arguments = _arguments(sp, elements) if symbols is None else list(symbols)
    names = [str(a.label if isinstance(a, sp.IndexedBase) else a) for a in arguments]
    for n in names:
        if not n.isidentifier() or n in ("numpy", "special", "build"):
            raise ValueError(f"from_sympy: {n!r} cannot be the name of a parameter; substitute another symbol")
    missing = [a for a in _arguments(sp, elements) if str(a) not in names]
    if missing:
        raise ValueError(f"from_sympy: {', '.join(map(str, missing))} are in the expression, but not among symbols")
    taken = {sp.Symbol(n) for n in names}
    fresh = (s for s in sp.numbered_symbols("t") if s not in taken)
    shared, results = sp.cse(elements, symbols=fresh, order="none")
    write = _printer(sp)
    lines = [f"    {s} = {write(e)}" for s, e in shared]
    if shape is None:
        text = write(results[0])
        lines.append(f"    return {text}" if results[0].free_symbols else f"    return float({text})")
    else:
        texts = [write(e) if e.free_symbols else f"float({write(e)})" for e in results]
        lines.append(f"    return build([{', '.join(texts)}]).reshape({shape})")
    return _Compiled(name, f"def {name}({', '.join(names)}):\n" + "\n".join(lines) + "\n")


def _elements(sp: Any, expr: Any) -> tuple[list[Any], tuple[int, ...] | None]:
    """Return the expressions to compute, and the shape to give them; None for a single one."""
    if isinstance(expr, sp.MatrixBase | sp.NDimArray):
        return [sp.sympify(e) for e in sp.flatten(expr.tolist())] if expr.shape else [expr[()]], tuple(
            int(n) for n in expr.shape
        )
    if isinstance(expr, list | tuple):
        array = np.array([[*_elements(sp, e)[0]] for e in expr], object)
        inner = _elements(sp, expr[0])[1] if expr else ()
        return list(array.ravel()), (len(expr), *(inner or ()))
    return [sp.sympify(expr)], None


def _arguments(sp: Any, elements: list[Any]) -> list[Any]:
    """Return the free symbols and indexed bases, sorted by name."""
    indexed = {i.base for e in elements for i in e.atoms(sp.Indexed)}
    labels = {b.label for b in indexed}
    free = {s for e in elements for s in e.free_symbols if isinstance(s, sp.Symbol)}
    return sorted([*(free - labels), *indexed], key=str)


def _printer(sp: Any) -> Any:
    """Return a function that writes an expression with `numpy` and `special`."""
    unknown: type[Exception] = importlib.import_module("sympy.printing.codeprinter").PrintMethodNotImplementedError
    base: Any = importlib.import_module("sympy.printing.numpy").SciPyPrinter

    class Printer(base):  # type: ignore[misc]
        def _print_Indexed(self, e: Any) -> str:
            return f"{e.base.label}[{', '.join(self._print(i) for i in e.indices)}]"

        def _folded(self, function: str, args: Any) -> str:
            first, *rest = args
            text: str = self._print(first)
            for a in rest:
                text = f"numpy.{function}({text}, {self._print(a)})"
            return text

        def _print_Max(self, e: Any) -> str:
            return self._folded("maximum", e.args)

        def _print_Min(self, e: Any) -> str:
            return self._folded("minimum", e.args)

        def _print_And(self, e: Any) -> str:
            return self._folded("logical_and", e.args)

        def _print_Or(self, e: Any) -> str:
            return self._folded("logical_or", e.args)

        def _print_Piecewise(self, e: Any) -> str:
            text = "numpy.nan"
            for value, condition in reversed(e.args):
                if condition == sp.true:
                    text = self._print(value)
                else:
                    text = f"numpy.where({self._print(condition)}, {self._print(value)}, {text})"
            return text

        def _print_Pi(self, e: Any) -> str:
            return "numpy.pi"

        def _print_Exp1(self, e: Any) -> str:
            return "numpy.e"

        def _print_EulerGamma(self, e: Any) -> str:
            return "numpy.euler_gamma"

        def _print_erfinv(self, e: Any) -> str:
            return f"special.erfinv({self._print(e.args[0])})"

        def _print_BooleanTrue(self, e: Any) -> str:
            return "True"

        def _print_BooleanFalse(self, e: Any) -> str:
            return "False"

        def _print_polygamma(self, e: Any) -> str:
            order, x = e.args
            return f"special.polygamma({self._print(order)}, {self._print(x)})"

        def _print_Rational(self, e: Any) -> str:
            return f"({e.p}/{e.q})"

        def _print_Float(self, e: Any) -> str:
            return repr(float(e))

    printer = Printer({"fully_qualified_modules": True, "strict": True})

    def write(e: Any) -> str:
        try:
            text: str = printer.doprint(e).replace("scipy.special.", "special.")
        except unknown as error:
            # "Unsupported by <class …>: zeta", and lines on SymPy's settings
            name = error.args[0].splitlines()[0].rsplit(": ", 1)[-1] if error.args else e
            raise NotImplementedError(
                f"from_sympy: {name} has no counterpart in NumPy or mlgrad.scipy.special; rewrite the expression "
                "(expr.rewrite, expr.doit) in functions that have one"
            ) from error
        if "math." in text.replace("numpy.", "") or "scipy." in text:
            raise NotImplementedError(f"from_sympy: {e} has no counterpart in NumPy or mlgrad.scipy.special")
        return text

    return write
