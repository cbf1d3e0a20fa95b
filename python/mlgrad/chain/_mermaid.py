"""An explanation as a Mermaid flowchart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgrad.chain._graph import Edge, Node, show

if TYPE_CHECKING:
    from mlgrad.chain._explain import Explanation


def _quoted(text: str) -> str:
    """Text inside of a label: Mermaid's own marks as entities."""
    for mark, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("|", "#124;"), ("*", "#42;")):
        text = text.replace(mark, entity)
    return text


def _label(node: Node) -> str:
    head = node.name if node.is_argument else f"{node.name} = {node.text}"
    return "<br/>".join((_quoted(head), f"value {_quoted(show(node.value))}", f"adjoint {_quoted(show(node.adjoint))}"))


def edge_text(edge: Edge) -> str:
    """Write the closed form of a local partial, and its number."""
    number = show(edge.value)
    return edge.partial if number in ("", edge.partial) else f"{edge.partial} = {number}"


def render(explanation: Explanation) -> str:
    """Return a flowchart from left to right."""
    nodes = (*explanation.arguments, *explanation.steps)
    ids = {n.name: f"n{k}" for k, n in enumerate(nodes)}
    lines = ["flowchart LR"]
    for n in nodes:
        left, right = ("([", "])") if n.is_argument else ("[", "]")
        lines.append(f'    {ids[n.name]}{left}"{_label(n)}"{right}')
    for n in nodes:
        lines += [f'    {ids[e.source]} -->|"{_quoted(edge_text(e))}"| {ids[n.name]}' for e in n.edges]
    results = [ids[o] for o in explanation.outputs if o in ids]
    if results:
        lines.append(f"    style {','.join(dict.fromkeys(results))} stroke-width:3px")
    return "\n".join(lines)
