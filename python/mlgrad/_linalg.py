"""Functions of numpy.linalg for traced arrays that are combinations of others, with NumPy's names and arguments.

The factorisations, `solve`, `inv`, `det` and the norms are in the core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

# the core imports this module, and with it all that enters functions into the table of _rare
from mlgrad import _choosing, _core, _fft, _nan, _polynomials, _writes  # noqa: F401
from mlgrad._rare import _array, _implements, _inexact

_left_out: Any = np._NoValue


def _matrices(name: str, a: Any, square: bool = False) -> Any:
    a = _inexact(a)
    if a.ndim < 2:
        raise LinAlgError(f"{name}: a matrix, or a stack of them, is needed, got shape {a.shape}")
    if square and a.shape[-1] != a.shape[-2]:
        raise LinAlgError(f"{name}: the matrices must be square, got shape {a.shape}")
    return a


def _transposed(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _stopped(a: Any) -> Any:
    return _core.stop_gradient(a) if isinstance(a, _core.Array) else a


def _singular_values(name: str, a: Any, hermitian: bool) -> Any:
    if hermitian:
        return np.sort(np.abs(np.linalg.eigvalsh(_matrices(name, a, square=True))), axis=-1)[..., ::-1]
    return np.linalg.svdvals(a)


@_implements(np.linalg.pinv)
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = _left_out) -> Any:
    a = _matrices("pinv", a)
    if hermitian:
        _matrices("pinv", a, square=True)
    if rcond is not None and rtol is not _left_out:
        raise ValueError("pinv: give rtol or rcond, not both")
    if rcond is None:
        rcond = 1e-15 if rtol is _left_out else rtol
    if rcond is None:
        rcond = max(a.shape[-2:]) * np.finfo(a.dtype).eps
    p = _pseudoinverse(_stopped(a), np.asarray(rcond) if not isinstance(rcond, _core.Array) else _stopped(rcond))

    def rule(a: Any, p: Any, t: Any) -> Any:
        # Golub and Pereyra (1973), "The differentiation of pseudo-inverses": for matrices whose rank does not change
        pt, tt = _transposed(p), _transposed(t)
        within = p @ (pt @ (tt - (tt @ a) @ p))
        across = (tt - (p @ a) @ tt) @ (pt @ p)
        return within + across - p @ t @ p

    return _core.attach(p, a, jvp=rule, name="pinv")


def _pseudoinverse(a: Any, rcond: Any) -> Any:
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    if s.shape[-1] == 0:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), dtype=a.dtype)
    large = s > np.expand_dims(rcond, -1) * np.max(s, axis=-1, keepdims=True)
    inverse = np.where(large, 1 / np.where(large, s, 1), 0)
    return _transposed(vt) * inverse[..., None, :] @ _transposed(u)


@_implements(np.linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: float | None = None) -> tuple[Any, Any, Any, Any]:
    a, b = _matrices("lstsq", a), _inexact(b)
    m, n = a.shape[-2:]
    if a.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != m:
        raise LinAlgError(
            f"lstsq: a of shape (m, n) and b of shape (m,) or (m, k) are needed, got {a.shape} and {b.shape}"
        )
    if rcond is None:
        rcond = max(m, n) * np.finfo(np.result_type(a.dtype, b.dtype)).eps
    elif rcond < 0:  # machine precision, as in NumPy
        rcond = np.finfo(np.result_type(a.dtype, b.dtype)).eps
    s = np.linalg.svdvals(a)
    rank = np.sum(_stopped(s) > rcond * np.max(_stopped(s), initial=0.0))
    x = np.linalg.pinv(a, rcond) @ b
    residuals = np.sum((b - a @ x) ** 2, axis=0)
    residuals = residuals[None] if residuals.ndim == 0 else residuals
    if m <= n:
        return x, residuals[:0], rank, s
    try:
        full = int(rank) == n
    except TypeError:
        # under vmap and in loops the shape cannot depend on the rank: nan where NumPy's residuals are empty
        return x, residuals * np.where(rank == n, 1.0, np.nan), rank, s
    return x, residuals if full else residuals[:0], rank, s


@_implements(np.linalg.cond)
def _cond(x: Any, p: Any = None) -> Any:
    x = _matrices("cond", x)
    if x.shape[-1] == 0 or x.shape[-2] == 0:
        raise LinAlgError(f"cond: the matrices must not be empty, got shape {x.shape}")
    if p is None or p in (2, -2):
        s = np.linalg.svdvals(x)
        return _ratio(s[..., -1], s[..., 0]) if p == -2 else _ratio(s[..., 0], s[..., -1])
    _matrices("cond", x, square=True)
    singular = (np.linalg.slogdet(_stopped(x))[0] == 0)[..., None, None]
    regular = np.where(singular, np.eye(x.shape[-1], dtype=x.dtype), x)
    product = np.linalg.norm(x, p, axis=(-2, -1)) * np.linalg.norm(np.linalg.inv(regular), p, axis=(-2, -1))
    return np.where(singular[..., 0, 0], np.inf, product)


def _ratio(a: Any, b: Any) -> Any:
    """Return a / b, and infinity where b is 0."""
    return np.where(b == 0, np.inf, a / np.where(b == 0, 1, b))


@_implements(np.linalg.matrix_rank)
def _matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    if tol is not None and rtol is not None:
        raise ValueError("matrix_rank: give tol or rtol, not both")
    a = _stopped(_inexact(A))
    if a.ndim < 2:
        return np.any(a != 0).astype(np.int64)
    s = _singular_values("matrix_rank", a, hermitian)
    if tol is None:
        if rtol is None:
            rtol = max(a.shape[-2:]) * np.finfo(a.dtype).eps
        tol = np.max(s, axis=-1, keepdims=True, initial=0.0) * np.expand_dims(rtol, -1)
    else:
        tol = np.expand_dims(tol, -1)
    return np.sum(s > tol, axis=-1)


def _real_eig(a: Any) -> tuple[Any, Any]:
    w, v = np.linalg.eig(a)
    if np.iscomplexobj(w):
        worst = w.ravel()[np.argmax(np.abs(w.imag))]
        raise LinAlgError(
            f"eig: the matrix has complex eigenvalues, such as {worst:.4g}, and an mlgrad.Array cannot hold complex "
            "numbers; for a symmetric matrix use eigh; otherwise write the problem with real quantities (trace, det, "
            "inv, svd, norm), or give your function a rule with mlgrad.custom_vjp and pure_callback"
        )
    return w, v


def _eigenpairs(a: Any) -> tuple[Any, Any]:
    """Return eigenvalues and vectors, where they are real, with their derivatives."""
    from mlgrad import ShapeDtypeStruct, pure_callback

    a = _matrices("eig", a, square=True)
    like = ShapeDtypeStruct(a.shape[:-1], a.dtype), ShapeDtypeStruct(a.shape, a.dtype)
    pairs = pure_callback(_real_eig, like, _stopped(a), vmap_method="broadcast_all")

    def rule(a: Any, outs: Any, t: Any) -> Any:
        w, v = outs
        m = np.linalg.solve(v, t @ v)
        n = w.shape[-1]
        gaps = w[..., None, :] - w[..., :, None] + np.eye(n)
        turned = v @ (m * (1 - np.eye(n)) / gaps)
        # the vectors keep their length 1
        return np.diagonal(m, axis1=-2, axis2=-1), turned - v * np.sum(v * turned, axis=-2, keepdims=True)

    w, v = _core.attach(pairs, a, jvp=rule, name="eig")
    return w, v


@_implements(np.linalg.eig)
def _eig(a: Any) -> Any:
    return _eig_result(*_eigenpairs(a))


# NumPy's named tuple, which it does not export
_eig_result: Any = type(np.linalg.eig(np.eye(1)))


@_implements(np.linalg.eigvals)
def _eigvals(a: Any) -> Any:
    return _eigenpairs(a)[0]


@_implements(np.linalg.tensorsolve)
def _tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Any:
    a, b = _array(a), _array(b)
    if axes is not None:
        last = [axis % a.ndim for axis in axes]
        a = np.transpose(a, [k for k in range(a.ndim) if k not in last] + last)
    shape = a.shape[b.ndim :]
    if a.ndim < b.ndim or math.prod(shape) != b.size or a.size != b.size**2:
        raise LinAlgError(f"tensorsolve: a of shape {a.shape} does not fit b of shape {b.shape}")
    return np.reshape(np.linalg.solve(np.reshape(a, (b.size, b.size)), np.ravel(b)), shape)


@_implements(np.linalg.tensorinv)
def _tensorinv(a: Any, ind: int = 2) -> Any:
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    a = _array(a)
    first, last = a.shape[:ind], a.shape[ind:]
    if math.prod(first) != math.prod(last):
        raise LinAlgError(f"tensorinv: the axes before and after ind={ind} of shape {a.shape} must have equal sizes")
    return np.reshape(np.linalg.inv(np.reshape(a, (math.prod(first), -1))), last + first)
