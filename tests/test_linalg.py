"""Functions of numpy.linalg that are combinations of others: values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlgrad
from mlgrad import _core
from mlgrad.testing import check_grads

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(3)
TALL, WIDE, SQUARE = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 5)), RNG.standard_normal((4, 4))
STACK = RNG.standard_normal((2, 4, 3))
LOW = RNG.standard_normal((5, 2)) @ RNG.standard_normal((2, 4))  # of rank 2
B, BS = RNG.standard_normal(5), RNG.standard_normal((5, 2))
BASIS = RNG.standard_normal((4, 4)) + 3 * np.eye(4)
REAL = BASIS @ np.diag([3.0, -1.0, 0.5, 2.0]) @ np.linalg.inv(BASIS)  # with real eigenvalues
SYMMETRIC = SQUARE + SQUARE.T


def sorted_squares(w, v):
    return v[:, np.argsort(w)] ** 2


def cosine(pairs):
    """The cosine of a matrix."""
    v = pairs.eigenvectors
    return v * np.cos(pairs.eigenvalues) @ np.linalg.inv(v)


CASES = {
    "pinv": (lambda a: np.linalg.pinv(a), TALL),
    "pinv_wide": (lambda a: np.linalg.pinv(a), WIDE),
    "pinv_square": (lambda a: np.linalg.pinv(a), SQUARE),
    "pinv_stack": (lambda a: np.linalg.pinv(a, rtol=1e-10), STACK),
    "lstsq": (lambda a, b: np.linalg.lstsq(a, b)[0], TALL, B),
    "lstsq_residuals": (lambda a, b: np.linalg.lstsq(a, b)[1], TALL, B),
    "lstsq_wide": (lambda a, b: np.linalg.lstsq(a, b)[0], WIDE, B[:3]),
    "lstsq_several": (lambda a, b: np.linalg.lstsq(a, b)[:2], TALL, BS),
    "lstsq_singular_values": (lambda a: np.linalg.lstsq(a, B)[3], TALL),
    "cond": (lambda a: np.linalg.cond(a), TALL),
    "cond_-2": (lambda a: np.linalg.cond(a, -2), SQUARE),
    "cond_1": (lambda a: np.linalg.cond(a, 1), SQUARE),
    "cond_inf": (lambda a: np.linalg.cond(a, -np.inf), SQUARE),
    "cond_fro": (lambda a: np.linalg.cond(a, "fro"), SQUARE),
    "cond_stack": (lambda a: np.linalg.cond(a), STACK),
    "cond_stack_fro": (lambda a: np.linalg.cond(a[:, :3], "fro"), STACK),
    # in an order of our own: LAPACK's may change with a small step
    "eigvals": (lambda a: np.sort(np.linalg.eigvals(a)), REAL),
    "eig": (lambda a: np.sum(np.linalg.eig(a)[0] ** 3), REAL),
    "eigenvectors": (lambda a: sorted_squares(*np.linalg.eig(a)), REAL),
    "eig_named": (lambda a: cosine(np.linalg.eig(a)), REAL),
    "eigvals_stack": (lambda a: np.sort(np.linalg.eigvals(a)), np.stack([REAL, REAL.T + np.eye(4)])),
    "tensorsolve": (
        lambda a, b: np.linalg.tensorsolve(a, b),
        RNG.standard_normal((2, 3, 6)),
        RNG.standard_normal((2, 3)),
    ),
    "tensorsolve_axes": (
        lambda a, b: np.linalg.tensorsolve(a, b, axes=(0,)),
        RNG.standard_normal((6, 2, 3)),
        RNG.standard_normal((2, 3)),
    ),
    "tensorinv": (lambda a: np.linalg.tensorinv(a), RNG.standard_normal((2, 3, 6))),
    "tensorinv_1": (lambda a: np.linalg.tensorinv(a, ind=1), RNG.standard_normal((4, 2, 2))),
}
CASES = {name: (case[0], case[1:]) for name, case in CASES.items()}


def leaves(x):
    return list(x) if isinstance(x, tuple) else [x]


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    f, args = CASES[name]
    for want, got in zip(leaves(f(*args)), leaves(mlgrad.jit(f)(*args)), strict=True):
        assert np.shape(want) == np.shape(got)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name):
    f, args = CASES[name]
    check_grads(f, args, order=2, modes=("rev", "fwd"), rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_batched(name):
    f, args = CASES[name]
    stacked = [np.stack([a, a + 1e-3 * np.eye(*a.shape) if a.ndim == 2 and "eig" not in name else a]) for a in args]
    got = mlgrad.vmap(f)(*stacked)
    for k in range(2):
        for want, g in zip(leaves(f(*(a[k] for a in stacked))), leaves(got), strict=True):
            np.testing.assert_allclose(g[k], want, rtol=1e-9, atol=1e-11)


WEIGHTS = {(n, m): np.cos(np.arange(n * m) * 1.7).reshape(n, m) for n in range(1, 6) for m in range(1, 6)}


@pytest.mark.parametrize(
    "f",
    [
        lambda np, a: np.sum(np.linalg.pinv(a) * WEIGHTS[3, 5]),
        lambda np, a: np.sum(np.linalg.lstsq(a, B)[0] ** 3),
        lambda np, a: np.sum(np.linalg.lstsq(a, BS)[1] ** 2),
        lambda np, a: np.linalg.cond(a) ** 2,
    ],
    ids=["pinv", "lstsq", "residuals", "cond"],
)
def test_as_jax(f):
    for derivative in (lambda m: m.grad, lambda m: m.hessian):
        got = derivative(mlgrad)(lambda a: f(np, a))(TALL)
        np.testing.assert_allclose(got, derivative(jax)(lambda a: f(jnp, a))(TALL), rtol=1e-8, atol=1e-9)


def test_eigenvalues_as_jax():
    f = lambda np, a: np.sum(np.real(np.linalg.eigvals(a)) ** 3)
    got = mlgrad.grad(lambda a: f(np, a))(REAL)
    np.testing.assert_allclose(got, jax.grad(lambda a: f(jnp, a))(REAL), rtol=1e-9)


@pytest.mark.parametrize("right", [(4,), (4, 3)])
@pytest.mark.parametrize("definite", [True, False])
def test_systems_with_a_symmetric_matrix(right, definite):
    """What implicit functions solve: as np.linalg.solve, with and without a number on the diagonal."""
    m, b = RNG.standard_normal((4, 4)), RNG.standard_normal(right)
    shift = 9.0 if definite else 0.1
    plain = lambda m, b: np.linalg.solve(m + m.T, b)
    symmetric = lambda m, b: _core.solve_symmetric(m + m.T, b)
    moved = lambda m, b, s: np.linalg.solve(m + m.T + s * np.eye(4), b)
    shifted = lambda m, b, s: _core.solve_shifted(m + m.T, b, s)
    np.testing.assert_allclose(mlgrad.jit(symmetric)(m, b), plain(m, b), rtol=1e-10)
    np.testing.assert_allclose(mlgrad.jit(shifted)(m, b, shift), moved(m, b, shift), rtol=1e-10)
    check_grads(mlgrad.jit(symmetric), (m, b), order=2, modes=("rev", "fwd"), rtol=1e-4)
    check_grads(mlgrad.jit(shifted), (m, b, shift), order=2, modes=("rev", "fwd"), rtol=1e-4)
    shifts = shift + np.arange(3.0)
    for axes in [(None, None, 0), (0, None, 0), (None, 0, None), (0, 0, 0)]:
        args = [np.stack([a] * 3) if axis == 0 and np.ndim(a) > 0 else a for a, axis in zip((m, b), axes, strict=False)]
        args.append(shifts if axes[2] == 0 else shift)
        got = mlgrad.vmap(shifted, axes)(*args)
        for k in range(3):
            want = moved(m, b, shifts[k] if axes[2] == 0 else shift)
            np.testing.assert_allclose(got[k], want, rtol=1e-9)
    if len(right) == 2:
        got = mlgrad.jit(lambda m, b, s: _core.solve_shifted(m + m.T, b, s))(m, b, shifts)
        np.testing.assert_allclose(got, np.stack([moved(m, b, s) for s in shifts]), rtol=1e-9)
    with pytest.raises(ValueError, match="solve_shifted"):
        mlgrad.jit(lambda m, b: _core.solve_shifted(np.stack([m, m]), b, np.ones(3)))(m, b)


def test_pinv_where_the_rank_is_low():
    """The derivative along matrices of the same rank, for which pinv is smooth."""
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((5, 2)), rng.standard_normal((2, 4))
    f = lambda u, v: np.linalg.pinv(u @ v, rcond=1e-10)
    np.testing.assert_allclose(mlgrad.jit(f)(u, v), np.linalg.pinv(u @ v, rcond=1e-10), rtol=1e-10, atol=1e-12)
    check_grads(f, (u, v), order=2, modes=("rev", "fwd"), rtol=1e-4)


def test_pinv_of_equal_singular_values():
    """Those of the SVD are not determined there; those of pinv are: that of the inverse."""
    got = mlgrad.grad(lambda a: np.sum(np.linalg.pinv(a) * SQUARE))(2 * np.eye(4))
    np.testing.assert_allclose(got, -SQUARE / 4, rtol=1e-12)
    got = mlgrad.jacobian(np.linalg.pinv)(np.zeros((2, 3)))
    np.testing.assert_array_equal(got, np.zeros((3, 2, 2, 3)))


def test_pinv_options():
    a = np.diag([1.0, 1e-3, 1e-12])
    for options in ({}, {"rcond": 1e-2}, {"rtol": 1e-2}, {"rtol": None}, {"hermitian": True}):
        f = lambda a, options=options: np.linalg.pinv(a, **options)
        np.testing.assert_allclose(mlgrad.jit(f)(a), f(a), rtol=1e-9)
    with pytest.raises(ValueError, match="rtol or rcond"):
        mlgrad.jit(lambda a: np.linalg.pinv(a, 1e-3, rtol=1e-2))(a)
    with pytest.raises(np.linalg.LinAlgError, match=r"pinv: a matrix.*\(3,\)"):
        mlgrad.jit(np.linalg.pinv)(np.ones(3))


def test_lstsq_where_the_rank_is_low():
    got, want = mlgrad.jit(lambda a, b: np.linalg.lstsq(a, b))(LOW, B), np.linalg.lstsq(LOW, B)
    for g, w in zip(got, want, strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)
    assert got[2] == 2
    with pytest.raises(np.linalg.LinAlgError, match=r"lstsq: .*\(5, 4\) and \(3,\)"):
        mlgrad.jit(np.linalg.lstsq)(LOW, B[:3])


def test_rank():
    for a in (LOW, TALL, STACK, np.zeros((3, 3)), np.zeros(3), B, 2.0):
        np.testing.assert_array_equal(mlgrad.jit(np.linalg.matrix_rank)(a), np.linalg.matrix_rank(a))
    f = lambda a: np.linalg.matrix_rank(a, hermitian=True)
    assert mlgrad.jit(f)(SYMMETRIC) == 4
    assert mlgrad.jit(lambda a: np.linalg.matrix_rank(a, tol=1e3))(TALL) == 0
    assert mlgrad.jit(lambda a: np.linalg.matrix_rank(a, rtol=0.99))(TALL) == 1
    # an integer: nothing flows
    f = lambda a: np.sum(a) * np.linalg.matrix_rank(a)
    np.testing.assert_array_equal(mlgrad.grad(f)(TALL), 3 * np.ones((5, 3)))


def test_singular_matrices_have_an_infinite_condition():
    for a in (np.zeros((2, 2)), np.ones((2, 2))):
        for p in (None, 1, "fro"):
            assert mlgrad.jit(lambda a, p=p: np.linalg.cond(a, p))(a) > 1e15
    assert mlgrad.jit(lambda a: np.linalg.cond(a, -2))(np.zeros((2, 2))) == np.inf


def test_complex_eigenvalues_are_refused():
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    for f in (np.linalg.eigvals, lambda a: np.linalg.eig(a)[0]):
        for transform in (mlgrad.jit, mlgrad.jacobian):
            with pytest.raises(np.linalg.LinAlgError, match=r"complex eigenvalues, such as 0\+1j.* use eigh"):
                transform(f)(turn)
    with pytest.raises(np.linalg.LinAlgError, match=r"eig: the matrices must be square, got shape \(5, 3\)"):
        mlgrad.jit(np.linalg.eigvals)(TALL)


def test_errors_of_tensors():
    with pytest.raises(np.linalg.LinAlgError, match=r"tensorsolve: a of shape \(5, 3\) does not fit b of shape \(5,\)"):
        mlgrad.jit(np.linalg.tensorsolve)(TALL, B)
    with pytest.raises(np.linalg.LinAlgError, match="equal sizes"):
        mlgrad.jit(np.linalg.tensorinv)(np.ones((2, 3, 5)))
    with pytest.raises(ValueError, match="positive"):
        mlgrad.jit(lambda a: np.linalg.tensorinv(a, 0))(TALL)


def test_lstsq_under_vmap_where_some_ranks_are_low():
    """NumPy's residuals are empty there, which a batch cannot have: nan, and so their derivatives."""
    a = RNG.standard_normal((3, 4, 2))
    a[1, :, 1] = 2 * a[1, :, 0]
    b = RNG.standard_normal((3, 4))
    x, residuals, rank, _ = mlgrad.vmap(lambda a, b: np.linalg.lstsq(a, b))(a, b)
    slopes = mlgrad.vmap(mlgrad.grad(lambda a, b: np.sum(np.linalg.lstsq(a, b)[1])))(a, b)
    for k in range(3):
        want = np.linalg.lstsq(a[k], b[k])
        np.testing.assert_allclose(x[k], want[0], rtol=1e-9)
        assert rank[k] == want[2]
        assert want[1].size or (np.isnan(residuals[k]).all() and np.isnan(slopes[k]).all())
        if want[1].size:
            np.testing.assert_allclose(residuals[k], want[1], rtol=1e-9)
            one = mlgrad.grad(lambda a, k=k: np.sum(np.linalg.lstsq(a, b[k])[1]))(a[k])
            np.testing.assert_allclose(slopes[k], one, rtol=1e-9)
