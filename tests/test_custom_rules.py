"""custom_vjp, custom_jvp and attach: against derivatives of the code itself, closed forms, and JAX."""

import pickle
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlgrad
from mlgrad import _core
from mlgrad.testing import check_grads

jax.config.update("jax_enable_x64", True)
X = np.linspace(-2.0, 2.0, 5)
MODES = ("rev", "fwd")


def sigma(x):
    return 1 / (1 + np.exp(-x))


def make_softplus(calls=None):
    """softplus whose rule notes who is called."""
    calls = [] if calls is None else calls

    @mlgrad.custom_vjp
    def softplus(x):
        calls.append("f")
        return np.logaddexp(0, x)

    def fwd(x):
        calls.append("fwd")
        return softplus(x), x

    def bwd(x, g):
        calls.append("bwd")
        return (g * sigma(x),)

    softplus.defvjp(fwd, bwd)
    return softplus


def make_sine(calls=None):
    """sin(x) y with a jvp rule."""
    calls = [] if calls is None else calls

    @mlgrad.custom_jvp
    def f(x, y):
        calls.append("f")
        return np.sin(x) * y

    @f.defjvp
    def rule(primals, tangents):
        calls.append("rule")
        (x, y), (dx, dy) = primals, tangents
        return f(x, y), np.cos(x) * y * dx + np.sin(x) * dy

    return f


@mlgrad.custom_vjp
def module_level(x):
    return x**2


module_level.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))


class TestDerivatives:
    def test_softplus_is_stable_and_right(self):
        softplus = make_softplus()
        for x in (-40.0, -1.0, 0.0, 1.0, 40.0):
            assert np.isclose(mlgrad.grad(softplus)(x), sigma(x), rtol=1e-14)
        assert np.isclose(mlgrad.grad(mlgrad.grad(softplus))(0.3), sigma(0.3) * (1 - sigma(0.3)), rtol=1e-13)
        third = mlgrad.grad(mlgrad.grad(mlgrad.grad(softplus)))
        assert np.isclose(third(0.3), sigma(0.3) * (1 - sigma(0.3)) * (1 - 2 * sigma(0.3)), rtol=1e-12)

    def test_vjp_rule_in_both_modes_to_third_order(self):
        softplus = make_softplus()
        check_grads(lambda x: np.sum(softplus(x) ** 2), (X,), order=2, modes=MODES)
        check_grads(softplus, (0.4,), order=3, modes=MODES)

    def test_jvp_rule_in_both_modes_to_third_order(self):
        f = make_sine()
        check_grads(f, (1.2, 0.7), order=3, modes=MODES)
        check_grads(lambda x, y: np.sum(f(x, y) ** 2), (X, X[::-1].copy()), order=2, modes=MODES)

    def test_the_rule_is_what_counts(self):
        @mlgrad.custom_vjp
        def f(x):
            return x**2

        f.defvjp(lambda x: (f(x), x), lambda x, g: (100 * g * x,))
        assert mlgrad.grad(f)(3.0) == 300.0
        assert mlgrad.jvp(f, (3.0,), (1.0,))[1] == 300.0
        # the derivative of 100 x g, not of 2x g
        assert mlgrad.grad(mlgrad.grad(f))(3.0) == 100.0

    def test_a_rule_that_is_not_linear_clips_gradients(self):
        @mlgrad.custom_vjp
        def clip_gradient(x):
            return x

        clip_gradient.defvjp(lambda x: (x, None), lambda _, g: (np.clip(g, -1.0, 1.0),))
        f = lambda x: 5 * clip_gradient(np.sin(x))
        assert np.isclose(mlgrad.grad(f)(0.3), np.cos(0.3))
        # d/dx (1 · cos x), where the clipped factor is constant
        assert np.isclose(mlgrad.grad(mlgrad.grad(f))(0.3), -np.sin(0.3))
        with pytest.raises(TypeError, match="clip_gradient is not linear"):
            mlgrad.jvp(f, (0.3,), (1.0,))

    def test_hessian_jacobian_vmap_jit(self):
        softplus, f = make_softplus(), make_sine()
        plain = lambda x: np.logaddexp(0, x)
        loss = lambda g: lambda x: np.sum(g(x) ** 2 * x)
        for transform in (mlgrad.hessian, mlgrad.jacfwd, mlgrad.jacrev, mlgrad.grad):
            np.testing.assert_allclose(transform(loss(softplus))(X), transform(loss(plain))(X), rtol=1e-12, atol=1e-14)
            jitted = mlgrad.jit(transform(loss(softplus)))
            for _ in range(2):
                np.testing.assert_allclose(jitted(X), transform(loss(plain))(X), rtol=1e-12, atol=1e-14)
        got = mlgrad.vmap(mlgrad.grad(f, (0, 1)), in_axes=(0, None))(X, 0.7)
        np.testing.assert_allclose(got[0], 0.7 * np.cos(X), rtol=1e-14)
        np.testing.assert_allclose(got[1], np.sin(X), rtol=1e-14)

    @pytest.mark.parametrize("make", [make_softplus, lambda: (lambda f: lambda x: f(x, 0.5 * x))(make_sine())])
    def test_batched_rules(self, make):
        f = make()
        single = mlgrad.grad(f)
        want = np.array([single(x) for x in X])
        np.testing.assert_allclose(mlgrad.vmap(single)(X), want, rtol=1e-14)
        np.testing.assert_allclose(mlgrad.grad(lambda x: np.sum(mlgrad.vmap(f)(x)))(X), want, rtol=1e-14)
        tangent = mlgrad.jvp(mlgrad.vmap(f), (X,), (np.ones(5),))[1]
        np.testing.assert_allclose(tangent, want, rtol=1e-14)
        grid = np.outer(X, [0.5, 1.0, 2.0])
        twice = mlgrad.vmap(mlgrad.vmap(f), in_axes=1, out_axes=1)
        got = mlgrad.grad(lambda x: np.sum(twice(x)))(grid)
        np.testing.assert_allclose(got, np.vectorize(single)(grid), rtol=1e-13)
        second = mlgrad.grad(lambda x: np.sum(mlgrad.vmap(single)(x)))(X)
        np.testing.assert_allclose(second, [mlgrad.grad(single)(x) for x in X], rtol=1e-12)

    def test_an_unbatched_argument_gets_the_sum(self):
        @mlgrad.custom_vjp
        def dot(w, x):
            return w @ x

        dot.defvjp(lambda w, x: (dot(w, x), (w, x)), lambda r, g: (g * r[1], g * r[0]))
        w, xs = np.array([1.0, 2.0]), np.arange(6.0).reshape(3, 2)
        f = lambda w: np.sum(mlgrad.vmap(dot, in_axes=(None, 0))(w, xs) ** 2)
        np.testing.assert_allclose(mlgrad.grad(f)(w), 2 * xs.T @ (xs @ w), rtol=1e-14)
        np.testing.assert_allclose(mlgrad.hessian(f)(w), 2 * xs.T @ xs, rtol=1e-14)

    def test_trees_none_and_integers(self):
        P = namedtuple("P", "w b")

        @mlgrad.custom_vjp
        def f(p, n, table):
            return {"y": p.w * n[0] + p.b, "z": [p.b * 3.0]}

        def fwd(p, n, table):
            return f(p, n, table), n

        def bwd(n, g):
            return P(g["y"] * n[0], np.sum(g["y"]) + 3 * g["z"][0]), None, None

        f.defvjp(fwd, bwd)
        n = np.array([2, 3])

        def loss(p):
            out = f(p, n, {"a": 1})
            return np.sum(out["y"] ** 2) + out["z"][0]

        p = P(np.array([1.0, -1.0]), 0.5)
        got = mlgrad.grad(loss)(p)
        y = p.w * 2 + p.b
        np.testing.assert_allclose(got.w, 4 * y)
        np.testing.assert_allclose(got.b, np.sum(2 * y) + 3)
        check_grads(lambda w, b: loss(P(w, b)), (p.w, p.b), order=2, modes=MODES)

    def test_none_is_zero(self):
        @mlgrad.custom_vjp
        def f(x, y):
            return x * y

        f.defvjp(lambda x, y: (f(x, y), y), lambda y, g: (g * y, None))
        assert mlgrad.grad(f, (0, 1))(2.0, 3.0) == (3.0, 0.0)

    def test_several_results_with_one_unused(self):
        @mlgrad.custom_jvp
        def both(x):
            return np.sin(x), np.cos(x)

        both.defjvp(lambda p, t: (both(*p), (both(*p)[1] * t[0], -both(*p)[0] * t[0])))
        assert np.isclose(mlgrad.grad(lambda x: both(x)[0])(0.3), np.cos(0.3))
        assert np.isclose(mlgrad.grad(lambda x: both(x)[1])(0.3), -np.sin(0.3))
        check_grads(lambda x: both(x)[0] * both(x)[1], (0.3,), order=3, modes=MODES)

    def test_nondiff_argnums(self):
        @mlgrad.custom_vjp
        def outside(x):
            return x

        def apply(f, x, k):
            return f(x) * k

        apply = mlgrad.custom_vjp(apply, nondiff_argnums=(0, 2))

        def fwd(f, x, k):
            return apply(f, x, k), x

        def bwd(f, k, x, g):
            assert f is np.sin
            return (g * np.cos(x) * k,)

        apply.defvjp(fwd, bwd)
        assert np.isclose(mlgrad.grad(lambda x: apply(np.sin, x, 2))(0.3), 2 * np.cos(0.3))
        check_grads(lambda x: apply(np.sin, x, k=2), (0.3,), order=2, modes=MODES)

        @mlgrad.custom_jvp
        def power(n, x):
            return x**n

        power = mlgrad.custom_jvp(power._f, nondiff_argnums=0)
        power.defjvp(lambda n, p, t: (power(n, *p), n * p[0] ** (n - 1) * t[0]))
        assert mlgrad.grad(lambda x: power(3, x))(2.0) == 12.0

    def test_defjvps(self):
        @mlgrad.custom_jvp
        def f(x, y, z):
            return x * y + z

        f.defjvps(lambda t, out, x, y, z: t * y, lambda t, out, x, y, z: t * x, None)
        assert mlgrad.grad(f, (0, 1, 2))(2.0, 3.0, 4.0) == (3.0, 2.0, 0.0)
        h = mlgrad.custom_jvp(lambda x: x)
        h.defjvps(None, None, None)
        with pytest.raises(TypeError, match="3 rules"):
            mlgrad.grad(h)(1.0)

    def test_a_rule_may_use_transforms(self):
        @mlgrad.custom_vjp
        def f(x):
            return np.sum(np.sin(x))

        f.defvjp(lambda x: (f(x), x), lambda x, g: (g * mlgrad.grad(lambda y: np.sum(np.sin(y)))(x),))
        check_grads(f, (X,), order=3, modes=MODES)

    def test_rules_in_rules(self):
        inner = make_softplus()

        @mlgrad.custom_vjp
        def f(x):
            return inner(x) ** 2

        f.defvjp(lambda x: (f(x), x), lambda x, g: (2 * g * inner(x) * sigma(x),))
        check_grads(f, (0.4,), order=3, modes=MODES)

        # a linear function with a rule of its own in the cotangent
        @mlgrad.custom_vjp
        def double(x):
            return 2 * x

        double.defvjp(lambda x: (double(x), None), lambda _, g: (double(g),))
        check_grads(lambda x: double(np.sin(x)), (0.4,), order=3, modes=MODES)
        got = mlgrad.grad(lambda x: np.sum(mlgrad.vmap(mlgrad.grad(lambda y: double(np.sin(y))))(x)))(X)
        np.testing.assert_allclose(got, -2 * np.sin(X), rtol=1e-13)

    def test_methods_keywords_and_defaults(self):
        class Model:
            @mlgrad.custom_vjp
            def __call__(self, x, scale=2.0):
                return x * scale

            __call__.defvjp(lambda self, x, s: (x * s, (x, s)), lambda r, g: (None, g * r[1], g * r[0]))

        m = Model()
        assert mlgrad.grad(lambda x: m(x))(3.0) == 2.0
        assert mlgrad.grad(lambda s: m(3.0, scale=s))(2.0) == 3.0

    def test_in_place_writes_stay_inside(self):
        @mlgrad.custom_vjp
        def f(x):
            x *= 2
            return x

        def fwd(x):
            y = x * 1
            x += 1
            return 2 * y, None

        f.defvjp(fwd, lambda _, g: (2 * g,))

        def loss(x):
            y = x * 1.0
            return np.sum(f(y) + 0 * y)

        np.testing.assert_array_equal(mlgrad.grad(loss)(X), np.full(5, 2.0))

    def test_vjp_and_linearize(self):
        calls = []
        softplus = make_softplus(calls)
        out, pull = mlgrad.vjp(softplus, X)
        np.testing.assert_allclose(out, np.logaddexp(0, X))
        for _ in range(2):
            np.testing.assert_allclose(pull(np.ones(5))[0], sigma(X), rtol=1e-14)
        assert calls == ["f", "fwd", "bwd"]
        calls.clear()
        _, push = mlgrad.linearize(softplus, X)
        for _ in range(2):
            np.testing.assert_allclose(push(np.ones(5)), sigma(X), rtol=1e-14)
        assert calls == ["f", "fwd", "bwd"]

    def test_tape(self):
        softplus = make_softplus()
        with mlgrad.Tape() as t:
            x = t.variable(0.3)
            y = softplus(x)
            y.backward()
        assert np.isclose(x.grad, sigma(0.3))

    def test_float32(self):
        softplus = make_softplus()
        got = mlgrad.grad(lambda x: np.sum(softplus(x)))(X.astype(np.float32))
        assert got.dtype == np.float32

    def test_outside_transforms_it_is_the_function(self):
        softplus = make_softplus()
        got = softplus(X)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, np.logaddexp(0, X))

    def test_against_jax(self):
        def both(lib, np):
            @lib.custom_vjp
            def f(x, y):
                return np.sin(x) * y

            f.defvjp(lambda x, y: (f(x, y), (x, y)), lambda r, g: (g * np.cos(r[0]) * r[1] * 3, g * np.sin(r[0])))

            @lib.custom_jvp
            def h(x):
                return x * np.exp(x)

            h.defjvp(lambda p, t: (h(*p), t[0] * np.exp(p[0]) * (2 + p[0])))
            return lambda x: np.sum(f(h(x), x) ** 2)

        ours, theirs = both(mlgrad, np), both(jax, jnp)
        np.testing.assert_allclose(mlgrad.grad(ours)(X), jax.grad(theirs)(X), rtol=1e-13)
        np.testing.assert_allclose(mlgrad.jacrev(mlgrad.grad(ours))(X), jax.jacrev(jax.grad(theirs))(X), rtol=1e-12)
        np.testing.assert_allclose(
            mlgrad.vmap(mlgrad.grad(ours))(np.stack([X, X / 2])),
            jax.vmap(jax.grad(theirs))(np.stack([X, X / 2])),
            rtol=1e-13,
        )


class TestCounts:
    def test_rules_run_once_a_call(self):
        calls = []
        softplus = make_softplus(calls)
        mlgrad.grad(softplus)(0.3)
        # fwd calls f, whose result is known
        assert calls == ["f", "fwd", "bwd"]
        calls.clear()
        mlgrad.grad(lambda x: softplus(x) * softplus(2 * x))(0.3)
        assert sorted(calls) == ["bwd", "bwd", "f", "f", "fwd", "fwd"]
        calls.clear()
        mlgrad.vmap(mlgrad.grad(softplus))(X)
        assert calls == ["f", "fwd", "bwd"]
        calls.clear()
        mlgrad.grad(lambda x: np.sum(mlgrad.vmap(softplus)(x)))(X)
        assert calls == ["f", "fwd", "bwd"]

    def test_without_derivative_no_rule_runs(self):
        calls = []
        softplus = make_softplus(calls)
        mlgrad.jit(softplus)(X)
        mlgrad.vmap(softplus)(X)
        mlgrad.grad(lambda x: x * mlgrad.stop_gradient(softplus(x)))(0.3)
        assert calls == ["f"] * 3

    def test_jit_replays_without_python(self):
        calls = []
        g = mlgrad.jit(mlgrad.grad(make_softplus(calls)))
        for x in (0.1, 0.2, 0.3):
            assert np.isclose(g(x), sigma(x))
        assert calls == ["f", "fwd", "bwd"]

    def test_jvp_rule(self):
        calls = []
        f = make_sine(calls)
        mlgrad.jvp(f, (0.1, 0.2), (1.0, 1.0))
        assert calls == ["f", "rule"]


class TestErrors:
    def check(self, fwd, bwd, error, match, x=None):
        @mlgrad.custom_vjp
        def f(x):
            return np.sum(x["a"]) if isinstance(x, dict) else np.sum(x)

        f.defvjp(fwd, bwd)
        with pytest.raises(error, match=match):
            mlgrad.grad(f)(X if x is None else x)

    def test_wrong_results_of_rules(self):
        fwd = lambda x: (np.sum(x), None)
        self.check(fwd, lambda r, g: g, TypeError, r"bwd of f must return a tuple with one cotangent .* got a Array")
        self.check(fwd, lambda r, g: (g, g), TypeError, r"1 differentiable argument, got a tuple of 2")
        self.check(
            fwd, lambda r, g: (g,), ValueError, r"rule of f: the cotangent of argument \[0\] is float64\(\), .*\(5,\)"
        )
        self.check(fwd, lambda r, g: ("no",), TypeError, "rule of f")
        self.check(lambda x: np.sum(x), lambda r, g: (g,), TypeError, r"fwd of f must return a pair")
        self.check(
            lambda x: ([np.sum(x)], None), lambda r, g: (g,), TypeError, r"fwd of f returned a result of the structure"
        )
        self.check(lambda x: (x, None), lambda r, g: (g,), ValueError, r"fwd of f .*shape \(5,\), but f returns \(\)")
        tree = {"a": X, "b": [1.0]}
        fwd = lambda x: (np.sum(x["a"]), None)
        self.check(fwd, lambda r, g: ({"a": X},), TypeError, r"rule of f .*at \[0\]: .*without 'b'", tree)
        self.check(
            fwd, lambda r, g: ({"a": X, "b": g},), TypeError, r"at \[0\]\['b'\]: expected \[\*\], got a Array", tree
        )
        self.check(
            fwd, lambda r, g: ({"a": X[:2], "b": None},), ValueError, r"argument \[0\]\['a'\] is float64\(2,\)", tree
        )

    def test_no_rule(self):
        for kind in (mlgrad.custom_vjp, mlgrad.custom_jvp):
            f = kind(lambda x: x)
            with pytest.raises(TypeError, match="without a rule"):
                mlgrad.grad(f)(1.0)
            with pytest.raises(TypeError, match="expected a function"):
                kind(3)

    def test_wrong_tangent(self):
        f = mlgrad.custom_jvp(lambda x: np.sum(x))
        f.defjvp(lambda p, t: (f(*p), t[0]))
        with pytest.raises(ValueError, match=r"tangent is float64\(5,\), .*float64\(\)"):
            mlgrad.jvp(f, (X,), (X,))
        f.defjvp(lambda p, t: (f(*p), np.sum(t[0]) ** 2))
        with pytest.raises(TypeError, match="not linear"):
            mlgrad.grad(f)(X)

    def test_captured_values_are_refused(self):
        def make(w):
            @mlgrad.custom_vjp
            def f(x):
                return x * w

            f.defvjp(lambda x: (f(x), None), lambda _, g: (g * w,))
            return f

        with pytest.raises(TypeError, match="f with respect to a value that it takes from outside"):
            mlgrad.grad(lambda w: make(w)(w * 2.0))(3.0)
        with pytest.raises(TypeError, match="takes from outside"):
            mlgrad.jvp(lambda w: make(w)(w * 2.0), (3.0,), (1.0,))
        # the very Array that is the argument, from the closure
        with pytest.raises(TypeError, match="takes from outside"):
            mlgrad.grad(lambda w: make(w)(w))(3.0)
        # a constant, and what stop_gradient holds, may be captured
        assert mlgrad.grad(lambda x: make(3.0)(x))(2.0) == 3.0
        assert mlgrad.grad(lambda w: make(mlgrad.stop_gradient(w))(w * 2.0))(3.0) == 6.0

    def test_values_of_cotangents_are_not_known(self):
        f = mlgrad.custom_vjp(lambda x: x * 1.0)
        f.defvjp(lambda x: (f(x), None), lambda _, g: (g if g > 0 else -g,))
        with pytest.raises(TypeError, match=r"np\.where"):
            mlgrad.grad(f)(1.0)

    def test_errors_of_the_rule_come_out(self):
        f = mlgrad.custom_vjp(lambda x: x * 1.0)
        f.defvjp(lambda x: (f(x), None), lambda _, g: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mlgrad.grad(f)(1.0)
        # and leave nothing behind
        assert mlgrad.grad(make_softplus())(0.0) == 0.5

    def test_keyword_only(self):
        f = mlgrad.custom_vjp(lambda x, *, k: x * k)
        with pytest.raises(TypeError, match="keyword-only"):
            f(1.0, k=2)


class TestAttach:
    def test_rules_in_terms_of_the_results(self):
        # y(a) with y² = a: the derivative 1 / (2y) is written with y alone
        def root(a):
            y = mlgrad.stop_gradient(np.sqrt(a))
            return _core.attach(y, a, jvp=lambda a, y, t: t / (2 * y))

        check_grads(root, (2.0,), order=3, modes=MODES)
        np.testing.assert_allclose(mlgrad.vmap(mlgrad.grad(root))(X**2 + 1), 0.5 / np.sqrt(X**2 + 1), rtol=1e-14)

    def test_results_may_be_numpy(self):
        def f(a):
            out = {"y": np.array([1.0, 4.0])}
            rule = lambda args, outs, g: {"k": 3.0 * np.sum(g["y"] * outs["y"])}
            return np.sum(_core.attach(out, {"k": a}, vjp=rule)["y"])

        assert mlgrad.grad(f)(2.0) == 15.0

    def test_without_arrays_it_is_nothing(self):
        out = np.ones(3)
        assert _core.attach(out, 2.0, vjp=lambda *a: a) is out
        with pytest.raises(TypeError, match="give a rule"):
            _core.attach(out, 2.0)

    def test_dependence_on_the_arguments_is_ignored(self):
        f = lambda a: _core.attach(a**3, a, vjp=lambda a, y, g: g * 7.0)
        assert mlgrad.grad(f)(2.0) == 7.0
        assert mlgrad.value_and_grad(f)(2.0)[0] == 8.0


def test_pickle_by_name():
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    g = pickle.loads(pickle.dumps(mlgrad.grad(module_level)))
    assert g(3.0) == 6.0


def test_linear_time_in_a_loop():
    """A thousand calls: each rule is recorded and copied once."""
    softplus = make_softplus(calls := [])

    def f(x):
        for _ in range(1000):
            x = softplus(x) - 0.5
        return x

    def plain(x):
        for _ in range(1000):
            x = np.logaddexp(0, x) - 0.5
        return x

    assert np.isclose(mlgrad.grad(f)(0.3), mlgrad.grad(plain)(0.3), rtol=1e-10)
    assert len(calls) == 3000


class TestControlFlow:
    def test_the_value_in_a_body(self):
        softplus = make_softplus()
        f = lambda x: mlgrad.scan(lambda c, _: (softplus(c), None), x, None, length=3)[0]
        want = np.logaddexp(0, np.logaddexp(0, np.logaddexp(0, 0.3)))
        assert np.isclose(f(0.3), want, rtol=1e-14)
        assert np.isclose(mlgrad.jit(lambda x: mlgrad.cond(x > 0, softplus, np.sin, x))(0.3), np.logaddexp(0, 0.3))

    def test_control_flow_in_a_custom_function(self):
        @mlgrad.custom_vjp
        def power(x):
            return mlgrad.scan(lambda c, _: (c * x, None), 1.0, None, length=3)[0]

        def bwd(x, g):
            return (mlgrad.cond(x > 0, lambda g: 3 * g * x**2, lambda g: g * 0.0, g),)

        power.defvjp(lambda x: (power(x), x), bwd)
        check_grads(power, (1.3,), order=2)
        assert mlgrad.grad(power)(-1.0) == 0.0
        # forward mode transposes the rule, whose branches do not read what they are linear in
        assert np.isclose(mlgrad.jvp(power, (1.3,), (1.0,))[1], 3 * 1.3**2)
        assert mlgrad.jvp(power, (-1.3,), (1.0,))[1] == 0.0
