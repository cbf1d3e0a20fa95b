"""Running a function on traced arrays and on NumPy arrays."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import mlgrad
from mlgrad import _core


def traced(a: Any) -> Any:
    """A traced copy of `a` on the tape that is being recorded; Python numbers stay."""
    if not isinstance(a, np.ndarray | np.generic):
        return a
    out = _core.full(np.shape(a), a, a.dtype)
    assert isinstance(out, mlgrad.Array)
    # a NumPy scalar is what an operation gives; `full` makes an array
    return out[()] if isinstance(a, np.generic) else out


def on_tape(f: Any, *args: Any) -> Any:
    """The values, as NumPy, of `f` on traced copies of the arguments."""
    _, out = mlgrad.grad(lambda t: (t, f(*[traced(a) for a in args])), has_aux=True)(0.0)
    return out


def assert_same(got: Any, want: Any, rtol: float = 1e-13, atol: float = 1e-13) -> None:
    """Equal values, shapes, dtypes and kinds (array or scalar)."""
    if isinstance(want, tuple | list):
        assert isinstance(got, tuple | list)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert_same(g, w, rtol, atol)
        return
    if isinstance(want, bool | int | str | type(None)) and not isinstance(want, np.generic):
        assert got == want
        return
    assert np.shape(got) == np.shape(want), (np.shape(got), np.shape(want))
    assert np.asarray(got).dtype == np.asarray(want).dtype, (np.asarray(got).dtype, np.asarray(want).dtype)
    if np.asarray(want).dtype == np.float32:
        rtol, atol = max(rtol, 1e-5), max(atol, 1e-6)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def check(f: Any, *args: Any, rtol: float = 1e-13, atol: float = 1e-13) -> None:
    """`f` gives the same on traced arrays as on NumPy arrays, the arguments afterwards included."""
    mine = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    theirs = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = f(*theirs)
    assert_same(on_tape(f, *mine), want, rtol, atol)
    for a, b in zip(mine, args, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
