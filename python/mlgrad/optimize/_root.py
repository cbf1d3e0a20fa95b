"""scipy.optimize.root with derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgrad._jacobian import jacobian
from mlgrad._transforms import Function
from mlgrad.optimize._parameters import Parameters, scipy_optimize

#: SciPy's methods that take a Jacobian.
WITH_JACOBIAN = frozenset({"hybr", "lm"})


def root(
    f: Function,
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str = "hybr",
    *,
    tol: float | None = None,
    options: dict[str, Any] | None = None,
    jit: bool = True,
) -> Any:
    """Solve a system of equations with `scipy.optimize.root`, the Jacobian filled in.

    For a solution that is differentiable itself see `mlgrad.implicit.root`.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``, zero at the solution: as many numbers as there are in `x`, in an array or a tree.
    x0 : array, float, or tree of them
        Where to start. A plain list of numbers is taken as an array.
    args : tuple
        Further arguments of `f`; a single one may stand without a tuple.
    method : str
        As in SciPy; hybr and lm use the Jacobian.
    tol, options : optional
        As in SciPy.
    jit : bool
        Whether to record `f` once and replay it; see `mlgrad.jit`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As in SciPy; `x` has the structure of `x0`, `fun` is flat.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    TypeError, ValueError
        If `x0` does not hold floats, or there are not as many equations as unknowns.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import optimize
    >>> equations = lambda p: {"sum": p["x"] + p["y"] - 3, "product": p["x"] * p["y"] - 2}
    >>> result = optimize.root(equations, {"x": 3.0, "y": 0.0})
    >>> round(float(result.x["x"]), 9), round(float(result.x["y"]), 9)
    (2.0, 1.0)
    """
    optimize = scipy_optimize("root")
    parameters = Parameters("root", x0)
    flat = parameters.vector_valued(f, args)
    fun = parameters.compiled(flat, jit)
    equations = np.size(fun(parameters.start))
    if equations != parameters.start.size and method != "lm":
        raise ValueError(
            f"root: {equations} equations for {parameters.start.size} unknowns; there must be one for each"
        )
    jac = parameters.compiled(jacobian(flat), jit) if method in WITH_JACOBIAN else None
    result = optimize.root(fun, parameters.start, method=method, jac=jac, tol=tol, options=options)
    result.x = parameters.unravel(result.x)
    return result
