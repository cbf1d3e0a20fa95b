"""explain: the steps of a function at a point, with everything that the chain rule needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from mlgrad._recording import Function
from mlgrad.chain import _latex, _markdown, _mermaid, _svg, _text
from mlgrad.chain._graph import Graph, Node
from mlgrad.chain._paths import Paths, find_paths

# more paths than these are not shown; their number always is
_SHOWN_PATHS = 8


class Explanation:
    """The recorded steps of a function at a point: what `explain(f)(*args)` returns.

    Printed, it is a table with a row for each step. In a notebook it is a picture of the graph above that table.

    Attributes
    ----------
    function : str
        The name of the function.
    arguments, steps : tuple of Node
        Each with `name`, `text` (what it computes), `value`, `adjoint` (the derivative of the result by it), `edges`
        (what it reads, with the local partial derivatives), and `file`, `line` and `source` of the user's code.
    outputs : tuple of str
        The names of the nodes that are the function's result.
    gradient : dict
        The derivative of the result by each argument; of the sum of its elements if the result is no scalar.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.function = graph.function
        self.arguments: tuple[Node, ...] = tuple(n for n in graph.nodes if n.is_argument)
        self.steps: tuple[Node, ...] = tuple(n for n in graph.nodes if not n.is_argument)
        self.outputs: tuple[str, ...] = graph.outputs

    @property
    def gradient(self) -> dict[str, Any]:
        """The derivative of the result by each argument, from one reverse walk."""
        return self._graph.gradient

    @property
    def value(self) -> Any:
        """The value of the function; a tuple if it has several results."""
        known = self._graph.by_name
        values = tuple(known[n].value if n in known else float(n) for n in self.outputs)
        return values[0] if len(values) == 1 else values

    @property
    def is_scalar(self) -> bool:
        """Whether the function has one result, of one element."""
        return len(self.outputs) == 1 and np.size(self.value) == 1

    def __getitem__(self, name: str) -> Node:
        """Return the argument or step of that name."""
        try:
            return self._graph.by_name[name]
        except KeyError:
            known = ", ".join(self._graph.by_name)
            raise KeyError(f"{self.function} has no step {name!r}; it has {known}") from None

    @cached_property
    def paths(self) -> dict[str, Paths]:
        """The paths from each argument to the result, the largest contributions first."""
        return {a.name: find_paths(self._graph, a.name, _SHOWN_PATHS) for a in self.arguments}

    def text(self) -> str:
        """Return a table of the steps, and the products along the paths."""
        return _text.render(self)

    def markdown(self) -> str:
        """Return Markdown: a table of the steps, and the paths as formulas."""
        return _markdown.render(self)

    def latex(self) -> str:
        """Return a LaTeX ``align*`` environment: steps, local partials, and the products along the paths."""
        return _latex.render(self)

    def mermaid(self) -> str:
        """Return a Mermaid flowchart, with the local partial derivatives on its edges."""
        return _mermaid.render(self)

    def svg(self) -> str:
        """Return the graph as SVG: values and adjoints in its nodes, local partial derivatives on its edges."""
        return _svg.render(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<explanation of {self.function}: {len(self.steps)} steps>"

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self.svg()}</div>\n{_markdown.html_table(self)}'

    def _repr_markdown_(self) -> str:
        return self.markdown()


def explain(f: Function) -> Callable[..., Explanation]:
    """Return a function that shows how the chain rule differentiates `f`, step by step.

    Parameters
    ----------
    f : callable
        A function of floats and float arrays, in trees of any depth.

    Returns
    -------
    callable
        Takes what `f` takes, and returns an `Explanation`: every operation that `f` has recorded, with its value, its
        local partial derivatives (closed form and number), its adjoint, and the line of code that it comes from, as
        text, ``markdown()``, ``latex()``, ``mermaid()`` and ``svg()``.

    Raises
    ------
    TypeError
        If no argument is a float or a float array.
    RuntimeError
        If it is called inside a transform.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import chain
    >>> e = chain.explain(lambda x: np.sin(x**2))(1.5)
    >>> for step in e.steps:
    ...     print(step.name, "=", step.text, "partial", step.edges[0].partial)
    u1 = x**2 partial 2*x
    u2 = sin(u1) partial cos(u1)
    >>> e.gradient["x"]
    np.float64(-1.8845208681682175)
    """
    if not callable(f):
        raise TypeError(f"explain: expected a function, got {type(f).__name__}; pass the function itself")

    def explained(*args: Any, **kwargs: Any) -> Explanation:
        return Explanation(Graph(f, args, kwargs, "explain"))

    explained.__name__ = f"explain({getattr(f, '__name__', f)})"
    return explained
