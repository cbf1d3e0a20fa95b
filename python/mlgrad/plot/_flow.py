"""How gradients grow or vanish from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgrad.plot._axes import new_axes


def gradient_flow(flows: Any, *, ax: Any = None) -> Any:
    """Draw the norm of the gradient of each layer, on a logarithmic scale.

    Parameters
    ----------
    flows : GradientFlow, mapping of str to float, or mapping of str to either
        What `mlgrad.chain.gradient_flow` returns, or norms by the name of the layer, first layer first. Several of
        them under names of their own are drawn beside each other.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no layer to draw.

    Examples
    --------
    >>> from mlgrad import plot
    >>> ax = plot.gradient_flow({"W1": 1e-4, "W2": 1e-2, "W3": 1.0})
    """
    several = isinstance(flows, Mapping) and not all(np.ndim(v) == 0 and _is_number(v) for v in flows.values())
    curves = {str(k): _norms(v) for k, v in flows.items()} if several else {"": _norms(flows)}
    if not curves or not all(curves.values()):
        raise ValueError("plot.gradient_flow: no layers to draw; give at least one norm")
    ax = new_axes() if ax is None else ax
    longest = max(curves.values(), key=len)
    floor = min((v for norms in curves.values() for v in norms.values() if v > 0), default=1.0) / 10
    for (label, norms), marker in zip(curves.items(), "osD^v<>phX" * len(curves), strict=False):
        heights = [v if v > 0 else floor for v in norms.values()]
        ax.plot(range(len(heights)), heights, marker=marker, label=label)
        zeros = [k for k, v in enumerate(norms.values()) if not v > 0]
        ax.plot(zeros, [floor] * len(zeros), "x", color="black")
        for k in zeros:
            ax.annotate("0", (k, floor), xytext=(0, 6), textcoords="offset points", ha="center", fontsize="small")
    ax.set_yscale("log")
    ax.set_xticks(range(len(longest)), list(longest), rotation=45 if len(longest) > 6 else 0)
    ax.set_xlabel("layer, from the input to the output")
    ax.set_ylabel("norm of the gradient")
    ax.grid(True, which="major", color="0.9")
    if several:
        ax.legend()
    return ax


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _norms(flow: Any) -> dict[str, float]:
    norms = flow if isinstance(flow, Mapping) else flow.norms
    return {str(k): float(v) for k, v in norms.items()}
