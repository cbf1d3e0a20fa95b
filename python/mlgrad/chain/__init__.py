"""The chain rule, made visible: compositions, steps with their local derivatives, paths, and the flow of gradients.

>>> import numpy as np
>>> from mlgrad import chain
>>> print(chain.paths(lambda x: np.sin(x**2))(1.5))
1 path from x
  x → u1 → u2: 2*x · cos(u1) = 3 · (-0.628174) = -1.88452
  sum of all = -1.88452
"""

from mlgrad.chain._compose import ChainRule, Layer, Product, chain_rule, compose
from mlgrad.chain._explain import Explanation, explain
from mlgrad.chain._flow import GradientFlow, LayerFlow, gradient_flow
from mlgrad.chain._graph import Edge, Node
from mlgrad.chain._paths import Path, Paths, paths

__all__ = [
    "ChainRule",
    "Edge",
    "Explanation",
    "GradientFlow",
    "Layer",
    "LayerFlow",
    "Node",
    "Path",
    "Paths",
    "Product",
    "chain_rule",
    "compose",
    "explain",
    "gradient_flow",
    "paths",
]
