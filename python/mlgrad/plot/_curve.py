"""A function of one variable with its derivatives and tangent lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad.plot._axes import Range, check_range, label_point, new_axes


def curve(
    f: Callable[[Any], Any],
    limits: Range,
    *,
    tangents: Sequence[float] = (),
    derivatives: int = 1,
    points: int = 400,
    ax: Any = None,
) -> Any:
    """Draw a function of one variable with its derivatives, and its tangent lines at some points.

    Parameters
    ----------
    f : callable
        Takes a float; returns a float.
    limits : (float, float)
        The interval to draw.
    tangents : sequence of float
        Where to draw tangent lines.
    derivatives : int
        The highest derivative to draw, at least 0.
    points : int
        How many points to evaluate, at least 2.
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
        If the limits are not finite and increasing, or a number is too small.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import plot
    >>> ax = plot.curve(lambda x: np.sin(x**2), (0.0, 2.0), tangents=[1.5])
    """
    low, high = check_range("plot.curve", limits)
    if derivatives < 0 or points < 2:
        raise ValueError(
            f"plot.curve: needs derivatives >= 0 and points >= 2, got derivatives={derivatives}, points={points}"
        )
    ax = new_axes() if ax is None else ax
    x = np.linspace(low, high, points)
    g = f
    for order in range(derivatives + 1):
        label = "f" + "\N{PRIME}" * order if order < 4 else f"f ({order})"
        ax.plot(x, _core.vmap(g)(x), label=label, linewidth=2 if order == 0 else 1.4)
        g = _core.grad(g)
    slope_of = _core.value_and_grad(f)
    reach = (high - low) / 8
    for at in tangents:
        value, slope = slope_of(float(at))
        # as long for a steep tangent as for a flat one, in units of the picture's width
        half = reach / np.sqrt(1 + (slope * (high - low) / max(np.ptp(ax.get_ylim()), 1e-300)) ** 2)
        ends = np.array([at - half, at + half])
        ax.plot(ends, value + slope * (ends - at), color="black", linewidth=1.2)
        ax.plot([at], [value], "o", color="black", markersize=4)
        label_point(ax, f"slope {slope:.3g}", (at, value), (-slope, 1.0))
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    ax.set_xlim(low, high)
    ax.legend()
    return ax
