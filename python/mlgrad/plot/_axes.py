"""Axes to draw on, and grids to evaluate on."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad import _core

Range = tuple[float, float]


def new_axes(projection: str | None = None) -> Any:
    """Return fresh Axes; matplotlib is imported here, since it is optional."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('mlgrad.plot needs matplotlib: pip install "mlgrad[plot]"') from error
    figure = plt.figure(layout="constrained")
    return figure.add_subplot(projection=projection)


def check_range(what: str, limits: Range) -> Range:
    """Return the ends of an interval as floats."""
    low, high = (float(v) for v in limits)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"{what}: limits are (low, high) with low < high, got {limits!r}")
    return low, high


def label_point(ax: Any, text: str, point: Range, direction: Range) -> None:
    """Write beside a point, on the side that a direction (in data units) points to, on a plain background."""
    here, there = ax.transData.transform([point, (point[0] + direction[0], point[1] + direction[1])])
    dx, dy = there - here
    length = max(float(np.hypot(dx, dy)), 1e-300)
    dx, dy = 14 * dx / length, 14 * dy / length
    across = "left" if dx > 5 else "right" if dx < -5 else "center"
    ax.annotate(
        text,
        point,
        xytext=(dx, dy),
        textcoords="offset points",
        ha=across,
        va="bottom" if dy >= 0 else "top",
        fontsize="small",
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )


def over_grid(f: Any, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Evaluate a scalar function of two floats at all points of a grid, shape ``(len(y), len(x))``."""
    over_x = _core.vmap(f, (0, None), 0)
    return np.asarray(_core.vmap(over_x, (None, 0), 0)(x, y), float)
