"""grad, value_and_grad, vjp, jvp, vmap, stop_gradient: what they take and what they give."""

import gc
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import mlgrad

RNG = np.random.default_rng(0)
X = RNG.standard_normal(4)
Y = RNG.standard_normal(4)


def close(got, want, tolerance=1e-12):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def f(x, y):
    return np.sum(np.sin(x) * y**2)


class TestGrad:
    def test_result_is_a_fresh_writable_ndarray_of_the_argument_s_shape_and_dtype(self):
        for dtype in (np.float32, np.float64):
            x = np.linspace(0, 1, 6, dtype=dtype).reshape(2, 3)
            g = mlgrad.grad(lambda x: np.sum(x * x))(x)
            assert type(g) is np.ndarray
            assert g.dtype == dtype
            assert g.shape == (2, 3)
            assert g.flags.writeable
            assert g.flags.c_contiguous
            assert not np.shares_memory(g, x)
            close(g, 2 * x, 1e-6)

    def test_scalars_give_numpy_scalars(self):
        g = mlgrad.grad(lambda x: x**3)(2.0)
        assert type(g) is np.float64
        assert g == 12.0
        g = mlgrad.grad(lambda x: x**3)(np.float32(2.0))
        assert type(g) is np.float32

    def test_argnums(self):
        gx, gy = np.cos(X) * Y**2, 2 * np.sin(X) * Y
        close(mlgrad.grad(f)(X, Y), gx)
        close(mlgrad.grad(f, 1)(X, Y), gy)
        close(mlgrad.grad(f, -1)(X, Y), gy)
        both = mlgrad.grad(f, (1, 0))(X, Y)
        assert type(both) is tuple
        close(both[0], gy)
        close(both[1], gx)
        one = mlgrad.grad(f, (0,))(X, Y)
        assert type(one) is tuple
        assert len(one) == 1

    def test_argnums_out_of_range(self):
        with pytest.raises((ValueError, TypeError), match="argnums"):
            mlgrad.grad(f, 2)(X, Y)

    def test_argnames(self):
        close(mlgrad.grad(f, argnames="y")(x=X, y=Y), 2 * np.sin(X) * Y)
        close(mlgrad.grad(f, argnames="y")(X, y=Y), 2 * np.sin(X) * Y)
        both = mlgrad.grad(f, argnames=("y", "x"))(x=X, y=Y)
        close(both[0], 2 * np.sin(X) * Y)
        close(both[1], np.cos(X) * Y**2)

    def test_other_arguments_reach_the_function_unchanged(self):
        other, text = Y.copy(), "text"

        def g(x, a, b, *, c):
            assert a is other
            assert b is text
            assert c is other
            return np.sum(x * a)

        close(mlgrad.grad(g)(X, other, text, c=other), Y)

    def test_has_aux(self):
        def g(x):
            s = np.sin(x)
            return np.sum(s), {"s": s, "n": 3, "text": "t"}

        gradient, aux = mlgrad.grad(g, has_aux=True)(X)
        close(gradient, np.cos(X))
        assert type(aux["s"]) is np.ndarray
        close(aux["s"], np.sin(X))
        assert aux["n"] == 3
        assert aux["text"] == "t"
        (value, aux), gradient = mlgrad.value_and_grad(g, has_aux=True)(X)
        close(value, np.sum(np.sin(X)))
        close(aux["s"], np.sin(X))
        close(gradient, np.cos(X))

    def test_value_and_grad(self):
        value, gradient = mlgrad.value_and_grad(f)(X, Y)
        assert type(value) is np.float64
        close(value, f(X, Y))
        close(gradient, np.cos(X) * Y**2)

    def test_integers_are_refused(self):
        for x in (3, np.arange(3), True):
            with pytest.raises(TypeError, match=r"int|bool"):
                mlgrad.grad(lambda x: np.sum(x * 1.0))(x)

    def test_results_that_are_not_scalars_are_refused(self):
        with pytest.raises(ValueError, match=r"\(4,\)"):
            mlgrad.grad(lambda x: x * 2)(X)
        with pytest.raises(TypeError):
            mlgrad.grad(lambda x: "text")(X)
        with pytest.raises(TypeError):
            mlgrad.grad(lambda x: None)(X)

    def test_a_constant_result_has_gradient_zero(self):
        close(mlgrad.grad(lambda x: 1.0)(X), np.zeros(4))
        close(mlgrad.grad(lambda x, y: np.sum(y), 0)(X, Y), np.zeros(4))

    def test_same_array_twice(self):
        gx, gy = mlgrad.grad(lambda x, y: np.sum(x * y**2), (0, 1))(X, X)
        close(gx, X**2)
        close(gy, 2 * X * X)

    def test_nesting(self):
        close(mlgrad.grad(mlgrad.grad(mlgrad.grad(lambda x: x**5)))(2.0), 240.0)
        close(mlgrad.grad(lambda x: x * mlgrad.grad(lambda y: x * y)(x))(3.0), 6.0)

    def test_what_it_is_called_with_may_be_a_method(self):
        class Model:
            scale = 3.0

            @mlgrad.grad
            def slope(x):
                return x**2

            def loss(self, x):
                return self.scale * x**2

        close(mlgrad.grad(Model().loss)(2.0), 12.0)
        close(Model.slope(2.0), 4.0)

    def test_garbage_collection_at_any_moment(self):
        before = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            for _ in range(20):
                close(mlgrad.jit(mlgrad.vmap(mlgrad.grad(mlgrad.grad(np.sin))))(X), -np.sin(X))
        finally:
            gc.set_threshold(*before)

    def test_exceptions_pass_and_leave_nothing_behind(self):
        def g(x):
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            mlgrad.grad(g)(X)
        close(mlgrad.grad(f)(X, Y), np.cos(X) * Y**2)
        assert type(np.sin(X)) is np.ndarray


Pair = namedtuple("Pair", "a b")


@dataclass
class Params:
    w: object
    b: object


class TestTrees:
    def test_dicts_lists_tuples(self):
        tree = {"a": X, "b": [1.0, (2.0, Y)], "c": None}
        g = mlgrad.grad(lambda t: np.sum(t["a"] * t["b"][1][1]) + t["b"][0] * t["b"][1][0])(tree)
        assert g["c"] is None
        assert type(g["b"]) is list
        assert type(g["b"][1]) is tuple
        close(g["a"], Y)
        close(g["b"][1][1], X)
        close(g["b"][0], 2.0)
        close(g["b"][1][0], 1.0)

    def test_named_tuples_and_dataclasses(self):
        g = mlgrad.grad(lambda p: np.sum(p.a) * p.b)(Pair(X, 2.0))
        assert type(g) is Pair
        close(g.a, np.full(4, 2.0))
        close(g.b, np.sum(X))
        g = mlgrad.grad(lambda p: np.sum(p.w) * p.b)(Params(X, 2.0))
        assert type(g) is Params
        close(g.w, np.full(4, 2.0))
        close(g.b, np.sum(X))

    def test_results_of_vjp_jvp_and_vmap(self):
        def g(p):
            return {"s": np.sin(p["x"]), "t": [p["x"] * 2]}

        out, tangent = mlgrad.jvp(g, ({"x": X},), ({"x": Y},))
        close(out["s"], np.sin(X))
        close(tangent["s"], np.cos(X) * Y)
        close(tangent["t"][0], 2 * Y)
        out, pull = mlgrad.vjp(g, {"x": X})
        (back,) = pull({"s": Y, "t": [np.ones(4)]})
        close(back["x"], np.cos(X) * Y + 2)
        out = mlgrad.vmap(g)({"x": X})
        close(out["s"], np.sin(X))
        close(out["t"][0], 2 * X)


class TestVjpAndJvp:
    def test_vjp_gives_a_tuple(self):
        out, pull = mlgrad.vjp(lambda x: np.sin(x), X)
        close(out, np.sin(X))
        back = pull(Y)
        assert type(back) is tuple
        assert len(back) == 1
        close(back[0], np.cos(X) * Y)

    def test_vjp_function_may_be_called_again(self):
        _, pull = mlgrad.vjp(lambda x, y: x * y, X, Y)
        for _ in range(3):
            a, b = pull(np.ones(4))
            close(a, Y)
            close(b, X)
        a, b = pull(np.arange(4.0))
        close(a, Y * np.arange(4.0))
        close(b, X * np.arange(4.0))

    def test_wrong_cotangents(self):
        _, pull = mlgrad.vjp(np.sin, X)
        with pytest.raises(ValueError, match=r"\(3,\)"):
            pull(np.ones(3))
        with pytest.raises(ValueError, match="structure"):
            pull({"a": X})

    def test_jvp(self):
        out, tangent = mlgrad.jvp(lambda x, y: x * np.sin(y), (X, Y), (Y, X))
        close(out, X * np.sin(Y))
        close(tangent, Y * np.sin(Y) + X * np.cos(Y) * X)

    def test_jvp_wants_matching_sequences(self):
        with pytest.raises(TypeError):
            mlgrad.jvp(np.sin, X, Y)
        with pytest.raises((TypeError, ValueError)):
            mlgrad.jvp(np.sin, (X,), (Y, Y))
        with pytest.raises((TypeError, ValueError)):
            mlgrad.jvp(np.sin, (X,), (np.ones(3),))

    def test_forward_over_reverse_and_reverse_over_forward(self):
        def g(x):
            return np.sum(np.exp(x) * x[::-1])

        v = RNG.standard_normal(4)
        _, forward = mlgrad.jvp(mlgrad.grad(g), (X,), (v,))
        reverse = mlgrad.grad(lambda x: mlgrad.jvp(g, (x,), (v,))[1])(X)
        both = mlgrad.grad(lambda x: np.sum(mlgrad.grad(g)(x) * v))(X)
        close(forward, reverse)
        close(forward, both)
        hessian = np.diag(np.exp(X) * X[::-1]) + np.fliplr(np.diag(np.exp(X))) + np.fliplr(np.diag(np.exp(X))).T
        close(forward, hessian @ v)


class TestVmap:
    def test_like_a_loop(self):
        a, b = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 4))

        def g(v, m):
            return np.tanh(v @ m).sum() * v

        close(mlgrad.vmap(g, in_axes=(0, None))(a, b), np.stack([g(v, b) for v in a]))

    def test_axes(self):
        a, b = RNG.standard_normal((3, 5)), RNG.standard_normal((5, 3))
        close(mlgrad.vmap(np.dot, in_axes=(1, 0))(a, b), np.einsum("ij,ji->j", a, b))
        close(mlgrad.vmap(lambda v: 2 * v, in_axes=1, out_axes=1)(a), 2 * a)
        close(mlgrad.vmap(lambda v: 2 * v, in_axes=-1)(a), 2 * a.T)

    def test_of_gradients_gives_a_hessian(self):
        def g(x):
            return np.sum(x**3) * x[0]

        hessian = mlgrad.vmap(lambda v: mlgrad.jvp(mlgrad.grad(g), (X,), (v,))[1])(np.eye(4))
        rows = np.stack([mlgrad.grad(lambda x, k=k: mlgrad.grad(g)(x)[k])(X) for k in range(4)])
        close(hessian, rows)
        close(hessian, hessian.T)

    def test_nested(self):
        a, b = RNG.standard_normal(3), RNG.standard_normal(4)
        outer = mlgrad.vmap(mlgrad.vmap(lambda x, y: x * y, in_axes=(None, 0)), in_axes=(0, None))
        close(outer(a, b), np.outer(a, b))

    def test_results_that_do_not_depend_on_the_batch(self):
        close(mlgrad.vmap(lambda x: 3.0)(X), np.full(4, 3.0))

    def test_sizes_that_differ(self):
        with pytest.raises(ValueError, match=r"4|3"):
            mlgrad.vmap(lambda x, y: x + y)(X, np.ones(3))

    def test_branches_are_refused(self):
        with pytest.raises(TypeError, match="where"):
            mlgrad.vmap(lambda x: x if x > 0 else -x)(X)

    def test_jitted(self):
        g = mlgrad.jit(mlgrad.vmap(mlgrad.grad(lambda x: np.sin(x) * x)))
        for k in range(3):
            close(g(X + k), np.cos(X + k) * (X + k) + np.sin(X + k))


class TestStopGradient:
    def test_inside_and_outside(self):
        assert mlgrad.stop_gradient(2.5) == 2.5
        close(mlgrad.grad(lambda x: np.sum(x * mlgrad.stop_gradient(x)))(X), X)
        close(mlgrad.jvp(lambda x: x * mlgrad.stop_gradient(x), (X,), (np.ones(4),))[1], X)


class TestJit:
    def test_same_as_without(self):
        g = mlgrad.value_and_grad(f, (0, 1))
        h = mlgrad.jit(g)
        for k in range(3):
            (v, (a, b)), (w, (c, d)) = g(X * k, Y + k), h(X * k, Y + k)
            close(v, w)
            close(a, c)
            close(b, d)

    def test_new_shapes_and_dtypes(self):
        h = mlgrad.jit(mlgrad.grad(lambda x: np.sum(x**2)))
        for x in (X, X.astype(np.float32), RNG.standard_normal((2, 3)), 2.0, X[::2], X):
            got = h(x)
            close(got, 2 * np.asarray(x), 1e-6)
            assert got.dtype == np.asarray(x).dtype

    def test_static_arguments(self):
        h = mlgrad.jit(lambda x, n: x**n, static_argnums=1)
        close(h(3.0, 2), 9.0)
        close(h(3.0, 3), 27.0)
        h = mlgrad.jit(lambda x, *, n: x**n, static_argnames="n")
        close(h(3.0, n=2), 9.0)
        close(h(3.0, n=3), 27.0)


class TestTape:
    def test_backward(self):
        with mlgrad.Tape() as t:
            x = t.variable(2.0)
            y = (3 * x**2 + 1) ** 5
            y.backward()
        close(y.value, 13.0**5)
        close(x.grad, 1713660.0)

    def test_gradients_accumulate(self):
        with mlgrad.Tape() as t:
            x = t.variable(X)
            y = np.sum(x**2)
            y.backward()
            close(x.grad, 2 * X)
            y.backward()
            close(x.grad, 4 * X)
            x.zero_grad()
            np.sum(np.sin(x)).backward()
            close(x.grad, np.cos(X))


class TestPullbacksInsideOtherTransforms:
    """A vjp_fn (or jvp_fn) of an outermost vjp is linear: other transforms may go over it."""

    def pull(self):
        f = lambda x: np.stack([np.sum(x**2), x[0] * x[1], np.sin(x[2])])
        x = np.array([1.0, 2.0, 3.0])
        return f, x, mlgrad.vjp(f, x)[1]

    def test_of_a_product_is_its_matrix(self):
        # the unit vectors have zeros, which are no factors
        a = RNG.standard_normal((5, 4))
        a[1, 2], a[3, 0] = np.inf, np.nan
        for jacobian in (mlgrad.jacfwd, mlgrad.jacrev):
            np.testing.assert_array_equal(jacobian(lambda x: a @ x)(X), a)
            np.testing.assert_array_equal(mlgrad.jit(jacobian(lambda x: x @ a.T))(X), a)
        np.testing.assert_array_equal(mlgrad.jacfwd(lambda x: (x @ a.T)[::-1])(X), a[::-1])

    @pytest.mark.parametrize("shape", [(3, 4), (40, 50)])
    def test_of_what_is_transposed_and_put_back(self, shape):
        a, b = RNG.standard_normal(shape), RNG.standard_normal(shape[::-1])
        c = RNG.standard_normal(shape[1])

        def g(a):
            z = np.tanh(a.T + b) * c[:, None]
            return np.sum(z.T * a, axis=1) @ (z.T @ np.sin(z) @ np.ones(shape[0])), np.exp(z).T

        t = np.tanh(a.T + b)
        z = t * c[:, None]
        close(mlgrad.jit(g)(a)[0], np.sum(z.T * a, axis=1) @ (z.T @ np.sin(z) @ np.ones(shape[0])), 1e-9)
        np.testing.assert_allclose(mlgrad.jit(g)(a)[1], np.exp(z).T, rtol=1e-14)
        dz = (1 - t**2) * c[:, None]
        np.testing.assert_allclose(mlgrad.grad(lambda a: np.sum(g(a)[1]))(a), (np.exp(z) * dz).T, rtol=1e-9, atol=1e-12)

    def test_vmap_over_a_pullback_is_the_jacobian(self):
        f, x, pull = self.pull()
        (jacobian,) = mlgrad.vmap(pull)(np.eye(3))
        np.testing.assert_allclose(jacobian, mlgrad.jacobian(f)(x), rtol=1e-15)
        # and it still works alone
        np.testing.assert_allclose(pull(np.ones(3))[0], jacobian.sum(axis=0), rtol=1e-15)
        push = mlgrad.linearize(f, x)[1]
        np.testing.assert_allclose(mlgrad.vmap(push, out_axes=1)(np.eye(3)), jacobian, rtol=1e-15)

    def test_jit_and_grad_over_a_pullback(self):
        f, x, pull = self.pull()
        g = np.array([1.0, -1.0, 2.0])
        jitted = mlgrad.jit(pull)
        for scale in (1.0, 2.0):
            np.testing.assert_allclose(jitted(scale * g)[0], scale * pull(g)[0], rtol=1e-15)
        assert jitted.cache_info()["recordings"] == 1
        got = mlgrad.grad(lambda g: np.sum(pull(g)[0] ** 2))(g)
        j = mlgrad.jacobian(f)(x)
        np.testing.assert_allclose(got, 2 * j @ j.T @ g, rtol=1e-14)
        np.testing.assert_allclose(mlgrad.hessian(lambda g: np.sum(pull(g)[0] ** 2))(g), 2 * j @ j.T, rtol=1e-14)

    def test_shapes_are_checked(self):
        pull = self.pull()[2]
        with pytest.raises(ValueError, match=r"cotangent has shape \(2,\)"):
            mlgrad.grad(lambda g: np.sum(pull(g)[0]))(np.ones(2))


class TestLeavesThatAreNoNumbers:
    def test_the_leaf_is_named(self):
        for leaf, kind in (("relu", "str"), (np.sin, "ufunc"), (len, "builtin_function_or_method")):
            p = {"w": [1.0, leaf], "b": 2.0}
            with pytest.raises(TypeError, match=rf"grad: argument 0\['w'\]\[1\] is a {kind}, which has no derivative"):
                mlgrad.grad(lambda p: p["b"])(p)
        with pytest.raises(TypeError, match=r"argument 0\['n'\] has dtype int"):
            mlgrad.grad(lambda p: p["b"])({"b": 1.0, "n": 3})
        # None is a tree without leaves
        assert mlgrad.grad(lambda p: p[0] ** 2)((3.0, None)) == (6.0, None)


def test_reversed():
    x = np.arange(6.0).reshape(3, 2)

    def f(x):
        s = 0.0
        for k, row in enumerate(reversed(x)):
            s = s + k * np.sum(row**2)
        return s

    np.testing.assert_allclose(mlgrad.grad(f)(x), 2 * x * np.array([[2.0], [1.0], [0.0]]))
    with pytest.raises(TypeError, match="0-d"):
        mlgrad.grad(lambda x: reversed(x) and x)(1.0)


class TestReduceAndAccumulate:
    x = np.random.default_rng(0).standard_normal((4, 7))

    @pytest.mark.parametrize(
        "kwargs", [{}, {"axis": 1}, {"axis": None}, {"axis": (0, 1), "keepdims": True}, {"initial": 0.5}]
    )
    def test_logaddexp_reduce(self, kwargs):
        f = lambda x: np.logaddexp.reduce(x, **kwargs)
        np.testing.assert_allclose(mlgrad.jit(f)(self.x), f(self.x), rtol=1e-14)
        mlgrad.testing.check_grads(lambda x: np.sum(f(x) ** 2), (self.x,), order=2, modes=("rev", "fwd"))

    @pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2"])
    @pytest.mark.parametrize("axis", [0, 1, -1])
    def test_accumulate(self, name, axis):
        f = lambda x: getattr(np, name).accumulate(x, axis=axis)
        np.testing.assert_allclose(mlgrad.jit(f)(self.x), f(self.x), rtol=1e-14)
        mlgrad.testing.check_grads(lambda x: np.sum(f(x) * np.cos(x)), (self.x,), modes=("rev", "fwd"))
        for n in range(4):
            np.testing.assert_allclose(mlgrad.jit(f)(self.x[:n]), f(self.x[:n]), rtol=1e-14)


@pytest.mark.parametrize(
    "transform", [mlgrad.grad, mlgrad.value_and_grad, mlgrad.jacfwd, mlgrad.jacrev, mlgrad.hessian]
)
@pytest.mark.parametrize("argnums", [(0, 0), (1, 0, -1)])
def test_an_argument_that_is_named_twice(transform, argnums):
    with pytest.raises(ValueError, match=r"argnums names argument \d twice"):
        transform(lambda x, y: x * y, argnums)(2.0, 3.0)


def test_hvp_says_that_it_takes_tuples():
    with pytest.raises(TypeError, match=r"hvp: primals and tangents must be tuples.*ndarray.*\(x,\)"):
        mlgrad.hvp(lambda x: np.sum(x**3), np.ones(3), np.ones(3))
