"""debug_nans names where a nan comes from."""

import re
import sys

import numpy as np
import pytest

import mlgrad

X = np.array([1.0, 3.0])


def test_names_the_operation_and_its_arguments():
    with mlgrad.debug_nans():
        with pytest.raises(FloatingPointError, match=r"nan came first out of log of float64\(2,\) from -1.0 to 1.0"):
            mlgrad.grad(lambda x: np.sum(np.exp(np.log(x - 2)) * 3))(X)
        with pytest.raises(FloatingPointError, match="log of"):
            mlgrad.vmap(lambda x: np.log(x - 2))(X)
    # off again
    assert np.isnan(mlgrad.vmap(lambda x: np.log(x - 2))(X)[0])


def here():
    """The pattern of the caller's file and of the line after it."""
    frame = sys._getframe(1)
    return rf"line {frame.f_lineno + 1} of .*test_debug_nans\.py"


def test_names_the_line():
    with mlgrad.debug_nans():

        def f(x):
            y = np.sin(x)
            places.append(here())
            z = np.log(y - 2)
            return np.sum(z * 0 + x)

        for transform in (mlgrad.jit, mlgrad.vmap, mlgrad.value_and_grad):
            places = []
            with pytest.raises(FloatingPointError) as e:
                transform(f)(X)
            assert re.search(rf"log of .*, in {places[0]}", str(e.value))

        def g(x):
            places.append(here())
            root = np.sqrt(x)
            return np.sum(root**2)

        for transform in (mlgrad.grad, lambda g: mlgrad.jit(mlgrad.grad(g))):
            places = []
            with pytest.raises(FloatingPointError) as e:
                transform(g)(np.array([0.0, 1.0]))
            assert re.search(rf"in the derivative of {places[0]}", str(e.value))

        places = []

        def loop(x):
            places.append(here())
            y = mlgrad.scan(lambda c, _: (np.log(c), None), x, None, length=5)[0]
            return y + 1

        with pytest.raises(FloatingPointError) as e:
            mlgrad.grad(loop)(0.5)
        assert re.search(rf"scan of .*, in {places[0]}", str(e.value))


def test_a_nan_of_the_derivative_alone():
    f = lambda x: np.sum(np.sqrt(x) ** 2)
    with mlgrad.debug_nans():
        assert mlgrad.value_and_grad(f)(X)[0] == pytest.approx(4.0)
        with pytest.raises(FloatingPointError, match="nan came first out of"):
            mlgrad.grad(f)(np.array([0.0, 1.0]))


def test_under_jit_and_branches():
    f = mlgrad.jit(lambda x: np.log(x) if x < 10 else x)
    assert np.isnan(f(-1.0))
    with mlgrad.debug_nans():
        assert f(1.0) == 0.0
        assert f(11.0) == 11.0
        with pytest.raises(FloatingPointError, match="log of float64"):
            f(-1.0)
    assert np.isnan(f(-1.0))


def test_infinities_on_request():
    f = mlgrad.jit(lambda x: 1 / x)
    with mlgrad.debug_nans():
        assert f(0.0) == np.inf
    with mlgrad.debug_nans(infs=True), pytest.raises(FloatingPointError, match=r"infinity came first out of .*of 0\.0"):
        f(0.0)


def test_nans_that_were_given():
    with mlgrad.debug_nans(), pytest.raises(FloatingPointError, match="from the beginning, in an argument"):
        mlgrad.jit(lambda x: x * 2)(np.nan)


def test_nans_that_are_not_taken_are_fine():
    with mlgrad.debug_nans():
        f = lambda x: np.sum(np.where(x > 2, np.sqrt(x - 2), 0.0))
        np.testing.assert_allclose(mlgrad.grad(f)(X), [0.0, 0.5])


def test_switch():
    mlgrad.debug_nans()
    try:
        with mlgrad.debug_nans(False):
            assert np.isnan(mlgrad.jit(np.log)(-1.0))
        with pytest.raises(FloatingPointError):
            mlgrad.jit(lambda x: np.log(x))(-1.0)
    finally:
        mlgrad.debug_nans(False)
    assert np.isnan(mlgrad.jit(lambda x: np.log(x))(-1.0))


def test_decompositions():
    a = np.array([[2.0, 0.0], [0.0, -3.0]])
    with mlgrad.debug_nans(), pytest.raises(FloatingPointError, match="log of"):
        mlgrad.value_and_grad(lambda a: np.linalg.slogdet(a)[1] + np.log(np.linalg.slogdet(a)[0]))(a)
