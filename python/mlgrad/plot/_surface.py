"""Functions of two variables: contour lines with gradient arrows, and surfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad.plot._axes import Range, check_range, new_axes, over_grid


def gradient_field(
    f: Callable[[Any, Any], Any],
    x_limits: Range,
    y_limits: Range,
    *,
    levels: int = 15,
    arrows: int = 15,
    points: int = 200,
    ax: Any = None,
) -> Any:
    """Draw the contour lines of a function of two variables, with arrows along its gradient.

    An arrow points uphill and is as long as the gradient is large there, relative to the largest one drawn.

    Parameters
    ----------
    f : callable
        Takes two floats; returns a float.
    x_limits, y_limits : (float, float)
        The rectangle to draw.
    levels : int
        How many contour lines, about.
    arrows : int
        How many arrows along each axis, at least 1.
    points : int
        How many points to evaluate along each axis, at least 2.
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
    >>> ax = plot.gradient_field(lambda x, y: np.sin(x) * np.cos(y), (-3, 3), (-3, 3))
    """
    x, y = _grid("plot.gradient_field", x_limits, y_limits, points)
    if levels < 1 or arrows < 1:
        raise ValueError(f"plot.gradient_field: needs levels >= 1 and arrows >= 1, got {levels} and {arrows}")
    ax = new_axes() if ax is None else ax
    lines = ax.contour(x, y, over_grid(f, x, y), levels=levels, cmap="viridis", linewidths=1)
    ax.figure.colorbar(lines, ax=ax, label="f(x, y)")
    # away from the border, so that no arrow leaves the picture
    u, v = (np.linspace(a[0], a[-1], arrows + 2)[1:-1] for a in (x, y))
    du = over_grid(_core.grad(f, 0), u, v)
    dv = over_grid(_core.grad(f, 1), u, v)
    longest = float(np.max(np.hypot(du, dv)))
    if longest > 0:
        scale = longest / (1.2 * min((x[-1] - x[0]), (y[-1] - y[0])) / (arrows + 1))
        ax.quiver(u, v, du, dv, angles="xy", scale_units="xy", scale=scale, color="0.25", width=0.003)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    return ax


def surface(
    f: Callable[[Any, Any], Any],
    x_limits: Range,
    y_limits: Range,
    *,
    at: tuple[float, float] | None = None,
    points: int = 80,
    ax: Any = None,
) -> Any:
    """Draw the graph of a function of two variables over its contour lines, with the gradient at one point.

    Parameters
    ----------
    f : callable
        Takes two floats; returns a float.
    x_limits, y_limits : (float, float)
        The rectangle to draw.
    at : (float, float), optional
        Where to draw the gradient: an arrow in the plane below, and the direction of steepest ascent on the surface.
    points : int
        How many points to evaluate along each axis, at least 2.
    ax : mpl_toolkits.mplot3d.Axes3D, optional
        Where to draw; a new figure by default.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the limits are not finite and increasing, or `points` is too small.

    Examples
    --------
    >>> from mlgrad import plot
    >>> ax = plot.surface(lambda x, y: x**2 + 2 * y**2, (-2, 2), (-2, 2), at=(1.0, 1.0))
    """
    x, y = _grid("plot.surface", x_limits, y_limits, points)
    ax = new_axes("3d") if ax is None else ax
    z = over_grid(f, x, y)
    low, high = float(np.min(z)), float(np.max(z))
    floor = low - 0.35 * (high - low)
    mesh = np.meshgrid(x, y)
    # drawn in this order, so that the point and its arrows are never hidden behind the surface
    ax.computed_zorder = False
    ax.contour(*mesh, z, zdir="z", offset=floor, levels=12, cmap="viridis", zorder=1)
    ax.plot_surface(*mesh, z, cmap="viridis", alpha=0.75, linewidth=0, zorder=2)
    if at is not None:
        px, py = float(at[0]), float(at[1])
        value, (gx, gy) = _core.value_and_grad(f, (0, 1))(px, py)
        length = float(np.hypot(gx, gy))
        ax.scatter([px], [py], [value], color="black", s=20, zorder=4)
        if length > 0:
            reach = min(x[-1] - x[0], y[-1] - y[0]) / 4
            dx, dy = gx / length * reach, gy / length * reach
            ax.quiver(px, py, floor, dx, dy, 0, color="C3", arrow_length_ratio=0.25, zorder=3)
            ax.plot([px, px + dx], [py, py + dy], [value, value + length * reach], color="C3", zorder=4)
    ax.set_zlim(floor, high)
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    ax.set_zlabel("f(x, y)")
    ax.set_box_aspect(None, zoom=0.88)
    return ax


def _grid(
    what: str, x_limits: Range, y_limits: Range, points: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if points < 2:
        raise ValueError(f"{what}: needs points >= 2, got {points}")
    return np.linspace(*check_range(what, x_limits), points), np.linspace(*check_range(what, y_limits), points)
