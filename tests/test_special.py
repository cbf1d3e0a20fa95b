"""mlgrad.scipy.special against SciPy and mpmath, traced and plain."""

import mpmath
import numpy as np
import pytest
import scipy.special

import mlgrad
from mlgrad import nn
from mlgrad.scipy import special
from mlgrad.testing import check_grads

X = np.array([-2.5, -0.3, 0.2, 0.7, 1.9, 5.0])
UNIT = np.array([0.05, 0.3, 0.5, 0.8, 0.99])
POSITIVE = np.array([0.1, 0.9, 1.0, 2.5, 30.0])

ONE = {
    "erf": X,
    "erfc": X,
    "erfinv": UNIT,
    "expit": X,
    "log_expit": X,
    "logit": UNIT,
    "ndtr": X,
    "log_ndtr": X,
    "gamma": POSITIVE[:4],
    "gammaln": POSITIVE,
    "digamma": POSITIVE,
    "psi": POSITIVE,
    "entr": POSITIVE,
}
TWO = {
    "xlogy": (X, POSITIVE[[0, 1, 2, 3, 4, 0]]),
    "xlog1py": (X, POSITIVE[[0, 1, 2, 3, 4, 0]]),
    "beta": (POSITIVE[:4], POSITIVE[3::-1]),
    "betaln": (POSITIVE, POSITIVE[::-1]),
    "rel_entr": (POSITIVE, POSITIVE[::-1]),
    "kl_div": (POSITIVE, POSITIVE[::-1]),
}


def close(got, want, tolerance=1e-13):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def traced(f, *args):
    """The value that f has inside a transform."""
    return mlgrad.jvp(f, args, tuple(np.zeros_like(a) for a in args))[0]


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_argument(name):
    f, theirs, x = getattr(special, name), getattr(scipy.special, name), ONE[name]
    close(f(x), theirs(x))
    close(traced(f, x), theirs(x))
    close(traced(theirs, x), theirs(x))
    assert type(f(float(x[1]))) is np.float64
    close(f(float(x[1])), theirs(x[1]))
    check_grads(f, (x,), order=2, rtol=1e-5)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_arguments(name):
    f, theirs, (x, y) = getattr(special, name), getattr(scipy.special, name), TWO[name]
    close(f(x, y), theirs(x, y), 1e-12)
    close(traced(f, x, y), theirs(x, y), 1e-12)
    check_grads(f, (x, y), order=2, rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_polygamma(n):
    want = [float(mpmath.polygamma(n, x)) for x in POSITIVE]
    close(special.polygamma(n, POSITIVE), want, 1e-12)
    check_grads(lambda x: special.polygamma(n, x), (POSITIVE[1:],), order=2, rtol=1e-5)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (1,)])
def test_sums_of_exponentials(axis):
    a = np.random.default_rng(0).standard_normal((3, 4)) * 3
    b = np.abs(a) + 0.5
    close(special.logsumexp(a, axis=axis), scipy.special.logsumexp(a, axis=axis))
    close(
        special.logsumexp(a, axis=axis, b=b, keepdims=True), scipy.special.logsumexp(a, axis=axis, b=b, keepdims=True)
    )
    close(special.softmax(a, axis=axis), scipy.special.softmax(a, axis=axis))
    close(special.log_softmax(a, axis=axis), scipy.special.log_softmax(a, axis=axis))
    for f in (special.logsumexp, special.softmax, special.log_softmax):
        close(traced(lambda a, f=f: f(a, axis=axis), a), f(a, axis=axis))
        check_grads(lambda a, f=f: f(a, axis=axis), (a,), order=2, rtol=1e-5)
    check_grads(lambda a, b: special.logsumexp(a, axis=axis, b=b), (a, b), rtol=1e-5)


def test_sums_of_exponentials_at_the_limits():
    huge = np.array([1000.0, 1000.0, -1000.0])
    close(special.logsumexp(huge), 1000 + np.log(2))
    close(mlgrad.grad(special.logsumexp)(huge), [0.5, 0.5, 0.0])
    close(mlgrad.grad(lambda a: special.log_softmax(a)[2])(huge), [-0.5, -0.5, 1.0])
    nothing = np.array([-np.inf, -np.inf])
    assert special.logsumexp(nothing) == -np.inf
    some = np.array([-np.inf, 0.0])
    close(special.logsumexp(some), 0.0)
    close(mlgrad.grad(special.logsumexp)(some), [0.0, 1.0])
    assert special.logsumexp(np.array([np.inf, 0.0])) == np.inf
    assert type(special.logsumexp(X)) is np.float64


def test_bad_axes_are_refused():
    for f in (special.logsumexp, special.softmax, special.log_softmax):
        with pytest.raises(np.exceptions.AxisError):
            f(X, axis=1)
        with pytest.raises(np.exceptions.AxisError):
            mlgrad.grad(lambda x, f=f: np.sum(f(x, axis=1)))(X)


class TestNetworks:
    def test_values_of_plain_arrays(self):
        close(nn.relu(X), np.maximum(X, 0))
        assert np.isnan(nn.relu(np.nan))
        assert nn.relu(np.float32(-1)).dtype == np.float32
        assert nn.relu(X.astype(np.float32)).dtype == np.float32
        assert type(nn.relu(-2.0)) is np.float64
        close(nn.softplus(X), np.log1p(np.exp(X)))
        close(nn.silu(X), X * scipy.special.expit(X))
        close(nn.gelu(X), X * scipy.special.ndtr(X))
        close(nn.gelu(X, approximate=True), nn.gelu(X), 1e-3)

    @pytest.mark.parametrize("f", [nn.relu, nn.sigmoid, nn.softplus, nn.silu, nn.gelu, nn.softmax, nn.log_softmax])
    def test_derivatives(self, f):
        check_grads(f, (X,), order=2, rtol=1e-5)
        close(traced(f, X), f(X))

    def test_relu_at_zero(self):
        assert mlgrad.grad(nn.relu)(0.0) == 0.0
        assert mlgrad.jvp(nn.relu, (0.0,), (1.0,))[1] == 0.0

    def test_cross_entropies(self):
        z, labels = np.random.default_rng(0).standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])
        want = -scipy.special.log_softmax(z, axis=1)[np.arange(5), labels]
        close(nn.softmax_cross_entropy(z, labels), want)
        close(nn.softmax_cross_entropy(z, nn.one_hot(labels, 4)), want)
        g = mlgrad.grad(lambda z: np.sum(nn.softmax_cross_entropy(z, labels)))(z)
        close(g, scipy.special.softmax(z, axis=1) - np.eye(4)[labels])
        y = np.array([0.0, 1.0, 0.3, 1.0, 0.0, 0.5])
        p = scipy.special.expit(X)
        close(nn.sigmoid_cross_entropy(X, y), -y * np.log(p) - (1 - y) * np.log1p(-p), 1e-12)
        close(mlgrad.grad(lambda z: np.sum(nn.sigmoid_cross_entropy(z, y)))(X), p - y)

    def test_cross_entropy_refuses_what_does_not_fit(self):
        z = np.zeros((5, 4))
        with pytest.raises(ValueError, match=r"\(3,\).*\(5, 4\)"):
            nn.softmax_cross_entropy(z, np.zeros(3, dtype=int))
        with pytest.raises(ValueError, match=r"\(5, 3\)"):
            nn.softmax_cross_entropy(z, np.zeros((5, 3)))
        for labels in ([0, 1, 2, 3, 4], [0, 1, 2, 3, -1]):
            for call in (nn.softmax_cross_entropy, mlgrad.jit(nn.softmax_cross_entropy)):
                with pytest.raises(IndexError, match="out of bounds"):
                    call(z, np.array(labels))
        with pytest.raises(IndexError):
            nn.softmax_cross_entropy(z, np.full(5, 4))
        with pytest.raises(ValueError, match="axis of classes"):
            nn.softmax_cross_entropy(1.0, 0)

    def test_one_hot(self):
        close(nn.one_hot([[0, 2], [1, 5]], 3), [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]])
        assert nn.one_hot([0], 2, np.float32).dtype == np.float32


@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-20, 1e-9, -1e-8, 1e-7, 1e-4, 0.01, 0.3, 0.318, 0.319, 0.5, 1.0, 2.7])
def test_derivatives_of_sinc(x):
    """The sum over k of (-1)^k (πx)^2k / (2k + 1)!, term by term."""
    f = np.sinc
    for order in range(5):
        terms = [
            (-1) ** k * mpmath.pi ** (2 * k) / mpmath.factorial(2 * k + 1) * mpmath.ff(2 * k, order)
            * mpmath.mpf(x) ** (2 * k - order)
            for k in range((order + 1) // 2, 50)
        ]  # fmt: skip
        tolerance = 1e-12 if abs(x) > 0.3 else 1e-300
        assert mlgrad.jit(f)(x) == pytest.approx(float(mpmath.fsum(terms)), rel=1e-11, abs=tolerance)
        f = mlgrad.grad(f)


def test_relative_entropy_where_the_quotient_is_too_large_or_too_small():
    x = np.array([1.0, 0.5, 1e300, 1e-8, 1e-300, 3.0])
    y = np.array([1e-320, 1e-310, 1e-300, 1e-318, 1e300, 1e-10])
    close(special.rel_entr(x, y), scipy.special.rel_entr(x, y), 1e-12)
    # d/dx x·log(x/y) = log(x) - log(y) + 1
    close(mlgrad.elementwise_grad(special.rel_entr)(x, y), np.log(x) - np.log(y) + 1, 1e-12)
