"""An explanation as Markdown, and its table as HTML."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from mlgrad.chain._graph import show
from mlgrad.chain._latex import derivative, edge_equation, node_equation, path_equation
from mlgrad.chain._text import HEADINGS, partial, place

if TYPE_CHECKING:
    from mlgrad.chain._explain import Explanation


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def render(explanation: Explanation) -> str:
    """Return a table with formulas, then the paths."""
    point = ", ".join(f"{a.name} = {show(a.value)}" for a in explanation.arguments)
    lines = [f"**{explanation.function}** at {point}", "", *table(explanation)]
    for a in explanation.arguments:
        found = explanation.paths[a.name]
        shown = "" if found.complete else f"; the {len(found)} largest"
        lines += ["", f"{found.count} path{'s' * (found.count != 1)} from {a.name}{shown}:", ""]
        lines += [f"- {' → '.join(p.nodes)}: ${path_equation(p)}$" for p in found]
        lines += ["", f"${derivative(explanation, a.name)}$"]
    return "\n".join(lines)


def table(explanation: Explanation) -> list[str]:
    """Return the table of the steps, and one for what is inside each step of control flow."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    for s in explanation.steps:
        partials = "<br>".join(f"${edge_equation(e)}$" for e in s.edges)
        code = f"`{place(s)}`" if place(s) else ""
        row = (f"${node_equation(s)}$", show(s.value), partials, show(s.adjoint), code)
        lines.append("| " + " | ".join(map(_cell, row)) + " |")
    for s in explanation.steps:
        if s.inside is not None:
            lines += ["", f"Inside ${s.name}$, {s.inside.kind}: {s.inside.heading}", ""]
            lines += table(s.inside.explanation()) if s.inside.is_shown else []
    return lines


def html_table(explanation: Explanation) -> str:
    """Return the steps as an HTML table, for notebooks."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f'<{tag} style="text-align:left">{c}</{tag}>' for c in cells) + "</tr>"

    rows, insides = [row(HEADINGS, "th")], []
    for s in explanation.steps:
        cells = (f"{s.name} = {s.text}", show(s.value), "\n".join(map(partial, s.edges)), show(s.adjoint), place(s))
        rows.append(row(tuple(html.escape(c).replace("\n", "<br>") for c in cells), "td"))
        if s.inside is not None:
            inner = html_table(s.inside.explanation()) if s.inside.is_shown else ""
            heading = html.escape(f"inside {s.name}, {s.inside.kind}: {s.inside.heading}")
            insides.append(f"<details><summary>{heading}</summary>{inner}</details>")
    ends = "".join(f"<pre>{html.escape(str(explanation.paths[a.name]))}</pre>" for a in explanation.arguments)
    return f"<table>{''.join(rows)}</table>\n{''.join(insides)}{ends}"
