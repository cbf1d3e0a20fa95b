"""Functions with everything that can be differentiated among their arguments, and solutions with rules."""

from __future__ import annotations

from typing import Any

from mlgrad import _core
from mlgrad._transforms import Function
from mlgrad._vectors import dtype_of


class Closed:
    """``f(y, *args)`` as a function of y and of `leaves`.

    `leaves` are the traced floats among the arguments, and the traced values that `f` takes from outside: so the
    derivative with respect to both is known to those who differentiate with respect to `leaves`. Arguments of other
    kinds stay what they are. `value` is the result at the given point.
    """

    def __init__(self, f: Function, y: Any, args: tuple[Any, ...]) -> None:
        given, structure = _core.tree_flatten(tuple(args))
        at = [k for k, x in enumerate(given) if isinstance(x, _core.Array) and dtype_of(x).kind == "f"]

        def on_leaves(y: Any, *chosen: Any) -> Any:
            full = list(given)
            for k, x in zip(at, chosen, strict=True):
                full[k] = x
            return f(y, *_core.tree_unflatten(structure, full))

        arguments = tuple(given[k] for k in at)
        self.value, captured, replay = _core.close_over(on_leaves, y, *arguments)
        self.leaves = (*arguments, *captured)
        self.call: Function = on_leaves if replay is None else replay

    def __call__(self, y: Any, *leaves: Any) -> Any:
        return self.call(y, *leaves)


def attached(name: str, outs: Any, args: Any, vjp: Function, jvp: Function) -> Any:
    """Return `outs` as a differentiable function of `args`, by rules."""
    return _core.attach(outs, args, vjp=vjp, jvp=jvp, name=name)
