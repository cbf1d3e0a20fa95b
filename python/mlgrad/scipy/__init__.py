"""What mlgrad has of SciPy's names; it does not need SciPy."""

from __future__ import annotations

from mlgrad.scipy import special

__all__ = ["special"]
