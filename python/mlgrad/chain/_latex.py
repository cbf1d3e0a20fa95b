"""An explanation as LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlgrad import _expressions as expr
from mlgrad.chain._graph import Edge, Node

if TYPE_CHECKING:
    from mlgrad.chain._explain import Explanation
    from mlgrad.chain._paths import Path


def value(v: Any) -> str:
    """Write a number, a short vector, or the shape of an array; nothing for None."""
    if v is None:
        return ""
    array = np.asarray(v)
    if array.ndim == 0:
        return expr.latex_number(float(array))
    if array.ndim == 1 and array.size <= 4:
        return r"\left[" + r",\; ".join(expr.latex_number(float(x)) for x in array) + r"\right]"
    return r"\text{array }" + str(array.shape)


def node_equation(node: Node) -> str:
    """Write what a step computes: u_{1} = x^{2}."""
    return f"{expr.latex_name(node.name)} = {expr.latex(node.form)}"


def _form(edge: Edge) -> str:
    if edge.form is None:
        return r"\text{its rule}"
    written = expr.latex(edge.form)
    return rf"g \mapsto {written}" if edge.partial.startswith("g ↦") else written


def edge_equation(edge: Edge) -> str:
    r"""Write a local partial: \frac{\partial u_{1}}{\partial x} = 2 x = 3."""
    d = rf"\frac{{\partial {expr.latex_name(edge.target)}}}{{\partial {expr.latex_name(edge.source)}}}"
    form, number = _form(edge), value(edge.value)
    return f"{d} = {form}" + (f" = {number}" if number not in ("", form) else "")


def path_equation(path: Path) -> str:
    """Write the product of the partials along a path, and what it comes to."""
    if not path.edges:
        return value(path.contribution)
    product = r" \cdot ".join(rf"\left({_form(e)}\right)" if len(path.edges) > 1 else _form(e) for e in path.edges)
    return f"{product} = {value(path.contribution)}"


def derivative(explanation: Explanation, name: str) -> str:
    """Write the derivative of the result by an argument."""
    f = expr.latex_name(explanation.function)
    top = f if explanation.is_scalar else rf"\textstyle\sum {f}"
    d = rf"\frac{{\partial {top}}}{{\partial {expr.latex_name(name)}}}"
    return f"{d} = {value(explanation.gradient[name])}"


def render(explanation: Explanation) -> str:
    """Return an align* environment."""
    rows = [rf"{expr.latex_name(a.name)} &= {value(a.value)}" for a in explanation.arguments]
    for s in explanation.steps:
        rows.append(rf"{expr.latex_name(s.name)} &= {expr.latex(s.form)} = {value(s.value)}")
    for s in explanation.steps:
        rows += [edge_equation(e).replace(" = ", " &= ", 1) for e in s.edges]
    for a in explanation.arguments:
        found = explanation.paths[a.name]
        head, _, number = derivative(explanation, a.name).partition(" = ")
        if found.complete:
            terms = [path_equation(p).rpartition(" = ")[0] or path_equation(p) for p in found]
            number = " + ".join(rf"\left({t}\right)" if len(terms) > 1 else t for t in terms) + f" = {number}"
        rows.append(f"{head} &= {number}")
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"
