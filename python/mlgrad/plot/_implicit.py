"""Curves that an equation describes, with their tangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad.plot._axes import Range, check_range, label_point, new_axes, over_grid


def implicit_curve(
    F: Callable[[Any, Any], Any],
    x_limits: Range,
    y_limits: Range,
    *,
    tangents: Sequence[tuple[float, float]] = (),
    points: int = 300,
    ax: Any = None,
) -> Any:
    """Draw the curve F(x, y) = 0, and its tangent lines at points on it.

    The tangent at a point is orthogonal to the gradient of F there: its slope is -F_x / F_y, and it stands upright
    where F_y is 0.

    Parameters
    ----------
    F : callable
        Takes two floats; returns a float.
    x_limits, y_limits : (float, float)
        The rectangle to draw.
    tangents : sequence of (float, float)
        Points on the curve at which to draw tangents.
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
        If the limits are wrong, a point is not on the curve, or F has no gradient there.

    Examples
    --------
    >>> from mlgrad import plot
    >>> circle = lambda x, y: x**2 + y**2 - 25
    >>> ax = plot.implicit_curve(circle, (-6, 6), (-6, 6), tangents=[(3, 4)])
    """
    left, right = check_range("plot.implicit_curve", x_limits)
    low, high = check_range("plot.implicit_curve", y_limits)
    if points < 2:
        raise ValueError(f"plot.implicit_curve: needs points >= 2, got {points}")
    x, y = np.linspace(left, right, points), np.linspace(low, high, points)
    values = over_grid(F, x, y)
    lines = []
    for px, py in tangents:
        px, py = float(px), float(py)
        residual, (fx, fy) = _core.value_and_grad(F, (0, 1))(px, py)
        length = float(np.hypot(fx, fy))
        if not length > 0:
            raise ValueError(f"plot.implicit_curve: F has no gradient at ({px:g}, {py:g}), so the curve has no tangent")
        # on the curve up to rounding: the distance to it is about |F| / |∇F|
        if abs(residual) / length > 1e-6 * max(right - left, high - low):
            raise ValueError(
                f"plot.implicit_curve: ({px:g}, {py:g}) is not on the curve: F there is {float(residual):.6g}"
            )
        lines.append((px, py, -fy / length, fx / length, fx, fy))
    ax = new_axes() if ax is None else ax
    ax.contour(x, y, values, levels=[0.0], colors="C0", linewidths=2)
    reach = max(right - left, high - low) / 6
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    for px, py, dx, dy, fx, fy in lines:
        ax.plot([px - reach * dx, px + reach * dx], [py - reach * dy, py + reach * dy], color="C1", linewidth=1.5)
        ax.plot([px], [py], "o", color="black", markersize=4)
        slope = f"slope {-fx / fy:.3g}" if abs(fy) > 1e-12 * abs(fx) else "vertical"
        label_point(ax, slope, (px, py), (fx, fy))
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    return ax
