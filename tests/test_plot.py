"""Pictures: what is drawn lies where the mathematics says."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from mlgrad import plot

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_curve():
    ax = plot.curve(np.sin, (0.0, 3.0), tangents=[1.0], derivatives=2, points=50)
    drawn = lines(ax)
    x = np.linspace(0, 3, 50)
    np.testing.assert_allclose(drawn["f"], np.stack([x, np.sin(x)], 1))
    np.testing.assert_allclose(drawn["f′"], np.stack([x, np.cos(x)], 1), atol=1e-15)
    np.testing.assert_allclose(drawn["f′′"], np.stack([x, -np.sin(x)], 1), atol=1e-15)
    (x0, y0), (x1, y1) = ax.get_lines()[3].get_xydata()
    np.testing.assert_allclose((y1 - y0) / (x1 - x0), np.cos(1.0))
    np.testing.assert_allclose((y0 + y1) / 2, np.sin(1.0))
    assert ax.get_xlabel() == "x"
    assert [t.get_text() for t in ax.texts] == ["slope 0.54"]


def test_axes_that_are_given():
    _, ax = plt.subplots()
    assert plot.curve(np.cos, (0, 1), ax=ax) is ax
    assert plot.implicit_curve(lambda x, y: x - y, (0, 1), (0, 1), ax=ax) is ax
    assert plot.gradient_field(lambda x, y: x * y, (0, 1), (0, 1), ax=ax) is ax
    assert plot.gradient_flow({"a": 1.0}, ax=ax) is ax


def test_implicit_curve():
    ax = plot.implicit_curve(lambda x, y: x**2 + y**2 - 25, (-6, 6), (-7, 7), tangents=[(3, 4), (5, 0)])
    (contour,) = ax.collections
    points = np.concatenate([p.vertices for p in contour.get_paths()])
    np.testing.assert_allclose(np.hypot(*points.T), 5, atol=1e-3)
    (x0, y0), (x1, y1) = ax.get_lines()[0].get_xydata()
    np.testing.assert_allclose((y1 - y0) / (x1 - x0), -0.75)
    upright = ax.get_lines()[2].get_xydata()
    np.testing.assert_allclose(upright[:, 0], 5)
    assert [t.get_text() for t in ax.texts] == ["slope -0.75", "vertical"]


def test_gradient_field():
    ax = plot.gradient_field(lambda x, y: x**2 + 3 * y, (-1, 1), (-2, 2), arrows=5)
    quiver = ax.collections[-1]
    x, y = np.array(quiver.XY).T
    np.testing.assert_allclose(quiver.U, 2 * x, atol=1e-15)
    np.testing.assert_allclose(quiver.V, np.full_like(y, 3.0))
    flat = plot.gradient_field(lambda x, y: 0 * x + 1.0, (0, 1), (0, 1), levels=1)
    assert flat.get_xlim() == (0, 1)


def test_surface():
    ax = plot.surface(lambda x, y: x**2 + y, (-1, 1), (-1, 1), at=(0.5, 0.5))
    assert ax.get_zlabel() == "f(x, y)"
    (line,) = ax.get_lines()
    x, y, z = line.get_data_3d()
    # steepest ascent: along (1, 1) here, rising with the length of the gradient
    np.testing.assert_allclose(x[1] - x[0], y[1] - y[0])
    np.testing.assert_allclose((z[1] - z[0]) / np.hypot(x[1] - x[0], y[1] - y[0]), np.sqrt(2))


def test_gradient_flow():
    ax = plot.gradient_flow({"σ": {"W1": 1e-6, "W2": 0.0, "W3": 1e-1}, "relu": {"W1": 1.0, "W2": 2.0, "W3": 1.0}})
    assert ax.get_yscale() == "log"
    np.testing.assert_allclose(lines(ax)["relu"][:, 1], [1.0, 2.0, 1.0])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["W1", "W2", "W3"]
    assert [t.get_text() for t in ax.texts] == ["0"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.curve(np.sin, (1, 1)), "low < high"),
        (lambda: plot.curve(np.sin, (0, np.inf)), "low < high"),
        (lambda: plot.curve(np.sin, (0, 1), points=1), "points"),
        (lambda: plot.implicit_curve(lambda x, y: x - y, (0, 1), (0, 1), tangents=[(0.2, 0.7)]), "not on the curve"),
        (lambda: plot.implicit_curve(lambda x, y: x * y, (-1, 1), (-1, 1), tangents=[(0, 0)]), "no gradient"),
        (lambda: plot.gradient_field(lambda x, y: x, (0, 1), (0, 1), arrows=0), "arrows"),
        (lambda: plot.surface(lambda x, y: x, (0, 1), (0, 1), points=0), "points"),
        (lambda: plot.gradient_flow({}), "no layers"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("plot_*.py")), ids=lambda p: p.stem)
def test_examples_write_a_picture(script, tmp_path):
    picture = tmp_path / "picture.png"
    subprocess.run([sys.executable, script, picture], check=True, env={**os.environ, "MPLBACKEND": "Agg"})
    assert picture.read_bytes()[:4] == b"\x89PNG"
    height, width, _ = plt.imread(picture).shape
    assert height > 300
    assert width > 300
