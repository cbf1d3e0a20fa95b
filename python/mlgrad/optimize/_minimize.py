"""scipy.optimize.minimize with derivatives."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import numpy as np

from mlgrad._jacobian import hessian, hvp, jacobian
from mlgrad._transforms import Function, value_and_grad
from mlgrad._vectors import ravel
from mlgrad.optimize._parameters import Parameters, scipy_optimize
from mlgrad.optimize._progress import Progress

#: What each of SciPy's methods can use; methods not named here use the gradient.
WITHOUT_GRADIENT = frozenset({"nelder-mead", "powell", "cobyla", "cobyqa"})
WITH_PRODUCTS = frozenset({"newton-cg", "trust-ncg", "trust-krylov", "trust-constr"})
WITH_HESSIAN = frozenset({"dogleg", "trust-exact"})


def minimize(
    f: Function,
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str | None = None,
    *,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
    progress: bool | TextIO = False,
    jit: bool = True,
) -> Any:
    """Minimise a function with `scipy.optimize.minimize`, all derivatives filled in.

    The method gets what it can use: the gradient, products with the Hessian (Newton-CG, trust-ncg, trust-krylov,
    trust-constr), the Hessian (dogleg, trust-exact), and the Jacobians of the constraints.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``, a real scalar; `x` has the structure of `x0`.
    x0 : array, float, or tree of them
        Where to start. A plain list of numbers is taken as an array.
    args : tuple
        Further arguments of `f`; a single one may stand without a tuple.
    method : str, optional
        As in SciPy: by default BFGS, L-BFGS-B with bounds, SLSQP with constraints.
    bounds : optional
        For an array as in SciPy. For a tree a pair ``(lower, upper)``, each a number, or a tree like `x0`.
    constraints : optional
        As in SciPy: dicts with ``type`` and ``fun``, `NonlinearConstraint`, `LinearConstraint` (for arrays), or a list
        of them. Their functions get `x` in the structure of `x0`, and return arrays or trees.
    tol, options : optional
        As in SciPy.
    callback : callable, optional
        Called after each iteration as in SciPy, with `x` in the structure of `x0`.
    progress : bool or text file
        Whether to show iteration, value and gradient while it runs (on the standard error stream), or where.
    jit : bool
        Whether to record `f` once and replay it. What `f` does besides computing then happens once; see `mlgrad.jit`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As in SciPy; `x` and `jac` have the structure of `x0`.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    TypeError, ValueError
        If `x0` does not hold floats, `f` does not return a scalar, or the bounds do not fit `x0`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlgrad import optimize
    >>> x = np.linspace(0, 1, 20)
    >>> loss = lambda p: np.sum((p["scale"] * np.exp(-p["rate"] * x) - 3 * np.exp(-2 * x)) ** 2)
    >>> result = optimize.minimize(loss, {"scale": 1.0, "rate": 1.0}, method="trust-exact")
    >>> {name: round(float(value), 3) for name, value in result.x.items()}
    {'rate': 2.0, 'scale': 3.0}
    """
    optimize = scipy_optimize("minimize")
    parameters = Parameters("minimize", x0)
    flat = parameters.flat(f, args)
    chosen = (method or "").lower() if isinstance(method, str) or method is None else ""
    derivatives: dict[str, Any] = {}
    if chosen in WITHOUT_GRADIENT:
        run = parameters.compiled(flat, jit)
        fun: Function = lambda v: float(run(v))
    else:
        both = parameters.compiled(value_and_grad(flat), jit)
        fun = lambda v: tuple(both(v))
        derivatives["jac"] = True
    if chosen in WITH_PRODUCTS:
        derivatives["hessp"] = parameters.compiled(lambda v, p: hvp(flat, (v,), (p,)), jit)
    elif chosen in WITH_HESSIAN:
        derivatives["hess"] = parameters.compiled(hessian(flat), jit)
    display = Progress(None if progress is True else progress) if progress else None
    result = optimize.minimize(
        fun,
        parameters.start,
        method=method,
        bounds=parameters.bounds(bounds, optimize),
        constraints=_constraints(parameters, constraints, optimize, jit, chosen == "trust-constr"),
        tol=tol,
        callback=_callback(parameters, callback, display, fun, chosen in WITHOUT_GRADIENT),
        options=options,
        **derivatives,
    )
    if display:
        display.close(result.message)
    result.x = parameters.unravel(result.x)
    if "jac" in result and np.shape(result.jac) == parameters.start.shape:
        result.jac = parameters.unravel(np.asarray(result.jac))
    return result


def _callback(
    parameters: Parameters, callback: Callable[..., Any] | None, display: Progress | None, fun: Function, plain: bool
) -> Callable[..., Any] | None:
    """Return the user's callback in terms of trees, with the display."""
    if callback is None and display is None:
        return None
    modern = False
    if callback is not None:
        with contextlib.suppress(TypeError, ValueError):  # no signature
            modern = set(inspect.signature(callback).parameters) == {"intermediate_result"}

    def call(x: Any, *rest: Any) -> Any:
        if display:
            value, slope = (fun(x), None) if plain else fun(x)
            display.step(value, None if slope is None else np.max(np.abs(slope)))
        if callback is None:
            return None
        if modern:
            optimize = scipy_optimize("minimize")
            shown = dict(rest[0]) if rest and isinstance(rest[0], dict) else {"fun": fun(x) if plain else fun(x)[0]}
            return callback(intermediate_result=optimize.OptimizeResult({**shown, "x": parameters.unravel(x)}))
        return callback(parameters.unravel(x), *rest)

    return call


def _constraints(parameters: Parameters, constraints: Any, optimize: Any, jit: bool, second: bool) -> Any:
    """Return constraints on trees as constraints on vectors, with their Jacobians."""
    if isinstance(constraints, Sequence):
        return [_constraint(parameters, c, optimize, jit, second) for c in constraints]
    return _constraint(parameters, constraints, optimize, jit, second)


def _constraint(parameters: Parameters, constraint: Any, optimize: Any, jit: bool, second: bool) -> Any:
    if isinstance(constraint, dict):
        missing = {"type", "fun"} - set(constraint)
        if missing:
            raise ValueError(f"minimize: a constraint has no {' and no '.join(sorted(missing))}")
        g = parameters.vector_valued(constraint["fun"], tuple(constraint.get("args", ())))
        if not second:
            return {
                "type": constraint["type"],
                "fun": parameters.compiled(g, jit),
                "jac": parameters.compiled(jacobian(g), jit),
            }
        low, high, feasible = 0.0, 0.0 if constraint["type"] == "eq" else np.inf, False
    elif isinstance(constraint, optimize.NonlinearConstraint):
        g = parameters.vector_valued(constraint.fun, ())
        low, high, feasible = _limit(constraint.lb), _limit(constraint.ub), constraint.keep_feasible
    else:
        return constraint
    curvature: dict[str, Any] = {}
    if second:
        curvature["hess"] = parameters.compiled(lambda v, w: hessian(lambda u: np.sum(g(u) * w))(v), jit)
    return optimize.NonlinearConstraint(
        parameters.compiled(g, jit),
        low,
        high,
        jac=parameters.compiled(jacobian(g), jit),
        keep_feasible=feasible,
        **curvature,
    )


def _limit(side: Any) -> Any:
    """Return a limit of a constraint: a number, an array, or a tree like what it returns."""
    return side if np.ndim(side) == 0 and not isinstance(side, dict) else np.asarray(ravel(side)[0], float)
