"""Draw curves F(x, y) = 0 with tangents: `python examples/plot_implicit_curve.py [file.png]`."""

import sys

import matplotlib.pyplot as plt

from mlgrad import plot

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
plot.implicit_curve(
    lambda x, y: x**2 + y**2 - 25, (-7, 7), (-7, 7), tangents=[(3, 4), (-4, 3), (5, 0), (0, -5)], ax=left
)
left.set_title("x² + y² = 25")
plot.implicit_curve(lambda x, y: x**3 + y**3 - 6 * x * y, (-5, 5), (-5, 5), tangents=[(3, 3)], ax=right)
right.set_title("x³ + y³ = 6xy")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "implicit_curve.png", dpi=120)
