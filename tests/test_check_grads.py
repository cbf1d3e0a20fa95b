"""check_grads finds what is right and what is wrong, and says where."""

import numpy as np
import pytest

import mlgrad
from mlgrad.testing import check_grads

X = np.array([0.3, -1.2, 2.0])


def wrong_in(element):
    """sin, with a derivative that is off by 1e-4 in one element."""

    def f(x):
        off = np.zeros(3)
        off[element] = 1e-4
        return np.sin(x) + (x - mlgrad.stop_gradient(x)) * off

    return f


def test_right_derivatives_pass():
    check_grads(np.sin, (X,), order=3)
    check_grads(lambda x, y: np.outer(x, y) ** 2, (X, 2.0 * X), order=2)
    check_grads(lambda p: {"s": p["a"] * p["b"][0]}, ({"a": X, "b": [2.0]},), order=2)
    check_grads(np.log, (1e-3,))
    check_grads(lambda x: 1e8 * x, (1e-5,))
    check_grads(lambda x: np.sum(x**3), (X.astype(np.float32),), order=2)


@pytest.mark.parametrize("mode", ["rev", "fwd"])
@pytest.mark.parametrize("element", [0, 2])
def test_wrong_derivatives_are_named(mode, element):
    with pytest.raises(AssertionError, match=rf"argument 1, index \({element},\)") as info:
        check_grads(lambda s, x: s * wrong_in(element)(x), (1.0, X), modes=[mode])
    message = str(info.value)
    assert ("vjp" if mode == "rev" else "jvp") in message
    numbers = [float(w.split("(")[-1].rstrip("),")) for w in message.split() if w.startswith("np.float64(")]
    assert len(numbers) == 2
    np.testing.assert_allclose(abs(numbers[0] - numbers[1]), 1e-4, rtol=2.0)


def test_a_wrong_second_derivative_is_found():
    def f(x):
        return x * mlgrad.stop_gradient(x) / 2 + mlgrad.stop_gradient(x) * x / 2

    with pytest.raises(AssertionError):
        check_grads(f, (2.0,))
    check_grads(lambda x: x**3, (2.0,), order=2)


def test_a_missing_derivative_is_found():
    with pytest.raises(AssertionError, match="argument 0"):
        check_grads(lambda x: mlgrad.stop_gradient(x) ** 2, (2.0,))


def test_kinks_and_noise_are_reported_as_such():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="do not settle"):
        check_grads(lambda x: x + rng.standard_normal(), (1.0,))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="argument 0 is int64"):
        check_grads(lambda x: x * 1.0, (3,))
    with pytest.raises(ValueError, match="order"):
        check_grads(np.sin, (X,), order=0)
    with pytest.raises(ValueError, match="modes"):
        check_grads(np.sin, (X,), modes=["sideways"])


def test_large_arguments_are_sampled():
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        return np.sum(x**2)

    check_grads(f, (np.linspace(-1.0, 1.0, 10_000),), rtol=1e-5)
    assert calls < 3000


class TestComplexStep:
    def test_right_derivatives_pass_at_full_precision(self):
        modes = ("rev", "fwd", "complex")
        check_grads(lambda x, y: np.exp(x) * np.sin(y) / x, (X, 0.7), modes=modes)
        check_grads(lambda p: {"s": p["a"] @ p["a"], "t": np.cos(p["b"])}, ({"a": X, "b": 2.0},), modes=modes)
        check_grads(lambda a: np.linalg.solve(a, np.ones(2)), (np.array([[2.0, 1.0], [0.5, 3.0]]),), modes=modes)

    def test_finds_what_finite_differences_cannot(self):
        f = lambda x: np.sin(x) + 1e-9 * (x - mlgrad.stop_gradient(x))
        # stop_gradient of a complex NumPy array is the array, so the two sides differ by 1e-9 in the derivative
        check_grads(f, (0.3,))
        with pytest.raises(AssertionError, match="the complex step"):
            check_grads(f, (0.3,), modes=("rev", "complex"))

    def test_functions_that_do_not_allow_it(self):
        with pytest.raises(TypeError, match="imaginary part"):
            check_grads(lambda x: np.abs(x) ** 2, (X,), modes=("rev", "complex"))
        with pytest.raises(TypeError, match="complex arguments"):
            check_grads(lambda x: np.arctan2(x, 1.0), (X,), modes=("fwd", "complex"))
        with pytest.raises(ValueError, match="first derivatives"):
            check_grads(np.sin, (X,), order=2, modes=("rev", "complex"))


def test_the_step_can_be_chosen():
    # a bump far narrower than the usual first step
    bump = lambda x: np.exp(-((x / 1e-5) ** 2))
    with pytest.raises((ValueError, AssertionError)):
        check_grads(bump, (3e-6,), rtol=1e-7, atol=1e-7)
    check_grads(bump, (3e-6,), eps=1e-5)
    with pytest.raises(ValueError, match="eps"):
        check_grads(np.sin, (1.0,), eps=0.0)
