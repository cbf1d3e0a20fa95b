"""An explanation as plain text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlgrad.chain._graph import Edge, Node, show

if TYPE_CHECKING:
    from mlgrad.chain._explain import Explanation

HEADINGS = ("step", "value", "local partials", "adjoint", "line")


def partial(edge: Edge) -> str:
    """Write an edge as an equation: ∂u1/∂x = 2*x = 3."""
    number = show(edge.value)
    tail = "" if number in ("", edge.partial) else f" = {number}"
    return f"∂{edge.target}/∂{edge.source} = {edge.partial}{tail}"


def place(node: Node) -> str:
    """Where a step comes from: file:line: text."""
    if node.file is None:
        return ""
    where = f"{os.path.basename(node.file)}:{node.line}"
    return f"{where}: {node.source}" if node.source else where


def result_name(explanation: Explanation) -> str:
    """Name what is differentiated, for headings."""
    return explanation.function if explanation.is_scalar else f"sum({explanation.function})"


def render(explanation: Explanation) -> str:
    """Return the table of steps, then the paths."""
    point = ", ".join(f"{a.name} = {show(a.value)}" for a in explanation.arguments)
    lines = [f"{explanation.function} at {point}: {_value(explanation)}", ""]
    lines += table(explanation)
    lines.append("")
    d = result_name(explanation)
    for a in explanation.arguments:
        lines += str(explanation.paths[a.name]).splitlines()
        lines.append(f"  ∂{d}/∂{a.name} = {show(explanation.gradient[a.name])}")
    return "\n".join(lines)


def table(explanation: Explanation) -> list[str]:
    """Return the rows of the steps, each step of control flow followed by what is inside."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for s in explanation.steps:
        first, *others = [partial(e) for e in s.edges] or [""]
        rows.append((f"{s.name} = {s.text}", show(s.value), first, show(s.adjoint), place(s)))
        rows += [("", "", other, "", "") for other in others]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    for s in explanation.steps:
        if s.inside is not None:
            lines += ["", f"  inside {s.name}, {s.inside.kind}: {s.inside.heading}"]
            if s.inside.is_shown:
                lines += ["  " + line for line in table(s.inside.explanation())]
    return lines


def _value(explanation: Explanation) -> str:
    value = explanation.value
    return ", ".join(map(show, value)) if isinstance(value, tuple) else show(value)
