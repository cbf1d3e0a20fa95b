"""A recorded function as data: its nodes, and the steps that the user wrote, behind chain, symbolic and gradient flow.

The tape has nodes that nobody wrote: broadcasts, casts and reshapes that NumPy's conventions imply. They are folded
into the step that they serve.
"""

from __future__ import annotations

import dataclasses
import inspect
import linecache
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core

Function = Callable[..., Any]

# what NumPy's conventions add around an operation
_FOLDED = frozenset({"broadcast_to", "reshape", "transpose", "astype", "check_index"})
# identities of transforms, and the operation behind one of its results: never steps of their own
_INVISIBLE = frozenset({"alias"})
# takes one result out of an operation that has several
_RESULT = "result"


@dataclass(frozen=True)
class Node:
    """One node of the tape: a primitive operation, or a leaf."""

    id: int
    op: str
    attributes: Mapping[str, Any]
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    call: int
    line: tuple[str, int] | None
    active: bool
    known: bool
    form: tuple[str, str, list[str]] | None


@dataclass(frozen=True)
class Edge:
    """A step's reading of something that derivatives flow to.

    `source` is the node that is read, `operands` are the positions among the operation's inputs that it serves.
    """

    source: int
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """What one operation computes, with the nodes that NumPy's conventions put around it.

    `body` are its nodes in order; the last one is what later steps read. `operands` has for each input of the
    operation the step, argument or constant that it comes from.
    """

    node: Node
    body: tuple[int, ...]
    operands: tuple[int, ...]
    edges: tuple[Edge, ...]

    @property
    def result(self) -> int:
        """The node that later steps read."""
        return self.body[-1]


@dataclass(frozen=True)
class Argument:
    """A leaf of the arguments that derivatives are taken with respect to."""

    name: str
    node: int
    position: int


class Recorded:
    """A function recorded at some arguments."""

    def __init__(
        self,
        f: Function,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        *,
        what: str,
        lines: bool = True,
        abstract: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        if not callable(f):
            raise TypeError(f"{what}: expected a function, got {type(f).__name__}; pass the function itself")
        self.name = function_name(f)
        self.core = _core.recording(f, args, dict(kwargs or {}), lines=lines, abstract=abstract)
        self.nodes = {n["id"]: Node(**n) for n in self.core.nodes()}
        names = leaf_names(f, args, kwargs or {}) if names is None else names
        self.arguments = tuple(Argument(names[k], n, k) for k, n in self.core.arguments)
        self.outputs: tuple[int, ...] = tuple(self.core.outputs)
        if not self.arguments:
            raise TypeError(
                f"{what}: none of the arguments of {self.name} is a float or a float array; pass floats "
                "(2.0 instead of 2)"
            )
        # what the arguments are aliases of
        for a in self.arguments:
            for i in self.nodes[a.node].inputs:
                self.nodes.pop(i, None)
        self.constants = self._constants()
        self.steps = self._steps()
        self._of = {s.result: s for s in self.steps}

    def step_of(self, node: int) -> Step | None:
        """Return the step whose result is `node`; None for arguments and constants."""
        return self._of.get(node)

    def values(self, nodes: Sequence[int]) -> dict[int, Any]:
        """Return the values of nodes by their numbers."""
        return dict(zip(nodes, self.core.values(list(nodes)), strict=True))

    def users(self, node: int) -> list[Node]:
        """Return the nodes that read `node`."""
        return [n for n in self.nodes.values() if node in n.inputs]

    def _constants(self) -> set[int]:
        """Return the nodes that no argument has a part in."""
        depends = {a.node for a in self.arguments}
        for n in self.nodes.values():
            if any(i in depends for i in n.inputs):
                depends.add(n.id)
        return set(self.nodes) - depends

    def _steps(self) -> tuple[Step, ...]:
        arguments = {a.node for a in self.arguments}
        inner = [n for n in self.nodes.values() if n.id not in self.constants and n.id not in arguments]
        users: dict[int, list[Node]] = {}
        for n in inner:
            for i in n.inputs:
                users.setdefault(i, []).append(n)
        outputs = set(self.outputs)
        # operations with several results are part of the steps that take one out
        several = {i for n in inner if n.op == _RESULT for i in n.inputs}
        real = {n.call for n in inner if n.op not in _FOLDED | _INVISIBLE}
        bodies: dict[int, list[int]] = {}  # by the result
        operation: dict[int, Node] = {}  # by the result
        ahead: set[int] = set()  # nodes that belong to whoever reads them
        for n in inner:
            if n.id in several or (n.op in _INVISIBLE and n.id not in outputs):
                ahead.add(n.id)
                continue
            if n.op in _FOLDED and n.call in real:
                source = n.inputs[0]
                alone = len(users.get(source, ())) == 1 and source not in outputs
                if source in operation and alone and operation[source].call == n.call:
                    bodies[n.id] = [*bodies.pop(source), n.id]
                    operation[n.id] = operation.pop(source)
                    continue
                if n.id not in outputs and all(u.call == n.call for u in users.get(n.id, ())):
                    ahead.add(n.id)
                    continue
            bodies[n.id] = [n.id]
            operation[n.id] = n
        return tuple(self._step(operation[r], bodies[r], ahead) for r in sorted(bodies, key=lambda r: operation[r].id))

    def _step(self, node: Node, body: list[int], ahead: set[int]) -> Step:
        before: set[int] = set()
        stack = [i for b in body for i in self.nodes[b].inputs]
        while stack:
            i = stack.pop()
            if i in ahead and i not in before:
                before.add(i)
                stack.extend(self.nodes[i].inputs)
        whole = sorted(before) + body
        reader = self.nodes[node.inputs[0]] if node.op == _RESULT else node
        operands = tuple(self._origin(i, ahead) for i in reader.inputs)
        edges: list[Edge] = []
        copied: set[int] = set()
        for b in whole:
            for position, i in enumerate(self.nodes[b].inputs):
                if i in copied or not self.nodes[i].active:
                    continue
                if b == reader.id:
                    through: tuple[int, ...] = (position,)
                else:
                    through = tuple(k for k, x in enumerate(reader.inputs) if self._passes(x, b, ahead))
                edges.append(Edge(i, through))
            copied.add(b)
        return Step(node, tuple(whole), operands, tuple(edges))

    def _origin(self, i: int, ahead: set[int]) -> int:
        while i in ahead and self.nodes[i].inputs:
            i = self.nodes[i].inputs[0]
        while i in self.constants and self.nodes[i].op in _FOLDED | _INVISIBLE:
            i = self.nodes[i].inputs[0]
        return i

    def _passes(self, operand: int, folded: int, ahead: set[int]) -> bool:
        """Whether the way from an operand back to what it comes from leads through the node `folded`."""
        while operand in ahead:
            if operand == folded:
                return True
            operand = self.nodes[operand].inputs[0]
        return False


def function_name(f: Function) -> str:
    """Return the name of a function, for headings and messages."""
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else name


def leaf_names(f: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """Return a name for each leaf of `(args, kwargs)`: the parameter's, with the path inside of it."""
    leaves, structure = _core.tree_flatten((args, dict(kwargs)))
    numbered = _core.tree_unflatten(structure, range(len(leaves)))
    names = [f"arg{k}" for k in range(len(leaves))]
    for parameter, tree in zip(parameter_names(f, len(args)), numbered[0], strict=True):
        _name_leaves(parameter, tree, names)
    for keyword, tree in numbered[1].items():
        _name_leaves(keyword, tree, names)
    return names


def parameter_names(f: Function, count: int) -> list[str]:
    """Return the names of the first `count` positional parameters of `f`."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for p in parameters:
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(p.name)
        elif p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}{k}" for k in range(count - len(names))]
    names = names[:count]
    return names + [f"x{k}" if count > 1 else "x" for k in range(len(names), count)]


def _name_leaves(prefix: str, tree: Any, names: list[str]) -> None:
    items: Iterable[tuple[str, Any]]
    if isinstance(tree, int):
        names[tree] = prefix
        return
    if isinstance(tree, dict):
        items = [(f"{prefix}[{k!r}]", v) for k, v in tree.items()]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        items = [(f"{prefix}.{k}", v) for k, v in zip(tree._fields, tree, strict=True)]
    elif isinstance(tree, list | tuple):
        items = [(f"{prefix}[{k}]", v) for k, v in enumerate(tree)]
    elif dataclasses.is_dataclass(tree):
        items = [(f"{prefix}.{field.name}", getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    else:  # None, or a registered class, whose leaves are numbered
        parts = [] if tree is None else _core.tree_flatten(tree)[0]
        items = [(f"{prefix}[{k}]", v) for k, v in enumerate(parts)]
    for name, part in items:
        _name_leaves(name, part, names)


def source_text(line: tuple[str, int] | None) -> str | None:
    """Return the text of a line of a file, or None where there is none."""
    return (linecache.getline(*line).strip() or None) if line else None
