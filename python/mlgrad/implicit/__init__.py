"""Derivatives of what is defined by an equation.

- `implicit_derivative`: dy/dx and higher derivatives at a point of a curve F(x, y) = 0.
"""

from __future__ import annotations

from mlgrad.implicit.derivative import implicit_derivative
from mlgrad.implicit.report import Report

__all__ = ["Report", "implicit_derivative"]
