"""Recorded functions as SymPy expressions, and SymPy expressions as NumPy functions.

Needs SymPy: ``pip install 'mlgrad[symbolic]'``.

>>> import numpy as np
>>> from mlgrad import symbolic
>>> s = symbolic.to_sympy(lambda x: np.sin(x**2))
>>> s.expr, s.derivative("x")
(sin(x**2), 2*x*cos(x**2))
"""

from mlgrad.symbolic._from import from_sympy
from mlgrad.symbolic._to import SymbolicFunction, to_sympy

__all__ = ["SymbolicFunction", "from_sympy", "to_sympy"]
