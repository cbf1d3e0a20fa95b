"""Finding nans."""

from __future__ import annotations

from types import TracebackType

from mlgrad import _core


class debug_nans:
    """Raise an error where a nan comes out of a computation, naming the operation that it came from.

    As a function it is a switch: ``mlgrad.debug_nans()`` turns it on, ``mlgrad.debug_nans(False)`` off, for the whole
    process. As a context manager it sets things back at the end.

    While it is on, every result of an evaluation is looked at; where one holds a nan, the computation is done again,
    operation by operation. Jitted functions are recorded at each call. That is slow: it is for finding mistakes.

    Parameters
    ----------
    enabled : bool
        Whether nans raise.
    infs : bool
        Whether infinities do too.

    Raises
    ------
    FloatingPointError
        From then on, where an evaluation gives a nan. The message names the first operation whose result holds one,
        what its arguments were, and the user's line that it is of, or that it belongs to the derivative of.

    Examples
    --------
    >>> import mlgrad, numpy as np
    >>> with mlgrad.debug_nans():
    ...     mlgrad.value_and_grad(lambda x: np.sum(np.log(x - 2)))(np.array([1.0, 3.0]))
    Traceback (most recent call last):
        ...
    FloatingPointError: debug_nans: nan came first out of log of float64(2,) from -1.0 to 1.0, in line ...
    """

    def __init__(self, enabled: bool = True, *, infs: bool = False) -> None:
        mode = "off" if not enabled else "inf" if infs else "nan"
        self._before = _core.set_debug_nans(mode)

    def __enter__(self) -> debug_nans:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _core.set_debug_nans(self._before)
