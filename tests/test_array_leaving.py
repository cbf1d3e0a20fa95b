"""Where a traced value would leave the tape, an error says so and names the remedy; what may leave does."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import mlgrad
from array_helpers import on_tape

V = np.array([1.5, -2.0, 3.0])


def in_grad(f: Any, x: Any = V) -> Any:
    """`f` of the argument of a transform; its result as aux."""
    return mlgrad.grad(lambda a: (np.sum(a), f(a)), has_aux=True)(x)[1]


def write_element(a: Any) -> None:
    np.zeros(3)[0] = a[0]


def write_array(a: Any) -> None:
    np.zeros(3)[:] = a


def add_in_place(a: Any) -> None:
    buffer = np.zeros(3)
    buffer += a


LEAVING = {
    "float": lambda a: float(a[0]),
    "int": lambda a: int(a[0]),
    "complex": lambda a: complex(a[0]),
    "math": lambda a: math.sin(a[0]),
    "asarray": np.asarray,
    "array": np.array,
    "array of elements": lambda a: np.array([a[0], a[1]]),
    "asarray of elements": lambda a: np.asarray([a[0], 1.0]),
    "array of rows": lambda a: np.array([a, a]),
    "tolist": lambda a: a.tolist(),
    "item": lambda a: a[0].item(),
    "write element": write_element,
    "write array": write_array,
    "in place": add_in_place,
    "out": lambda a: np.sin(a, out=np.zeros(3)),
    "value": lambda a: a.value,
}


@pytest.mark.parametrize("name", LEAVING)
def test_leaving_raises_with_the_remedy(name: str) -> None:
    with pytest.raises(TypeError, match=r"(?s)stop_gradient.*|zeros_like") as info:
        in_grad(LEAVING[name])
    message = str(info.value)
    for remedy in ("mlgrad.stop_gradient(x)", "np.zeros_like(x)", "np.stack", "mlgrad.numpy.array"):
        assert remedy in message


def test_stop_gradient_lets_a_value_go() -> None:
    def f(a: Any) -> Any:
        s = mlgrad.stop_gradient(a)
        assert float(s[0]) == 1.5
        assert int(s[2]) == 3
        assert s[1].item() == -2.0
        assert s.tolist() == [1.5, -2.0, 3.0]
        assert math.sqrt(s[0] + 1) == math.sqrt(2.5)
        array = np.asarray(s)
        assert type(array) is np.ndarray
        array[0] = 9.0
        return s * 1

    np.testing.assert_array_equal(in_grad(f), V)


def test_constants_may_leave() -> None:
    def f(a: Any) -> float:
        return float(np.sum(np.ones_like(a)))

    assert in_grad(f) == 3.0


def test_control_flow() -> None:
    def f(a: Any) -> Any:
        assert a[0] > 0
        assert not a[1] > 0
        assert bool(a[0])
        assert int(np.argmax(a)) == 2
        assert int(np.sum(a > 0)) == 2
        assert float(np.argmax(a)) == 2.0
        assert [10, 20, 30][np.argmax(a)] == 30
        assert len(range(np.argmin(a) + 1)) == 2
        assert np.argmax(a).item() == 2
        assert (a > 0).tolist() == [True, False, True]
        return a

    in_grad(f)


@pytest.mark.parametrize("make", [lambda a: bool(a), lambda a: bool(a[:0]), lambda a: bool(a > 0)])
def test_truth_of_many(make: Any) -> None:
    with pytest.raises(ValueError, match="truth value") as theirs:
        make(V)
    with pytest.raises(ValueError, match="truth value") as ours:
        in_grad(make)
    assert str(ours.value).split(".")[0] == str(theirs.value).split(".")[0]


def test_index_needs_an_integer_scalar() -> None:
    for make in (lambda a: [1, 2][a[0]], lambda a: [1, 2][np.argsort(a)]):
        with pytest.raises(TypeError):
            make(V)
        with pytest.raises(TypeError, match="integer"):
            in_grad(make)


def test_text() -> None:
    def f(a: Any) -> None:
        assert repr(a) == "Array([ 1.5, -2. ,  3. ])"
        assert str(a) == str(V)
        assert f"{a[0]:.3f}" == "1.500"
        assert f"{a}" == str(V)
        assert repr(a[0]) == "Array(1.5)"
        assert repr(a > 0) == "Array([ True, False,  True])"

    in_grad(lambda a: f(a))


def test_text_inside_jit_shows_the_shape() -> None:
    seen = []

    def f(a: Any) -> Any:
        seen.extend([repr(a), f"{a[0]:.3f}", str(a[:2])])
        return a

    mlgrad.jit(f)(V)
    assert seen == [
        "Array(shape=(3,), dtype=float64)",
        "Array(shape=(), dtype=float64)",
        "Array(shape=(2,), dtype=float64)",
    ]


def test_text_of_an_escaped_array() -> None:
    kept = []
    in_grad(lambda a: kept.append(a))
    assert repr(kept[0]) == "Array(shape=(3,), dtype=float64)"


def test_an_escaped_array_says_so() -> None:
    kept = []
    in_grad(lambda a: kept.append(a))
    for use in (
        lambda a: a + 1,
        np.sin,
        lambda a: a[0],
        lambda a: a.sum(),
        lambda a: bool(a[0] > 0),
        lambda a: a.__iadd__(1),
    ):
        with pytest.raises(RuntimeError, match="escaped"):
            use(kept[0])


def test_two_tapes() -> None:
    with mlgrad.Tape() as t:
        x = t.variable(1.0)
    with pytest.raises(RuntimeError, match="tape"):
        in_grad(lambda a: a + x)


def test_a_float_under_jit_names_the_callback() -> None:
    for use in (lambda a: float(a[0]), np.asarray, lambda a: a.tolist()):
        with pytest.raises(TypeError, match="pure_callback"):
            mlgrad.jit(use)(V)


def test_not_picklable_not_hashable() -> None:
    with pytest.raises(TypeError, match="pickled"):
        in_grad(pickle.dumps)
    with pytest.raises(TypeError, match="unhashable"):
        in_grad(hash)


def test_copies() -> None:
    def f(a: Any) -> Any:
        b, c = copy.copy(a), copy.deepcopy(a)
        b[0] = 9.0
        c[1] = 8.0
        return a * 1, b, c

    for got, want in zip(in_grad(f), (V, [9.0, -2.0, 3.0], [1.5, 8.0, 3.0]), strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_it_is() -> None:
    def f(a: Any) -> None:
        assert isinstance(a, mlgrad.Array)
        assert not isinstance(a, np.ndarray)
        assert type(a).__module__ == "mlgrad"
        assert a.__array_priority__ == 1000.0
        assert (a.shape, a.ndim, a.size, a.dtype, a.itemsize, a.nbytes, a.strides) == (
            (3,),
            1,
            3,
            np.dtype(float),
            8,
            24,
            (8,),
        )

    in_grad(f)


@pytest.mark.parametrize("name", ["data", "tobytes", "flags", "resize", "view", "put", "partition"])
def test_absent_attributes_say_what_to_do(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'{name}': .+"):
        in_grad(lambda a: getattr(a, name))


def test_unknown_attributes() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        in_grad(lambda a: a.nonsense)
    assert in_grad(lambda a: hasattr(a, "nonsense")) is False


@pytest.mark.parametrize("f", [np.packbits, np.histogram])
def test_functions_that_are_missing(f: Any) -> None:
    with pytest.raises(TypeError, match=rf"{f.__name__} is not supported for traced arrays.*custom_vjp"):
        on_tape(f, V)


def test_ufuncs_that_are_missing() -> None:
    with pytest.raises(TypeError, match="spacing is not supported for traced arrays"):
        in_grad(np.spacing)
    with pytest.raises(TypeError, match=r"(?s)np\.subtract\.reduce is not supported.*add"):
        in_grad(np.subtract.reduce)
    with pytest.raises(TypeError, match="reduceat is not supported"):
        in_grad(lambda a: np.add.reduceat(a, [0, 1]))


def test_a_ufunc_of_another_library_is_not_taken_for_numpys() -> None:
    impostor = np.frompyfunc(lambda x: 42.0, 1, 1)
    with pytest.raises(TypeError, match="not supported"):
        in_grad(impostor)


ERRORS = {
    "shapes": (lambda a: a + np.ones(4), ValueError, "could not be broadcast together"),
    "index": (lambda a: a[5], IndexError, "out of bounds"),
    "index array": (lambda a: a[np.array([0, 7])], IndexError, "out of bounds"),
    "traced index": (lambda a: a[np.argsort(a) + 2], IndexError, "out of bounds"),
    "too many": (lambda a: a[0, 0], IndexError, "too many indices"),
    "float index": (lambda a: a[1.5], IndexError, "valid indices"),
    "float array index": (lambda a: a[a], IndexError, "integer"),
    "text index": (lambda a: a["x"], IndexError, "valid indices"),
    "two ellipses": (lambda a: a[..., ...], IndexError, "ellipsis"),
    "mask length": (lambda a: a[np.array([True, False])], IndexError, "boolean index"),
    "set mismatch": (lambda a: (a * 1).__setitem__(slice(0, 2), np.ones(3)), ValueError, "could not broadcast"),
    "axis": (lambda a: np.sum(a, axis=3), np.exceptions.AxisError, "out of bounds"),
    "axis twice": (lambda a: np.sum(a[None], axis=(0, 0)), ValueError, "duplicate"),
    "reshape": (lambda a: a.reshape(2, 2), ValueError, "cannot reshape"),
    "two unknown": (lambda a: a.reshape(-1, -1), ValueError, "one unknown"),
    "matmul": (lambda a: a @ np.ones((4, 2)), ValueError, "matmul"),
    "concatenate": (lambda a: np.concatenate([a, np.ones((1, 3))]), ValueError, "dimensions"),
    "stack": (lambda a: np.stack([a, a[:2]]), ValueError, "same shape"),
    "max of nothing": (lambda a: np.max(a[:0]), ValueError, "zero-size"),
    "argmax of nothing": (lambda a: np.argmax(a[:0]), ValueError, "empty sequence"),
    "len": (lambda a: len(a[0]), TypeError, "unsized"),
    "iter": (lambda a: list(a[0]), TypeError, "0-d"),
    "transpose": (lambda a: a.transpose(0, 1), ValueError, "axes"),
    "squeeze": (lambda a: a.squeeze(0), ValueError, "squeeze"),
    "broadcast": (lambda a: np.broadcast_to(a, (2, 2)), ValueError, "broadcast"),
    "order": (lambda a: a[None].T.reshape(3, order="F"), TypeError, "order"),
    "text": (lambda a: a + "x", TypeError, "unsupported operand"),
    "None": (lambda a: a + None, TypeError, "unsupported operand"),
    "complex": (lambda a: a * 1j, TypeError, "complex"),
    "complex array": (lambda a: a * np.array([1j]), TypeError, "complex"),
    "where without out": (lambda a: np.add(a, 1, where=a > 0), ValueError, "where="),
    "cast": (lambda a: a.astype(int).__iadd__(1.5), TypeError, "same_kind"),
    "cast out": (lambda a: np.add(a, 1.0, out=a.astype(np.int64)), TypeError, "same_kind"),
    "out shape": (lambda a: np.add(a, np.ones((2, 3)), out=np.zeros_like(a)), ValueError, "non-broadcastable"),
    "iadd shape": (lambda a: (a * 1).__iadd__(np.ones((2, 3))), ValueError, "non-broadcastable"),
    "negative power": (lambda a: np.argsort(a) ** -1, ValueError, "negative integer powers"),
    "bool subtract": (lambda a: (a > 0) - (a < 0), TypeError, "bitwise_xor"),
    "clip keyword": (lambda a: a.clip(0, 1, casting="no"), TypeError, "casting"),
    "unknown keyword": (lambda a: np.sum(a, nonsense=1), TypeError, "nonsense"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    f, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        in_grad(f)


def test_refused_dtypes_are_named() -> None:
    for other in (
        np.ones(3, dtype=np.float16),
        np.ones(3, dtype=np.longdouble),
        np.ones(3, dtype=np.int16),
        np.array([1, 2, 3], dtype=object),
        np.zeros(3, dtype=[("a", float)]),
    ):
        with pytest.raises(TypeError, match="not supported") as info:
            in_grad(lambda a, other=other: a + other)
        assert str(other.dtype) in str(info.value)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_refused_subclasses() -> None:
    with pytest.raises(TypeError, match="MaskedArray"):
        in_grad(lambda a: a + np.ma.array(V, mask=[True, False, False]))
    with pytest.raises(TypeError, match="matrix"):
        in_grad(lambda a: a * np.asmatrix(V))


def test_errors_of_linear_algebra_are_raised_where_they_arise() -> None:
    def f(a: Any) -> Any:
        try:
            np.linalg.cholesky(np.outer(a, -a))
        except np.linalg.LinAlgError:
            return a * 2
        return a

    np.testing.assert_array_equal(in_grad(f), V * 2)
    with pytest.raises(np.linalg.LinAlgError, match="square"):
        in_grad(lambda a: np.linalg.inv(a[None]))


def test_index_errors_are_raised_where_they_arise() -> None:
    def f(a: Any) -> Any:
        b = a * 1
        try:
            b[np.argsort(a) + 1] = 5.0
        except IndexError:
            return b
        return None

    np.testing.assert_array_equal(in_grad(f), V)


def test_functions_of_users_can_be_added() -> None:
    from mlgrad import _core

    def implementation(m: Any) -> Any:
        return np.sum(m) * 2

    # an implementation in Python, for a function that has none
    _core.register_array_function(np.fft.ifft, implementation)
    assert in_grad(np.fft.ifft) == 5.0
