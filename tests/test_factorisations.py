"""Eigenvalues and singular values where they coincide, and what cannot be differentiated."""

import numpy as np
import pytest

import mlgrad
from mlgrad.testing import check_grads

RNG = np.random.default_rng(7)
H = RNG.standard_normal((3, 3))


def symmetric_differences(f, a, step=1e-5):
    """The derivative of f by the lower triangle of a symmetric matrix, by central differences."""
    out = np.zeros_like(a)
    for i in range(len(a)):
        for j in range(i + 1):
            e = np.zeros_like(a)
            e[i, j] = e[j, i] = step
            out[i, j] = (f(a + e) - f(a - e)) / (2 * step)
    return out


def differences(f, a, step=1e-5):
    out = np.zeros_like(a)
    for index in np.ndindex(a.shape):
        e = np.zeros_like(a)
        e[index] = step
        out[index] = (f(a + e) - f(a - e)) / (2 * step)
    return out


class TestRepeatedEigenvalues:
    def test_symmetric_functions_of_them(self):
        f = lambda a: np.sum(np.linalg.eigvalsh(a) ** 3)
        np.testing.assert_allclose(mlgrad.grad(f)(2 * np.eye(3)), 12 * np.eye(3))
        # rotated, so that they differ by rounding
        q = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
        a = q @ np.diag([1.0, 2.0, 2.0, 3.0]) @ q.T
        got = mlgrad.grad(f)(a)
        np.testing.assert_allclose(got, symmetric_differences(f, a), rtol=1e-7, atol=1e-7)

    def test_ties_share(self):
        np.testing.assert_allclose(mlgrad.grad(lambda a: np.linalg.eigvalsh(a)[0])(np.eye(3)), np.eye(3) / 3)

    def test_a_space_that_belongs_to_them(self):
        def f(a):
            v = np.linalg.eigh(a).eigenvectors[:, 1:]
            return np.sum(H * (v @ v.T))

        a = np.diag([1.0, 2.0, 2.0])
        np.testing.assert_allclose(mlgrad.grad(f)(a), symmetric_differences(f, a), rtol=1e-7, atol=1e-9)

    def test_what_may_depend_on_the_basis_is_nan(self):
        one_vector = lambda a: np.sum(H[0] * np.linalg.eigh(a).eigenvectors[:, 0])
        assert np.isnan(mlgrad.grad(one_vector)(np.eye(3))).any()

        def square(a):
            w, v = np.linalg.eigh(a)
            return np.sum(H * ((v * w**2) @ v.T))

        assert np.isnan(mlgrad.grad(square)(np.eye(3))).any()

    def test_second_derivatives_are_nan(self):
        f = lambda a: np.sum(np.linalg.eigvalsh(a) ** 2)
        for h in (mlgrad.hessian(f), mlgrad.jacrev(mlgrad.grad(f)), mlgrad.jit(mlgrad.hessian(f))):
            assert np.isnan(h(np.eye(2))[0, 0]).any()
        check_grads(lambda a: f((a + a.T) / 2), (np.diag([1.0, 2.0, 4.0]) + 0.1 * H,), order=2)


class TestRepeatedSingularValues:
    def test_polar_factor(self):
        def f(a):
            u, _, vt = np.linalg.svd(a)
            return np.sum(H * (u @ vt))

        a = np.eye(3)
        np.testing.assert_allclose(mlgrad.grad(f)(a), differences(f, a), rtol=1e-8, atol=1e-9)

    def test_nuclear_norm(self):
        f = lambda a: np.linalg.norm(a, "nuc")
        np.testing.assert_allclose(mlgrad.grad(f)(np.eye(3)), np.eye(3))
        assert not mlgrad.grad(f)(np.zeros((2, 3))).any()
        u, v = np.array([0.6, 0.8]), np.array([1.0, 2.0, 2.0]) / 3
        np.testing.assert_allclose(mlgrad.grad(f)(5 * np.outer(u, v)), np.outer(u, v), atol=1e-14)

    def test_spectral_norm_at_a_tie(self):
        np.testing.assert_allclose(mlgrad.grad(lambda a: np.linalg.norm(a, 2))(np.eye(2)), np.eye(2) / 2)


class TestCalls:
    def test_named_results(self):
        seen = []

        def f(a):
            seen.append(np.linalg.eigh(a))
            seen.append(np.linalg.svd(a))
            seen.append(np.linalg.qr(a))
            return seen[0].eigenvalues[0] + seen[1].S[0] + seen[2].R[0, 0]

        mlgrad.grad(f)(np.diag([1.0, 2.0]))
        assert [type(x).__name__ for x in seen] == ["EighResult", "SVDResult", "QRResult"]

    @pytest.mark.parametrize(("m", "n"), [(0, 3), (3, 0), (0, 0)])
    def test_empty(self, m, n):
        a = np.zeros((2, m, n))
        for f in (np.linalg.svdvals, lambda a: np.linalg.svd(a, full_matrices=False), np.linalg.qr):
            want = mlgrad.tree.flatten(f(a))[0]
            out, pull = mlgrad.vjp(f, a)
            for x, y in zip(mlgrad.tree.flatten(out)[0], want, strict=True):
                np.testing.assert_array_equal(x, y)
            assert pull(out)[0].shape == a.shape

    def test_float32(self):
        a = (H + H.T).astype(np.float32)
        w, v = mlgrad.jit(np.linalg.eigh)(a)
        assert w.dtype == v.dtype == np.float32
        np.testing.assert_allclose((v * w) @ v.T, a, atol=1e-5)
        assert mlgrad.grad(lambda a: np.linalg.norm(a, 2))(a).dtype == np.float32

    def test_failure_can_be_caught(self):
        def f(a):
            try:
                return np.sum(np.linalg.eigvalsh(a))
            except np.linalg.LinAlgError:
                return np.sum(a) * 0 + 7.0

        assert mlgrad.value_and_grad(f)(np.full((2, 2), np.nan))[1].shape == (2, 2)
        with pytest.raises(np.linalg.LinAlgError, match="did not converge"):
            mlgrad.jit(np.linalg.svdvals)(np.full((2, 2), np.inf))

    @pytest.mark.parametrize(
        ("f", "error", "message"),
        [
            (lambda a: np.linalg.svd(a), ValueError, "full_matrices=False"),
            (lambda a: np.linalg.qr(a, mode="complete"), ValueError, "reduced"),
            (lambda a: np.linalg.eigh(a), np.linalg.LinAlgError, "square"),
            (lambda a: np.linalg.eigh(a[:2], UPLO="X"), ValueError, "UPLO"),
            (lambda a: np.linalg.svdvals(a[0]), np.linalg.LinAlgError, "two-dimensional"),
        ],
    )
    def test_errors(self, f, error, message):
        with pytest.raises(error, match=message):
            mlgrad.vjp(f, np.ones((3, 2)))
