"""The graph of a recorded function: nodes with forward value and adjoint, edges with local partial derivatives."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from mlgrad import _expressions as expr
from mlgrad._recording import Edge as RecordedEdge
from mlgrad._recording import Function, Recorded, Step, source_text
from mlgrad.chain._inside import Inside, find_inside

# control flow that returns what its functions do
_FUNCTIONS = ("checkpoint", "cond", "switch", "while_loop")
# a Jacobian with more elements is not written out
_MAX_JACOBIAN = 1_000_000


@dataclass(frozen=True, eq=False)
class Edge:
    """One reading of a value by a step: the local partial derivative.

    `partial` is its closed form as text. `value` is its value where it is a number for each element: an array of the
    step's shape for an elementwise operation, of the source's shape for a step with a scalar result; None for other
    steps, whose Jacobian `jacobian()` gives.
    """

    source: str
    target: str
    partial: str
    value: Any
    form: ast.expr | None = field(repr=False)
    elementwise: bool = field(repr=False)
    number: int = field(repr=False)
    _graph: Graph = field(repr=False)

    def pull(self, cotangents: list[Any]) -> list[Any]:
        """Return what becomes of cotangents of the target on their way back to the source."""
        return self._graph.pull(self, cotangents)

    def jacobian(self) -> Any:
        """Return the local Jacobian, of the target's shape followed by the source's.

        Raises
        ------
        ValueError
            If it has more than a million elements.
        """
        target, source = np.shape(self._graph.value(self.target)), np.shape(self._graph.value(self.source))
        m, n = int(np.prod(target)), int(np.prod(source))
        if m * n > _MAX_JACOBIAN:
            raise ValueError(f"the Jacobian of {self.target} by {self.source} would have {m} x {n} elements")
        dtype = np.asarray(self._graph.value(self.target)).dtype
        rows = self.pull([e.reshape(target) for e in np.eye(m, dtype=dtype)])
        return np.stack(rows).reshape(target + source) if m else np.zeros(target + source)


@dataclass(frozen=True, eq=False)
class Node:
    """An argument, or a step: what it computes, its value, and its adjoint (the derivative of the result by it)."""

    name: str
    text: str
    operation: str
    value: Any
    adjoint: Any
    edges: tuple[Edge, ...]
    file: str | None
    line: int | None
    source: str | None
    form: ast.expr = field(repr=False)
    is_argument: bool = field(repr=False)
    _find_inside: Callable[[], Inside | None] = field(repr=False, default=lambda: None)

    @cached_property
    def inside(self) -> Inside | None:
        """What lies inside a step of control flow (`cond`, `scan`, …); None for other steps."""
        return self._find_inside()


class Graph:
    """A function recorded at a point, as nodes and edges with numbers on them."""

    def __init__(
        self,
        f: Function,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        what: str,
        names: Sequence[str] | None = None,
    ) -> None:
        self.recorded = r = Recorded(f, args, kwargs, what=what, names=names)
        self.function = r.name
        self._names = self._name_all()
        values = r.values([*self._names])
        self._values = {self._names[k]: v for k, v in values.items()}
        adjoints, of_arguments = r.core.adjoints([list(s.body) for s in r.steps])
        edges = self._edges()
        zero = {a.name: np.zeros_like(values[a.node]) for a in r.arguments}
        nodes = []
        for a, adjoint in zip(r.arguments, of_arguments, strict=True):
            adjoint = zero[a.name] if adjoint is None else adjoint
            nodes.append(
                Node(a.name, a.name, "argument", values[a.node], adjoint, (), None, None, None, expr.name(a.name), True)
            )
        for s, adjoint, es in zip(r.steps, adjoints, edges, strict=True):
            name = self._names[s.result]
            form = self._form_of(s)
            file, line = s.node.line or (None, None)
            if adjoint is None:
                adjoint = np.zeros(np.shape(values[s.result]), s.node.dtype if s.node.dtype.kind == "f" else float)[()]
            nodes.append(
                Node(name, expr.text(form), s.node.op, values[s.result], adjoint, es, file, line,
                     source_text(s.node.line), form, False, partial(find_inside, self, s))
            )  # fmt: skip
        self.nodes = tuple(nodes)
        self.outputs = tuple(self._names.get(n, self._constant(n)) for n in r.outputs)

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by their names."""
        return {n.name: n for n in self.nodes}

    @cached_property
    def gradient(self) -> dict[str, Any]:
        """The derivative by each argument, from one reverse walk over the whole tape."""
        found = self.recorded.core.gradient()
        pairs = zip(self.recorded.arguments, found, strict=True)
        return {a.name: self.by_name[a.name].adjoint * 0 if g is None else g for a, g in pairs}

    def value(self, name: str) -> Any:
        """Return the value of a node by its name."""
        return self._values[name]

    def pull(self, edge: Edge, cotangents: list[Any]) -> list[Any]:
        """Return what becomes of cotangents of the edge's target on their way back to its source."""
        if edge.elementwise:
            return [g * edge.value for g in cotangents]
        step = self._steps_by_name[edge.target]
        found = self.recorded.core.pull([(list(step.body), np.asarray(g)) for g in cotangents])
        zero = np.zeros_like(self.value(edge.source))
        return [zero if f[edge.number][1] is None else f[edge.number][1] for f in found]

    @cached_property
    def _steps_by_name(self) -> dict[str, Step]:
        return {self._names[s.result]: s for s in self.recorded.steps}

    def _name_all(self) -> dict[int, str]:
        """Return the names of arguments and steps: u1, u2, … unless an argument is called so."""
        names = {a.node: a.name for a in self.recorded.arguments}
        taken = set(names.values())
        prefix = next(p for p in ("u", "v", "w", "_u") if not any(t.startswith(p) and t[1:].isdigit() for t in taken))
        for k, s in enumerate(self.recorded.steps, 1):
            names[s.result] = f"{prefix}{k}"
        return names

    @cached_property
    def _constants(self) -> dict[int, ast.expr]:
        """The constants that steps read: a number as itself, an array by a name."""
        used = {o for s in self.recorded.steps for o in s.operands} | set(self.recorded.outputs)
        wanted = sorted(used & self.recorded.constants)
        out: dict[int, ast.expr] = {}
        arrays = 0
        for n, v in self.recorded.values(wanted).items():
            flat = np.asarray(v).ravel()
            if flat.size and (flat.size == 1 or self.recorded.nodes[n].op == "literal"):
                out[n] = expr.number(float(flat[0]))
                continue
            arrays += 1
            out[n] = expr.name(f"c{arrays}")
        return out

    def _constant(self, n: int) -> str:
        return expr.text(self._constants[n]) if n in self._constants else f"node {n}"

    def operand(self, n: int) -> ast.expr:
        """How a node is written where a step reads it."""
        return expr.name(self._names[n]) if n in self._names else self._constants.get(n, expr.name("?"))

    def _names_in(self, s: Step) -> dict[str, ast.expr]:
        names = dict(zip("abc", map(self.operand, s.operands), strict=False))
        names["y"] = expr.name(self._names[s.result])
        if "n" in s.node.attributes:
            names["n"] = expr.number(s.node.attributes["n"])
        return names

    def _form_of(self, s: Step) -> ast.expr:
        node, operands = s.node, [self.operand(o) for o in s.operands]
        if node.op == "slice":
            return ast.Subscript(operands[0], expr.name(self._index(node)))
        if node.op == "assemble":
            return ast.Call(expr.name("concatenate"), operands[:4] + [expr.name("…")] * (len(operands) > 4), [])
        if node.op == "result":
            several = self.recorded.nodes[node.inputs[0]]
            own = several.op == "custom"
            call = ast.Call(expr.name(several.attributes["text"] if own else several.op), operands, [])
            # a function's one result is its result; a scan has a carry and more
            if (own or several.op in _FUNCTIONS) and len(self.recorded.users(several.id)) == 1:
                return call
            return ast.Subscript(call, expr.number(node.attributes["index"]))
        if node.form is None:
            return ast.Call(expr.name(node.op), operands, [])
        form = expr.substitute(expr.parse(node.form[0]), self._names_in(s))
        axes = node.attributes.get("axes", ())
        if node.form[1] == "reduction" and len(axes) < len(self.recorded.nodes[node.inputs[0]].shape):
            assert isinstance(form, ast.Call)
            written = str(axes[0]) if len(axes) == 1 else str(tuple(axes))
            return ast.Call(form.func, [*form.args, expr.name(f"axis={written}")], [])
        return form

    def _index(self, node: Any) -> str:
        """Return what a slice reads, as Python writes it."""
        start, step = node.attributes["windows"][0]
        whole = self.recorded.nodes[node.inputs[0]].shape
        parts = []
        for at, by, n, full in zip(start, step, node.shape, whole, strict=True):
            if n == 1 and full != 1:
                parts.append(str(at))
            elif n == full and by == 1:
                parts.append(":")
            else:
                end = at + n * by
                stop = "" if end < 0 or (by > 0 and end >= full) else str(end)
                parts.append(f"{at or ''}:{stop}" + (f":{by}" if by != 1 else ""))
        while len(parts) > 1 and parts[-1] == ":":
            parts.pop()
        return ", ".join(parts)

    def _edges(self) -> list[tuple[Edge, ...]]:
        """Return the edges of all steps, their numbers computed in one go."""
        r = self.recorded
        # an elementwise operation alone, anything else with what is folded into it
        requests = [
            ([s.node.id] if _kind(s) == "elementwise" else list(s.body), None) for s in r.steps if self._has_numbers(s)
        ]
        pulled = r.core.pull(requests)
        found = iter(pulled)
        out = []
        for s in r.steps:
            numbers = next(found) if self._has_numbers(s) else None
            out.append(tuple(self._edge(s, k, e, numbers) for k, e in enumerate(s.edges)))
        return out

    def _values_of(self, s: Step) -> Any:
        return self._values[self._names[s.result]]

    def _has_numbers(self, s: Step) -> bool:
        return bool(s.edges) and (_kind(s) == "elementwise" or np.size(self._values_of(s)) == 1)

    def _edge(self, s: Step, k: int, e: RecordedEdge, numbers: Any) -> Edge:
        r = self.recorded
        source = self._names[e.source]
        forms = []
        kind = _kind(s)
        if s.node.form:
            partials = s.node.form[2]
            forms = [expr.parse(partials[min(o, len(partials) - 1)]) for o in e.operands]
        names = self._names_in(s)
        form: ast.expr | None = None
        for f in forms:
            one = expr.substitute(f, names)
            form = one if form is None else ast.BinOp(form, ast.Add(), one)
        if form is None:
            text = "g ↦ its rule" if kind == "pullback" else "?"
        else:
            text = expr.text(form) if kind != "pullback" else f"g ↦ {expr.text(form)}"
        value: Any = None
        elementwise = False
        tail = [r.nodes[n].op for n in s.body if n > s.node.id]
        if kind == "elementwise" and set(tail) <= {"reshape"} and numbers is not None:
            # the operation alone reads its operands in order, those that derivatives flow to
            active = [o for o, i in enumerate(s.node.inputs) if r.nodes[i].active]
            parts = [numbers[active.index(o)][1] for o in e.operands if o in active]
            zero = np.zeros(s.node.shape, s.node.dtype if s.node.dtype.kind == "f" else float)
            value = sum((p for p in parts if p is not None), zero).reshape(np.shape(self._values_of(s)))
            elementwise = not tail and all(s.node.inputs[o] == e.source for o in e.operands)
        elif kind != "elementwise" and numbers is not None:
            value = np.zeros_like(self._values[source]) if numbers[k][1] is None else numbers[k][1]
            elementwise = np.size(value) == 1 and np.shape(value) == np.shape(self._values_of(s))
        return Edge(source, self._names[s.result], text, _scalar(value), form, elementwise, k, self)


def _kind(s: Step) -> str:
    return s.node.form[1] if s.node.form else "pullback"


def _scalar(value: Any) -> Any:
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def show(value: Any, digits: int = 6) -> str:
    """Return a number, a short array or the shape of a long one, as text."""
    if value is None:
        return ""
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{float(array):.{digits}g}" if array.dtype.kind == "f" else str(array)
    if array.size <= 4 and array.ndim == 1:
        return "[" + ", ".join(show(v, 4) for v in array) + "]"
    return f"array {array.shape}"
