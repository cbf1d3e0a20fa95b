"""mlgrad.numpy: NumPy's names, and arrays made inside a transform."""

import numpy as np
import pytest

import mlgrad
import mlgrad.numpy as mnp

MAKERS = {
    "zeros": lambda np: np.zeros((2, 3)),
    "zeros_int": lambda np: np.zeros(3, int),
    "ones": lambda np: np.ones(3, np.float32),
    "full": lambda np: np.full((2, 2), 7),
    "arange": lambda np: np.arange(1, 9, 3),
    "arange_float": lambda np: np.arange(0.0, 1.0, 0.25),
    "linspace": lambda np: np.linspace(0, 1, 5, endpoint=False),
    "logspace": lambda np: np.logspace(0, 2, 3),
    "geomspace": lambda np: np.geomspace(1, 8, 4),
    "eye": lambda np: np.eye(3, 4, k=1),
    "identity": lambda np: np.identity(2),
    "tri": lambda np: np.tri(3, k=-1),
    "array": lambda np: np.array([[1, 2], [3, 4.5]]),
    "array_ndmin": lambda np: np.array(3.0, ndmin=2),
    "asarray": lambda np: np.asarray([True, False]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_arrays_out_of_nothing(name):
    make = MAKERS[name]
    want = make(np)
    outside = make(mnp)
    assert type(outside) is np.ndarray
    assert outside.dtype == want.dtype
    np.testing.assert_allclose(outside, want)
    seen = []

    def f(x):
        made = make(mnp)
        assert isinstance(made, mlgrad.Array)
        seen.append((made.dtype, made.shape))
        return np.sum(made * x)

    value, slope = mlgrad.value_and_grad(f)(2.0)
    assert seen[0] == (want.dtype, want.shape)
    np.testing.assert_allclose(value, 2.0 * np.sum(want), rtol=1e-6)
    np.testing.assert_allclose(slope, np.sum(want), rtol=1e-6)


def test_buffers_can_be_written():
    def f(x):
        out = mnp.empty(3)
        for k in range(3):
            out[k] = x[k] ** 2 if k else 5.0
        out[2:] *= 2
        return np.sum(out)

    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(mlgrad.grad(f)(x), [0.0, 4.0, 12.0])
    np.testing.assert_allclose(mlgrad.jit(mlgrad.grad(f))(x), [0.0, 4.0, 12.0])
    assert f(x) == 5.0 + 4.0 + 18.0


def test_nested_lists_with_traced_elements():
    def f(x):
        return np.sum(mnp.array([[x[0], 2.0], [np.sin(x[1]), x[0] * x[1]]]) * np.array([[1, 2], [3, 4]]))

    np.testing.assert_allclose(mlgrad.grad(f)(np.array([0.3, 0.7])), [1 + 4 * 0.7, 3 * np.cos(0.7) + 4 * 0.3])
    assert mlgrad.grad(lambda x: mnp.array([x, 1.0], dtype=np.float32).sum())(1.0) == 1.0
    with pytest.raises(ValueError, match="shape"):
        mlgrad.grad(lambda x: np.sum(mnp.array([[x[0]], [x[0], x[1]]])))(np.ones(2))


def test_array_copies_and_asarray_does_not():
    def f(x):
        y = mnp.array(x)
        y *= 3.0
        return np.sum(x * y)

    np.testing.assert_allclose(mlgrad.grad(f)(np.array([1.0, 2.0])), [6.0, 12.0])

    def g(x):
        return np.sum(mnp.asarray(x) ** 2) if mnp.asarray(x) is x else np.sum(x)

    assert mlgrad.grad(g)(2.0) == 4.0
    x = np.ones(2)
    assert mnp.asarray(x) is x
    assert mnp.array(x) is not x


def test_values_and_ends_may_be_traced():
    np.testing.assert_allclose(mlgrad.grad(lambda x: np.sum(mnp.full((2, 3), x)))(1.0), 6.0)
    np.testing.assert_allclose(mlgrad.grad(lambda x: np.sum(mnp.full((2, 3), x)))(np.ones(3)), np.full(3, 2.0))
    a, b = mlgrad.grad(lambda a, b: np.sum(mnp.linspace(a, b, 5) ** 2), (0, 1))(1.0, 2.0)
    grid = np.linspace(1, 2, 5)
    np.testing.assert_allclose(a, np.sum(2 * grid * np.linspace(1, 0, 5)))
    np.testing.assert_allclose(b, np.sum(2 * grid * np.linspace(0, 1, 5)))
    a, b = mlgrad.grad(lambda a, b: np.sum(mnp.geomspace(a, b, 3)), (0, 1))(1.0, 4.0)
    np.testing.assert_allclose([a, b], [1 + np.sqrt(4) / 2, 1 + 0.5 / 2])
    assert mlgrad.grad(lambda x: np.sum(x * mnp.arange(np.argmax(x))))(np.array([1.0, 0.0, 5.0])[1:]).shape == (2,)


def test_other_names_are_numpy_s():
    assert mnp.sin is np.sin
    assert mnp.float32 is np.float32
    assert mnp.pi == np.pi
    assert mnp.linalg is np.linalg
    with pytest.raises(AttributeError, match="nonsense"):
        mnp.nonsense  # noqa: B018
    assert "sin" in dir(mnp)
    assert "zeros" in dir(mnp)
