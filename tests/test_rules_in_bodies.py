"""Derivatives of functions with rules of their own (custom_vjp, custom_jvp, implicit functions, solvers on the host) in
the bodies of control flow: against the same computation in plain NumPy code, under every transform."""

import collections
import gc
import weakref
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import mlgrad
from mlgrad import _core
from mlgrad.implicit import custom_fixed_point, custom_root, fixed_point, linear_solve, odeint, root
from mlgrad.testing import check_grads

jax.config.update("jax_enable_x64", True)

TRANSFORMS = {
    "value": lambda f: f,
    "jit": mlgrad.jit,
    "reverse": mlgrad.jacrev,
    "forward": mlgrad.jacfwd,
    "jit_reverse": lambda f: mlgrad.jit(mlgrad.jacrev(f)),
    "forward_over_reverse": lambda f: mlgrad.jacfwd(mlgrad.jacrev(f)),
    "reverse_over_reverse": lambda f: mlgrad.jacrev(mlgrad.jacrev(f)),
    "reverse_over_forward": lambda f: mlgrad.jacrev(mlgrad.jacfwd(f)),
    "jit_second": lambda f: mlgrad.jit(mlgrad.jacfwd(mlgrad.jacrev(f))),
}
PLACES = {
    "plain": lambda transform, f: (transform(f), 1.0),
    "vmap_outside": lambda transform, f: (mlgrad.vmap(transform(f)), np.array([1.0, 1.1])),
    "vmap_inside": lambda transform, f: (transform(lambda s: np.sum(mlgrad.vmap(f)(np.array([1.0, 1.1]) * s))), 1.0),
}
P = np.array([0.6, 0.8])
STEPS = 3


def same(f, plain, x=P, transforms=TRANSFORMS, rtol=1e-7):
    """Compare two functions of a vector (or number), and their derivatives, along a line through x."""
    for name, transform in transforms.items():
        for place, put in PLACES.items():
            got, want = (call(s) for call, s in (put(transform, lambda s, f=f: f(s * x)) for f in (f, plain)))
            np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-9, err_msg=f"{name} {place}")


def repeated(op, p):
    """A loop in Python."""
    for _ in range(STEPS):
        p = np.sin(op(p)) + 0.1
    return np.sum(p**2)


BODIES = {
    "scan": lambda op: lambda p: np.sum(mlgrad.scan(lambda c, _: (np.sin(op(c)) + 0.1, None), p, length=STEPS)[0] ** 2),
    "scan_slices": lambda op: (
        lambda p: np.sum(mlgrad.scan(lambda c, x: (np.sin(op(c)) + x, c), p, np.full((STEPS, 1), 0.1))[0] ** 2)
    ),
    "fori": lambda op: lambda p: np.sum(mlgrad.fori_loop(0, STEPS, lambda i, c: np.sin(op(c)) + 0.1, p) ** 2),
    "while": lambda op: (
        lambda p: np.sum(
            mlgrad.while_loop(lambda c: c[0] < STEPS, lambda c: (c[0] + 1, np.sin(op(c[1])) + 0.1), (0, p))[1] ** 2
        )
    ),
    "cond": lambda op: partial(repeated, lambda c: mlgrad.cond(np.sum(c) > -9, lambda c: op(c), lambda c: 0 * c, c)),
    "switch": lambda op: partial(repeated, lambda c: mlgrad.switch(1, [np.sin, lambda c: op(c), np.cos], c)),
    "checkpoint": lambda op: partial(repeated, mlgrad.checkpoint(lambda c: op(c))),
    "nested": lambda op: (
        lambda p: np.sum(
            mlgrad.scan(
                lambda c, _: (
                    mlgrad.checkpoint(
                        lambda c: mlgrad.cond(np.sum(c) > -9, lambda c: np.sin(op(c)) + 0.1, lambda c: 0 * c, c)
                    )(c),
                    None,
                ),
                p,
                length=STEPS,
            )[0]
            ** 2
        )
    ),
}


def vjp_softplus():
    f = mlgrad.custom_vjp(lambda x: np.logaddexp(0, x))
    f.defvjp(lambda x: (f(x), x), lambda x, g: (g / (1 + np.exp(-x)),))
    return f


def jvp_softplus():
    f = mlgrad.custom_jvp(lambda x: np.logaddexp(0, x))
    f.defjvps(lambda t, y, x: t / (1 + np.exp(-x)))
    return f


def attached_softplus():
    def f(x):
        if not isinstance(x, _core.Array):
            return np.logaddexp(0, x)
        y = np.logaddexp(0, mlgrad.stop_gradient(x))
        slope = lambda x, y, t: t * (1 - np.exp(-y))
        return _core.attach(y, x, vjp=slope, jvp=slope)

    return f


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("make", [vjp_softplus, jvp_softplus, attached_softplus])
def test_every_body(body, make):
    f = BODIES[body](make())
    same(f, partial(repeated, lambda x: np.logaddexp(0, x)))
    check_grads(f, (P,), order=3, modes=("rev", "fwd"))


def test_as_jax():
    def program(lib, np_):
        @lib.custom_vjp
        def f(w, x):
            return np_.tanh(w @ x)

        def bwd(residuals, g):
            w, x, y = residuals
            g = g * (1 - y**2)
            return np_.outer(g, x), w.T @ g

        f.defvjp(lambda w, x: (f(w, x), (w, x, f(w, x))), bwd)
        scan = lib.scan if lib is mlgrad else jax.lax.scan
        checkpoint = lib.checkpoint

        def loss(w, x):
            last, ys = scan(lambda c, x: (checkpoint(f)(w, c) + x, f(w, x)), x[0], x)
            return np_.sum(last**2) + np_.sum(ys**3)

        return loss

    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((3, 3)), rng.standard_normal((4, 3))
    ours, theirs = program(mlgrad, np), program(jax, jnp)
    np.testing.assert_allclose(mlgrad.grad(ours)(w, x), jax.grad(theirs)(w, x), rtol=1e-11)
    np.testing.assert_allclose(mlgrad.jit(mlgrad.grad(ours, 1))(w, x), jax.grad(theirs, 1)(w, x), rtol=1e-11)
    # both backwards: JAX has no forward mode for custom_vjp
    got, want = mlgrad.jacrev(mlgrad.grad(ours))(w, x), jax.jacrev(jax.grad(theirs))(w, x)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def test_the_rule_and_not_the_code():
    clip = mlgrad.custom_vjp(lambda x: x)
    clip.defvjp(lambda x: (x, None), lambda _, g: (np.clip(g, -1.0, 1.0),))
    for body in (
        lambda x: mlgrad.scan(lambda c, _: (3 * clip(c), None), x, length=2)[0],
        lambda x: mlgrad.while_loop(lambda c: c < 5, lambda c: 3 * clip(c), x),
        mlgrad.checkpoint(lambda x: 10 * clip(x)),
        lambda x: mlgrad.cond(x > 0, lambda x: 10 * clip(x), lambda x: x, x),
    ):
        assert mlgrad.grad(body)(1.0) == 1.0
        assert mlgrad.jit(mlgrad.grad(body))(1.0) == 1.0


def test_rules_are_called_once_a_walk_and_not_for_values():
    # no list, whose items jit would watch
    calls = collections.deque()
    f = mlgrad.custom_vjp(lambda x: np.sin(x))
    f.defvjp(lambda x: (f(x), x), lambda x, g: calls.append("bwd") or (g * np.cos(x),))
    loop = lambda x: mlgrad.scan(lambda c, _: (f(c), None), x, length=50)[0]
    loop(0.5)
    mlgrad.jit(loop)(0.5)
    mlgrad.vmap(loop)(P)
    assert not calls
    mlgrad.grad(loop)(0.5)
    assert list(calls) == ["bwd"]
    jitted = mlgrad.jit(mlgrad.grad(loop))
    jitted(0.5)
    calls.clear()
    plain = lambda x: mlgrad.scan(lambda c, _: (np.sin(c), None), x, length=50)[0]
    assert np.isclose(jitted(0.6), mlgrad.grad(plain)(0.6))
    assert not calls


W = np.array([[1.0, 0.2], [0.3, 1.0]])
S = np.array([[0.7, 0.2], [0.2, 0.5]])


class TestWhatRulesTakeFromOutside:
    def test_constants(self):
        f = mlgrad.custom_vjp(lambda x: W @ x)
        f.defvjp(lambda x: (f(x), None), lambda _, g: (W.T @ g,))
        for body in ("scan", "while", "nested"):
            same(BODIES[body](f), partial(repeated, lambda x: W @ x))

    def test_arrays_around_the_loop(self):
        def in_loop(p):
            q = mlgrad.stop_gradient(p[0])
            f = mlgrad.custom_vjp(lambda x: q * np.sin(x))
            f.defvjp(lambda x: (f(x), x), lambda x, g: (q * np.cos(x) * g,))
            return BODIES["scan"](f)(p)

        def plain(p):
            q = mlgrad.stop_gradient(p[0])
            return repeated(lambda x: q * np.sin(x), p)

        for transform in (lambda f: f, mlgrad.grad, lambda f: mlgrad.jit(mlgrad.grad(f)), mlgrad.hessian):
            np.testing.assert_allclose(transform(in_loop)(P), transform(plain)(P), rtol=1e-12)
            batched = [mlgrad.vmap(transform(f))(np.stack([P, 2 * P])) for f in (in_loop, plain)]
            np.testing.assert_allclose(*batched, rtol=1e-12)

    def test_arrays_of_the_body(self):
        def body(c, s):
            f = mlgrad.custom_vjp(lambda x: s * np.sin(x))
            f.defvjp(lambda x: (f(x), x), lambda x, g: (s * np.cos(x) * g,))
            return f(c), None

        slices = np.array([0.5, 0.7, 0.9])

        def plain(p):
            for s in slices:
                p = s * np.sin(p)
            return np.sum(p)

        same(lambda p: np.sum(mlgrad.scan(body, p, slices)[0]), plain)
        # and of the one around it
        inner = lambda c, s: mlgrad.cond(c[0] > -9, lambda c: body(c, s)[0], np.cos, c)
        same(lambda p: np.sum(mlgrad.scan(lambda c, s: (inner(c, s), None), p, slices)[0]), plain)

    def test_arguments_that_are_not_differentiated(self):
        @partial(mlgrad.custom_vjp, nondiff_argnums=(0,))
        def power(k, x):
            return x**k

        power.defvjp(lambda k, x: (power(k, x), x), lambda k, x, g: (k * x ** (k - 1) * g,))
        same(
            lambda p: np.sum(mlgrad.fori_loop(1, 4, lambda i, c: power(i * 1.0, c) + 0.3, p)),
            lambda p: np.sum(((p + 0.3) ** 2 + 0.3) ** 3 + 0.3),
        )

    def test_what_differs_between_examples_is_refused(self):
        power = mlgrad.custom_vjp(lambda k, x: x**k, nondiff_argnums=(0,))
        power.defvjp(lambda k, x: (power(k, x), x), lambda k, x, g: (k * x ** (k - 1) * g,))
        step = lambda c: (c[0] + 1, power(c[0] * 1.0, c[1]) + 0.3)
        # each example stops on its own, so that each has a counter of its own
        f = lambda x: mlgrad.while_loop(lambda c: c[1] < 5, step, (1, x))[1]
        assert np.isclose(mlgrad.vmap(mlgrad.grad(f))(np.array([1.5, 6.0]))[1], 1.0)
        with pytest.raises(TypeError, match="differs from example to example"):
            mlgrad.grad(lambda x: np.sum(mlgrad.vmap(f)(x)))(np.array([1.5, 6.0]))

    def test_a_derivative_with_respect_to_them_is_refused(self):
        def loop(w):
            f = mlgrad.custom_vjp(lambda x: x * w)
            f.defvjp(lambda x: (f(x), None), lambda _, g: (g * w,))
            return mlgrad.scan(lambda c, _: (f(c), None), 1.0, length=2)[0]

        for derivative in (mlgrad.grad, mlgrad.jacfwd):
            with pytest.raises(TypeError, match="takes from outside"):
                derivative(loop)(3.0)

    def test_integers_and_trees(self):
        f = mlgrad.custom_vjp(lambda d: np.sin(d["x"]) * d["k"])
        f.defvjp(lambda d: (f(d), d), lambda d, g: ({"x": g * np.cos(d["x"]) * d["k"], "k": None},))
        same(
            lambda p: np.sum(mlgrad.fori_loop(1, 3, lambda i, c: f({"x": c, "k": i}), p)),
            lambda p: np.sum(2 * np.sin(np.sin(p))),
        )


class TestRulesInRules:
    def test_a_rule_that_calls_custom_functions(self):
        cube = mlgrad.custom_vjp(lambda x: x**3)
        square = mlgrad.custom_vjp(lambda x: x**2)
        cube.defvjp(lambda x: (cube(x), x), lambda x, g: (3 * g * square(x),))
        square.defvjp(lambda x: (square(x), x), lambda x, g: (2 * g * x,))
        same(BODIES["scan"](cube), partial(repeated, lambda x: x**3))
        check_grads(BODIES["while"](cube), (P,), order=3, modes=("rev", "fwd"))

    def test_a_rule_that_is_transposed_through_another(self):
        scale = mlgrad.custom_jvp(lambda x: 2 * x)
        scale.defjvps(lambda t, y, x: 2 * t)
        square = mlgrad.custom_jvp(lambda x: x * x)
        square.defjvps(lambda t, y, x: scale(t) * x)
        for body in ("scan", "checkpoint", "nested"):
            same(BODIES[body](square), partial(repeated, lambda x: x * x))

    def test_a_rule_that_calls_itself(self):
        f = mlgrad.custom_vjp(lambda x: S @ x)
        f.defvjp(lambda x: (f(x), None), lambda _, g: (f(g),))
        for body in ("scan", "while", "cond"):
            same(BODIES[body](f), partial(repeated, lambda x: S @ x))

    def test_the_transpose_of_itself_is_refused(self):
        f = mlgrad.custom_jvp(lambda x: S @ x)
        f.defjvps(lambda t, y, x: f(t))
        assert mlgrad.jvp(BODIES["scan"](f), (P,), (P,))[1] != 0
        with pytest.raises(TypeError, match="the transpose of itself"):
            mlgrad.grad(BODIES["scan"](f))(P)

    def test_control_flow_in_rules_in_bodies(self):
        cube = mlgrad.custom_vjp(lambda x: mlgrad.scan(lambda c, _: (c * x, None), np.ones(2), length=3)[0])

        def bwd(x, g):
            return (mlgrad.cond(x[0] > -9, lambda g: 3 * g * x**2, lambda g: g * 0.0, g),)

        cube.defvjp(lambda x: (cube(x), x), bwd)
        for body in ("scan", "while", "nested"):
            same(BODIES[body](cube), partial(repeated, lambda x: x**3))


C = 0.1 * np.array([1.0, 0.5])


def equation(y, y0, p):
    """The implicit Euler step of y' = -p y³."""
    return y - y0 + C * p * y**3


def newton(y0, p):
    y = y0
    for _ in range(8):
        y = y - equation(y, y0, p) / (1 + 3 * C * p * y**2)
    return y


def in_python(p):
    y = 2 * P * p[0]
    for _ in range(STEPS):
        y = newton(y, p[1])
    return np.sum(y**2)


def in_scan(step):
    return lambda p: np.sum(mlgrad.scan(lambda y, _: (step(y, p[1]), None), 2 * P * p[0], length=STEPS)[0] ** 2)


class TestImplicitFunctionsInLoops:
    def test_newtons_method(self):
        same(in_scan(lambda y, p: root(equation, P, y, p)), in_python)
        same(in_scan(lambda y, p: root(lambda z: equation(z, y, p), P)), in_python)

    def test_black_boxes(self):
        box = lambda f, y0: scipy.optimize.root(f, y0, tol=1e-13)
        same(in_scan(lambda y, p: root(equation, P, y, p, solver=box)), in_python)
        step = custom_root(equation)(lambda y0, *a: scipy.optimize.root(equation, y0, a, tol=1e-13).x)
        same(in_scan(lambda y, p: step(P, y, p)), in_python)

    def test_fixed_points(self):
        T = lambda z, y, p: y - C * p * z**3
        same(in_scan(lambda y, p: fixed_point(T, P, y, p, tol=1e-14)), in_python)

        @custom_fixed_point(T)
        def solve(z, y, p):
            for _ in range(100):
                z = T(z, y, p)
            return z

        same(in_scan(lambda y, p: solve(P, y, p)), in_python)

    def test_the_index_of_the_step(self):
        def plain(p):
            y = 2 * P * p[0]
            for i in range(STEPS):
                y = newton(y, p[1] * (i + 1))
            return np.sum(y**2)

        closure = lambda i, y, p: root(lambda z: equation(z, y, p[1] * (i + 1)), P)
        argument = lambda i, y, p: root(lambda z, y, q, i: equation(z, y, q * (i + 1)), P, y, p[1], i)
        for step in (closure, argument):
            loop = lambda p, step=step: mlgrad.fori_loop(0, STEPS, lambda i, y: step(i, y, p), 2 * P * p[0])
            same(lambda p, loop=loop: np.sum(loop(p) ** 2), plain)

    def test_linear_systems(self):
        def plain(p):
            y = P * p[0]
            for _ in range(STEPS):
                y = np.linalg.solve(S * p[1] + np.eye(2), y)
            return np.sum(y**2)

        for method in ("dense", "cg"):
            step = lambda y, p, method=method: linear_solve(
                lambda v, p: S @ v * p + v, y, p, symmetric=True, method=method, tol=1e-13
            )
            body = lambda y, p, step=step: (step(y, p[1]), None)
            same(
                lambda p, body=body: np.sum(mlgrad.scan(lambda y, _: body(y, p), P * p[0], length=STEPS)[0] ** 2), plain
            )

    def test_odeint(self):
        slope = lambda y, t, a: np.stack([a * y[0] - y[0] * y[1], y[0] * y[1] - y[1]])
        solve = partial(odeint, slope, rtol=1e-11, atol=1e-11)
        times = np.array([0.0, 0.2])
        loop = lambda p: np.sum(mlgrad.scan(lambda y, _: (solve(y, times, p[1])[-1], None), P * p[0], length=2)[0])
        plain = lambda p: np.sum(solve(P * p[0], np.array([0.0, 0.2, 0.4]), p[1])[-1])
        few = {name: TRANSFORMS[name] for name in ("value", "reverse", "jit_reverse", "forward_over_reverse")}
        same(loop, plain, transforms=few, rtol=1e-6)


def test_a_host_call_in_function_and_rule():
    cosine = mlgrad.custom_vjp(lambda x: mlgrad.pure_callback(np.cos, mlgrad.ShapeDtypeStruct((2,), float), x))
    sine = mlgrad.custom_vjp(lambda x: mlgrad.pure_callback(np.sin, mlgrad.ShapeDtypeStruct((2,), float), x))
    sine.defvjp(lambda x: (sine(x), x), lambda x, g: (g * cosine(x),))
    cosine.defvjp(lambda x: (cosine(x), x), lambda x, g: (-g * sine(x),))
    for body in ("scan", "while", "cond", "checkpoint"):
        same(BODIES[body](sine), partial(repeated, np.sin))


def test_other_walks():
    f = BODIES["scan"](vjp_softplus())
    plain = partial(repeated, lambda x: np.logaddexp(0, x))
    value, pull = mlgrad.vjp(f, P)
    np.testing.assert_allclose(pull(1.0)[0], mlgrad.grad(plain)(P), rtol=1e-12)
    np.testing.assert_allclose(pull(2.0)[0], 2 * mlgrad.grad(plain)(P), rtol=1e-12)
    assert np.isclose(value, plain(P))
    _, push = mlgrad.linearize(f, P)
    np.testing.assert_allclose(push(P), mlgrad.jvp(plain, (P,), (P,))[1], rtol=1e-12)
    np.testing.assert_allclose(mlgrad.hessian(f)(P), mlgrad.hessian(plain)(P), rtol=1e-10)


def test_errors_of_rules_come_out():
    f = mlgrad.custom_vjp(lambda x: x * 1.0)
    loop = lambda x: mlgrad.scan(lambda c, _: (f(c), None), x, length=2)[0]
    f.defvjp(lambda x: (f(x), None), lambda _, g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mlgrad.grad(loop)(1.0)
    f.defvjp(lambda x: (f(x), None), lambda _, g: (g if g > 0 else -g,))
    with pytest.raises(TypeError, match=r"np\.where"):
        mlgrad.grad(loop)(1.0)
    f.defvjp(lambda x: (f(x), None), lambda _, g: (np.ones(3),))
    with pytest.raises(ValueError, match=r"rule of <lambda>: the cotangent of argument \[0\] is float64\(3,\)"):
        mlgrad.grad(loop)(1.0)
    f.defvjp(lambda x: (f(x), None), lambda _, g: (g * 7.0,))
    assert mlgrad.grad(loop)(1.0) == 49.0


def test_neither_plans_nor_rules_pile_up():
    class Residual:
        """Something that a rule holds."""

    held = []

    def gradient(x):
        residual = Residual()
        held.append(weakref.ref(residual))
        f = mlgrad.custom_vjp(lambda x: np.sin(x))
        f.defvjp(lambda x: (f(x), x), lambda x, g, keep=residual: (g * np.cos(x),))
        nested = mlgrad.checkpoint(lambda c: mlgrad.cond(c > -9, lambda c: f(c), np.cos, c))
        return mlgrad.grad(lambda x: mlgrad.scan(lambda c, _: (nested(c), None), x, length=3)[0])(x)

    gradient(0.5)
    before = _core.cache_stats()["entries"]
    for x in np.linspace(0.1, 1.0, 20):
        gradient(x)
    assert _core.cache_stats()["entries"] == before
    gc.collect()
    assert sum(r() is not None for r in held) <= 1


def test_what_the_body_of_an_inner_derivative_takes_from_outside():
    """The array in the closure comes onto the tape after the loop that its rule is for."""
    c = np.array([0.3, -0.5])

    @mlgrad.custom_jvp
    def product(x, y):
        return np.tanh(x * y)

    @product.defjvp
    def _(primals, tangents):
        (x, y), (a, b) = primals, tangents
        r = product(x, y)
        return r, (1 - r * r) * (a * y + x * b)

    def loop(op):
        return lambda x: np.sum(mlgrad.scan(lambda s, _: (op(s, c), None), x, length=2)[0] ** 2)

    inner = {"grad": mlgrad.grad, "jacfwd": mlgrad.jacfwd, "jit": lambda f: mlgrad.jit(mlgrad.grad(f))}
    outer = {
        "checkpoint": mlgrad.checkpoint,
        "scan": lambda g: lambda x: mlgrad.scan(lambda s, _: (g(s), None), x, length=2)[0],
        "cond": lambda g: lambda x: mlgrad.cond(x[0] > 0, g, lambda x: x, x),
    }
    plain = {"scan": lambda g: lambda x: g(g(x))}
    for name, derivative in inner.items():
        for place, put in outer.items():
            f = put(derivative(loop(product)))
            want = plain.get(place, lambda g: g)(mlgrad.grad(loop(lambda x, y: np.tanh(x * y))))
            for order in (1, 2):
                f, want = mlgrad.jacobian(f), mlgrad.jacobian(want)
                np.testing.assert_allclose(f(P), want(P), rtol=1e-9, atol=1e-12, err_msg=f"{name} {place} {order}")
