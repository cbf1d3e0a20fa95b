"""Every operation on a traced array gives NumPy's value, shape and dtype."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from array_helpers import check, on_tape

rng = np.random.default_rng(7)
V = rng.normal(size=5)
W = rng.normal(size=5)
P = rng.uniform(0.1, 0.9, size=5)
M = rng.normal(size=(3, 4))
N = rng.normal(size=(4, 2))
T = rng.normal(size=(2, 3, 4))
S = rng.normal(size=(3, 3)) + 3 * np.eye(3)
SPD = S @ S.T
F = rng.normal(size=(3, 4)).astype(np.float32)
K = rng.integers(-5, 9, size=(3, 4))
J = rng.integers(1, 9, size=(3, 4))
B = K > 1
U = J.astype(np.uint8)
I32 = J.astype(np.int32)

ARITHMETIC = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    divmod,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]


@pytest.mark.parametrize("op", ARITHMETIC, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (V, W),
        (V, 2.5),
        (3, V),
        (M, M[0]),
        (M[:, :1], M),
        (K, J),
        (K, 3),
        (7, J),
        (F, 2),
        (F, 0.5),
        (F, M),
        (K, 2.5),
        (U, J),
        (I32, F),
    ],
    ids=lambda x: f"{getattr(x, 'dtype', type(x).__name__)}{np.shape(x)}",
)
def test_operators(op: Any, a: Any, b: Any) -> None:
    check(op, a, b)


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("a", "b"), [(K, J), (B, ~B), (B, True), (K, 3), (U, U)])
def test_bits(op: Any, a: Any, b: Any) -> None:
    check(op, a, b)


def test_shifts() -> None:
    check(lambda a, b: (a << b, a >> b, 2 << b, a >> 1), K, J % 5)


def test_unary_operators() -> None:
    check(lambda a: (-a, +a, abs(a), round(a[0], 2)), V)
    check(lambda a: (-a, +a, abs(a), ~a), K)
    check(lambda a: ~a, B)


@pytest.mark.parametrize(
    ("a", "b"), [(P, 2), (P, -1), (P, 0.5), (P, 3.7), (P, V), (2, V), (2.5, V), (J, 2), (F, 2), (U, 2)]
)
def test_power(a: Any, b: Any) -> None:
    check(operator.pow, a, b, rtol=1e-12)


UNARY = [
    np.sin, np.cos, np.tan, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.exp, np.exp2, np.expm1, np.square,
    np.absolute, np.fabs, np.sign, np.floor, np.ceil, np.trunc, np.rint, np.cbrt, np.negative, np.positive,
    np.reciprocal,
    np.deg2rad, np.rad2deg, np.degrees, np.radians, np.isnan, np.isinf, np.isfinite, np.signbit, np.logical_not,
    np.conj,
]  # fmt: skip


@pytest.mark.parametrize("f", UNARY, ids=lambda f: f.__name__)
def test_unary(f: Any) -> None:
    check(f, V, rtol=1e-12)
    check(f, M.T, rtol=1e-12)
    check(f, V[2], rtol=1e-12)


@pytest.mark.parametrize(
    "f", [np.sqrt, np.log, np.log2, np.log10, np.log1p, np.arcsin, np.arccos, np.arctanh], ids=lambda f: f.__name__
)
def test_unary_of_positive(f: Any) -> None:
    check(f, P, rtol=1e-12)
    check(f, P.astype(np.float32))
    check(f, J[:1] % 2 if f in (np.arcsin, np.arccos) else J) if f is not np.arctanh else None


BINARY = [
    np.add, np.subtract, np.multiply, np.divide, np.floor_divide, np.remainder, np.fmod, np.maximum, np.minimum,
    np.fmax,
    np.fmin, np.arctan2, np.hypot, np.logaddexp, np.logaddexp2, np.copysign, np.nextafter, np.heaviside, np.less,
    np.equal,
    np.logical_and, np.logical_or, np.logical_xor, np.float_power,
]  # fmt: skip


@pytest.mark.parametrize("f", BINARY, ids=lambda f: f.__name__)
def test_binary(f: Any) -> None:
    check(f, P, P[::-1], rtol=1e-12)
    check(f, M, M[1], rtol=1e-12) if f is not np.float_power else None
    check(f, P.astype(np.float32), 2)


def test_two_results() -> None:
    check(np.modf, V)
    check(np.divmod, V, W)


def test_integer_ufuncs() -> None:
    check(np.gcd, J, U)
    check(np.lcm, J, 6)
    check(np.ldexp, V, np.arange(5))


def test_ufunc_keywords() -> None:
    def outs(a: Any, b: Any) -> Any:
        out = np.zeros_like(a)
        r = np.add(a, b, out=out)
        assert r is out
        np.multiply(a, b, out=out, where=a > 0)
        np.sin(a, out)
        return out, np.add(a, b, dtype=np.float32)

    check(outs, V, W)


def test_ufunc_methods() -> None:
    check(lambda a: (np.add.reduce(a), np.multiply.reduce(a, axis=1), np.maximum.reduce(a, axis=None)), M)
    check(lambda a: (np.minimum.reduce(a, axis=(0, 1), keepdims=True), np.add.reduce(a, axis=-1, initial=3.0)), M)
    check(lambda a: (np.logical_and.reduce(a), np.logical_or.reduce(a, axis=1)), B)
    check(lambda a: (np.add.accumulate(a), np.multiply.accumulate(a, axis=1)), M)
    check(np.multiply.outer, V, M)
    check(np.subtract.outer, V, W)


def test_add_at() -> None:
    def f(a: Any, b: Any) -> Any:
        np.add.at(a, [0, 0, 3], b[:3])
        np.add.at(a, slice(1, 3), 1.0)
        return a

    check(f, V, W)


REDUCTIONS = [np.sum, np.prod, np.max, np.min, np.mean, np.var, np.std, np.any, np.all, np.ptp, np.median]


@pytest.mark.parametrize("f", REDUCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(f: Any, axis: Any, keepdims: bool) -> None:
    check(lambda a: f(a, axis=axis, keepdims=keepdims), T, rtol=1e-12)


def test_reduction_methods() -> None:
    check(
        lambda a: (a.sum(), a.sum(0), a.sum(axis=1, keepdims=True), a.mean(1), a.prod(0), a.max(), a.min(1)),
        M,
        rtol=1e-12,
    )
    check(
        lambda a: (a.var(), a.std(1, ddof=1), a.any(0), a.all(), a.argmax(), a.argmin(1), a.cumsum(), a.cumprod(1)),
        M,
        rtol=1e-12,
    )


def test_reductions_of_other_dtypes() -> None:
    check(lambda a: (np.sum(a), np.prod(a, axis=0), np.max(a), np.mean(a), np.var(a)), J)
    check(lambda a: (np.sum(a), np.mean(a, axis=0), np.max(a), np.std(a)), F)
    check(lambda a: (np.sum(a), np.mean(a), np.any(a, axis=0), np.all(a), np.count_nonzero(a)), B)
    check(lambda a: (np.sum(a, dtype=np.float32), np.mean(a, dtype=np.float64), a.cumsum(dtype=np.float64)), F)


def test_reductions_with_where_and_initial() -> None:
    check(lambda a, m: np.sum(a, where=m), M, B)
    check(lambda a, m: np.max(a, axis=1, where=m, initial=-9.0), M, B)
    check(lambda a, m: np.mean(a, axis=0, where=m | (a > -9)), M, B)
    check(lambda a: (np.sum(a, initial=2.0), np.prod(a, initial=2.0), np.min(a, initial=-7.0)), V)
    check(lambda a: np.max(a, initial=1.0), np.zeros(0))


def test_positions_and_orders() -> None:
    check(lambda a: (np.argmax(a), np.argmax(a, axis=0), np.argmin(a, axis=1, keepdims=True)), M)
    check(lambda a: (np.sort(a), np.sort(a, axis=0), np.sort(a, axis=None), np.argsort(a), np.argsort(a, axis=0)), M)
    check(lambda a: (np.sort(a), np.argsort(a, kind="stable")), K)
    check(lambda a, v: (np.searchsorted(a, v), np.searchsorted(a, v, side="right")), np.sort(V), W)
    check(lambda a: (np.nonzero(a > 0), np.flatnonzero(a > 0), np.argwhere(a > 0), np.where(a > 0)), M)
    check(lambda a: (a.argsort(), (a > 0).nonzero(), a.searchsorted(0.1)), np.sort(V))


def test_statistics() -> None:
    check(
        lambda a, w: (np.average(a), np.average(a, axis=0, weights=w), np.average(a, weights=np.abs(a))),
        M,
        np.arange(1.0, 4.0),
    )
    check(lambda a: (np.quantile(a, 0.3), np.percentile(a, [10, 50], axis=1), np.cov(a)), M, rtol=1e-12)
    nan = np.where(M > 1, np.nan, M)
    check(
        lambda a: (np.nansum(a), np.nanmean(a, axis=0), np.nanmax(a), np.nanmin(a, axis=1), np.nanstd(a)),
        nan,
        rtol=1e-12,
    )


SHAPING = {
    "reshape": lambda a: (a.reshape(4, 6), a.reshape((-1, 2)), np.reshape(a, -1), a.reshape(2, -1, 2)),
    "ravel": lambda a: (a.ravel(), np.ravel(a.T), a.flatten(), a.T.flatten()),
    "transpose": lambda a: (
        a.T,
        a.mT,
        a.transpose(1, 0, 2),
        a.transpose((2, 0, 1)),
        np.transpose(a),
        np.permute_dims(a, (0, 2, 1)),
    ),
    "axes": lambda a: (np.swapaxes(a, 0, 2), np.moveaxis(a, 0, -1), np.moveaxis(a, [0, 1], [2, 0]), np.rollaxis(a, 2)),
    "ones": lambda a: (
        np.expand_dims(a, 1),
        np.expand_dims(a, (0, -1)),
        np.squeeze(a[:1]),
        a[:1].squeeze(0),
        a[:, None],
    ),
    "broadcast": lambda a: (np.broadcast_to(a, (5, 2, 3, 4)), np.broadcast_arrays(a, a[0, 0])),
    "flip": lambda a: (
        np.flip(a),
        np.flip(a, 1),
        np.flipud(a),
        np.fliplr(a),
        np.rot90(a),
        np.rot90(a, -1, (1, 2)),
        np.rot90(a, 2),
    ),
    "split": lambda a: (
        np.split(a, 2),
        np.array_split(a, 3, axis=2),
        np.split(a, [1, 3], axis=2),
        np.hsplit(a, 3),
        np.dsplit(a, 2),
    ),
    "join": lambda a: (
        np.concatenate([a, a]),
        np.concatenate((a, a[:, :1]), axis=1),
        np.stack([a, a], axis=-1),
        np.concatenate([a, a], axis=None),
    ),
    "stacks": lambda a: (
        np.vstack([a[0], a[1]]),
        np.hstack([a[0], a[1]]),
        np.dstack([a[0], a[1]]),
        np.column_stack([a[0, 0], a[0, 1]]),
    ),
    "repeat": lambda a: (
        np.tile(a, 2),
        np.tile(a, (2, 1, 1, 2)),
        np.repeat(a, 2),
        a.repeat(3, axis=1),
        np.repeat(a, [1, 2, 0], axis=1),
    ),
    "roll": lambda a: (np.roll(a, 2), np.roll(a, -1, axis=1), np.roll(a, (1, 2), axis=(0, 2))),
    "pad": lambda a: (
        np.pad(a, 1),
        np.pad(a, ((0, 1), (2, 0), (1, 1)), mode="edge"),
        np.pad(a, 2, constant_values=3.0),
        np.pad(a, (1, 0), mode="reflect"),
    ),
    "atleast": lambda a: (np.atleast_1d(a[0, 0, 0]), np.atleast_2d(a[0, 0]), np.atleast_3d(a[0])),
    "diagonals": lambda a: (
        np.diagonal(a),
        np.diag(a[0]),
        np.diag(a[0, 0], 1),
        np.trace(a),
        a.trace(1, 1, 2),
        a.diagonal(0, 1, 2),
    ),
    "triangles": lambda a: (np.tril(a), np.triu(a, 1), np.tril(a[0], -1)),
    "grids": lambda a: (
        np.meshgrid(a[0, 0], a[1, 1]),
        np.meshgrid(a[0, 0], a[0, :, 0], indexing="ij"),
        np.meshgrid(a[0, 0], a[0, :, 0], sparse=True),
    ),
    "questions": lambda a: (np.shape(a), np.ndim(a), np.size(a), np.size(a, 1), a.itemsize, a.nbytes, len(a)),
    "unstack": lambda a: np.unstack(a, axis=1),
}


@pytest.mark.parametrize("name", SHAPING)
def test_shaping(name: str) -> None:
    check(SHAPING[name], T)
    check(SHAPING[name], rng.integers(0, 9, size=T.shape))


def test_choices() -> None:
    check(lambda a, b: (np.where(a > 0, a, b), np.where(a > b, a, 0), np.where(a > 0, 1, b)), V, W)
    check(lambda a: np.select([a > 1, a > 0], [a, a * 2], 7.0), V)
    check(lambda a: (np.clip(a, -0.5, 0.5), a.clip(min=0), np.clip(a, None, a[0]), a.clip(-1, 1)), V)
    check(lambda a: (np.nan_to_num(a), np.nan_to_num(a, nan=1.0, posinf=2.0)), np.array([1.0, np.nan, np.inf, -np.inf]))
    check(lambda a, b: (np.isclose(a, b), np.allclose(a, a), np.array_equal(a, b), np.array_equal(a, a)), V, W)


def test_elements_by_index() -> None:
    check(
        lambda a: (
            np.take(a, [0, 2]),
            a.take([0, -1], axis=1),
            np.take(a, 9, mode="wrap"),
            np.take(a, [99], mode="clip"),
        ),
        M,
    )
    check(lambda a: np.take_along_axis(a, np.argsort(a, axis=1), axis=1), M)
    check(lambda a: np.compress([True, False, True], a, axis=0), M)
    check(lambda x, xp, fp: (np.interp(x, xp, fp), np.interp(x, xp, fp, left=-1.0, right=9.0)), W, np.sort(V), P)


def test_rarer_functions() -> None:
    check(lambda a: (np.cumulative_sum(a[0]), np.cumulative_sum(a, axis=1, include_initial=True)), M)
    check(lambda a: np.cumulative_prod(a, axis=0, include_initial=True), M)
    check(lambda a: (np.isposinf(a), np.isneginf(a)), np.array([1.0, np.inf, -np.inf, np.nan]))
    check(lambda a: (np.delete(a, 1), np.delete(a, [0, 2], axis=1), np.delete(a, slice(0, 2), axis=0)), M)
    check(lambda a: (np.extract(a > 0, a), np.extract([True, False] * 6, a)), M)
    check(lambda a: (np.tril_indices_from(a), np.triu_indices_from(a, 1), np.diag_indices_from(a[:, :3])), M)


def test_dtypes_of_arguments() -> None:
    seen: list[Any] = []

    def f(a: Any) -> Any:
        seen.extend([np.result_type(a, np.int32), np.result_type(a.astype(np.float32), 1.0), np.common_type(a)])
        return 0.0

    on_tape(f, V)
    assert seen == [np.float64, np.float32, np.float64]


def test_differences() -> None:
    check(
        lambda a: (np.diff(a), np.diff(a, 2, axis=0), np.diff(a, axis=1, prepend=0.0), np.diff(a, append=a[:, :1])), M
    )
    check(lambda a: (np.trapezoid(a), np.trapezoid(a, dx=0.5, axis=0)), M)
    check(lambda y, x: np.trapezoid(y, x), V, np.sort(W))
    check(lambda a: (np.gradient(a), np.gradient(a, 0.5, axis=1), np.gradient(a[0], edge_order=2)), M)
    check(lambda a: (np.round(a, 2), a.round(), np.around(a, -1), np.fix(a), np.sinc(a)), M * 20)


PRODUCTS = {
    "matmul": lambda a, b: (a @ b, np.matmul(a, b), a[0] @ b, a @ b[:, 0], a[0] @ b[:, 1]),
    "dot": lambda a, b: (np.dot(a, b), a.dot(b), np.dot(a[0], b[:, 0]), np.dot(a, 2.0)),
    "vector": lambda a, b: (np.vdot(a[0], b[:, 0]), np.inner(a, a), np.outer(a[0], b[0]), np.vecdot(a, a)),
    "tensordot": lambda a, b: (np.tensordot(a, b, axes=1), np.tensordot(a, b, ([1], [0])), np.tensordot(a, b, 0)),
    "einsum": lambda a, b: [
        np.einsum(s, *[{"a": a, "b": b}[k] for k in names])
        for s, names in (("ij,jk->ik", "ab"), ("ij,jk", "ab"), ("ij->j", "a"), ("ij,ij->", "aa"))
    ],
    "kron": lambda a, b: np.kron(a, b),
    "cross": lambda a, b: (np.cross(a[:, :3], a[:, 1:]), np.linalg.cross(a[:, :3], a[:, 1:])),
    "chain": lambda a, b: (np.linalg.multi_dot([a, b, b.T]), np.linalg.matrix_power(a[:, :3], 3)),
    "with ndarray": lambda a, b: (a @ np.ones((4, 2)), np.ones((5, 3)) @ a),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    check(PRODUCTS[name], M, N, rtol=1e-12)


def test_batched_matmul() -> None:
    check(lambda a, b: (a @ b, a @ b[:, 0], b[0] @ b), T, rng.normal(size=(4, 4)), rtol=1e-12)


def test_linalg() -> None:
    check(
        lambda a, b: (np.linalg.solve(a, b), np.linalg.solve(a, np.stack([b, b], axis=1)), np.linalg.inv(a)),
        S,
        V[:3],
        rtol=1e-11,
    )
    check(lambda a: (np.linalg.det(a), np.linalg.slogdet(a), np.linalg.cholesky(a)), SPD, rtol=1e-11)
    check(
        lambda a: (np.linalg.norm(a), np.linalg.norm(a, axis=1), np.linalg.norm(a, 1), np.linalg.norm(a[0], np.inf)),
        M,
        rtol=1e-12,
    )
    check(
        lambda a: (
            np.linalg.norm(a[0], 3),
            np.linalg.norm(a, "fro", keepdims=True),
            np.linalg.vector_norm(a),
            np.linalg.matrix_norm(a),
        ),
        M,
        rtol=1e-12,
    )
    check(lambda a: (np.linalg.trace(a), np.linalg.diagonal(a), np.linalg.matrix_transpose(a)), T)


def test_makers() -> None:
    check(
        lambda a: (
            np.zeros_like(a),
            np.ones_like(a, dtype=int),
            np.full_like(a, 2.5),
            np.full_like(a, a[0]),
            np.zeros_like(a, shape=(2, 2)),
        ),
        V,
    )
    check(
        lambda a: (a.astype(np.float32), a.astype(int), a.astype(bool), a.copy(), np.copy(a), np.astype(a, np.float32)),
        V * 3,
    )
    check(lambda a: (np.real(a), np.imag(a), a.real, a.imag, np.conj(a), a.conj()), V)


def test_iteration() -> None:
    check(lambda a: [r * 2 for r in a], M)
    check(lambda a: [x + 1 for x in a.flat], M)
    check(lambda a: (a.size, a.ndim, a.shape, 1.0 in a * 0 + 1, 7.0 in a), M)
    check(lambda a: tuple(a[0]), M)


def test_indices_that_are_other_sequences():
    check(lambda a: (a[range(1, 3)], a[range(2, 0, -1), range(2)], a[range(0)]), M)
    check(lambda a: (a.flat[3], a.flat[1:4], a.flat[[0, 2]]), M)
    with pytest.raises(IndexError, match="integer"):
        on_tape(lambda a: a["a"], M)
    with pytest.raises(TypeError, match=r"np\.put\(x, k, v\)"):
        on_tape(lambda a: a.flat.__setitem__(0, 1.0), M)
