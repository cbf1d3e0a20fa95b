"""An explanation as SVG: the graph laid out from left to right.

Nodes stand in columns by their distance from the arguments. An edge that passes over columns runs through a lane of
its own in each of them, and through a knot in each gap between columns. The last knot carries the label. Knots are
moved apart, so that no label covers another one or another edge.
"""

from __future__ import annotations

import html
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlgrad.chain._graph import Edge, Node, show

if TYPE_CHECKING:
    from mlgrad.chain._explain import Explanation

_FONT = 13
_WIDE = 7.9  # a character of the monospaced font, in pixels
_LINE = 18
_PAD = 10
_BETWEEN = 22  # between the nodes of a column
_LANE = 26  # the height of a lane
_LABEL = 19  # the height of a label
_GAP = 44  # beside a label
_LONGEST = 40
_SWEEPS = 8
# of what a node computes, its value, and its adjoint
_STYLES = ('font-weight="bold"', 'fill="#1a4f9c"', 'fill="#9c1a2e"')


@dataclass(eq=False)
class _Place:
    """A node's box, or the lane of a long edge."""

    column: int
    node: Node | None
    width: float
    height: float
    lines: list[str] = field(default_factory=list)
    before: list[_Place] = field(default_factory=list)
    after: list[_Place] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0  # of the middle


@dataclass(eq=False)
class _Knot:
    """Where an edge passes the gap after a column, with its label in the last one."""

    before: _Place
    after: _Place
    text: str
    x: float = 0.0
    y: float = 0.0

    @property
    def height(self) -> float:
        return _LABEL + 4 if self.text else 10.0

    @property
    def width(self) -> float:
        return len(self.text) * _WIDE + 8


@dataclass(eq=False)
class _Route:
    """An edge: the places that it runs through, and the knots between them."""

    places: list[_Place]
    knots: list[_Knot]


def _short(text: str, tail: str = "") -> str:
    room = max(_LONGEST - len(tail), 8)
    return (text if len(text) <= room else text[: room - 1] + "…") + tail


def _label(edge: Edge) -> str:
    """Write the closed form, shortened if need be, and the number."""
    number = show(edge.value)
    return _short(edge.partial, "" if number in ("", edge.partial) else f" = {number}")


def _box(node: Node, column: int) -> _Place:
    head = node.name if node.is_argument else f"{node.name} = {node.text}"
    lines = [_short(head), f"value {show(node.value)}", f"adjoint {show(node.adjoint)}"]
    width = max(map(len, lines)) * _WIDE + 2 * _PAD
    return _Place(column, node, width, len(lines) * _LINE + _PAD, lines)


def _columns(nodes: tuple[Node, ...]) -> dict[str, int]:
    column: dict[str, int] = {}
    for n in nodes:
        column[n.name] = max((column[e.source] + 1 for e in n.edges), default=0)
    # an argument stands right before its first reader
    for n in nodes:
        if n.is_argument:
            readers = [column[m.name] for m in nodes for e in m.edges if e.source == n.name]
            column[n.name] = max(0, min(readers, default=1) - 1)
    return column


def _lay_out(explanation: Explanation) -> tuple[list[list[_Place]], list[_Route], list[float], list[float]]:
    nodes = (*explanation.arguments, *explanation.steps)
    column = _columns(nodes)
    boxes = {n.name: _box(n, column[n.name]) for n in nodes}
    places: list[list[_Place]] = [[] for _ in range(max(column.values()) + 1)]
    for b in boxes.values():
        places[b.column].append(b)
    routes = []
    for n in nodes:
        for e in n.edges:
            way = [boxes[e.source]]
            for c in range(boxes[e.source].column + 1, boxes[n.name].column):
                lane = _Place(c, None, 0, _LANE)
                places[c].append(lane)
                way.append(lane)
            way.append(boxes[n.name])
            for a, b in itertools.pairwise(way):
                a.after.append(b)
                b.before.append(a)
            knots = [_Knot(a, b, "") for a, b in itertools.pairwise(way)]
            knots[-1].text = _label(e)
            routes.append(_Route(way, knots))
    _order(places)
    return places, routes, *_coordinates(places, routes)


def _stack(column: list[_Place]) -> None:
    """Set the places of a column below each other, around 0."""
    total = sum(p.height for p in column) + _BETWEEN * (len(column) - 1)
    at = -total / 2
    for p in column:
        p.y = at + p.height / 2
        at += p.height + _BETWEEN


def _order(places: list[list[_Place]]) -> None:
    """Sort each column by the middle of its neighbours, forth and back, so that few edges cross."""
    for column in places:
        _stack(column)
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for column in places if forth else reversed(places):

            def middle(p: _Place, forth: bool = forth) -> float:
                beside = p.before if forth else p.after
                return sum(q.y for q in beside) / len(beside) if beside else p.y

            column.sort(key=middle)
            _stack(column)
    # near their neighbours, as far as the others of the column leave room
    for sweep in range(_SWEEPS):
        for column in places if sweep % 2 == 0 else reversed(places):
            for p in column:
                beside = p.before + p.after
                p.y = sum(q.y for q in beside) / len(beside) if beside else p.y
            _spread([(p.y, p.height + _BETWEEN) for p in column], column)


def _spread(wanted: list[tuple[float, float]], items: list[_Place] | list[_Knot]) -> None:
    """Give items, in order, the heights nearest to those wanted at which they do not overlap."""
    # blocks of items that touch each other: [sum of the wanted starts, number, first item, total size]
    blocks: list[tuple[float, int, int, float]] = []
    for k, (y, size) in enumerate(wanted):
        block = (y - size / 2, 1, k, size)
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][3] > block[0] / block[1]:
            s, n, first, total = blocks.pop()
            block = (s + block[0] - total * block[1], n + block[1], first, total + block[3])
        blocks.append(block)
    for s, n, first, _ in blocks:
        at = s / n
        for k in range(first, first + n):
            items[k].y = at + wanted[k][1] / 2
            at += wanted[k][1]


def _coordinates(places: list[list[_Place]], routes: list[_Route]) -> tuple[list[float], list[float]]:
    """Set x of places, and place the labels; the left and right ends of the columns."""
    gaps: list[list[_Knot]] = [[] for _ in places]
    for r in routes:
        for k in r.knots:
            gaps[k.before.column].append(k)
    left, right, at = [], [], 0.0
    for c, column in enumerate(places):
        width = max(p.width for p in column)
        left.append(at)
        right.append(at + width)
        for p in column:
            p.x = at + width / 2
        label = max((len(k.text) for k in gaps[c]), default=0) * _WIDE
        for k in gaps[c]:
            k.x = at + width + _GAP + label / 2
        at = at + width + (label + 2 * _GAP if c + 1 < len(places) else 0)
        # from top to bottom as the edges come in
        gaps[c].sort(key=lambda k: (k.before.y + k.after.y, k.before.y))
        _spread([((k.before.y + k.after.y) / 2, k.height) for k in gaps[c]], gaps[c])
    return left, right


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    bend = (x1 - x0) / 2
    return f"C {x0 + bend:.1f} {y0:.1f}, {x1 - bend:.1f} {y1:.1f}, {x1:.1f} {y1:.1f}"


def _line(route: _Route, left: list[float], right: list[float], end: float) -> str:
    """Draw an edge through its knots and lanes."""
    start, target = route.places[0], route.places[-1]
    # straight to the end of the column, which another box may reach
    x, y = right[start.column], start.y
    d = [f"M {start.x + start.width / 2:.1f} {y:.1f} L {x:.1f} {y:.1f}"]
    for knot in route.knots:
        half = knot.width / 2
        d += [_curve(x, y, knot.x - half, knot.y), f"L {knot.x + half:.1f} {knot.y:.1f}"]
        x, y = knot.x + half, knot.y
        lane = knot.after
        if lane is not target:
            d.append(_curve(x, y, left[lane.column], lane.y))
            x, y = right[lane.column], lane.y
            d.append(f"L {x:.1f} {y:.1f}")
    d.append(_curve(x, y, left[target.column] - 6, end))
    d.append(f"L {target.x - target.width / 2:.1f} {end:.1f}")
    return f'<path d="{" ".join(d)}" fill="none" stroke="#555" marker-end="url(#arrow)"/>'


def _label_box(knot: _Knot) -> str:
    x, y, width = knot.x, knot.y, knot.width
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - _LABEL / 2:.1f}" width="{width:.1f}" height="{_LABEL}" rx="4" '
        'fill="#fff7e0" stroke="#e0c060" stroke-width="0.6"/>'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle" fill="#7a4b00">{_escape(knot.text)}</text>'
    )


def _node_box(p: _Place, node: Node, is_result: bool) -> str:
    fill = "#e6f0ff" if node.is_argument else "#e9f7e9" if is_result else "#f6f6f6"
    top = p.y - p.height / 2
    parts = [
        f'<rect x="{p.x - p.width / 2:.1f}" y="{top:.1f}" width="{p.width:.1f}" height="{p.height:.1f}" '
        f'rx="{14 if node.is_argument else 4}" fill="{fill}" stroke="#333" stroke-width="{2 if is_result else 1}"/>'
    ]
    for k, (line, style) in enumerate(zip(p.lines, _STYLES, strict=True)):
        y = top + _PAD / 2 + (k + 0.72) * _LINE
        parts.append(f'<text x="{p.x:.1f}" y="{y:.1f}" text-anchor="middle" {style}>{_escape(line)}</text>')
    return "\n".join(parts)


def render(explanation: Explanation) -> str:
    """Return the picture as an SVG document."""
    places, routes, left, right = _lay_out(explanation)
    every = [p for column in places for p in column]
    top = min([*(p.y - p.height / 2 for p in every), *(k.y - _LABEL / 2 for r in routes for k in r.knots)]) - 16
    bottom = max([*(p.y + p.height / 2 for p in every), *(k.y + _LABEL / 2 for r in routes for k in r.knots)]) + 16
    width, height = right[-1] + 32, bottom - top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="-16 {top:.1f} {width:.1f} {height:.1f}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        f'font-size="{_FONT}">',
        f"<title>{_escape(explanation.function)}: values, local partial derivatives and adjoints</title>",
        f'<rect x="-16" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="white"/>',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M 0 0 L 8 4 L 0 8 z" fill="#555"/></marker></defs>',
    ]
    arrivals: dict[int, list[_Route]] = {}
    for r in routes:
        arrivals.setdefault(id(r.places[-1]), []).append(r)
    ends: dict[int, float] = {}
    for coming in arrivals.values():
        # each edge ends at a height of its own
        coming.sort(key=lambda r: r.knots[-1].y)
        box = coming[0].places[-1]
        for k, r in enumerate(coming):
            ends[id(r)] = box.y + (k - (len(coming) - 1) / 2) * min(14.0, (box.height - 12) / len(coming))
    parts += [_line(r, left, right, ends[id(r)]) for r in routes]
    parts += [_label_box(r.knots[-1]) for r in routes]
    parts += [_node_box(p, p.node, p.node.name in explanation.outputs) for p in every if p.node is not None]
    return "\n".join([*parts, "</svg>"])
