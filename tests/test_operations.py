"""Every operation, by table: values against NumPy, derivatives against finite differences, vmap against loops."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import mlgrad
import mlgrad.numpy
import mlgrad.scipy.special
from mlgrad import _core
from tables import ROWS, A, Row

DIFFERENTIABLE = [r for r in ROWS if r.order > 0]


def rows(selected: list[Row]) -> Any:
    return pytest.mark.parametrize("row", selected, ids=lambda r: r.name)


def plain(row: Row) -> Callable[..., Any]:
    """The row on what it is given, through NumPy's protocols where there are any."""
    if row.special:
        return lambda *xs: row.f(scipy.special if row.through else mlgrad.scipy.special, *xs)
    return lambda *xs: row.f(np, *xs)


def direct(row: Row) -> Callable[..., Any]:
    """The row through mlgrad.numpy."""
    ns = mlgrad.scipy.special if row.special else mlgrad.numpy
    return lambda *xs: row.f(ns, *xs)


def reference(row: Row) -> Callable[..., Any]:
    return lambda *xs: row.f(scipy.special if row.special else np, *xs)


def leaves(out: Any) -> list[Any]:
    return [y for part in out for y in leaves(part)] if isinstance(out, (list, tuple)) else [out]


def same(got: Any, want: Any, rtol: float, *, exact: bool = False, dtype: bool = True, atol: float = 0.0) -> None:
    got, want = leaves(got), leaves(want)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert isinstance(g, (np.ndarray, np.generic)), f"a result of type {type(g).__name__} left the transform"
        assert g.shape == np.shape(w)
        w = np.asarray(w)
        if dtype:
            assert g.dtype == w.dtype
        if exact:
            np.testing.assert_array_equal(g, w)
        else:
            scale = np.max(np.abs(w[np.isfinite(w)]), initial=0.0) if w.dtype.kind == "f" else 0.0
            np.testing.assert_allclose(g, w, rtol=rtol, atol=max(atol, rtol * float(scale)))


def recorded(f: Callable[..., Any], *args: Any) -> Any:
    """The value of f with every array argument traced, integers too, but not jitted."""

    def run(s: Any) -> Any:
        # a choice between an array and itself puts it on the tape
        return s, f(*[np.where(s > 0, a, a) for a in args])

    return mlgrad.grad(run, has_aux=True)(1.0)[1]


def contracted(row: Row, args: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """The sum of all floating-point results with random weights, as a function of the differentiable arguments."""
    rng = np.random.default_rng(1)
    f, which = plain(row), row.differentiable()
    weights = [rng.uniform(0.5, 1.5, np.shape(y)) for y in leaves(reference(row)(*args))]

    def scalar(*xs: Any) -> Any:
        full = list(args)
        for k, x in zip(which, xs, strict=True):
            full[k] = x
        total = 0.0
        for y, w in zip(leaves(f(*full)), weights, strict=True):
            if np.dtype(y.dtype).kind == "f":
                total = total + np.sum(y * w)
        return total

    return scalar, [args[k] for k in which]


def directions(xs: list[Any], seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return tuple(np.asarray(rng.uniform(-1, 1, np.shape(x))).astype(np.asarray(x).dtype) for x in xs)


def inner(a: Any, b: Any) -> float:
    return sum(float(np.sum(x * y)) for x, y in zip(a, b, strict=True))


def moved(xs: list[Any], u: tuple[Any, ...], eps: float) -> list[Any]:
    return [x + eps * d for x, d in zip(xs, u, strict=True)]


EPS = 1e-5


def close(got: float, want: float, scale: float = 1.0) -> None:
    assert got == pytest.approx(want, rel=2e-6, abs=2e-7 * max(1.0, scale))


@rows(ROWS)
def test_value(row: Row) -> None:
    args = row.draw()
    want = reference(row)(*args)
    exact = row.exact
    same(recorded(plain(row), *args), want, row.rtol, exact=exact)
    same(recorded(direct(row), *args), want, row.rtol, exact=exact)
    same(mlgrad.jit(plain(row))(*args), want, row.rtol, exact=exact)
    # out of a trace, the result is NumPy's own
    outside = direct(row)(*args)
    assert [type(y) for y in leaves(outside)] == [type(y) for y in leaves(want)]
    same(outside, want, row.rtol, exact=exact)


@rows([r for r in ROWS if r.single])
def test_float32(row: Row) -> None:
    args = row.draw("float32")
    want = reference(row)(*args)
    same(recorded(plain(row), *args), want, 3e-6 if row.rtol < 1e-12 else 2e-5, exact=row.exact)
    if row.order:
        scalar, xs = contracted(row, args)
        wide, wide_xs = contracted(row, row.draw())
        got = mlgrad.grad(scalar, tuple(range(len(xs))))(*xs)
        better = mlgrad.grad(wide, tuple(range(len(xs))))(*wide_xs)
        assert all(g.dtype == x.dtype for g, x in zip(got, xs, strict=True))
        same(got, better, 2e-3, dtype=False, atol=1e-4)


@rows([r for r in ROWS if r.layouts])
def test_layouts(row: Row) -> None:
    """Strides and byte order of the arguments do not matter."""
    args = row.draw()
    want = reference(row)(*args)
    grads = None
    if row.order:
        scalar, xs = contracted(row, args)
        grads = mlgrad.grad(scalar, tuple(range(len(xs))))(*xs)
    f = mlgrad.jit(plain(row))
    for layout in (fortran, every_second, backwards, swapped, unaligned):
        laid = [layout(a) for a in args]
        same(f(*laid), want, row.rtol, exact=row.exact)
        same(recorded(plain(row), *laid), want, row.rtol, exact=row.exact)
        if grads is not None:
            scalar, xs = contracted(row, laid)
            same(mlgrad.grad(scalar, tuple(range(len(xs))))(*xs), grads, 1e-13)


def fortran(a: Any) -> Any:
    return np.asfortranarray(a) if np.ndim(a) > 1 else a


def every_second(a: Any) -> Any:
    wide = np.zeros(tuple(2 * n for n in np.shape(a)), np.asarray(a).dtype)
    wide[tuple(slice(None, None, 2) for _ in np.shape(a))] = a
    return wide[tuple(slice(None, None, 2) for _ in np.shape(a))]


def backwards(a: Any) -> Any:
    return np.flip(np.flip(a).copy())


def swapped(a: Any) -> Any:
    return np.asarray(a).astype(np.asarray(a).dtype.newbyteorder())


def unaligned(a: Any) -> Any:
    a = np.asarray(a)
    raw = np.zeros(a.nbytes + 1, np.uint8)
    out = raw[1:].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


@rows(DIFFERENTIABLE)
def test_first_derivative(row: Row) -> None:
    args = row.draw()
    scalar, xs = contracted(row, args)
    u = directions(xs, 2)
    numeric = (scalar(*moved(xs, u, EPS)) - scalar(*moved(xs, u, -EPS))) / (2 * EPS)
    argnums = tuple(range(len(xs)))
    value, g = mlgrad.value_and_grad(scalar, argnums)(*xs)
    assert value == pytest.approx(float(scalar(*xs)), rel=1e-12)
    assert [x.shape for x in g] == [np.shape(x) for x in xs]
    close(inner(g, u), numeric)
    value, tangent = mlgrad.jvp(scalar, tuple(xs), u)
    close(float(tangent), numeric)
    assert float(tangent) == pytest.approx(inner(g, u), rel=1e-10, abs=1e-11)
    jitted = mlgrad.jit(mlgrad.grad(scalar, argnums))
    for _ in range(2):
        same(jitted(*xs), g, 1e-12)
    # each argument alone
    if len(xs) > 1:
        for k in argnums:
            if k > 0 and row.first:
                with pytest.raises(TypeError, match=r"mlgrad\.numpy\.zeros|indices must be integers"):
                    mlgrad.grad(scalar, k)(*xs)
            else:
                same(mlgrad.grad(scalar, k)(*xs), g[k], 1e-12)


@rows(DIFFERENTIABLE)
def test_second_derivative(row: Row) -> None:
    scalar, xs = contracted(row, row.draw())
    argnums = tuple(range(len(xs)))
    u, w = directions(xs, 3), directions(xs, 4)
    gradient = mlgrad.grad(scalar, argnums)
    up, down = gradient(*moved(xs, u, EPS)), gradient(*moved(xs, u, -EPS))
    numeric = (inner(up, w) - inner(down, w)) / (2 * EPS)

    def slope(*ys: Any) -> Any:
        return sum(np.sum(g * d) for g, d in zip(mlgrad.grad(scalar, argnums)(*ys), w, strict=True))

    def forward(*ys: Any) -> Any:
        return mlgrad.jvp(scalar, ys, w)[1]

    scale = max(abs(inner(up, w)), 1.0)
    close(inner(mlgrad.grad(slope, argnums)(*xs), u), numeric, scale)  # reverse over reverse
    close(float(mlgrad.jvp(slope, tuple(xs), u)[1]), numeric, scale)  # forward over reverse
    close(float(mlgrad.jvp(forward, tuple(xs), u)[1]), numeric, scale)  # forward over forward
    close(inner(mlgrad.grad(forward, argnums)(*xs), u), numeric, scale)  # reverse over forward


@rows(ROWS)
def test_vmap(row: Row) -> None:
    if not row.vmap:
        with pytest.raises(TypeError):
            mlgrad.vmap(plain(row))(*batch_of(row, [0] * len(row.args)))
        return
    n = len(row.args)
    every = [0] * n
    last = [np.ndim(a) for a in row.draw()]
    variants = [every, last]
    # each argument alone; a plain array takes no traced values
    variants += [[0 if i == k else None for i in range(n)] for k in range(1 if row.first else n) if n > 1]
    for axes in variants:
        args = batch_of(row, axes)
        singles = [[take(a, ax, i) for a, ax in zip(args, axes, strict=True)] for i in range(3)]
        want = stacked([reference(row)(*s) for s in singles])
        got = mlgrad.vmap(plain(row), in_axes=tuple(axes))(*args)
        same(got, want, max(row.rtol, 1e-13), exact=row.exact)
    same(
        mlgrad.jit(mlgrad.vmap(plain(row)))(*batch_of(row, every)),
        mlgrad.vmap(plain(row))(*batch_of(row, every)),
        1e-13,
    )


@rows([r for r in DIFFERENTIABLE if r.vmap])
def test_vmap_of_derivatives(row: Row) -> None:
    which = row.differentiable()
    full = batch_of(row, [0 if k in which else None for k in range(len(row.args))])
    scalar, _ = contracted(row, [take(a, 0 if k in which else None, 0) for k, a in enumerate(full)])
    xs = [full[k] for k in which]
    argnums = tuple(range(len(xs)))
    gradient = mlgrad.grad(scalar, argnums)
    want = stacked([gradient(*[x[i] for x in xs]) for i in range(3)])
    same(mlgrad.vmap(gradient)(*xs), want, 1e-11)
    u = directions(xs, 5)
    tangents = [mlgrad.jvp(scalar, tuple(x[i] for x in xs), tuple(d[i] for d in u))[1] for i in range(3)]
    got = mlgrad.vmap(lambda *a: mlgrad.jvp(scalar, a[: len(xs)], a[len(xs) :])[1])(*xs, *u)
    same(got, np.stack(tangents), 1e-11, atol=1e-12)
    # and a derivative through vmap
    total = mlgrad.grad(lambda *a: np.sum(mlgrad.vmap(scalar)(*a)), argnums)(*xs)
    same(total, want, 1e-11)


def batch_of(row: Row, axes: list[int | None]) -> list[Any]:
    drawn = [row.draw(salt=i) for i in range(3)]
    return [np.stack([d[k] for d in drawn], axis=ax) if ax is not None else drawn[0][k] for k, ax in enumerate(axes)]


def take(a: Any, axis: int | None, i: int) -> Any:
    return a if axis is None else np.take(a, i, axis=axis)


def stacked(results: list[Any]) -> list[Any]:
    return [np.stack(parts) for parts in zip(*[leaves(r) for r in results], strict=True)]


@rows([r for r in DIFFERENTIABLE if r.hips])
def test_against_hips_autograd(row: Row) -> None:
    anp = pytest.importorskip("autograd.numpy")
    autograd = pytest.importorskip("autograd")
    ns = pytest.importorskip("autograd.scipy.special") if row.special else anp
    scalar, xs = contracted(row, row.draw())
    argnums = tuple(range(len(xs)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            other, _ = contracted(Row(row.name, lambda _, *a: row.f(ns, *a), row.args, diff=row.diff), row.draw())
            want = autograd.grad(lambda *a: other(*a), argnums)(*xs)
        except (AttributeError, TypeError, NotImplementedError, ValueError) as e:
            pytest.skip(f"autograd lacks it: {type(e).__name__}")
    same(mlgrad.grad(scalar, argnums)(*xs), want, 1e-9, dtype=False, atol=1e-10)


# --- every ufunc with every dtype -------------------------------------------------------------------------------

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]
UNARY = [
    "negative", "positive", "absolute", "fabs", "sign", "square", "reciprocal", "floor", "ceil", "trunc", "rint",
    "sqrt", "cbrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "deg2rad", "rad2deg", "isnan", "isinf",
    "isfinite", "signbit", "logical_not", "invert", "conjugate",
]  # fmt: skip
BINARY = [
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "fmod", "power", "maximum", "minimum",
    "fmax", "fmin", "arctan2", "hypot", "logaddexp", "logaddexp2", "copysign", "nextafter", "less", "less_equal",
    "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and",
    "bitwise_or", "bitwise_xor", "left_shift", "right_shift", "gcd", "lcm",
]  # fmt: skip
REDUCTIONS = ["sum", "mean", "prod", "max", "min", "var", "std", "any", "all", "argmax", "argmin", "cumsum", "cumprod"]


def numpy_result(f: Callable[..., Any], *args: Any) -> Any:
    """What NumPy gives, or None where it refuses; float16 results (of bool and uint8) are not in scope."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            out = np.asarray(f(*args))
        except TypeError:
            return None
    return out


def agree(f: Callable[..., Any], *args: Any) -> None:
    want = numpy_result(f, *args)
    if want is None or want.dtype.name not in DTYPES:
        with pytest.raises(TypeError):
            recorded(f, *args)
        return
    got = recorded(f, *args)
    single = want.dtype == np.float32 or any(np.asarray(a).dtype == np.float32 for a in args)
    same(got, want, 2e-6 if single else 1e-13, exact=want.dtype.kind != "f")


@pytest.mark.parametrize("name", UNARY)
def test_unary_dtypes(name: str) -> None:
    for dtype in DTYPES:
        # near 1, where arccosh and arctanh have a value too, and 0
        x = np.array([1, 0, 1, 2]).astype(dtype)
        agree(getattr(np, name), x)
        agree(getattr(np, name), x[2])


@pytest.mark.parametrize("name", BINARY)
def test_binary_dtypes(name: str) -> None:
    f = getattr(np, name)
    for first in DTYPES:
        x = np.array([[1, 3, 7], [0, 1, 5]]).astype(first)
        for second in DTYPES:
            agree(f, x, np.array([1, 2, 3]).astype(second))
        for number in (True, 2, 2.5):
            agree(lambda a, n=number: f(a, n), x)
            agree(lambda a, n=number: f(n, a), x + x.dtype.type(1) if first != "bool" else ~x)
        agree(lambda a: f(a, np.float64(2.5)), x)
        agree(lambda a: f(a, np.float32(2.5)), x)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_dtypes(name: str) -> None:
    for dtype in DTYPES:
        x = np.array([[1, 3, 7], [0, 1, 5]]).astype(dtype)
        if dtype == "uint8" and name in ("sum", "prod", "cumsum", "cumprod"):
            with pytest.raises(TypeError, match="of uint8 is uint64 in NumPy"):
                recorded(getattr(np, name), x)
            continue
        agree(getattr(np, name), x)
        agree(lambda a: getattr(np, name)(a, axis=0), x)


@pytest.mark.parametrize("name", UNARY)
def test_unary_shapes(name: str) -> None:
    f = getattr(np, name)
    dtype = "int64" if name == "invert" else "float64"
    for shape in [(), (0,), (0, 3), (1,), (1, 1, 1), (63,), (64,), (65,), (129, 2), (1000,)]:
        agree(f, A(shape, 1.0, 1.0, dtype).draw(np.random.default_rng(0)))
        if dtype == "float64":
            agree(f, A(shape, 0.0, 1.0).draw(np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["add", "multiply", "arctan2", "maximum", "less"])
def test_broadcasting(name: str) -> None:
    f = getattr(np, name)
    rng = np.random.default_rng(0)
    for s, r in [
        ((), ()), ((), (3,)), ((3,), ()), ((0,), ()), ((0,), (1,)), ((1, 3), (2, 1)), ((2, 0), (1, 1)),
        ((4, 1, 3), (5, 1)), ((65, 1), (1, 67)), ((1,), (1, 1)), ((3, 1, 1), (3,)), ((2, 3, 1, 4), (1, 5, 1)),
    ]:  # fmt: skip
        x, y = rng.uniform(1, 2, s), rng.uniform(1, 2, r)
        agree(f, x, y)
        g = mlgrad.grad(lambda a, b: np.sum(f(a, b) * 2.0), (0, 1))(x, y)
        assert [v.shape for v in g] == [s, r]


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "var", "std"])
def test_reduction_shapes(name: str) -> None:
    rng = np.random.default_rng(0)
    for shape, axis in [
        ((1000,), None), ((129, 3), 0), ((129, 3), 1), ((3, 257), 1), ((3, 257), 0), ((2, 0), 0), ((0, 2), 1),
        ((0, 2), 0), ((), None), ((0,), None), ((5, 6, 7), (0, 2)), ((5, 6, 7), 1), ((1, 1), (0, 1)),
    ]:  # fmt: skip
        x = rng.uniform(0.9, 1.1, shape)
        f = lambda a: getattr(np, name)(a, axis=axis)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                want = f(x)
            except ValueError:
                with pytest.raises(ValueError, match=name):
                    recorded(f, x)
                continue
        same(recorded(f, x), want, 1e-12)


# --- special values ---------------------------------------------------------------------------------------------

INF, NAN = np.inf, np.nan


def relu(x: Any) -> Any:
    return np.where(x > 0, x, 0.0)


def x_log_x(x: Any) -> Any:
    return np.where(x > 0, x * np.log(x), 0.0)


def guarded_sqrt(x: Any) -> Any:
    return np.where(x > 0, np.sqrt(x), 0.0)


# (name, f, x, derivative of sum(f(x)) at x)
KINKS: list[tuple[str, Callable[..., Any], Any, Any]] = [
    ("relu", relu, [-1.0, 0.0, 1.0], [0, 0, 1]),
    ("maximum(0, x)", lambda x: np.maximum(0, x), [-1.0, 0.0, 1.0], [0, 0.5, 1]),
    ("maximum(x, 0)", lambda x: np.maximum(x, 0.0), [-1.0, 0.0, 1.0], [0, 0.5, 1]),
    ("minimum(x, 0)", lambda x: np.minimum(x, 0), [-1.0, 0.0, 1.0], [1, 0.5, 0]),
    ("fmax with nan", lambda x: np.fmax(x, [NAN, 0.0, 2.0]), [1.0, NAN, 1.0], [1, 0, 0]),
    ("abs", np.abs, [-1.0, 0.0, 1.0], [-1, 0, 1]),
    ("sign", np.sign, [-1.0, 0.0, 1.0], [0, 0, 0]),
    ("max with ties", np.max, [1.0, 3.0, 3.0, 2.0], [0, 0.5, 0.5, 0]),
    ("min with ties", np.min, [1.0, 1.0, 1.0, 2.0], [1 / 3, 1 / 3, 1 / 3, 0]),
    ("max with nan", lambda x: np.max(x, axis=1), [[1.0, NAN], [2.0, NAN]], [[NAN, NAN], [NAN, NAN]]),
    ("min with nan", np.min, [1.0, NAN, 3.0], [NAN, NAN, NAN]),
    ("max with nan under where", lambda x: np.where(x < 9, np.max(x), 0.0), [NAN, 1.0], [NAN, NAN]),
    ("max along an axis", lambda x: np.max(x, axis=1), [[1.0, 1.0], [2.0, 1.0]], [[0.5, 0.5], [1, 0]]),
    ("clip at its bounds", lambda x: np.clip(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0, 1, 1, 1, 0]),
    ("norm at 0", np.linalg.norm, [0.0, 0.0, 0.0], [0, 0, 0]),
    ("norm of rows, one 0", lambda x: np.linalg.norm(x, axis=1), [[0.0, 0.0], [3.0, 4.0]], [[0, 0], [0.6, 0.8]]),
    ("hypot at 0", lambda x: np.hypot(x, 0.0), [0.0], [0]),
    ("where(x > 0, sqrt(x), 0)", guarded_sqrt, [0.0, 4.0], [0, 0.25]),
    ("where(x > 0, log(x), 0)", lambda x: np.where(x > 0, np.log(x), 0), [0.0, -1.0, 2.0], [0, 0, 0.5]),
    ("where(x > 0, 1/x, 0)", lambda x: np.where(x > 0, 1 / x, 0), [0.0, 2.0], [0, -0.25]),
    ("where around a longer branch", lambda x: np.where(x > 0, np.exp(-1 / x) * x, 0), [0.0, 1.0], [0, 2 / np.e]),
    ("where outside of a function", lambda x: np.sqrt(np.where(x > 0, x, 1.0)), [0.0, 4.0], [0, 0.25]),
    ("where over broadcast", lambda x: np.where(np.array([[True], [False]]), np.sqrt(x), 1.0), [4.0, 1.0], [0.25, 0.5]),
    ("where of a sum", lambda x: np.where(x[0] > 0, np.sqrt(np.sum(x)), 0.0), [0.0, 0.0], [0, 0]),
    ("x log x", x_log_x, [0.0, 1.0], [0, 1]),
    ("select", lambda x: np.select([x > 0], [np.sqrt(x)], 0.0), [0.0, 4.0], [0, 0.25]),
    ("log(x)[x > 0]", lambda x: np.log(x)[x > 0], [0.0, 2.0, 4.0], [0, 0.5, 0.25]),
    ("sqrt(x)[1:]", lambda x: np.sqrt(x)[1:], [0.0, 4.0], [0, 0.25]),
    ("sqrt(x)[[1]]", lambda x: np.sqrt(x)[[1]], [0.0, 4.0], [0, 0.25]),
    ("sqrt(x) overwritten", lambda x: overwritten(np.sqrt(x)), [0.0, 4.0], [0, 0.25]),
    ("max of sqrt", lambda x: np.max(np.sqrt(x)), [0.0, 4.0], [0, 0.25]),
    ("maximum of sqrt", lambda x: np.maximum(np.sqrt(x), 1.0), [0.0, 4.0], [0, 0.25]),
    ("clip of sqrt", lambda x: np.clip(np.sqrt(x), 1.0, 9.0), [0.0, 4.0], [0, 0.25]),
    ("prod with one zero", np.prod, [2.0, 0.0, 3.0], [0, 6, 0]),
    ("prod with two zeros", np.prod, [0.0, 0.0, 3.0], [0, 0, 0]),
    ("cumprod with a zero", np.cumprod, [2.0, 0.0, 3.0], [1 + 0 + 0, 2 + 6, 0]),
    ("x**2 at 0", lambda x: x**2, [0.0, -1.0], [0, -2]),
    ("x**3 at 0", lambda x: x**3, [0.0, -1.0], [0, 3]),
    ("x**0 at 0", lambda x: x**0, [0.0, -1.0], [0, 0]),
    ("x**y at x = 0", lambda x: x ** np.array([1.0, 2.0, 0.0]), [0.0, 0.0, 0.0], [1, 0, 0]),
    ("0**y", lambda y: np.zeros(2) ** y, [1.0, 2.0], [0, 0]),
    ("(-2)**x for integers", lambda x: x ** np.array([2.0, 3.0]), [-2.0, -2.0], [-4, 12]),
    ("exp far out", np.exp, [-1000.0, 0.0], [0, 1]),
    ("tanh far out", np.tanh, [-1000.0, 1000.0, 0.0], [0, 0, 1]),
    ("expit far out", scipy.special.expit, [-1000.0, 1000.0, 0.0], [0, 0, 0.25]),
    ("log_expit far out", scipy.special.log_expit, [-1000.0, 1000.0, 0.0], [1, 0, 0.5]),
    ("logaddexp far out", lambda x: np.logaddexp(x, 0.0), [-1000.0, 1000.0, 0.0], [0, 1, 0.5]),
    ("logaddexp of -inf", lambda x: np.logaddexp(x, -INF), [-INF, 1.0], [0.5, 1]),
    ("logsumexp far out", mlgrad.scipy.special.logsumexp, [1000.0, 0.0], [1, 0]),
    ("logsumexp with -inf", mlgrad.scipy.special.logsumexp, [0.0, -INF], [1, 0]),
    ("arctan2 far out", lambda x: np.arctan2(x, 1e200), [1e200], [0.5e-200]),
    ("xlogy at 0, 0", lambda x: scipy.special.xlogy(x, x), [1.0], [1]),
    ("xlogy of 0", lambda y: scipy.special.xlogy(0.0, y), [0.0, 2.0], [0, 0]),
    ("sort with ties is stable", lambda x: np.sort(x) * np.array([1.0, 2.0, 3.0]), [5.0, 5.0, 1.0], [2, 3, 1]),
    ("arccosh near 1", np.arccosh, [1.0 + 1e-10], [1 / np.sqrt(2e-10)]),
    ("var of one", np.var, [3.0], [0]),
]


def overwritten(y: Any) -> Any:
    y[0] = 7.0
    return y


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("f", "x", "want"), [c[1:] for c in KINKS], ids=[c[0] for c in KINKS])
def test_kinks(f: Callable[..., Any], x: Any, want: Any) -> None:
    x, want = np.array(x), np.array(want, dtype=float)
    total = lambda x: np.sum(f(x))
    np.testing.assert_allclose(mlgrad.grad(total)(x), want, rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(mlgrad.jit(mlgrad.grad(total))(x), want, rtol=1e-7, atol=1e-15)
    for k in np.ndindex(x.shape):
        unit = np.zeros_like(x)
        unit[k] = 1.0
        np.testing.assert_allclose(mlgrad.jvp(total, (x,), (unit,))[1], want[k], rtol=1e-7, atol=1e-15)


# (name, f, x, second derivative of sum(f(x)), elementwise)
SECOND: list[tuple[str, Callable[..., Any], Any, Any]] = [
    ("where(x > 0, sqrt(x), 0)", guarded_sqrt, [0.0, 4.0], [0, -1 / 32]),
    ("where(x > 0, log(x), 0)", lambda x: np.where(x > 0, np.log(x), 0), [0.0, 2.0], [0, -0.25]),
    ("x log x", x_log_x, [0.0, 2.0], [0, 0.5]),
    ("log(x)[x > 0]", lambda x: np.log(x)[x > 0], [0.0, 2.0], [0, -0.25]),
    ("sqrt(x)[1:]", lambda x: np.sqrt(x)[1:], [0.0, 4.0], [0, -1 / 32]),
    ("relu", relu, [-1.0, 0.0, 1.0], [0, 0, 0]),
    ("relu squared", lambda x: relu(x) ** 2, [-1.0, 0.0, 1.0], [0, 0, 2]),
    ("abs", np.abs, [-1.0, 0.0, 1.0], [0, 0, 0]),
    ("x**2 at 0", lambda x: x**2, [0.0], [2]),
    ("x**3 at 0", lambda x: x**3, [0.0, 1.0], [0, 6]),
    ("x * x * x at 0", lambda x: x * x * x, [0.0, 1.0], [0, 6]),
    ("tanh far out", np.tanh, [-1000.0, 1000.0], [0, 0]),
    ("logaddexp of equals", lambda x: np.logaddexp(x, 0.0), [0.0], [0.25]),
    ("max of sqrt", lambda x: np.max(np.sqrt(x)), [0.0, 4.0], [0, -1 / 32]),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("f", "x", "want"), [c[1:] for c in SECOND], ids=[c[0] for c in SECOND])
def test_second_derivatives_at_kinks(f: Callable[..., Any], x: Any, want: Any) -> None:
    x, want = np.array(x), np.array(want, dtype=float)
    total = lambda x: np.sum(f(x))
    ones = np.ones_like(x)
    reverse = mlgrad.grad(lambda x: np.sum(mlgrad.grad(total)(x)))(x)
    np.testing.assert_allclose(reverse, want, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(mlgrad.jvp(mlgrad.grad(total), (x,), (ones,))[1], want, rtol=1e-12, atol=1e-15)
    forward = mlgrad.jvp(lambda x: mlgrad.jvp(total, (x,), (ones,))[1], (x,), (ones,))[1]
    np.testing.assert_allclose(forward, want.sum(), rtol=1e-12, atol=1e-15)


def hessian(f: Callable[..., Any], x: Any) -> Any:
    rows = [mlgrad.jvp(mlgrad.grad(f), (x,), (e,))[1] for e in np.eye(len(x))]
    other = [mlgrad.grad(lambda y, k=k: mlgrad.grad(f)(y)[k])(x) for k in range(len(x))]
    np.testing.assert_allclose(rows, other, rtol=1e-12, atol=1e-14)
    return np.array(rows)


@pytest.mark.filterwarnings("ignore")
def test_products_stay_bilinear() -> None:
    h = hessian(lambda v: v[1] * np.sqrt(v[0]), np.array([4.0, 0.0]))
    np.testing.assert_allclose(h, [[0, 0.25], [0.25, 0]], atol=1e-15)
    assert np.isnan(mlgrad.grad(lambda x: np.sqrt(x) ** 2)(0.0))


def test_second_derivatives_of_products_with_zeros() -> None:
    def brute(x: Any) -> Any:
        n = len(x)
        return np.array(
            [[0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(n)] for i in range(n)]
        )  # fmt: skip

    for x in ([2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 3.0]):
        np.testing.assert_allclose(hessian(np.prod, np.array(x)), brute(np.array(x)), atol=1e-15)
        last = hessian(lambda v: np.cumprod(v)[-1], np.array(x))
        np.testing.assert_allclose(last, brute(np.array(x)), atol=1e-15)


def test_third_derivatives() -> None:
    third = mlgrad.grad(mlgrad.grad(mlgrad.grad(lambda x: np.sin(x) * x**3)))
    x = 0.7
    want = 6 * np.sin(x) + 18 * x * np.cos(x) - 9 * x**2 * np.sin(x) - x**3 * np.cos(x)
    assert third(x) == pytest.approx(want, rel=1e-13)


def test_special_values_of_functions() -> None:
    """inf, nan and signed zeros come out as NumPy's and SciPy's."""
    x = np.array([0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 1e-310, 1e308, -1e308])
    with np.errstate(all="ignore"):
        for name in [n for n in UNARY if n != "invert"]:
            want = getattr(np, name)(x)
            got = recorded(getattr(np, name), x)
            np.testing.assert_allclose(got, want, rtol=1e-13, err_msg=name)
            zero = want == 0
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]), err_msg=name)
        for name in ["erf", "erfc", "erfinv", "expit", "log_expit", "gammaln", "digamma"]:
            f = getattr(scipy.special, name)
            y = x
            if name == "digamma":
                y = x[x < 1e300]
            elif name == "gammaln":
                y = x[x != 1e-310]  # SciPy gives inf for -log(1e-310)
            np.testing.assert_allclose(recorded(f, y), f(y), rtol=1e-13, err_msg=name)
        a, b = np.meshgrid(x, x)
        for name in BINARY[:18]:
            f = getattr(np, name)
            np.testing.assert_allclose(recorded(f, a, b), f(a, b), rtol=1e-13, err_msg=name)


# --- instruction sets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_instruction_set(isa: str) -> None:
    """The same results from each set of kernels, to a few units in the last place, at every length of tail."""
    code = f"""
        import warnings
        warnings.simplefilter("ignore")
        import numpy as np, scipy.special, mlgrad
        from mlgrad import _core
        assert _core.isa() == {isa!r}, _core.isa()
        rng = np.random.default_rng(0)
        special = ["erf", "erfc", "erfinv", "expit", "log_expit", "gammaln", "digamma"]
        functions = [getattr(np, n) for n in {[n for n in UNARY if n != "invert"]!r}]
        functions += [getattr(scipy.special, n) for n in special]
        two = [getattr(np, n) for n in {[n for n in BINARY[:18] if n != "nextafter"]!r}]
        for dtype, rtol in ((np.float64, 2e-13), (np.float32, 4e-6)):
            for n in [*range(1, 18), 31, 32, 33, 63, 64, 65, 127, 129, 1025]:
                x, y = rng.uniform(0.05, 0.95, (2, n)).astype(dtype)
                for f in functions:
                    z = x + 1 if f in (np.arccosh, scipy.special.digamma) else x
                    np.testing.assert_allclose(mlgrad.jit(f)(z), f(z), rtol=rtol, atol=rtol, err_msg=f.__name__)
                for f in two:
                    got = mlgrad.vjp(f, x, y)[0] if f is not np.floor_divide else mlgrad.jit(f)(x, y)
                    np.testing.assert_allclose(got, f(x, y), rtol=rtol, err_msg=f.__name__)
        x = rng.uniform(0.5, 1.5, (37, 53))
        for f in (np.sum, np.prod, np.max, np.min, np.mean, np.var):
            for axis in (None, 0, 1):
                got = mlgrad.jit(lambda x: f(x, axis=axis))(x)
                np.testing.assert_allclose(got, f(x, axis=axis), rtol=1e-12)
        got = mlgrad.jit(lambda x: x @ x.T)(x)
        np.testing.assert_allclose(got, x @ x.T, rtol=1e-12)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "MLGRAD_ISA": isa},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
