"""mlgrad.symbolic, and every smooth scalar rule against SymPy to the fourth derivative."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import mlgrad
from mlgrad import nn, symbolic
from mlgrad.scipy import special
from tables import BINARY, SPECIAL_UNARY, UNARY

sympy = pytest.importorskip("sympy")

x, y = sympy.symbols("x y", real=True)
third = sympy.Rational(1, 3)

# what each operation is; written here, so that the tables in the package are held against something else
MEANING = {
    "reciprocal": 1 / x, "sqrt": sympy.sqrt(x), "cbrt": x**third, "exp": sympy.exp(x), "exp2": 2**x,
    "expm1": sympy.exp(x) - 1, "log": sympy.log(x), "log2": sympy.log(x, 2), "log10": sympy.log(x, 10),
    "log1p": sympy.log(1 + x), "sin": sympy.sin(x), "cos": sympy.cos(x), "tan": sympy.tan(x),
    "arcsin": sympy.asin(x), "arccos": sympy.acos(x), "arctan": sympy.atan(x), "sinh": sympy.sinh(x),
    "cosh": sympy.cosh(x), "tanh": sympy.tanh(x), "arcsinh": sympy.asinh(x), "arccosh": sympy.acosh(x),
    "arctanh": sympy.atanh(x), "deg2rad": x * sympy.pi / 180, "radians": x * sympy.pi / 180,
    "rad2deg": x * 180 / sympy.pi, "degrees": x * 180 / sympy.pi,
    "erf": sympy.erf(x), "erfc": sympy.erfc(x), "erfinv": sympy.erfinv(x), "expit": 1 / (1 + sympy.exp(-x)),
    "log_expit": -sympy.log(1 + sympy.exp(-x)), "gammaln": sympy.loggamma(x), "digamma": sympy.digamma(x),
    "psi": sympy.digamma(x), "polygamma 1": sympy.polygamma(1, x), "polygamma 3": sympy.polygamma(3, x),
    "square": x**2, "negative": -x, "power 3": x**3, "power -2": x**-2, "power 2.5": x ** sympy.Rational(5, 2),
    "2.5 to a power": sympy.Rational(5, 2) ** x, "sinc": sympy.sin(sympy.pi * x) / (sympy.pi * x),
    "softplus": sympy.log(1 + sympy.exp(x)), "silu": x / (1 + sympy.exp(-x)),
    "gelu": x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2,
    "logit": sympy.log(x) - sympy.log(1 - x), "ndtr": sympy.erfc(-x / sympy.sqrt(2)) / 2, "exp10": 10**x,
    "gamma": sympy.gamma(x), "entr": -x * sympy.log(x),
}  # fmt: skip
FUNCTIONS = {
    **{name: (getattr(np, name), *domain) for name, domain in UNARY.items()},
    **{name: (getattr(special, name), *domain) for name, domain in SPECIAL_UNARY.items()},
    "polygamma 1": (lambda x: special.polygamma(1, x), 0.4, 4.0),
    "polygamma 3": (lambda x: special.polygamma(3, x), 0.8, 4.0),
    "square": (np.square, -2.0, 2.0), "negative": (np.negative, -2.0, 2.0), "power 3": (lambda x: x**3, -2.0, 2.0),
    "power -2": (lambda x: x**-2, 0.5, 2.0), "power 2.5": (lambda x: x**2.5, 0.3, 2.0),
    "2.5 to a power": (lambda x: 2.5**x, -2.0, 2.0), "sinc": (np.sinc, 0.15, 2.0),
    "softplus": (nn.softplus, -3.0, 3.0), "silu": (nn.silu, -3.0, 3.0),
    "gelu": (lambda x: nn.gelu(x, approximate=False), -2.0, 2.0), "logit": (special.logit, 0.1, 0.9),
    "ndtr": (special.ndtr, -2.0, 2.0), "exp10": (lambda x: 10.0**x, -1.0, 1.0), "gamma": (special.gamma, 0.5, 4.0),
    "entr": (special.entr, 0.2, 2.0),
}  # fmt: skip
MEANING_2 = {
    "power": x**y, "float_power": x**y, "arctan2": sympy.atan2(x, y), "hypot": sympy.sqrt(x**2 + y**2),
    "logaddexp": sympy.log(sympy.exp(x) + sympy.exp(y)), "logaddexp2": sympy.log(2**x + 2**y, 2),
    "add": x + y, "subtract": x - y, "multiply": x * y, "divide": x / y,
    "xlogy": x * sympy.log(y), "xlog1py": x * sympy.log(1 + y),
    "betaln": sympy.loggamma(x) + sympy.loggamma(y) - sympy.loggamma(x + y),
}  # fmt: skip
FUNCTIONS_2 = {
    **{name: (getattr(np, name), *domain) for name, domain in BINARY.items()},
    "add": (np.add, -2, 2, -2, 2), "subtract": (np.subtract, -2, 2, -2, 2), "multiply": (np.multiply, -2, 2, -2, 2),
    "divide": (np.divide, -2, 2, 0.5, 2), "xlogy": (special.xlogy, -2, 2, 0.2, 3),
    "xlog1py": (special.xlog1py, -2, 2, -0.7, 3), "betaln": (special.betaln, 0.5, 3, 0.5, 3),
}  # fmt: skip


def precise(expr, **point):
    """The value to 30 digits, from the very bits of the point."""
    subs = {s: sympy.Float(v, 40) for s, v in ((x, point.get("x")), (y, point.get("y"))) if v is not None}
    value = expr.evalf(30, subs=subs)
    assert value.is_number, value
    return float(sympy.re(value))


def test_every_smooth_operation_of_the_table_is_here():
    assert set(UNARY) | set(SPECIAL_UNARY) <= set(MEANING)
    assert set(BINARY) <= set(MEANING_2)
    assert set(FUNCTIONS) == set(MEANING)
    assert set(FUNCTIONS_2) == set(MEANING_2)


@pytest.mark.parametrize("name", MEANING)
def test_four_derivatives_of_functions_of_one_variable(name):
    f, low, high = FUNCTIONS[name]
    points = np.linspace(low, high, 6)[1:-1] + 0.01 * (high - low)
    derivative = mlgrad.vmap(lambda v: np.asarray(v) if isinstance(v, float) else f(v))
    expr = MEANING[name]
    for order in range(5):
        got = derivative(points)
        want = [precise(expr, x=v) for v in points]
        # a fourth derivative passes through cancelling terms
        scale = np.max(np.abs(want))
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11 * scale, err_msg=f"order {order}")
        derivative = mlgrad.elementwise_grad(derivative)
        expr = sympy.diff(expr, x)


@pytest.mark.parametrize("name", MEANING_2)
def test_four_derivatives_of_functions_of_two_variables(name):
    f, a, b, c, d = FUNCTIONS_2[name]
    points = [(a + 0.3 * (b - a), c + 0.8 * (d - c)), (a + 0.9 * (b - a), c + 0.35 * (d - c))]
    for order in range(5):
        for wrt in itertools.combinations_with_replacement((0, 1), order):
            expr = MEANING_2[name]
            for k in wrt:
                expr = sympy.diff(expr, (x, y)[k])
            g = f
            for k in wrt:
                g = mlgrad.grad(g, k)
            for p, q in points:
                want = precise(sympy.sympify(expr), x=p, y=q)
                np.testing.assert_allclose(g(p, q), want, rtol=1e-9, atol=1e-10, err_msg=f"by {wrt} at {p}, {q}")


@pytest.mark.parametrize("name", MEANING)
def test_recorded_functions_are_what_they_mean(name):
    f, low, high = FUNCTIONS[name]
    s = symbolic.to_sympy(f)
    (symbol,) = s.symbols.values()
    for v in np.linspace(low, high, 5)[1:-1]:
        point = {symbol: sympy.Float(v, 40)}
        for got, want in ((s.expr, MEANING[name]), (s.derivative(), sympy.diff(MEANING[name], x))):
            np.testing.assert_allclose(float(sympy.re(got.evalf(30, subs=point))), precise(want, x=v), rtol=1e-14)


@pytest.mark.parametrize("name", MEANING_2)
def test_recorded_functions_of_two_variables_are_what_they_mean(name):
    f, a, b, c, d = FUNCTIONS_2[name]
    s = symbolic.to_sympy(f)
    p, q = a + 0.3 * (b - a), c + 0.8 * (d - c)
    point = dict(zip(s.symbols.values(), (sympy.Float(p, 40), sympy.Float(q, 40)), strict=True))
    np.testing.assert_allclose(float(s.expr.evalf(30, subs=point)), precise(MEANING_2[name], x=p, y=q), rtol=1e-14)


class TestToSympy:
    def test_expressions(self):
        s = symbolic.to_sympy(lambda x: np.sin(x**2))
        X = s.symbols["x"]
        assert s.expr == sympy.sin(X**2)
        assert s.derivative() == 2 * X * sympy.cos(X**2)
        assert s.derivative("x", "x").equals(2 * sympy.cos(X**2) - 4 * X**2 * sympy.sin(X**2))
        assert s.derivative(X) == s.derivative("x")
        assert str(s) == "<lambda>(x) = sin(x**2)".replace("<lambda>", "f")
        assert r"\sin{\left(x^{2} \right)}" in s.latex()
        assert symbolic.to_sympy(lambda x, n=3: x**n).expr == sympy.Symbol("x", real=True) ** 3

    def test_numbers_are_exact_where_they_are_meant_so(self):
        s = symbolic.to_sympy(lambda x: 0.5 * x + np.pi - x / np.sqrt(2) + 0.1)
        X = s.symbols["x"]
        assert s.expr.coeff(X) == sympy.Rational(1, 2) - 1 / sympy.sqrt(2)
        assert s.expr.subs(X, 0) == sympy.pi + sympy.Float("0.1")

    def test_derivatives_of_derivatives(self):
        s = symbolic.to_sympy(mlgrad.grad(lambda x: np.exp(np.sin(x))))
        (X,) = s.symbols.values()
        assert s.expr.equals(sympy.exp(sympy.sin(X)) * sympy.cos(X))

    def test_arrays_are_indexed_symbols(self):
        A = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, 0.5]])
        s = symbolic.to_sympy(lambda w: np.sum(np.tanh(A @ w)[::-1] * w[:2]), np.ones(3))
        w = s.symbols["w"]
        want = sum(sympy.tanh(sum(sympy.nsimplify(A[1 - i, j]) * w[j] for j in range(3))) * w[i] for i in range(2))
        assert s.expr.equals(want)
        gradient = s.derivative("w")
        assert gradient.shape == (3,)
        point = dict(zip(w, (0.3, -0.2, 0.7), strict=True))
        got = [float(g.subs(point)) for g in gradient]
        value = mlgrad.grad(lambda w: np.sum(np.tanh(A @ w)[::-1] * w[:2]))(np.array([0.3, -0.2, 0.7]))
        np.testing.assert_allclose(got, value, rtol=1e-12)

    @pytest.mark.parametrize(
        "f",
        [
            lambda a: np.linalg.det(a),
            lambda a: np.linalg.inv(a)[0],
            lambda a: np.linalg.solve(a, np.array([1.0, 2.0, 3.0])),
            lambda a: np.cumsum(a, axis=1)[:, -1] + np.cumprod(a[0]),
            lambda a: np.max(a, axis=0) + np.prod(a, axis=1),
            lambda a: np.where(a > 0.5, a, a**2).sum(axis=1),
            lambda a: a[[0, 2, 0], [1, 1, 2]],
            lambda a: np.concatenate([a[0], a[:, 1]]).reshape(2, 3).T,
            lambda a: np.stack([np.var(a), np.mean(a), np.linalg.norm(a)]),
            lambda a: np.einsum("ij,jk->ik", a, a).ravel(),
            lambda a: np.clip(a, 0.2, 0.8) - np.maximum(a, 0.5) * np.abs(a),
            lambda a: np.sort(np.array([3.0, 1.0, 2.0])) * a,
        ],
    )
    def test_operations_on_arrays(self, f):
        a = np.random.default_rng(3).uniform(0.1, 1.0, (3, 3))
        s = symbolic.to_sympy(f, a)
        point = dict(zip(sympy.flatten(s.symbols["a"].tolist()), a.ravel().tolist(), strict=True))
        got = s.expr.subs(point)
        np.testing.assert_allclose(np.array(got.tolist() if hasattr(got, "tolist") else got, float), f(a), rtol=1e-10)

    def test_in_place_writes_trees_and_keywords(self):
        def f(p, *, scale):
            y = p["u"] * 1.0
            y[0] = p["v"]
            return {"total": np.sum(y) * scale, "first": y[0]}

        s = symbolic.to_sympy(f, {"u": np.ones(2), "v": 1.0}, scale=2.0)
        assert list(s.symbols) == ["p['u']", "p['v']", "scale"]
        u, v, scale = s.symbols.values()
        assert s.expr["first"] == v
        assert s.expr["total"].equals((v + u[1]) * scale)
        assert s.derivative("p['v']") == {"total": scale, "first": 1}

    def test_what_has_no_expression_is_refused(self):
        with pytest.raises(TypeError, match=r"np\.where"):
            symbolic.to_sympy(lambda x: x if x > 0 else -x)
        with pytest.raises(NotImplementedError, match="stop_gradient"):
            symbolic.to_sympy(lambda x: mlgrad.stop_gradient(x) * x)
        with pytest.raises(NotImplementedError, match="argsort"):
            symbolic.to_sympy(lambda x: np.sort(x), np.ones(3))
        with pytest.raises(ValueError, match="at most 10000 elements"):
            symbolic.to_sympy(lambda x: np.sin(x), np.ones(10001))
        with pytest.raises(ValueError, match="no argument 'z'; there are x, y"):
            symbolic.to_sympy(lambda x, y: x * y).derivative("z")
        with pytest.raises(ValueError, match="name one of"):
            symbolic.to_sympy(lambda x, y: x * y).derivative()
        with pytest.raises(TypeError, match="expected a function"):
            symbolic.to_sympy(3)


class TestFromSympy:
    def test_every_transform(self):
        f = symbolic.from_sympy(sympy.sin(x) * y**2 + sympy.exp(-x * y))
        a, b = 0.4, 1.3
        np.testing.assert_allclose(f(a, b), math.sin(a) * b * b + math.exp(-a * b))
        np.testing.assert_allclose(mlgrad.grad(f)(a, b), math.cos(a) * b * b - b * math.exp(-a * b))
        want = sympy.diff(sympy.sin(x) * y**2 + sympy.exp(-x * y), x, y).subs({x: a, y: b})
        np.testing.assert_allclose(mlgrad.mixed_partial(f, "x", "y")(a, b), float(want))
        np.testing.assert_allclose(mlgrad.jit(mlgrad.grad(f, 1))(a, b), mlgrad.grad(f, 1)(a, b))
        np.testing.assert_allclose(mlgrad.vmap(f, (0, None))(np.array([a, b]), b), [f(a, b), f(b, b)])
        np.testing.assert_allclose(f(np.array([a, b]), b), [f(a, b), f(b, b)])

    @pytest.mark.parametrize("name", [n for n in MEANING if n != "cbrt"])
    def test_there_and_back(self, name):
        f, low, high = FUNCTIONS[name]
        g = symbolic.from_sympy(MEANING[name])
        for v in np.linspace(low, high, 5)[1:-1].tolist():
            np.testing.assert_allclose(g(v), precise(MEANING[name], x=v), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(mlgrad.grad(g)(v), mlgrad.grad(f)(v), rtol=1e-10)
        again = symbolic.from_sympy(symbolic.to_sympy(f).expr)
        np.testing.assert_allclose(
            again(0.5 * (low + high) + 0.05), f(0.5 * (low + high) + 0.05), rtol=1e-12, atol=1e-14
        )

    def test_choices(self):
        f = symbolic.from_sympy(sympy.Piecewise((sympy.sin(x), x > 1), (x**2, True)) + sympy.Max(x, 2, x**2))
        for v in (-3.0, 0.5, 1.7):
            np.testing.assert_allclose(f(v), (math.sin(v) if v > 1 else v * v) + max(v, 2, v * v))
        np.testing.assert_allclose(f(np.array([0.5, 1.7])), [f(0.5), f(1.7)])
        both = symbolic.from_sympy(sympy.Piecewise((1, (x > 0) & (x < 1)), (x, True)))
        np.testing.assert_allclose([both(0.5), both(2.0)], [1, 2])

    def test_arrays_and_indexed_symbols(self):
        f = symbolic.from_sympy(sympy.Matrix([[x * y, sympy.cos(x)], [1, y / 3]]))
        np.testing.assert_allclose(f(1.0, 2.0), [[2, math.cos(1)], [1, 2 / 3]])
        np.testing.assert_allclose(mlgrad.jacobian(f)(1.0, 2.0), [[2, -math.sin(1)], [0, 0]])
        b = sympy.IndexedBase("b")
        g = symbolic.from_sympy(b[0] * b[1] ** 2 * x)
        np.testing.assert_allclose(mlgrad.grad(g)(np.array([1.0, 2.0]), 3.0), [12, 12])
        h = symbolic.from_sympy([x, [x, y][1]], symbols=[y, x])
        np.testing.assert_allclose(h(1.0, 2.0), [2, 1])

    def test_without_sympy_at_run_time(self):
        f = symbolic.from_sympy(sympy.erf(x) + sympy.gamma(x) * sympy.loggamma(x))
        data = pickle.dumps(f).hex()
        code = (
            f"import sys, pickle, mlgrad; sys.modules['sympy'] = None; f = pickle.loads(bytes.fromhex('{data}')); "
            "print(mlgrad.grad(f)(1.5))"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert out.returncode == 0, out.stderr
        assert float(out.stdout) == mlgrad.grad(f)(1.5)

    def test_common_subexpressions_are_shared(self):
        f = symbolic.from_sympy((sympy.exp(x) + 1) ** 2 * sympy.sin(sympy.exp(x) + 1), name="shared")
        assert f.source.count("numpy.exp") == 1
        assert f.__name__ == "shared"
        assert symbolic.from_sympy(sympy.Integer(3), symbols=[x])(2.0) == 3.0

    def test_what_cannot_be_written_is_refused(self):
        with pytest.raises(NotImplementedError, match="zeta"):
            symbolic.from_sympy(sympy.zeta(x))
        with pytest.raises(ValueError, match="y are in the expression"):
            symbolic.from_sympy(x * y, symbols=[x])
        with pytest.raises(ValueError, match="cannot be the name"):
            symbolic.from_sympy(sympy.Symbol("a b") * 2)
        with pytest.raises(ValueError, match="no name for a function"):
            symbolic.from_sympy(x, name="a b")


def test_without_sympy_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['sympy'] = None\nimport mlgrad\n"
        "for f in (lambda: mlgrad.symbolic.to_sympy(lambda x: x), lambda: mlgrad.symbolic.from_sympy(1)):\n"
        "    try:\n        f()\n    except ImportError as e:\n        print(e)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.count("pip install 'mlgrad[symbolic]'") == 2
