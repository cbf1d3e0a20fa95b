"""numpy.fft for traced arrays: shifts work, and what is complex says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlgrad._rare import _array, _implements


def _shifted(x: Any, axes: Any, forward: bool) -> Any:
    x = _array(x)
    if axes is None:
        axes = tuple(range(x.ndim))
    given = tuple(axes) if isinstance(axes, tuple | list) else (axes,)
    steps = tuple(x.shape[k] // 2 if forward else -(x.shape[k] // 2) for k in given)
    return np.roll(x, steps, given)


@_implements(np.fft.fftshift)
def _fftshift(x: Any, axes: Any = None) -> Any:
    return _shifted(x, axes, True)


@_implements(np.fft.ifftshift)
def _ifftshift(x: Any, axes: Any = None) -> Any:
    return _shifted(x, axes, False)


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError(
            f"fft.{name}: Fourier transforms go through complex numbers, which an mlgrad.Array cannot hold; write "
            "short ones as products with np.cos and np.sin of 2π·j·k/n, or give your function a rule with "
            "mlgrad.custom_vjp and pure_callback"
        )

    return refuse


for _name in ("fft", "rfft", "hfft"):
    for _prefix in ("", "i"):
        for _rank in ("", "2", "n"):
            _function = getattr(np.fft, _prefix + _name + _rank, None)
            if _function is not None:
                _implements(_function)(_refused(_prefix + _name + _rank))
