"""gradient_flow: how gradients grow or shrink on their way back through the layers of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlgrad import _core
from mlgrad._recording import Function, Recorded


@dataclass(frozen=True)
class LayerFlow:
    """What arrives at one layer.

    `gradient` is the norm of the gradient with respect to its parameters. `signal` is the norm of the adjoint of what
    the layer computes with them, and `gain` the factor from the signal of the layer after it (from the loss, for the
    last one). `state` is "", "vanishes", "explodes" or "not finite".
    """

    name: str
    gradient: float
    signal: float
    gain: float
    state: str


@dataclass(frozen=True)
class GradientFlow:
    """Gradient norms and gains of all layers, the first layer first; printed, a table with bars."""

    loss: float
    layers: tuple[LayerFlow, ...]

    @property
    def norms(self) -> dict[str, float]:
        """The norm of the gradient of each layer, which `mlgrad.plot.gradient_flow` draws."""
        return {layer.name: layer.gradient for layer in self.layers}

    @property
    def gains(self) -> dict[str, float]:
        """The factor by which the signal changes on its way back to each layer."""
        return {layer.name: layer.gain for layer in self.layers}

    @property
    def whole(self) -> float:
        """The product of all gains: the signal at the first layer."""
        return math.prod(layer.gain for layer in self.layers)

    @property
    def vanishing(self) -> tuple[str, ...]:
        """The layers whose gradients vanish."""
        return tuple(layer.name for layer in self.layers if layer.state == "vanishes")

    @property
    def exploding(self) -> tuple[str, ...]:
        """The layers whose gradients explode or are not finite."""
        return tuple(layer.name for layer in self.layers if layer.state in ("explodes", "not finite"))

    def __str__(self) -> str:
        rows = [("layer", "gradient", "signal", "gain", "", "")]
        sizes = [math.log10(layer.gradient) for layer in self.layers if 0 < layer.gradient < math.inf]
        low, high = min(sizes, default=0.0), max(sizes, default=0.0)
        for layer in self.layers:
            bar = ""
            if 0 < layer.gradient < math.inf:
                bar = "█" * (1 + round(23 * (math.log10(layer.gradient) - low) / max(high - low, 1.0)))
            numbers = (f"{layer.gradient:.3g}", f"{layer.signal:.3g}", f"{layer.gain:.3g}")
            rows.append((layer.name, *numbers, bar, layer.state))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append(f"product of the gains: {self.whole:.3g}")
        for what, names in (("vanish", self.vanishing), ("explode", self.exploding)):
            lines.append(f"gradients that {what}: {', '.join(names) or 'none'}")
        return "\n".join(lines)


def gradient_flow(
    loss: Function, params: Any, *args: Any, low: float = 1e-3, high: float = 1e3, **kwargs: Any
) -> GradientFlow:
    """Return how the gradient of a loss flows back through the layers of its parameters.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args, **kwargs)``, a float.
    params : list, tuple or dict
        One entry a layer, from the input to the output; each is a float array, or a tree of them.
    *args, **kwargs
        Passed on to `loss`; not differentiated.
    low, high : float
        A layer's gradient vanishes below `low` times, and explodes above `high` times, that of the last layer.

    Returns
    -------
    GradientFlow
        For each layer the norm of its gradient, the norm of the signal (the adjoint of the operations that its
        parameters enter), the gain from layer to layer, and whether it vanishes or explodes.

    Raises
    ------
    TypeError
        If `params` is not a container of layers, or a layer has no float arrays.
    ValueError
        If the loss is not a scalar.

    Examples
    --------
    >>> from mlgrad import chain, nn
    >>> def deep(biases, x):
    ...     for b in biases:
    ...         x = nn.sigmoid(x + b)
    ...     return x
    >>> flow = chain.gradient_flow(deep, [0.0] * 10, 0.5)
    >>> max(flow.gains.values()) <= 0.25, flow.whole <= 4.0**-10
    (True, True)
    >>> flow.vanishing
    ('0', '1', '2', '3', '4')
    """
    leaves, structure = _core.tree_flatten(params)
    numbered = _core.tree_unflatten(structure, range(len(leaves)))
    if isinstance(numbered, Mapping):
        # the order that the caller has given them in, not that of the sorted keys
        entries = {str(k): numbered[k] for k in params}
    elif isinstance(numbered, list | tuple):
        names = getattr(numbered, "_fields", range(len(numbered)))
        entries = {str(k): v for k, v in zip(names, numbered, strict=True)}
    else:
        raise TypeError(
            f"gradient_flow: params must be a list, tuple or dict with one entry a layer, got {type(params).__name__}"
        )
    if not entries:
        raise TypeError("gradient_flow: params is empty; give one entry a layer")
    recorded = Recorded(_of_params(loss, args, kwargs), (params,), what="gradient_flow")
    value = recorded.core.values(list(recorded.outputs))
    if len(value) != 1 or np.ndim(value[0]) != 0:
        raise ValueError(
            f"gradient_flow: the loss must be a scalar, got {len(value)} results of shapes "
            f"{[np.shape(v) for v in value]}"
        )
    gradients = recorded.core.gradient()
    adjoints, _ = recorded.core.adjoints([list(s.body) for s in recorded.steps])
    # the layer of each leaf, by its place in the flattened parameters
    owner = {n: k for k, part in enumerate(entries.values()) for n in _core.tree_flatten(part)[0]}
    gradient, signal, found = ([0.0] * len(entries) for _ in range(3))
    layer_of = {}
    for argument, g in zip(recorded.arguments, gradients, strict=True):
        k = owner[argument.position]
        layer_of[argument.node] = k
        found[k] += 1
        gradient[k] = math.hypot(gradient[k], _norm(g))
    for step, adjoint in zip(recorded.steps, adjoints, strict=True):
        for k in {layer_of[e.source] for e in step.edges if e.source in layer_of}:
            signal[k] = max(signal[k], _norm(adjoint))
    for name, count in zip(entries, found, strict=True):
        if not count:
            raise TypeError(
                f"gradient_flow: layer {name} of params has no float array; leave it out, or pass it in args"
            )
    layers = []
    for k, name in enumerate(entries):
        after = signal[k + 1] if k + 1 < len(entries) else 1.0
        gain = signal[k] / after if after else math.nan if not signal[k] else math.inf
        state = ""
        if not math.isfinite(gradient[k]):
            state = "not finite"
        elif gradient[k] < low * gradient[-1] or gradient[k] == 0:
            state = "vanishes"
        elif gradient[k] > high * gradient[-1]:
            state = "explodes"
        layers.append(LayerFlow(name, gradient[k], signal[k], gain, state))
    return GradientFlow(float(value[0]), tuple(layers))


def _of_params(loss: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Any], Any]:
    def of_params(params: Any) -> Any:
        return loss(params, *args, **kwargs)

    return of_params


def _norm(x: Any) -> float:
    return 0.0 if x is None else float(np.linalg.norm(np.ravel(x)))
