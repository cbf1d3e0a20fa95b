"""Draw a function with its derivative and tangent lines: `python examples/plot_curve.py [file.png]`."""

import sys

import numpy as np

from mlgrad import plot

ax = plot.curve(lambda x: np.sin(x**2), (0.0, 2.5), tangents=[0.6, 1.5, 2.35])
ax.set_title("sin(x²), its derivative, and tangents")
ax.figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "curve.png", dpi=120)
