"""What loops carry: values that change places, stay, are the same, or are written into; what derivatives share."""

import numpy as np
import pytest

import mlgrad
from mlgrad import fori_loop, grad, hessian, jit, scan, value_and_grad, vmap, while_loop
from mlgrad.implicit import ConvergenceError, odeint

SIZES = (1, 3, 8, 40, 300, 5000)


def same(got, want):
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


def near(got, want, tolerance=1e-12):
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=tolerance, atol=tolerance)


def run_in_python(n, body, carry):
    for i in range(n):
        carry = body(i, carry)
    return carry


BODIES = {
    "swap": lambda i, c: (c[1], c[0], c[2]),
    "turn": lambda i, c: (c[1], c[2], c[0]),
    "swap and compute": lambda i, c: (c[1], c[0] * 0.5 + c[2], c[2]),
    "unchanged": lambda i, c: (c[0], c[1] + c[0], c[2]),
    "all unchanged": lambda i, c: c,
    "one value twice": lambda i, c: (c[0] * 0.5 + c[1], c[0] * 0.5 + c[1], c[2] - c[0]),
    "one carry twice": lambda i, c: (c[1], c[1], c[0] + c[2]),
    "a constant": lambda i, c: (np.zeros_like(c[0]), c[0] + c[1], c[2] * 1.5),
    "not read": lambda i, c: (c[0] + 1.0, c[0] * 2.0, c[0] - 3.0),
    "shifted": lambda i, c: (c[0] + 1.0, c[0], c[1]),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", BODIES)
def test_carries_change_places(name, n):
    body = BODIES[name]
    start = tuple(np.random.default_rng(k).normal(size=n) for k in range(3))
    for steps in (0, 1, 2, 5):
        want = run_in_python(steps, body, start)
        for got in (
            jit(lambda *c, steps=steps: fori_loop(0, steps, body, c))(*start),
            jit(
                lambda *c, steps=steps: while_loop(lambda s: s[0] < steps, lambda s: (s[0] + 1, body(0, s[1])), (0, c))[
                    1
                ]
            )(*start),
        ):
            for a, b in zip(got, want, strict=True):
                same(a, b)
        last, ys = jit(lambda *c, steps=steps: scan(lambda c, x: (body(0, c), c[1]), c, np.zeros(steps)))(*start)
        history = [run_in_python(k, body, start)[1] for k in range(steps)]
        for a, b in zip(last, want, strict=True):
            same(a, b)
        same(ys, np.array(history).reshape(steps, n))


@pytest.mark.parametrize("name", BODIES)
def test_derivatives_of_carries_that_change_places(name):
    body = BODIES[name]
    start = tuple(np.random.default_rng(k).normal(size=4) for k in range(3))
    measure = lambda c: np.sum(np.sin(c[0]) + c[1] ** 2 + c[0] * c[2])
    loops = (
        lambda *c: measure(fori_loop(0, 3, body, c)),
        lambda *c: measure(while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, body(0, s[1])), (0, c))[1]),
    )
    want = value_and_grad(lambda *c: measure(run_in_python(3, body, c)), (0, 1, 2))(*start)
    for f in loops:
        for transform in (lambda g: g, jit):
            value, slopes = transform(value_and_grad(f, (0, 1, 2)))(*start)
            near(value, want[0])
            for a, b in zip(slopes, want[1], strict=True):
                near(a, b)


@pytest.mark.parametrize("n", [3, 500])
def test_a_captured_array_is_a_carry(n):
    held = np.arange(float(n))
    f = jit(lambda x: fori_loop(0, 3, lambda i, c: (held, c[0] + c[1], c[1]), (x, held, x)))
    first, second, third = f(np.ones(n))
    same(first, held)
    same(third, 2 * held + 1)
    same(second, 3 * held + 1)


def test_loops_of_one_plan_do_not_share_their_carries():
    # the bodies have one plan; what they carry along differs
    one = jit(lambda a, b: fori_loop(0, 3, lambda i, c: (c[0] * b, c[1]), (a, b)))
    two = jit(lambda a, b: fori_loop(0, 3, lambda i, c: c * b, a))
    for _ in range(3):
        same(one(2.0, 3.0)[0], 54.0)
        same(two(2.0, 3.0), 54.0)


class TestRowsByIndex:
    @pytest.mark.parametrize("n", [4, 100, 2000])
    def test_reads_and_writes(self, n):
        def steps(table):
            def body(i, c):
                out, total = c
                out = out.copy()
                out[i] = table[i] * 2.0 + total
                return out, 0.5 * (total + table[n - 1 - i, 0]) + 0.1 * out[i, 1]

            return body

        table = np.random.default_rng(0).normal(size=(n, 3))
        want = run_in_python(n, steps(table), (np.ones((n, 3)), 0.0))
        f = jit(lambda table, out, start: fori_loop(0, n, steps(table), (out, start)))
        out, total = f(table, np.ones((n, 3)), 0.0)
        near(out, want[0])
        near(total, want[1])

    @pytest.mark.parametrize("n", [5, 600])
    def test_the_old_array_lives_on(self, n):
        def body(i, c):
            new, _ = c
            new = new.copy()
            new[i] = 7.0
            return new, c[0]

        new, old = jit(lambda a: fori_loop(0, 3, body, (a, a)))(np.zeros(n))
        same(new, np.where(np.arange(n) < 3, 7.0, 0.0))
        same(old, np.where(np.arange(n) < 2, 7.0, 0.0))

    @pytest.mark.parametrize("n", [5, 600])
    def test_the_argument_stays_as_it_is(self, n):
        def body(i, a):
            a = a.copy()
            a[i] = 1.0
            return a

        given = np.zeros(n)
        f = jit(lambda a: (fori_loop(0, 3, body, a), a * 1.0))
        for _ in range(2):
            new, before = f(given)
            same(np.sum(new), 3.0)
            same(before, np.zeros(n))
            same(given, np.zeros(n))

    @pytest.mark.parametrize("n", [4, 300])
    def test_derivatives(self, n):
        def f(x, w):
            def body(i, out):
                out = out.copy()
                out[i] = np.sin(x[i]) * w + out[i - 1]
                return out

            return np.sum(fori_loop(1, n, body, x * 1.0) ** 2)

        def plain(x, w):
            rows = [x[0]]
            for i in range(1, n):
                rows.append(np.sin(x[i]) * w + rows[-1])
            return np.sum(np.stack(rows) ** 2)

        x = np.random.default_rng(0).normal(size=n)
        want = grad(plain, (0, 1))(x, 0.3)
        for transform in (lambda g: g, jit):
            got = transform(grad(f, (0, 1)))(x, 0.3)
            near(got[0], want[0], 1e-10)
            near(got[1], want[1], 1e-10)

    def test_indices_count_from_the_end_or_are_refused(self):
        x = np.arange(6.0)
        f = jit(lambda x, start: fori_loop(0, 3, lambda i, c: (c[0] + x[c[1]], c[1] - 1), (0.0, start))[0])
        same(f(x, 2), 3.0)
        same(f(x, 0), 0.0 + 5.0 + 4.0)
        for _ in range(2):
            with pytest.raises(IndexError, match="index 6 is out of bounds for axis 0 with size 6"):
                f(x, 6)
            same(f(x, -1), 5.0 + 4.0 + 3.0)

    def test_batches(self):
        def f(x):
            def body(i, out):
                out = out.copy()
                out[i] = x * out[i - 1]
                return out

            return fori_loop(1, 4, body, np.ones(4) * x)

        near(vmap(f)(np.array([2.0, 3.0])), [[2.0, 4.0, 8.0, 16.0], [3.0, 9.0, 27.0, 81.0]])


class TestDerivativesShareWhatLoopsHaveDone:
    @staticmethod
    def inner(c, x):
        going = lambda s: s[0] < 3.0 + 4.0 * x
        step = lambda s: (s[0] + 1.0, np.sin(s[1]) * 0.9 + x * s[1])
        return while_loop(going, step, (0.0, c))[1]

    @staticmethod
    def plain(c, x):
        k = 0.0
        while k < 3.0 + 4.0 * x:
            k, c = k + 1.0, np.sin(c) * 0.9 + x * c
        return c

    def test_of_one_loop(self):
        want = value_and_grad(self.plain, (0, 1))(0.3, 0.7)
        both = jit(value_and_grad(self.inner, (0, 1)))
        for _ in range(2):
            value, slopes = both(0.3, 0.7)
            near(value, want[0])
            near(slopes, want[1])
        assert "kept for its derivative" in both.explain_plan()
        near(hessian(self.inner)(0.3, 0.7), hessian(self.plain)(0.3, 0.7))

    @pytest.mark.parametrize("count", [0, 1, 7])
    def test_of_loops_in_a_scan(self, count):
        def f(c, w, xs):
            def step(c, x):
                c = self.inner(c * w, x)
                return c, c * x

            c, ys = scan(step, c, xs)
            return c**2 + np.sum(ys)

        def plain(c, w, xs):
            total = 0.0
            for k in range(count):
                c = self.plain(c * w, float(xs[k]))
                total = total + c * float(xs[k])
            return c**2 + total

        xs = np.linspace(0.0, 1.0, count)
        want = value_and_grad(plain, (0, 1))(0.3, 1.1, xs)
        both = jit(value_and_grad(f, (0, 1)))
        for _ in range(2):
            value, slopes = both(0.3, 1.1, xs)
            near(value, want[0])
            near(slopes, want[1])
        if count:
            assert "from what was kept" in both.explain_plan()
        near(jit(hessian(f))(0.3, 1.1, xs), hessian(plain)(0.3, 1.1, xs), 1e-9)

    def test_loops_on_other_values_share_nothing(self):
        def f(c):
            # the derivative of the second begins with its own steps
            return self.inner(c, 0.2) * self.inner(c * 2.0, 0.2)

        want = value_and_grad(lambda c: self.plain(c, 0.2) * self.plain(c * 2.0, 0.2))(0.3)
        near(jit(value_and_grad(f))(0.3), want)


def test_a_solver_that_fails_under_jit_says_so_each_time():
    blows_up = jit(value_and_grad(lambda y: odeint(lambda y, t: y * y, y, np.array([0.0, 1.0]))[-1]))
    near(blows_up(0.5)[0], 1.0, 1e-7)
    for _ in range(2):
        with pytest.raises(ConvergenceError, match="could not be continued") as caught:
            blows_up(2.0)
        assert abs(caught.value.residual - 0.5) < 1e-3
        near(blows_up(0.5), (1.0, 4.0), 1e-6)


def test_what_is_expected_is_looked_at_before_python_branches():
    def f(y):
        out = odeint(lambda y, t: y * y, y, np.array([0.0, 1.0]))[-1]
        return out if out < 100.0 else 0.0 * out

    g = jit(f)
    near(g(0.5), 1.0, 1e-7)
    with pytest.raises(ConvergenceError):
        g(2.0)
    assert mlgrad.jit(f)(0.25) > 0
