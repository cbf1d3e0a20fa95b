"""One row an operation and variant: what the parametrised tests of test_operations.py run over.

A row's function takes a namespace first: NumPy itself (its protocols record), mlgrad.numpy, or that of an oracle.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class A:
    """An argument: uniform random numbers between lo and hi."""

    shape: tuple[int, ...] = (3,)
    lo: float = -2.0
    hi: float = 2.0
    dtype: str = "float64"
    make: Callable[[np.random.Generator], Any] | None = None

    def draw(self, rng: np.random.Generator) -> Any:
        if self.make is not None:
            return self.make(rng)
        if self.dtype == "bool":
            return rng.random(self.shape) < 0.5
        if np.dtype(self.dtype).kind in "iu":
            return rng.integers(int(self.lo), int(self.hi), self.shape, endpoint=True).astype(self.dtype)
        return rng.uniform(self.lo, self.hi, self.shape).astype(self.dtype)


@dataclass(frozen=True)
class Row:
    name: str
    f: Callable[..., Any]
    args: tuple[A, ...]
    special: bool = False  # f takes scipy.special rather than numpy
    through: bool = True  # False: SciPy's own function does not dispatch
    order: int = 2  # of the derivatives to check; 0: no argument carries one
    vmap: bool = True  # False: the shape of the result depends on the data
    hips: bool = True  # False: HIPS autograd has the operation, with other semantics
    exact: bool = False  # the value has NumPy's very bits
    rtol: float = 1e-13
    layouts: bool = True
    single: bool = True  # float32 arguments make sense
    first: bool = False  # f uses its first argument so that a plain array refuses traced values: it must be traced
    diff: tuple[int, ...] | None = field(default=None)

    def draw(self, dtype: str | None = None, salt: int = 0) -> list[Any]:
        rng = np.random.default_rng(zlib.crc32(self.name.encode()) + salt)
        drawn = [a.draw(rng) for a in self.args]
        if dtype is not None:
            drawn = [x.astype(dtype) if np.asarray(x).dtype == np.float64 else x for x in drawn]
        return drawn

    def differentiable(self) -> tuple[int, ...]:
        if self.diff is not None:
            return self.diff
        return tuple(k for k, a in enumerate(self.args) if a.make is not None or a.dtype.startswith("float"))


ROWS: list[Row] = []


def row(name: str, f: Callable[..., Any], *args: A, **kw: Any) -> None:
    ROWS.append(Row(name, f, args, **kw))


def ufunc(name: str, *args: A, special: bool = False, **kw: Any) -> None:
    row(name, lambda m, *xs: getattr(m, name)(*xs), *args, special=special, **kw)


# --- elementwise, one argument ----------------------------------------------------------------------------------

EXACT_UNARY = [
    "negative", "positive", "absolute", "fabs", "sign", "square", "floor", "ceil", "trunc", "rint", "conjugate",
]  # fmt: skip
for name in EXACT_UNARY:
    ufunc(name, A((2, 3)), exact=True)
UNARY: dict[str, tuple[float, float]] = {
    "reciprocal": (0.5, 2), "sqrt": (0.1, 3), "cbrt": (0.2, 2), "exp": (-2, 2), "exp2": (-2, 2), "expm1": (-2, 2),
    "log": (0.1, 3), "log2": (0.1, 3), "log10": (0.1, 3), "log1p": (-0.8, 3), "sin": (-9, 9), "cos": (-9, 9),
    "tan": (-1.2, 1.2), "arcsin": (-0.9, 0.9), "arccos": (-0.9, 0.9), "arctan": (-3, 3), "sinh": (-2, 2),
    "cosh": (-2, 2), "tanh": (-2, 2), "arcsinh": (-3, 3), "arccosh": (1.2, 3), "arctanh": (-0.9, 0.9),
    "deg2rad": (-90, 90), "rad2deg": (-2, 2), "degrees": (-2, 2), "radians": (-90, 90),
}  # fmt: skip
for name, (lo, hi) in UNARY.items():
    ufunc(name, A((2, 3), lo, hi), rtol=1e-14)
SPECIAL_UNARY: dict[str, tuple[float, float]] = {
    "erf": (-2, 2), "erfc": (-2, 2), "erfinv": (-0.9, 0.9), "expit": (-5, 5), "log_expit": (-5, 5),
    "gammaln": (0.3, 5), "digamma": (1.6, 5), "psi": (0.2, 1.3),
}  # fmt: skip
for name, (lo, hi) in SPECIAL_UNARY.items():
    ufunc(name, A((2, 3), lo, hi), special=True, rtol=4e-13)
row("gammaln negative", lambda sp, x: sp.gammaln(x), A((4,), -2.8, -2.2), special=True, rtol=1e-12)
row("polygamma 1", lambda sp, x: sp.polygamma(1, x), A((4,), 0.4, 4), special=True, rtol=1e-12, through=False)
row("polygamma 3", lambda sp, x: sp.polygamma(3, x), A((4,), 0.8, 4), special=True, rtol=1e-12, through=False)
for name in ["isnan", "isinf", "isfinite", "signbit", "logical_not"]:
    ufunc(name, A((2, 3)), order=0, exact=True)
ufunc("invert", A((2, 3), -9, 9, "int64"), order=0, exact=True)
row("round", lambda np, x: np.round(x), A((2, 3)), exact=True)
row("sinc", lambda np, x: np.sinc(x), A((2, 3), 0.1, 2), rtol=1e-13)
row("nan_to_num", lambda np, x: np.nan_to_num(x), A((2, 3)), exact=True, hips=False)

# --- elementwise, two arguments ---------------------------------------------------------------------------------

BINARY_EXACT: dict[str, tuple[float, float, float, float]] = {
    "add": (-2, 2, -2, 2), "subtract": (-2, 2, -2, 2), "multiply": (-2, 2, -2, 2), "divide": (-2, 2, 0.5, 2),
    "floor_divide": (-5, 5, 0.7, 2), "remainder": (-5, 5, 0.7, 2), "fmod": (-5, 5, 0.7, 2),
    "maximum": (-2, 2, -2, 2), "minimum": (-2, 2, -2, 2), "fmax": (-2, 2, -2, 2), "fmin": (-2, 2, -2, 2),
    "copysign": (-2, 2, -2, 2),
}  # fmt: skip
for name, (a, b, c, d) in BINARY_EXACT.items():
    # HIPS autograd has no rule for the second argument of some of these
    ufunc(name, A((2, 3), a, b), A((3,), c, d), exact=True, hips=name not in ("floor_divide", "fmod", "copysign"))
BINARY: dict[str, tuple[float, float, float, float]] = {
    "power": (0.3, 2, -2, 2), "float_power": (0.3, 2, -2, 2), "arctan2": (-2, 2, 0.2, 2), "hypot": (-2, 2, 0.2, 2),
    "logaddexp": (-2, 2, -2, 2), "logaddexp2": (-2, 2, -2, 2),
}  # fmt: skip
for name, (a, b, c, d) in BINARY.items():
    ufunc(name, A((2, 3), a, b), A((2, 1), c, d), rtol=1e-14, single=name != "float_power")
for name, second in {"xlogy": A((3,), 0.2, 3), "xlog1py": A((3,), -0.7, 3)}.items():
    ufunc(name, A((2, 3)), second, special=True)
for name in ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or",
             "logical_xor", "nextafter"]:  # fmt: skip
    ufunc(name, A((2, 3)), A((2, 1)), order=0, exact=True)
for name in ["bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm"]:
    ufunc(name, A((2, 3), -9, 9, "int64"), A((3,), -9, 9, "int64"), order=0, exact=True)
for name in ["left_shift", "right_shift"]:
    ufunc(name, A((2, 3), 0, 9, "int64"), A((3,), 0, 5, "int64"), order=0, exact=True)
row("divmod", lambda np, a, b: np.divmod(a, b), A((4,), -5, 5), A((4,), 0.7, 2), exact=True)
row("modf", lambda np, a: np.modf(a), A((4,), -5, 5), exact=True)
row("heaviside", lambda np, a: np.heaviside(a, 0.5), A((4,)), exact=True)

row("power of a number", lambda np, x: x**3.5, A((3,), 0.3, 2))
for n in [0, 1, 2, 3, -1, -2, 0.5]:
    row(f"power {n}", lambda np, x, n=n: x**n, A((3,), 0.3, 2), rtol=1e-15, hips=n != 0)
row("number to a power", lambda np, x: 2.5**x, A((3,)))
row("operators", lambda np, a, b: -(a + b) * a / b - 2 + 1 / b + abs(a) - b // 0.7 + a % 0.9 + +a,
    A((2, 3)), A((3,), 0.5, 2), rtol=1e-14)  # fmt: skip
row("operators with an ndarray on the left",
    lambda np, x: _LEFT + x - _LEFT * x / _LEFT**x + _LEFT // x + _LEFT % x, A((3,), 0.5, 2))  # fmt: skip
row("operators with a NumPy scalar on the left", lambda np, x: _SCALAR * x - _SCALAR / x + _SCALAR**x, A((3,), 0.5, 2))
row("comparison operators", lambda np, a, b: (a < b) & (a <= b) | (a > b) ^ ~(a >= b) | (a == b) & (a != b),
    A((2, 3)), A((3,)), order=0, exact=True)  # fmt: skip
_LEFT = np.array([1.5, 0.7, 2.0])
_SCALAR = np.float64(1.5)

# --- choice -----------------------------------------------------------------------------------------------------

row("where", lambda np, c, a, b: np.where(c, a, b), A((2, 3), dtype="bool"), A((3,)), A((2, 1)), exact=True)
row("where on data", lambda np, a, b: np.where(a > b, np.sin(a), b * b), A((2, 3)), A((3,)))
row("where with a number", lambda np, a: np.where(a > 0.1, a, 0.0), A((2, 3)), exact=True)
row("select", lambda np, a: np.select([a < -1, a < 0, a > 1.5], [a * 2, a**2, -a], 7.0), A((9,)), hips=False)
row("clip", lambda np, a: np.clip(a, -1, 1.2), A((9,)), exact=True)
row("clip with arrays", lambda np, a, b, c: np.clip(a, b, c), A((2, 3)), A((3,), -1, -0.5), A((2, 1), 0.5, 1),
    exact=True, hips=False)  # fmt: skip
row("clip without a lower bound", lambda np, a: np.clip(a, None, 0.3), A((9,)), exact=True, hips=False)
row("clip method", lambda np, a: a.clip(-0.5, 0.5), A((9,)), exact=True)
row("relu", lambda np, x: np.maximum(x, 0), A((9,)), exact=True)

# --- reductions -------------------------------------------------------------------------------------------------

AXES: list[Any] = [None, 0, 1, -1, (0, 2), (0, 1, 2), ()]
for name in ["sum", "mean", "prod", "max", "min", "var", "std"]:
    for axis in AXES:
        for keep in [False, True]:
            if axis == () and (keep or name in ("max", "min", "var", "std")):
                continue  # a standard deviation of one element has no derivative
            row(f"{name} axis={axis} keepdims={keep}",
                lambda np, x, name=name, axis=axis, keep=keep: getattr(np, name)(x, axis=axis, keepdims=keep),
                A((2, 3, 4), 0.5, 1.5) if name == "prod" else A((2, 3, 4)),
                hips=axis != (), rtol=1e-13)  # fmt: skip
for name in ["sum", "mean", "prod", "max", "min", "var", "std"]:
    row(f"{name} method", lambda np, x, name=name: getattr(x, name)(axis=1), A((2, 3)))
row("var ddof", lambda np, x: np.var(x, axis=1, ddof=1), A((2, 4)))
row("std ddof", lambda np, x: np.std(x, ddof=1), A((2, 4)))
row("sum of one axis of length 1", lambda np, x: np.sum(x, axis=1), A((2, 1, 3)))
row("sum where", lambda np, x: np.sum(x, where=_MASK), A((3,)), hips=False)
row("sum initial", lambda np, x: np.sum(x, initial=2.0), A((3,)), hips=False)
row("sum dtype", lambda np, x: np.sum(x, dtype="float64"), A((3,)), hips=False)
_MASK = np.array([True, False, True])
for axis in [None, 0, 1, (0, 1)]:
    for keep in [False, True]:
        row(f"logsumexp axis={axis} keepdims={keep}",
            lambda sp, x, axis=axis, keep=keep: sp.logsumexp(x, axis=axis, keepdims=keep),
            A((2, 3)), special=True, through=False, rtol=1e-14)  # fmt: skip
row("average with weights", lambda np, x, w: np.average(x, axis=1, weights=w), A((2, 3)), A((3,), 0.5, 1), hips=False)
row("ptp", lambda np, x: np.ptp(x, axis=1), A((2, 3)), hips=False)
for axis in [None, 0, 1]:
    for name in ["argmax", "argmin"]:
        row(f"{name} axis={axis}", lambda np, x, n=name, axis=axis: getattr(np, n)(x, axis=axis), A((3, 4)),
            order=0, exact=True)  # fmt: skip
    for name in ["any", "all"]:
        row(f"{name} axis={axis}", lambda np, x, n=name, axis=axis: getattr(np, n)(x > 0, axis=axis), A((3, 2)),
            order=0, exact=True)  # fmt: skip
    row(f"count_nonzero axis={axis}", lambda np, x, axis=axis: np.count_nonzero(x > 0, axis=axis), A((3, 2)),
        order=0, exact=True)  # fmt: skip
for order in [None, 1, 2, np.inf, 3]:
    row(f"norm ord={order}", lambda np, x, order=order: np.linalg.norm(x, order), A((5,), 0.2, 2), hips=False)
row("norm axis", lambda np, x: np.linalg.norm(x, axis=1), A((3, 2), 0.2, 2))
row("norm of a matrix", lambda np, x: np.linalg.norm(x), A((3, 2), 0.2, 2))

# --- products ---------------------------------------------------------------------------------------------------

MATMUL = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
          ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((5, 1, 2, 3), (4, 3, 2)),
          ((1, 3), (3, 1)), ((17, 9), (9, 33))]  # fmt: skip
for s, r in MATMUL:
    row(f"matmul {s} {r}", lambda np, a, b: np.matmul(a, b), A(s), A(r), rtol=1e-12)
row("@", lambda np, a, b: a @ b, A((2, 3)), A((3, 4)), rtol=1e-12)
row("@ with an ndarray on the left", lambda np, a: _MATRIX @ a, A((3, 2)), rtol=1e-12)
row("@ with itself transposed", lambda np, a: a @ a.T, A((3, 2)), rtol=1e-12)
_MATRIX = np.array([[1.0, 2.0, -1.0], [0.5, 3.0, 0.25]])
for s, r in [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((), (3,)), ((2, 3), ()),
             ((2, 2, 3), (2, 3, 4)), ((2, 3), (4, 3, 2))]:  # fmt: skip
    row(f"dot {s} {r}", lambda np, a, b: np.dot(a, b), A(s), A(r), rtol=1e-12)
row("dot method", lambda np, a, b: a.dot(b), A((2, 3)), A((3,)), rtol=1e-12, first=True)
row("vdot", lambda np, a, b: np.vdot(a, b), A((2, 3)), A((6,)), rtol=1e-12, hips=False)
for s, r in [((3,), (3,)), ((2, 3), (4, 3)), ((2, 3), (3,)), ((), (3,))]:
    row(f"inner {s} {r}", lambda np, a, b: np.inner(a, b), A(s), A(r), rtol=1e-12)
row("outer", lambda np, a, b: np.outer(a, b), A((3,)), A((2, 2)), exact=True)
row("kron", lambda np, a, b: np.kron(a, b), A((2, 3)), A((2, 2)), hips=False)
for axes in [0, 1, 2, ([1, 2], [0, 1]), ([0], [1]), ((2, 0), (1, 2))]:
    shape = {0: (2, 3), 1: (4, 2), 2: (3, 4)}.get(axes) if isinstance(axes, int) else None
    second = shape or {1: (5, 2), 2: (3, 4, 2) if axes == ([1, 2], [0, 1]) else (5, 4, 2)}[len(axes[0])]
    row(f"tensordot axes={axes}", lambda np, a, b, axes=axes: np.tensordot(a, b, axes), A((2, 3, 4)), A(second),
        rtol=1e-12)  # fmt: skip
EINSUM = [
    ("i,i->", (3,), (3,)), ("i,j->ij", (3,), (2,)), ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)),
    ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ii->i", (3, 3)), ("ii->", (3, 3)), ("ii", (3, 3)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), ("ij,j->i", (2, 3), (3,)), ("ij,ij->i", (2, 3), (2, 3)),
    ("...ij,...jk->...ik", (2, 2, 3), (3, 4)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("i,ij,j->", (2,), (2, 3), (3,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij,kl->ijkl", (2, 3), (2, 2)), ("iji->j", (3, 2, 3)),
    ("ab,b,a->ab", (2, 3), (3,), (2,)), ("i...->...", (3, 2)), (" i j , j k -> k i ", (2, 3), (3, 2)),
]  # fmt: skip
for spec, *shapes in EINSUM:
    row(f"einsum {spec}", lambda np, *xs, spec=spec: np.einsum(spec, *xs), *[A(s) for s in shapes], rtol=1e-12)
row("einsum of one array twice", lambda np, a: np.einsum("ij,ij->", a, a), A((2, 3)), rtol=1e-12)
row(
    "einsum with lists",
    lambda np, a, b: np.einsum(a, [0, 1], b, [1, 7], [7, 0]),
    A((2, 3)),
    A((3, 4)),
    rtol=1e-12,
    hips=False,
)
row(
    "einsum with lists, ellipsis",
    lambda np, a, b: np.einsum(a, [..., 30, 2], b, (2, 1)),
    A((2, 2, 3)),
    A((3, 4)),
    rtol=1e-12,
    hips=False,
)
row("trapezoid", lambda np, y: np.trapezoid(y, dx=0.1), A((6,)), hips=False)
row("convolve", lambda np, a, b: np.convolve(a, b), A((5,)), A((3,)), rtol=1e-12, hips=False)
row("cross", lambda np, a, b: np.cross(a, b), A((2, 3)), A((3,)), hips=False)

# --- shape ------------------------------------------------------------------------------------------------------

X = A((2, 3, 4))
SHAPE: dict[str, Callable[..., Any]] = {
    "reshape": lambda np, x: np.reshape(x, (4, -1)),
    "reshape method": lambda np, x: x.reshape(6, 4),
    "ravel": lambda np, x: np.ravel(x),
    "flatten": lambda np, x: x.flatten(),
    "transpose": lambda np, x: np.transpose(x),
    "transpose axes": lambda np, x: np.transpose(x, (1, 2, 0)),
    "transpose negative axes": lambda np, x: x.transpose(-1, 0, -2),
    ".T": lambda np, x: x.T,
    "swapaxes": lambda np, x: np.swapaxes(x, 0, -1),
    "moveaxis": lambda np, x: np.moveaxis(x, 0, -1),
    "moveaxis of several": lambda np, x: np.moveaxis(x, (0, 1), (-1, 0)),
    "rollaxis": lambda np, x: np.rollaxis(x, 2),
    "matrix_transpose": lambda np, x: np.matrix_transpose(x),
    "broadcast_to": lambda np, x: np.broadcast_to(x, (5, 2, 3, 4)),
    "broadcast_to along ones": lambda np, x: np.broadcast_to(x[:, :1], (2, 3, 4)),
    "broadcast_arrays": lambda np, x: np.broadcast_arrays(x, x[0, :, :1]),
    "expand_dims": lambda np, x: np.expand_dims(x, 1),
    "expand_dims of several": lambda np, x: np.expand_dims(x, (0, -1)),
    "squeeze": lambda np, x: np.squeeze(x[:, :1]),
    "squeeze axis": lambda np, x: np.squeeze(x[:1, :1], axis=1),
    "atleast_1d": lambda np, x: np.atleast_1d(x[0, 0, 0]),
    "atleast_2d": lambda np, x: np.atleast_2d(x[0, 0]),
    "atleast_3d": lambda np, x: np.atleast_3d(x[0, 0]),
    "concatenate": lambda np, x: np.concatenate([x, 2 * x, x[:, :1]], axis=1),
    "concatenate axis=None": lambda np, x: np.concatenate([x, x[0]], axis=None),
    "concatenate with constants": lambda np, x: np.concatenate([x[0, 0], _LEFT]),
    "concat": lambda np, x: np.concat([x, x], axis=-1),
    "stack": lambda np, x: np.stack([x, x**2]),
    "stack axis": lambda np, x: np.stack([x, x**2], axis=-1),
    "stack of numbers": lambda np, x: np.stack([x[0, 0, 0], x[1, 2, 3]]),
    "vstack": lambda np, x: np.vstack([x[0], x[1]]),
    "hstack": lambda np, x: np.hstack([x[0], x[1, :, :2]]),
    "dstack": lambda np, x: np.dstack([x[0], x[1]]),
    "column_stack": lambda np, x: np.column_stack([x[0, 0], x[1, 1], x[0].T]),
    "append": lambda np, x: np.append(x[0], x[1]),
    "append axis": lambda np, x: np.append(x, x, axis=2),
    "split": lambda np, x: np.split(x, 3, axis=1),
    "split at": lambda np, x: np.split(x, [1, 3], axis=2),
    "array_split": lambda np, x: np.array_split(x, 3, axis=2),
    "hsplit": lambda np, x: np.hsplit(x, 3),
    "vsplit": lambda np, x: np.vsplit(x, 2),
    "dsplit": lambda np, x: np.dsplit(x, 2),
    "unpacking": lambda np, x: [a * b for a, b in zip(*x, strict=True)],
    "pad": lambda np, x: np.pad(x, 1),
    "pad constant": lambda np, x: np.pad(x, ((1, 0), (0, 2), (0, 0)), constant_values=2.5),
    "pad edge": lambda np, x: np.pad(x, ((1, 1), (0, 2), (0, 0)), mode="edge"),
    "pad reflect": lambda np, x: np.pad(x, ((1, 1), (0, 2), (0, 0)), mode="reflect"),
    "pad wrap": lambda np, x: np.pad(x, ((1, 1), (0, 2), (0, 0)), mode="wrap"),
    "pad odd reflect": lambda np, x: np.pad(x, ((1, 0), (7, 4), (2, 0)), mode="reflect", reflect_type="odd"),
    "pad odd symmetric": lambda np, x: np.pad(x, ((5, 0), (7, 4), (2, 0)), mode="symmetric", reflect_type="odd"),
    "flip": lambda np, x: np.flip(x),
    "flip axis": lambda np, x: np.flip(x, 1),
    "fliplr": lambda np, x: np.fliplr(x),
    "flipud": lambda np, x: np.flipud(x),
    "rot90": lambda np, x: np.rot90(x[0]),
    "roll": lambda np, x: np.roll(x, 5),
    "roll axis": lambda np, x: np.roll(x, -2, axis=1),
    "roll of several": lambda np, x: np.roll(x, (1, 2), axis=(0, 2)),
    "tile": lambda np, x: np.tile(x, 2),
    "tile of several": lambda np, x: np.tile(x[0], (2, 1, 3)),
    "repeat": lambda np, x: np.repeat(x, 2),
    "repeat axis": lambda np, x: np.repeat(x, 3, axis=1),
    "repeat counts": lambda np, x: np.repeat(x, [1, 0, 2], axis=1),
    "diag of a vector": lambda np, x: np.diag(x[0, 0]),
    "diag of a vector, k": lambda np, x: np.diag(x[0, 0], -1),
    "diag of a matrix": lambda np, x: np.diag(x[0]),
    "diag of a matrix, k": lambda np, x: np.diag(x[0], 1),
    "diagonal": lambda np, x: np.diagonal(x, axis1=1, axis2=2),
    "diagflat": lambda np, x: np.diagflat(x[0, :2]),
    "trace": lambda np, x: np.trace(x[0]),
    "trace of several": lambda np, x: np.trace(x, offset=1, axis1=0, axis2=2),
    "tril": lambda np, x: np.tril(x),
    "tril k": lambda np, x: np.tril(x, -1),
    "triu": lambda np, x: np.triu(x),
    "triu k": lambda np, x: np.triu(x[0], 1),
    "diff": lambda np, x: np.diff(x),
    "diff n": lambda np, x: np.diff(x, n=2, axis=1),
    "gradient": lambda np, x: np.gradient(x[0, 0]),
    "copy": lambda np, x: np.copy(x),
    "copy method": lambda np, x: x.copy(),
    "zeros_like": lambda np, x: np.zeros_like(x) + x,
    "ones_like": lambda np, x: np.ones_like(x) * x,
    "full_like": lambda np, x: np.full_like(x, 2.5) * x,
    "astype": lambda np, x: x.astype("float64") * 2,
    "meshgrid": lambda np, x: np.meshgrid(x[0, 0], x[0, :, 0]),
    "size and shape": lambda np, x: x * x.size + x.shape[0] * x.ndim + len(x),
    "iteration": lambda np, x: sum(a * k for k, a in enumerate(x)),
}
_HIPS_DIFFERS = {
    "broadcast_to",
    "concat",
    "dstack",
    "tile",
    "repeat counts",
    "pad edge",
    "pad reflect",
    "pad wrap",
    "pad odd reflect",
    "pad odd symmetric",
    "copy",
    "unpacking",
}
for name, f in SHAPE.items():
    row(name, f, X, hips=name not in _HIPS_DIFFERS, rtol=1e-15)
row("float32 to float64", lambda np, x: np.sin(x.astype("float32")).astype("float64"), A((3,)), order=0, rtol=1e-7)

# --- reading by index -------------------------------------------------------------------------------------------

I_, J_ = np.array([2, 0, -1]), np.array([[1, -2], [0, 1]])
GRID = np.arange(12).reshape(3, 4) % 5 < 2
INDICES: dict[str, Any] = {
    "int": 1, "negative int": -1, "slice": slice(1, None), "step": slice(None, None, 2),
    "negative step": slice(None, None, -1), "negative step with bounds": slice(-1, 0, -2), "empty slice": slice(2, 1),
    "beyond": slice(-10, 10), "ints": (1, 2), "ints and slices": (slice(None), 1, slice(0, 3, 2)),
    "newaxis": (None, 0, slice(None), None), "ellipsis": (Ellipsis, 1), "ellipsis in front": (0, Ellipsis, slice(1, 3)),
    "all": Ellipsis, "nothing": (), "one scalar": (1, 2, 3),
    "array": I_ % 2, "list": [1, 0, 1], "matrix": J_ % 2, "two arrays": (J_ % 2, J_ % 3),
    "broadcast arrays": (np.array([[0], [1]]), np.array([2, 0, 1])), "array and slice": (slice(None), I_, slice(1, 3)),
    "arrays apart": (np.array([0, 1, 1]), slice(None), I_), "int and array apart": (0, slice(None), I_),
    "array and int": (slice(None), I_, 1), "array and newaxis": (I_ % 2, None, slice(0, 2)),
    "mask": np.array([True, False]), "mask of two axes": (slice(None), GRID),
    "mask and int": (1, np.array([True, False, True])),
    "mask and array": (slice(None), np.array([True, False, True]), np.array([0, 3])),
    "whole mask": np.arange(24).reshape(2, 3, 4) % 3 == 0,
    "ix_": np.ix_([0, 1], [2, 0], [1, 3]), "NumPy int": np.int64(1),
    "empty array": np.array([], dtype=np.int64), "int32 array": np.array([1, 0], dtype=np.int32),
}  # fmt: skip
for name, index in INDICES.items():
    row(f"x[{name}]", lambda np, x, index=index: x[index], X, exact=True)
row("x[x > 0]", lambda np, x: x[x > 0], A((3, 4)), vmap=False, exact=True)
row("x[argsort]", lambda np, x: x[np.argsort(x)], A((7,)), exact=True)
row("x[traced int]", lambda np, x, i: x[i], A((5,)), A((2, 3), -5, 4, "int64"), exact=True, first=True)
row("x[traced int, :]", lambda np, x, i: x[:, i], A((2, 5)), A((3,), -5, 4, "int64"), exact=True, first=True)
row("views of views", lambda np, x: x[::2][1][..., ::-1], A((4, 3)), exact=True)
row("take", lambda np, x: np.take(x, I_ % 2), X, exact=True)
row("take axis", lambda np, x: np.take(x, [[2, 0], [1, 1]], axis=1), X, exact=True)
row("take of one", lambda np, x: np.take(x, 1, axis=-1), X, exact=True)
row("take method", lambda np, x: x.take([0, 5, 5]), X, exact=True)
row("take_along_axis", lambda np, x, i: np.take_along_axis(x, i, axis=1), A((2, 5)), A((2, 3), 0, 4, "int64"),
    exact=True)  # fmt: skip
row("take_along_axis with argsort", lambda np, x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0), A((4, 3)),
    exact=True)  # fmt: skip
row("compress", lambda np, x: np.compress([True, False, True], x, axis=1), X, exact=True)

# --- writing by index -------------------------------------------------------------------------------------------


def _written(name: str, index: Any) -> None:
    shape = np.zeros(X.shape)[index].shape

    def put(np: Any, x: Any, v: Any) -> Any:
        y = x * 1.0
        y[index] = v
        return y

    def add(np: Any, x: Any, v: Any) -> Any:
        y = x * 1.0
        y[index] += v
        return y * y

    def mul(np: Any, x: Any, v: Any) -> Any:
        y = x * 1.0
        y[index] *= v
        return y + x

    row(f"y[{name}] = v", put, X, A(shape), exact=True, first=True)
    row(f"y[{name}] += v", add, X, A(shape), exact=True, first=True)
    row(f"y[{name}] *= a number", mul, X, A(()), exact=True, first=True)


for name, index in INDICES.items():
    if name not in ("one scalar", "NumPy int", "nothing", "beyond", "int32 array", "newaxis"):
        _written(name, index)


def _set_where(np: Any, x: Any) -> Any:
    y = x * 1.0
    y[y > 0.5] = 3.0
    y[y < -0.5] *= 2.0
    return y


def _set_broadcast(np: Any, x: Any, v: Any) -> Any:
    y = x * 1.0
    y[:, 1] = v
    y[0] = 2.0
    return y * x


def _set_traced(np: Any, x: Any, i: Any, v: Any) -> Any:
    y = x * 1.0
    y[i] = v
    y[i] += 1
    return y


def _set_into_zeros(np: Any, x: Any) -> Any:
    y = np.zeros_like(x)
    for k in range(len(x)):
        y[k] = x[k] ** 2 * (y[k - 1] if k else 1.0)
    return y


def _view_written(np: Any, x: Any) -> Any:
    b = x * 1.0
    v = b[:2]
    v *= 2
    w = b.T
    w[0] = -1.0
    return b * x


def _in_place_operators(np: Any, x: Any) -> Any:
    y = x + 0.0
    y += x
    y *= 2
    y -= x**2
    y /= 3.0
    y **= 2
    return y


def _swap(np: Any, x: Any) -> Any:
    y = x * 1.0
    y[[0, 1]] = y[[1, 0]]
    y[2], y[3] = y[3], y[2]
    return y


def _fill(np: Any, x: Any) -> Any:
    y = x * 1.0
    y[1:].fill(3.0)
    return y


def _at(np: Any, x: Any, v: Any) -> Any:
    y = x * 1.0
    np.add.at(y, [0, 2, 2], v)
    return y


row("y[y > c] = v", _set_where, A((9,)), vmap=False)
row("y[:, 1] = a row", _set_broadcast, A((3, 4)), A((3,)), first=True)
row(
    "y[traced int] = v",
    _set_traced,
    A((5,)),
    A((2,), 0, 0, "int64", lambda rng: np.array([3, 1])),
    A((2,)),
    diff=(0, 2),
    first=True,
)
row("recurrence in a buffer", _set_into_zeros, A((4,)))
row("writes through views", _view_written, A((3, 3)))
row("in-place operators", _in_place_operators, A((3,)), rtol=1e-14)
row("swap", _swap, A((5,)), exact=True)
row("fill", _fill, A((4,)), exact=True)
row("add.at", _at, A((4,)), A((3,)), first=True, hips=False)

# --- scans, order -----------------------------------------------------------------------------------------------

for axis in [None, 0, 1, -1]:
    row(f"cumsum axis={axis}", lambda np, x, axis=axis: np.cumsum(x, axis=axis), A((3, 4)), rtol=1e-14)
    row(f"cumprod axis={axis}", lambda np, x, axis=axis: np.cumprod(x, axis=axis), A((3, 4), 0.5, 1.5), rtol=1e-14)
    row(f"sort axis={axis}", lambda np, x, axis=axis: np.sort(x, axis=axis), A((3, 4)), exact=True, hips=axis == 0)
    row(f"argsort axis={axis}", lambda np, x, axis=axis: np.argsort(x, axis=axis), A((3, 4)), order=0, exact=True)
row("cumsum method", lambda np, x: x.cumsum(0), A((3, 4)), rtol=1e-14)
row("searchsorted", lambda np, x: np.searchsorted(_SORTED, x), A((9,)), order=0, exact=True)
row(
    "searchsorted right", lambda np, x: np.searchsorted(np.sort(x), _SORTED, side="right"), A((9,)), order=0, exact=True
)
row("median", lambda np, x: np.median(x, axis=1), A((2, 5)), hips=False)
row("interp", lambda np, x, y: np.interp(x, _SORTED, y), A((6,)), A((4,)), hips=False, rtol=1e-12)
_SORTED = np.array([-1.5, -0.25, 0.5, 1.75])

# --- linear algebra ---------------------------------------------------------------------------------------------


def _regular(*shape: int) -> A:
    return A(shape, make=lambda rng: rng.uniform(-1, 1, shape) + 2.5 * np.eye(shape[-1]))


def _positive(*shape: int) -> A:
    def make(rng: np.random.Generator) -> Any:
        a = rng.uniform(-1, 1, shape)
        return a @ np.swapaxes(a, -1, -2) + 2 * np.eye(shape[-1])

    return A(shape, make=make)


def _symmetric_cholesky(np: Any, a: Any) -> Any:
    return np.linalg.cholesky((a + np.swapaxes(a, -1, -2)) / 2)


row("solve vector", lambda np, a, b: np.linalg.solve(a, b), _regular(3, 3), A((3,)), rtol=1e-12)
row("solve matrix", lambda np, a, b: np.linalg.solve(a, b), _regular(3, 3), A((3, 2)), rtol=1e-12)
row("solve batch", lambda np, a, b: np.linalg.solve(a, b), _regular(2, 3, 3), A((2, 3, 2)), rtol=1e-12)
row("solve broadcast", lambda np, a, b: np.linalg.solve(a, b), _regular(3, 3), A((2, 3, 2)), rtol=1e-12, hips=False)
row("inv", lambda np, a: np.linalg.inv(a), _regular(3, 3), rtol=1e-12)
row("inv batch", lambda np, a: np.linalg.inv(a), _regular(2, 3, 3), rtol=1e-12)
row("det", lambda np, a: np.linalg.det(a), _regular(3, 3), rtol=1e-12)
row("det batch", lambda np, a: np.linalg.det(a), _regular(2, 3, 3), rtol=1e-12)
row("det of 1x1", lambda np, a: np.linalg.det(a), _regular(1, 1), rtol=1e-12)
row("slogdet", lambda np, a: np.linalg.slogdet(a), _regular(3, 3), rtol=1e-12)
row("slogdet batch", lambda np, a: np.linalg.slogdet(a)[1], _regular(2, 3, 3), rtol=1e-12)
row("slogdet of a negative determinant", lambda np, a: np.linalg.slogdet(-a)[1], _regular(3, 3), rtol=1e-12)
row("cholesky", _symmetric_cholesky, _positive(3, 3), rtol=1e-12)
row("cholesky batch", _symmetric_cholesky, _positive(2, 3, 3), rtol=1e-12)
row("log density of a normal", lambda np, s, x: -0.5 * x @ np.linalg.solve(s, x) - 0.5 * np.linalg.slogdet(s)[1],
    _positive(3, 3), A((3,)), rtol=1e-12)  # fmt: skip


def _symmetric(np: Any, a: Any) -> Any:
    return (a + np.swapaxes(a, -1, -2)) / 2


def _matrix_sine(np: Any, a: Any) -> Any:
    w, v = np.linalg.eigh(_symmetric(np, a))
    return w, (v * np.sin(w)[..., None, :]) @ np.swapaxes(v, -1, -2)


def _leading_space(np: Any, a: Any) -> Any:
    _, v = np.linalg.eigh(_symmetric(np, a))
    return v[..., 2:] @ np.swapaxes(v[..., 2:], -1, -2)


def _singular(np: Any, a: Any) -> Any:
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return s, (u * np.exp(s)[..., None, :]) @ vt, u**2, vt**2


def _orthonormal(np: Any, a: Any) -> Any:
    q, r = np.linalg.qr(a)
    return q, r


row("eigh", _matrix_sine, _regular(3, 3), rtol=1e-12, hips=False)
row("eigh batch", _matrix_sine, _regular(2, 3, 3), rtol=1e-12, hips=False)
row("eigenspace", _leading_space, _regular(3, 3), rtol=1e-12, hips=False)
row("eigvalsh", lambda np, a: np.linalg.eigvalsh(_symmetric(np, a), "U"), _regular(4, 4), rtol=1e-12, hips=False)
for _shape in [(3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1)]:
    row(f"svd of {_shape}", _singular, A(_shape), rtol=1e-12, hips=False)
    row(f"qr of {_shape}", _orthonormal, A(_shape), rtol=1e-12, hips=False)
row("svdvals", lambda np, a: np.linalg.svdvals(a), A((3, 4)), rtol=1e-12, hips=False)
row("r of qr", lambda np, a: np.linalg.qr(a, mode="r"), A((4, 3)), rtol=1e-12, hips=False)
for _ord in [2, -2, "nuc"]:
    row(f"matrix norm {_ord}", lambda np, a, o=_ord: np.linalg.norm(a, o, axis=(2, 0)), A((3, 2, 4)), rtol=1e-12,
        hips=False)  # fmt: skip
row("matrix_power", lambda np, a: np.linalg.matrix_power(a, 3), _regular(3, 3), rtol=1e-12, hips=False)

# --- compositions -----------------------------------------------------------------------------------------------


def _softmax(np: Any, x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def _layer_norm(np: Any, x: Any) -> Any:
    m = np.mean(x, axis=-1, keepdims=True)
    return (x - m) / np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5)


def _attention(np: Any, q: Any, k: Any, v: Any) -> Any:
    return _softmax(np, q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])) @ v


def _loop(np: Any, x: Any) -> Any:
    for _ in range(3):
        x = np.sin(x) * 1.5 if x.sum() > 0 else x + 0.1
    return x


row("softmax", _softmax, A((2, 5)))
row("layer norm", _layer_norm, A((3, 5)), rtol=1e-12)
row("attention", _attention, A((2, 3, 4)), A((2, 5, 4)), A((2, 5, 2)), rtol=1e-12)
row("a loop with an if", _loop, A((3,)), vmap=False)
row("a stencil", lambda np, u: 4 * u[1:-1, 1:-1] - u[2:, 1:-1] - u[:-2, 1:-1] - u[1:-1, 2:] - u[1:-1, :-2],
    A((5, 6)))  # fmt: skip
