"""SymPy, imported when it is first needed."""

from __future__ import annotations

import importlib
from typing import Any


def load(what: str) -> Any:
    """Return the module sympy.

    Raises
    ------
    ImportError
        If SymPy is not installed; says how to install it.
    """
    try:
        return importlib.import_module("sympy")
    except ImportError as error:
        raise ImportError(f"symbolic.{what} needs SymPy; install it with pip install 'mlgrad[symbolic]'") from error
