"""pure_callback and debug_print: how often, in which order, with what, and what they say."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import mlgrad
from mlgrad.testing import check_grads

jax.config.update("jax_enable_x64", True)
X = np.linspace(0.5, 3.0, 6)
F64 = np.float64


def like(*shape):
    return mlgrad.ShapeDtypeStruct(shape, F64)


class Log:
    """A list that jit does not compare from call to call, as it does with lists that a function holds."""

    def __init__(self):
        self.list = []

    def append(self, x):
        self.list.append(x)

    def clear(self):
        self.list.clear()


def make_black_box(calls):
    """Digamma's integral, gammaln, as a black box with a black box for its derivative."""

    def value(x):
        calls.append("value")
        assert type(x) in (np.ndarray, np.float64)
        return scipy.special.gammaln(x)

    def slope(x):
        calls.append("slope")
        return scipy.special.digamma(x)

    @mlgrad.custom_vjp
    def f(x):
        return mlgrad.pure_callback(value, x, x)

    f.defvjp(lambda x: (f(x), x), lambda x, g: (g * mlgrad.pure_callback(slope, x, x),))
    return f


class TestCallback:
    def test_outside_and_inside_transforms(self):
        f = lambda x: mlgrad.pure_callback(np.cumsum, x, x)
        got = f(X)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, np.cumsum(X))
        np.testing.assert_array_equal(mlgrad.jit(f)(X), np.cumsum(X))
        out, aux = mlgrad.grad(
            lambda x: (np.sum(x * f(mlgrad.stop_gradient(x))), f(mlgrad.stop_gradient(x))), has_aux=True
        )(X)
        np.testing.assert_array_equal(out, np.cumsum(X))
        np.testing.assert_array_equal(aux, np.cumsum(X))

    def test_trees_statics_and_keywords(self):
        def host(a, b, how, *, c):
            assert how == "sum"
            return {"s": a["x"] + b, "n": [np.int64(3), c]}

        out = {"s": like(6), "n": [mlgrad.ShapeDtypeStruct((), np.int64), mlgrad.ShapeDtypeStruct((), np.float32)]}
        f = mlgrad.jit(lambda x, c: mlgrad.pure_callback(host, out, {"x": x}, 2.0, "sum", c=c))
        for _ in range(2):
            got = f(X, 1.5)
            np.testing.assert_array_equal(got["s"], X + 2)
            assert got["n"][0] == 3
            assert got["n"][1].dtype == np.float32

    def test_once_a_replay_in_order(self):
        calls = Log()

        def note(name, x):
            calls.append(name)
            return x

        @mlgrad.jit
        def f(x):
            a = mlgrad.pure_callback(lambda v: note("a", v), x, np.sin(x))
            mlgrad.pure_callback(lambda v: note("unused", v), x, x)
            return a + mlgrad.pure_callback(lambda v: note("b", v), x, a * 2)

        for k in range(3):
            np.testing.assert_allclose(f(X + k), 3 * np.sin(X + k))
            assert calls.list == ["a", "unused", "b"]
            calls.clear()
        assert f.cache_info()["recordings"] == 1

    def test_a_guard_does_not_repeat_calls(self):
        calls = Log()

        def host(x):
            calls.append(float(x))
            return x

        @mlgrad.jit
        def f(x):
            y = mlgrad.pure_callback(host, x, x)
            z = 2 * y if y > 0 else -y
            return z + mlgrad.pure_callback(host, x, z)

        for x, want in ((1.0, 4.0), (-1.0, 2.0), (2.0, 8.0), (-3.0, 6.0)):
            calls.clear()
            assert f(x) == want
            assert len(calls.list) == 2
        assert f.cache_info()["recordings"] == 2

    def test_random_draws_differ(self):
        rng = np.random.default_rng(0)
        f = mlgrad.jit(lambda x: x * mlgrad.pure_callback(rng.standard_normal, like()))
        values = {float(f(1.0)) for _ in range(5)}
        assert len(values) == 5

    def test_exceptions_come_out_as_themselves(self):
        class Mine(Exception):
            pass

        def host(x):
            if x < 0:
                raise Mine("negative")
            return x

        f = lambda x: mlgrad.pure_callback(host, x, x) * 2
        jitted = mlgrad.jit(f)
        for g, x in ((f, -1.0), (jitted, -1.0), (mlgrad.vmap(f), np.array([1.0, -1.0]))):
            with pytest.raises(Mine, match="negative"):
                g(x)
        assert jitted(1.0) == 2.0
        with pytest.raises(Mine):
            jitted(-1.0)
        assert jitted(3.0) == 6.0

        @mlgrad.jit
        def caught(x):
            try:
                return mlgrad.pure_callback(host, x, x)
            except Mine:
                return x * 10

        assert [float(caught(x)) for x in (1.0, -1.0, 2.0, -2.0)] == [1.0, -10.0, 2.0, -20.0]

    def test_transforms_inside_the_callback(self):
        f = mlgrad.jit(lambda x: mlgrad.pure_callback(mlgrad.grad(np.sin), x, x))
        assert f(0.3) == np.cos(0.3)
        assert f(0.4) == np.cos(0.4)

    def test_integer_results_carry_no_derivative(self):
        f = lambda x: x * mlgrad.pure_callback(lambda v: int(v), mlgrad.ShapeDtypeStruct((), np.int64), x)
        assert mlgrad.grad(f)(3.7) == 3.0
        assert mlgrad.jvp(f, (3.7,), (1.0,))[1] == 3.0


class TestBlackBox:
    def test_a_differentiable_black_box(self):
        calls = []
        f = make_black_box(calls)
        assert np.isclose(mlgrad.grad(f)(2.5), scipy.special.digamma(2.5), rtol=1e-14)
        assert calls == ["value", "slope"]
        check_grads(lambda x: np.sum(f(x)), (X,), modes=("rev", "fwd"))

    def test_under_jit_and_vmap(self):
        calls = []
        f = make_black_box(calls)
        g = mlgrad.jit(mlgrad.value_and_grad(lambda x: np.sum(f(x) * x)))
        for x in (X, X + 1):
            calls.clear()
            value, grad = g(x)
            assert calls == ["value", "slope"]
            np.testing.assert_allclose(value, np.sum(scipy.special.gammaln(x) * x))
            np.testing.assert_allclose(grad, scipy.special.gammaln(x) + x * scipy.special.digamma(x))
        calls.clear()
        np.testing.assert_allclose(mlgrad.vmap(mlgrad.grad(f))(X), scipy.special.digamma(X))
        assert calls == ["value"] * 6 + ["slope"] * 6

    def test_a_callback_on_the_cotangent(self):
        seen = []

        @mlgrad.custom_vjp
        def f(x):
            return 2 * x

        def bwd(_, g):
            return (mlgrad.pure_callback(lambda v: seen.append(v) or 2 * v, g, g),)

        f.defvjp(lambda x: (f(x), None), bwd)
        assert mlgrad.grad(lambda x: f(x) * 3)(1.0) == 6.0
        assert seen == [3.0]
        g = mlgrad.jit(mlgrad.grad(lambda x: f(x) ** 2))
        assert [float(g(x)) for x in (1.0, 2.0)] == [8.0, 16.0]
        got = mlgrad.vmap(mlgrad.grad(lambda x: f(x) ** 2))(X)
        np.testing.assert_allclose(got, 8 * X)

    def test_effects_of_a_rule(self, capsys):
        @mlgrad.custom_vjp
        def f(x):
            return 2 * x

        def bwd(_, g):
            mlgrad.debug_print("cotangent {}", g)
            return (2 * g,)

        f.defvjp(lambda x: (f(x), None), bwd)
        assert mlgrad.grad(lambda x: f(x) * 3)(1.0) == 6.0
        assert capsys.readouterr().out == "cotangent 3.0\n"

    def test_without_a_rule_the_derivative_is_refused(self):
        f = lambda x: mlgrad.pure_callback(math.sin, like(), x)
        with pytest.raises(TypeError, match=r"pure_callback of sin: .*custom_vjp"):
            mlgrad.grad(f)(1.0)
        with pytest.raises(TypeError, match=r"pure_callback of sin: .*custom_vjp"):
            mlgrad.jvp(f, (1.0,), (1.0,))
        assert mlgrad.grad(lambda x: x * f(mlgrad.stop_gradient(x)))(1.0) == math.sin(1.0)


class TestVmap:
    def shapes(self, method, f=None):
        seen = []

        def host(x, y):
            seen.append((np.shape(x), np.shape(y)))
            return x * y

        def g(x, y):
            shape = np.broadcast_shapes(x.shape, y.shape)
            return mlgrad.pure_callback(host, mlgrad.ShapeDtypeStruct(shape, F64), x, y, vmap_method=method)

        return g, seen

    def test_methods_against_jax(self):
        y = np.array([2.0, 3.0])
        for method, want in (
            ("sequential", [((), (2,))] * 6),
            ("expand_dims", [((6,), (1, 2))]),
            ("broadcast_all", [((6,), (6, 2))]),
        ):
            g, seen = self.shapes(method)
            if method == "sequential":
                got = mlgrad.vmap(g, in_axes=(0, None))(X, y)
                np.testing.assert_array_equal(got, np.outer(X, y))
                assert seen == want
            theirs = []

            def host(x, y, theirs=theirs):
                theirs.append((np.shape(x), np.shape(y)))
                return np.asarray(x).reshape(np.shape(x) + (1,) * (np.ndim(y) - np.ndim(x))) * np.asarray(y)

            def f(lib, x, y, method=method, host=host):
                spec = jax.ShapeDtypeStruct((2,), F64)
                return lib.pure_callback(host, spec, x, y, vmap_method=method)

            jax.vmap(lambda x, y: f(jax, x, y), in_axes=(0, None))(X, y)
            of_jax = list(theirs)
            theirs.clear()
            got = mlgrad.vmap(lambda x, y: f(mlgrad, x, y), in_axes=(0, None))(X, y)
            np.testing.assert_array_equal(got, np.outer(X, y))
            assert theirs == want == of_jax

    def test_nested_and_under_jit(self):
        grid = np.outer(X, [1.0, 2.0, 3.0])
        for method in ("sequential", "expand_dims", "broadcast_all"):
            f = lambda x: mlgrad.pure_callback(np.sin, x, x, vmap_method=method)
            g = mlgrad.vmap(mlgrad.vmap(f))
            np.testing.assert_array_equal(g(grid), np.sin(grid))
            jitted = mlgrad.jit(g)
            for _ in range(2):
                np.testing.assert_array_equal(jitted(grid), np.sin(grid))

    def test_prints_for_each_example(self, capsys):
        def f(x):
            mlgrad.debug_print("x = {}", x)
            return x * 2

        np.testing.assert_array_equal(mlgrad.vmap(f)(X[:3]), 2 * X[:3])
        assert capsys.readouterr().out == "x = 0.5\nx = 1.0\nx = 1.5\n"


class TestPrint:
    def test_at_each_replay(self, capsys):
        @mlgrad.jit
        def f(x):
            mlgrad.debug_print("{x:.1f} {} {}", np.sum(x), "text", x=x[0])
            return x

        f(X)
        f(X + 1)
        assert capsys.readouterr().out == "0.5 10.5 text\n1.5 16.5 text\n"

    def test_in_gradients_and_outside(self, capsys):
        def f(x):
            mlgrad.debug_print("{}", x)
            return x**2

        assert mlgrad.grad(f)(3.0) == 6.0
        assert mlgrad.jit(mlgrad.grad(mlgrad.grad(f)))(3.0) == 2.0
        f(np.float64(1.0))
        assert capsys.readouterr().out == "3.0\n3.0\n1.0\n"

    def test_wrong_format(self):
        with pytest.raises(TypeError, match="format"):
            mlgrad.debug_print(3.0)
        with pytest.raises(IndexError):
            mlgrad.grad(lambda x: mlgrad.debug_print("{} {}", x) or x)(1.0)


class TestErrors:
    @pytest.mark.parametrize(
        ("host", "out", "error", "match"),
        [
            (lambda x: x[:2], like(6), ValueError, r"has shape \(2,\), but result_shape_dtypes says \(6,\)"),
            (lambda x: x * 1j, like(6), TypeError, "dtype complex128, but result_shape_dtypes says float64"),
            (lambda x: x, mlgrad.ShapeDtypeStruct((6,), np.int64), TypeError, "float64, but .* says int64"),
            (lambda x: None, like(6), TypeError, "structure"),
            (lambda x: {"a": x}, {"b": like(6)}, TypeError, r"structure .*without 'b'"),
            (lambda x: {"a": x, "b": x[0]}, {"a": like(6), "b": like(6)}, ValueError, r"result\['b'\] .*shape \(\)"),
            (lambda x: x, "what", TypeError, "ShapeDtypeStruct"),
        ],
    )
    def test_results_that_do_not_fit(self, host, out, error, match):
        f = lambda x: mlgrad.pure_callback(host, out, x)
        for g, x in ((f, X), (mlgrad.jit(f), X), (mlgrad.vmap(f), X[None])):
            with pytest.raises(error, match=match):
                g(x)

    def test_arguments(self):
        with pytest.raises(ValueError, match="vmap_method"):
            mlgrad.pure_callback(np.sin, 1.0, 1.0, vmap_method="no")
        with pytest.raises(TypeError, match="expected a function"):
            mlgrad.pure_callback(3, 1.0)


def test_against_jax():
    def program(lib, np_):
        @lib.custom_vjp
        def f(x):
            return lib.pure_callback(
                lambda v: np.sin(np.asarray(v)), lib.ShapeDtypeStruct(x.shape, F64), x, vmap_method="expand_dims"
            )

        f.defvjp(lambda x: (f(x), x), lambda x, g: (g * np_.cos(x),))
        return lambda x: np_.sum(f(x * 2) ** 2)

    ours, theirs = program(mlgrad, np), program(jax, jnp)
    np.testing.assert_allclose(mlgrad.grad(ours)(X), jax.grad(theirs)(X), rtol=1e-13)
    np.testing.assert_allclose(mlgrad.jit(mlgrad.grad(ours))(X), jax.grad(theirs)(X), rtol=1e-13)


class TestControlFlow:
    def test_in_branches_and_loops(self):
        calls = []

        def host(x):
            calls.append(float(x))
            return np.sin(x)

        f = lambda x: mlgrad.pure_callback(host, x, x)
        g = mlgrad.jit(lambda x: mlgrad.cond(x > 0, f, lambda x: x, x))
        assert g(0.5) == np.sin(0.5)
        assert g(-0.5) == -0.5
        assert calls == [0.5]
        calls.clear()
        loop = mlgrad.jit(lambda x: mlgrad.scan(lambda c, _: (f(c), c), x, None, length=3))
        last, before = loop(0.5)
        np.testing.assert_allclose(before, [0.5, np.sin(0.5), np.sin(np.sin(0.5))], rtol=1e-15)
        np.testing.assert_allclose(calls, before, rtol=1e-15)
        assert last == np.sin(before[2])

    def test_pure_calls_that_depend_on_nothing_run_once(self):
        calls = []

        def host(x):
            calls.append(float(x))
            return np.sin(x)

        body = lambda x: lambda c, _: (c + mlgrad.pure_callback(host, x, x), None)
        f = mlgrad.jit(lambda x: mlgrad.scan(body(x), np.zeros(2), None, length=5)[0])
        np.testing.assert_allclose(f(0.5), 5 * np.sin([0.5, 0.5]))
        assert calls == [0.5]


class TestPrintingInBodies:
    def printed(self, capsys, f, *args):
        f(*args)
        return capsys.readouterr().out.split()

    def test_each_step(self, capsys):
        def body(c, x):
            mlgrad.debug_print("{}", c)
            mlgrad.debug_print("step")
            return c + x, None

        f = lambda x: mlgrad.scan(body, x, np.array([1.0, 2.0]))[0]
        assert self.printed(capsys, f, 0.0) == ["0.0", "step", "1.0", "step"]
        jitted = mlgrad.jit(f)
        assert self.printed(capsys, jitted, 0.0) == ["0.0", "step", "1.0", "step"]
        assert self.printed(capsys, jitted, 5.0) == ["5.0", "step", "6.0", "step"]
        f = lambda x: mlgrad.while_loop(lambda c: c < 2, lambda c: mlgrad.debug_print("{}", c) or c + 1, x)
        assert self.printed(capsys, f, 0.0) == ["0.0", "1.0"]
        f = lambda x: mlgrad.fori_loop(0, 2, lambda i, c: mlgrad.debug_print("{}", i), None)
        assert self.printed(capsys, f, 0.0) == ["0", "1"]

    def test_the_branch_that_is_taken(self, capsys):
        def f(x):
            mlgrad.cond(x > 0, lambda: mlgrad.debug_print("pos {}", x), lambda: mlgrad.debug_print("neg"))
            return x

        assert self.printed(capsys, f, 1.0) == ["pos", "1.0"]
        assert self.printed(capsys, f, -1.0) == ["neg"]
        g = mlgrad.jit(mlgrad.grad(f))
        assert self.printed(capsys, g, 2.0) == ["pos", "2.0"]
        assert self.printed(capsys, g, -2.0) == ["neg"]
        # in one another
        steps = lambda x: mlgrad.scan(lambda c, x: (c + f(x), None), 0.0, np.array([1.0, -1.0]))[0]
        assert self.printed(capsys, steps, 0.0) == ["pos", "1.0", "neg"]

    def test_derivatives_print_what_the_function_prints_once(self, capsys):
        def body(c, _):
            mlgrad.debug_print("{:.3f}", c)
            return np.sin(c), None

        f = lambda x: mlgrad.scan(body, x, None, length=2)[0]
        want = ["0.500", "0.479"]
        for d in (mlgrad.grad, mlgrad.hessian, mlgrad.jacfwd, lambda f: mlgrad.jit(mlgrad.grad(f))):
            assert self.printed(capsys, d(f), 0.5) == want
        linear = lambda x: mlgrad.scan(lambda c, _: (mlgrad.debug_print("x") or 2 * c, None), x, None, length=2)[0]
        assert self.printed(capsys, mlgrad.grad(linear), 0.5) == ["x", "x"]
        square = mlgrad.checkpoint(lambda x: mlgrad.debug_print("{}", x) or x * x)
        assert self.printed(capsys, mlgrad.grad(square), 3.0) == ["3.0"]

    def test_batched(self, capsys):
        f = lambda x: mlgrad.scan(lambda c, _: (mlgrad.debug_print("{}", c) or c + 1, None), x, None, length=2)[0]
        assert self.printed(capsys, mlgrad.vmap(f), np.array([0.0, 10.0])) == ["0.0", "10.0", "1.0", "11.0"]
        assert self.printed(capsys, mlgrad.jit(mlgrad.vmap(f)), np.array([0.0, 10.0])) == ["0.0", "10.0", "1.0", "11.0"]
        g = lambda x: mlgrad.vmap(lambda y: mlgrad.debug_print("{}", y) or y)(x * np.ones(2))
        h = lambda x: mlgrad.scan(lambda c, _: (np.sum(g(c)), None), x, None, length=2)[0]
        assert self.printed(capsys, mlgrad.grad(h), 1.0) == ["1.0", "1.0", "2.0", "2.0"]

    def test_in_the_rule_of_a_body(self, capsys):
        @mlgrad.custom_vjp
        def f(x):
            return x * x

        def bwd(x, g):
            mlgrad.debug_print("{}", g)
            return (2 * x * g,)

        f.defvjp(lambda x: (f(x), x), bwd)
        twice = lambda x: mlgrad.scan(lambda c, _: (f(c), None), x, None, length=2)[0]
        assert self.printed(capsys, mlgrad.grad(twice), 2.0) == ["1.0", "8.0"]
        assert self.printed(capsys, twice, 2.0) == []

    def test_errors_leave_nothing_behind(self, capsys):
        def body(c, _):
            mlgrad.debug_print("{}", c)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            mlgrad.scan(body, 1.0, None, length=3)
        mlgrad.grad(lambda x: mlgrad.debug_print("fine") or x)(1.0)
        assert capsys.readouterr().out == "fine\n"
