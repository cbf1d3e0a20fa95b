"""What lies inside a step of control flow: the branch that was taken, the steps of a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgrad import _core
from mlgrad._expressions import text
from mlgrad._recording import Step

if TYPE_CHECKING:
    from mlgrad.chain._explain import Explanation
    from mlgrad.chain._graph import Graph

# the steps of a while_loop are counted up to here
_MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class Inside:
    """The inside of a step that is control flow.

    Attributes
    ----------
    kind : str
        ``cond``, ``switch``, ``checkpoint``, ``scan`` (also for `fori_loop`) or ``while_loop``.
    branch : int or None
        Which of the functions of a `cond` (0 for false, 1 for true) or `switch` was taken.
    steps : int or None
        How many steps a loop has done; None for the others, and for a `while_loop` of more than 10,000.
    constant : bool
        Whether it reads no floats, so that there is nothing to explain.
    """

    kind: str
    branch: int | None
    steps: int | None
    constant: bool
    _explain: Callable[[int], Explanation] = field(repr=False)

    def explanation(self, step: int = 0) -> Explanation:
        """Return the explanation of the branch that was taken, or of one step of a loop (the first is 0).

        Its derivatives are those of the branch's (or step's) own result.

        Raises
        ------
        IndexError
            If there is no such step.
        TypeError
            If it is `constant`.
        """
        count = self.steps if self.is_loop else 1
        if step < 0 or (count is not None and step >= count):
            raise IndexError(f"{self.kind}: there is no step {step}: it has {count}, counted from 0")
        return self._explain(step)

    @property
    def is_loop(self) -> bool:
        """Whether it has steps."""
        return self.kind in ("scan", "while_loop")

    @property
    def is_shown(self) -> bool:
        """Whether there is anything to show inside."""
        return not self.constant and self.steps != 0

    @property
    def heading(self) -> str:
        """What is shown of it first, in words."""
        return self._shown() + (", where no float is read" if self.constant else "")

    def _shown(self) -> str:
        if self.kind == "cond":
            return f"the branch for {bool(self.branch)}, which was taken"
        if self.kind == "switch":
            return f"branch {self.branch}, which was taken"
        if self.kind == "checkpoint":
            return "the function, which a reverse walk runs again"
        count = f"more than {_MOST_STEPS}" if self.steps is None else str(self.steps)
        if self.steps == 0:
            return "no steps"
        return f"the first of {count} steps" if self.steps != 1 else "the only step"


@dataclass(frozen=True)
class _Given:
    """An argument of a body: how it is written outside, its value, and whether it is an argument of the explanation."""

    name: str
    value: Any
    shown: bool


def find_inside(graph: Graph, step: Step) -> Inside | None:
    """Return the inside of a step; None where it is no control flow, or the derivative of a `while_loop`."""
    found = graph.recorded.core.inside(step.node.id)
    if found is None:
        return None
    inputs, nodes = found["inputs"], graph.recorded.nodes
    values = graph.recorded.values(sorted(set(inputs)))
    args = [_Given(text(graph.operand(i)), values[i], i in nodes and nodes[i].active) for i in inputs]
    which = step.node.attributes.get("index", 0)
    if "carries" in found:
        return _loop(found, which, args)
    bodies = found["bodies"]
    branch: int | None = None
    if len(bodies) > 1:
        branch = int(np.clip(int(args[0].value), 0, len(bodies) - 1))
        args = args[1:]
    body = bodies[branch or 0]
    return Inside(found["kind"], branch, None, not _shown(body, args), lambda _: _explained(body, which, args))


def _loop(found: dict[str, Any], which: int, args: list[_Given]) -> Inside:
    first, end = found["consts"], found["consts"] + found["carries"]
    consts = args[:first]
    start, slices = [a.value for a in args[first:end]], [a.value for a in args[end:]]
    names = _numbered("carry", len(start)), _numbered("x", len(slices))
    [body] = found["bodies"]
    length: int | None = found.get("length")

    def given(state: list[Any], k: int) -> list[_Given]:
        x = [s[-1 - k] if found.get("reverse") else s[k] for s in slices]
        own = [*zip(names[0], state, strict=True), *zip(names[1], x, strict=True)]
        return [*consts, *(_Given(name, value, _is_float(value)) for name, value in own)]

    def after(state: list[Any], k: int) -> list[Any]:
        return _run(body, given(state, k))[: len(state)]

    def explain(k: int) -> Explanation:
        state = start
        for i in range(k):
            state = after(state, i)
        return _explained(body, which, given(state, k))

    if length is None:
        length = _count(lambda state: bool(_run(found["condition"], given(state, 0))[0]), after, start)
    return Inside(found["kind"], None, length, length != 0 and not _shown(body, given(start, 0)), explain)


def _count(
    holds: Callable[[list[Any]], bool], after: Callable[[list[Any], int], list[Any]], state: list[Any]
) -> int | None:
    for k in range(_MOST_STEPS + 1):
        if not holds(state):
            return k
        state = after(state, k)
    return None


def _run(body: Any, args: list[_Given]) -> list[Any]:
    return list(_core.traced(lambda: tuple(body(*(a.value for a in args)))))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{k}" for k in range(1, count + 1)]


def _shown(body: Any, args: list[_Given]) -> list[int]:
    """Return the places of the arguments that the body reads and that its explanation has for arguments."""
    return [k for k, (a, reads) in enumerate(zip(args, body.reads, strict=True)) if reads and a.shown]


def _explained(body: Any, which: int, args: list[_Given]) -> Explanation:
    """Explain result `which` of a body."""
    from mlgrad.chain._explain import Explanation
    from mlgrad.chain._graph import Graph

    places = _shown(body, args)

    def inside(*given: Any) -> Any:
        whole = [a.value for a in args]
        for k, x in zip(places, given, strict=True):
            whole[k] = x
        return body(*whole)[which]

    names: list[str] = []
    for k in places:  # a prime where an earlier one has the same name
        names.append(args[k].name + "'" * sum(n.rstrip("'") == args[k].name for n in names))
    return Explanation(Graph(inside, tuple(args[k].value for k in places), {}, "explain", names))


def _is_float(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "f"
