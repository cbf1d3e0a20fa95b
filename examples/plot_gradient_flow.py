"""Draw how gradients shrink, or do not, through ten layers: `python examples/plot_gradient_flow.py [file.png]`."""

import sys

import numpy as np

from mlgrad import chain, nn, plot


def network(activation, residual=False):
    """Ten layers of one activation; with residual connections, each adds to its input."""

    def loss(layers, x):
        for layer in layers:
            y = activation(layer["W"] @ x + layer["b"])
            x = x + y if residual else y
        return np.sum(x**2)

    return loss


rng = np.random.default_rng(1)
layers = [{"W": rng.standard_normal((8, 8)) / 2, "b": np.zeros(8)} for _ in range(10)]
x = rng.standard_normal(8)
flows = {
    "sigmoid": chain.gradient_flow(network(nn.sigmoid), layers, x),
    "relu": chain.gradient_flow(network(nn.relu), layers, x),
    "sigmoid, residual": chain.gradient_flow(network(nn.sigmoid, residual=True), layers, x),
}
ax = plot.gradient_flow(flows)
ax.set_title("the gradients of ten layers")
ax.figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "gradient_flow.png", dpi=120)
