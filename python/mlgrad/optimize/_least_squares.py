"""scipy.optimize.least_squares with derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad._jacobian import jacobian
from mlgrad._transforms import Function, jvp, vjp
from mlgrad.optimize._parameters import Parameters, scipy_optimize


def least_squares(
    f: Function,
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    bounds: Any = None,
    method: str = "trf",
    matrix_free: bool = False,
    jit: bool = True,
    **options: Any,
) -> Any:
    """Minimise a sum of squares with `scipy.optimize.least_squares`, the Jacobian filled in.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``, the residuals: a float array or a tree of them; `x` has the structure of `x0`.
    x0 : array, float, or tree of them
        Where to start. A plain list of numbers is taken as an array.
    args : tuple
        Further arguments of `f`; a single one may stand without a tuple.
    bounds : optional
        A pair ``(lower, upper)``; for a tree each is a number, or a tree like `x0`.
    method : str
        As in SciPy: trf, dogbox or lm.
    matrix_free : bool
        Whether to give SciPy products with the Jacobian instead of the Jacobian (methods trf and dogbox).
    jit : bool
        Whether to record `f` once and replay it; see `mlgrad.jit`.
    **options
        Further arguments of SciPy's function: ftol, xtol, gtol, x_scale, loss, max_nfev, verbose, …

    Returns
    -------
    scipy.optimize.OptimizeResult
        As in SciPy; `x` and `grad` have the structure of `x0`, `fun` and `jac` are flat.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    TypeError, ValueError
        If `x0` does not hold floats, or the bounds do not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import optimize
    >>> t = np.linspace(0, 1, 20)
    >>> result = optimize.least_squares(lambda p: p[0] * np.exp(-p[1] * t) - 3 * np.exp(-2 * t), np.ones(2))
    >>> np.round(result.x, 6)
    array([3., 2.])
    """
    optimize = scipy_optimize("least_squares")
    parameters = Parameters("least_squares", x0)
    flat = parameters.vector_valued(f, args)
    fun = parameters.compiled(flat, jit)
    if matrix_free:
        jac: Any = _products(parameters, flat, jit)
        options.setdefault("tr_solver", "lsmr")
    else:
        jac = parameters.compiled(jacobian(flat), jit)
    limits = (-np.inf, np.inf) if bounds is None else parameters.bounds(bounds, optimize)
    result = optimize.least_squares(fun, parameters.start, jac=jac, bounds=limits, method=method, **options)
    result.x = parameters.unravel(result.x)
    result.grad = parameters.unravel(np.asarray(result.grad))
    return result


def _products(parameters: Parameters, flat: Function, jit: bool) -> Function:
    from scipy.sparse.linalg import LinearOperator

    push = parameters.compiled(lambda v, t: jvp(flat, (v,), (t,))[1], jit)
    pull = parameters.compiled(lambda v, w: vjp(flat, v)[1](w)[0], jit)

    def jac(v: Any) -> Any:
        rows = np.size(flat(v))
        at = np.array(v)
        return LinearOperator(
            (rows, at.size),
            matvec=lambda t: push(at, np.ravel(t)),
            rmatvec=lambda w: pull(at, np.ravel(w)),
            dtype=float,
        )

    return jac
