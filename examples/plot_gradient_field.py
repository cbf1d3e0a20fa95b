"""Draw a surface and its gradient field: `python examples/plot_gradient_field.py [file.png]`."""

import sys

import matplotlib.pyplot as plt
import numpy as np

from mlgrad import plot


def hills(x, y):
    """Return the height: a hill and a hollow."""
    return np.exp(-((x - 1) ** 2) - (y - 0.5) ** 2) - 0.8 * np.exp(-((x + 1) ** 2) - (y + 0.5) ** 2)


figure = plt.figure(figsize=(11, 4.8), layout="constrained")
solid = figure.add_subplot(1, 2, 1, projection="3d")
plot.surface(hills, (-2.5, 2.5), (-2.5, 2.5), at=(-0.2, -0.6), ax=solid)
flat = figure.add_subplot(1, 2, 2)
plot.gradient_field(hills, (-2.5, 2.5), (-2.5, 2.5), ax=flat)
figure.suptitle("Two hills: the gradient points uphill, across the contour lines")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "gradient_field.png", dpi=120)
