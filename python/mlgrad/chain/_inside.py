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


def find_inside(graph: Graph, step: Step) -> Inside | None:
    """Return the inside of a step; None where it is no control flow, or the derivative of a `while_loop`."""
    found = graph.recorded.core.inside(step.node.id)
    if found is None:
        return None
    inputs, kind = found["inputs"], found["kind"]
    values = list(graph.recorded.values(sorted(set(inputs))).items())
    known = dict(values)
    args = [known[i] for i in inputs]
    names = [text(graph.operand(i)) for i in inputs]
    which = step.node.attributes.get("index", 0)
    bodies = found["bodies"]
    if "carries" not in found:
        branch: int | None = None
        if len(bodies) > 1:
            branch = int(np.clip(int(args[0]), 0, len(bodies) - 1))
            args, names = args[1:], names[1:]
        body = bodies[branch or 0]
        return Inside(kind, branch, None, _is_constant(body, args), lambda _: _explained(body, which, args, names))
    return _loop(kind, found, which, args, names)


def _loop(kind: str, found: dict[str, Any], which: int, args: list[Any], names: list[str]) -> Inside:
    first, end = found["consts"], found["consts"] + found["carries"]
    consts, start, slices = args[:first], args[first:end], args[end:]
    [body] = found["bodies"]
    length = found.get("length")

    def slices_at(k: int) -> list[Any]:
        at = length - 1 - k if found.get("reverse") else k
        return [x[at] for x in slices]

    def after(state: list[Any], k: int) -> list[Any]:
        return _run(body, consts + state + slices_at(k))[: found["carries"]]

    if length is None:
        length = _count(found["condition"], after, consts, start)
    own = _numbered("carry", end - first) + _numbered("x", len(args) - end)

    def explain(k: int) -> Explanation:
        state = start
        for i in range(k):
            state = after(state, i)
        return _explained(body, which, consts + state + slices_at(k), names[:first] + own)

    constant = length != 0 and _is_constant(body, consts + start + slices)
    return Inside(kind, None, length, constant, explain)


def _count(
    condition: Any, after: Callable[[list[Any], int], list[Any]], consts: list[Any], state: list[Any]
) -> int | None:
    for k in range(_MOST_STEPS + 1):
        if not _run(condition, consts + state)[0]:
            return k
        state = after(state, k)
    return None


def _run(body: Any, args: list[Any]) -> list[Any]:
    return list(_core.traced(lambda: tuple(body(*args))))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{k}" for k in range(1, count + 1)]


def _explained(body: Any, which: int, args: list[Any], names: list[str]) -> Explanation:
    """Explain result `which` of a body as a function of what it reads of the floats among its arguments."""
    from mlgrad.chain._explain import Explanation
    from mlgrad.chain._graph import Graph

    floats = [k for k, (a, reads) in enumerate(zip(args, body.reads, strict=True)) if reads and _is_float(a)]
    outputs = _run(body, args)
    # a result of a loop may be the carry or a slice, but not the history, which nobody sees
    which = min(which, len(outputs) - 1)

    def call(*given: Any) -> Any:
        whole = list(args)
        for k, x in zip(floats, given, strict=True):
            whole[k] = x
        return body(*whole)[which]

    call.__name__ = "inside"
    return Explanation(Graph(call, tuple(args[k] for k in floats), {}, "explain", [_fresh(names, k) for k in floats]))


def _fresh(names: list[str], k: int) -> str:
    """Return a name, with a prime where an earlier one is the same."""
    return names[k] + "'" * names[:k].count(names[k])


def _is_constant(body: Any, args: list[Any]) -> bool:
    return not any(reads and _is_float(a) for a, reads in zip(args, body.reads, strict=True))


def _is_float(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "f"
