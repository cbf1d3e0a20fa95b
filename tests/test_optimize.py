"""mlgrad.optimize: SciPy's optimisers with derivatives."""

import io
import sys

import numpy as np
import pytest
import scipy.optimize

import mlgrad
from mlgrad import optimize


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


START = np.array([1.3, 0.7, 0.8, 1.9])


class TestMinimize:
    @pytest.mark.parametrize(
        "method",
        [
            *("BFGS", "CG", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"),
            *("dogleg", "trust-exact", "Nelder-Mead", "Powell"),
        ],
    )
    def test_each_method_finds_the_minimum(self, method):
        # dogleg wants a convex function
        f = (lambda x: np.sum((x - 1) ** 2 + (x - 1) ** 4)) if method == "dogleg" else rosenbrock
        options = {"maxfun": 2000} if method == "TNC" else {"maxiter": 3000}
        result = optimize.minimize(f, START, method=method, tol=1e-9, options=options)
        np.testing.assert_allclose(result.x, np.ones(4), atol=1e-4)

    def test_no_finite_differences(self):
        calls = optimize.minimize(rosenbrock, START, method="BFGS")
        plain = scipy.optimize.minimize(rosenbrock, START, method="BFGS")
        assert calls.nfev == calls.njev < plain.nfev / 3

    def test_the_hessian_is_used(self):
        assert optimize.minimize(rosenbrock, START, method="trust-exact").nhev > 0
        assert optimize.minimize(rosenbrock, START, method="Newton-CG", tol=1e-10).nhev > 0

    def test_the_function_is_not_called_again_once_recorded(self):
        calls = []

        def f(x):
            calls.append(1)
            return rosenbrock(x)

        result = optimize.minimize(f, START)
        assert result.nfev > 10
        assert len(calls) < 4
        calls.clear()
        optimize.minimize(f, START, jit=False)
        assert len(calls) > 10

    def test_trees_and_further_arguments(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(50, 3))
        truth = {"w": np.array([1.0, -2.0, 3.0]), "b": 0.5}
        y = x @ truth["w"] + truth["b"]

        def loss(p, x, y):
            return np.mean((x @ p["w"] + p["b"] - y) ** 2)

        result = optimize.minimize(loss, {"w": np.zeros(3), "b": 0.0}, args=(x, y), tol=1e-12)
        np.testing.assert_allclose(result.x["w"], truth["w"], atol=1e-8)
        np.testing.assert_allclose(result.x["b"], truth["b"], atol=1e-8)
        assert set(result.jac) == {"w", "b"}
        assert result.jac["w"].shape == (3,)

    def test_leaves_keep_their_dtype(self):
        def loss(p):
            assert p["a"].dtype == np.float32
            assert p["b"].dtype == np.float64
            return np.sum((p["a"] - 1.0) ** 2) + (p["b"] - 2.0) ** 2

        result = optimize.minimize(loss, {"a": np.zeros(2, np.float32), "b": 0.0})
        assert result.x["a"].dtype == np.float32
        np.testing.assert_allclose(result.x["a"], 1, atol=1e-5)

    def test_bounds(self):
        result = optimize.minimize(
            lambda x: np.sum((x - 2) ** 2), np.zeros(3), bounds=[(0, 1), (None, None), (3, None)]
        )
        np.testing.assert_allclose(result.x, [1, 2, 3], atol=1e-6)

        def loss(p):
            return np.sum((p["a"] - 2) ** 2) + (p["b"] + 5) ** 2

        tree = {"a": np.zeros(2), "b": 0.0}
        upper = {"a": np.array([1.0, np.inf]), "b": np.inf}
        result = optimize.minimize(loss, tree, bounds=(-1, upper))
        np.testing.assert_allclose(result.x["a"], [1, 2], atol=1e-6)
        np.testing.assert_allclose(result.x["b"], -1)
        with pytest.raises(ValueError, match="lower bounds must be a number, or a tree"):
            optimize.minimize(loss, tree, bounds=({"a": 0.0}, None))
        with pytest.raises(TypeError, match="a pair"):
            optimize.minimize(loss, tree, bounds=3.0)

    @pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
    def test_constraints_have_their_jacobians(self, method):
        # the point of x² + y² = 2 nearest to (2, 2), with y at most 1/2
        def loss(p):
            return (p["x"] - 2) ** 2 + (p["y"] - 2) ** 2

        circle = {"type": "eq", "fun": lambda p, r: p["x"] ** 2 + p["y"] ** 2 - r, "args": (2.0,)}
        low = {"type": "ineq", "fun": lambda p: {"y": 0.5 - p["y"]}}
        start = {"x": 1.0, "y": 0.2}
        result = optimize.minimize(loss, start, method=method, constraints=[circle, low], tol=1e-9)
        np.testing.assert_allclose([result.x["x"], result.x["y"]], [np.sqrt(1.75), 0.5], atol=1e-5)

    @pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
    def test_nonlinear_constraint(self, method):
        c = scipy.optimize.NonlinearConstraint(lambda x: {"norm": np.sum(x**2)}, 2.0, {"norm": 2.0})
        result = optimize.minimize(lambda x: -np.sum(x), np.array([1.0, 0.5]), method=method, constraints=c, tol=1e-9)
        np.testing.assert_allclose(result.x, [1, 1], atol=1e-4)

    def test_linear_constraint(self):
        c = scipy.optimize.LinearConstraint([[1.0, 1.0]], 1.0, 1.0)
        result = optimize.minimize(lambda x: np.sum(x**2), np.zeros(2), constraints=[c])
        np.testing.assert_allclose(result.x, [0.5, 0.5], atol=1e-7)

    def test_a_constraint_must_be_complete(self):
        with pytest.raises(ValueError, match="no type"):
            optimize.minimize(lambda x: x**2, 1.0, constraints={"fun": lambda x: x})

    def test_callbacks_get_trees(self):
        seen = []
        optimize.minimize(lambda p: (p["a"] - 1) ** 2, {"a": 3.0}, callback=lambda p: seen.append(p["a"]))
        np.testing.assert_allclose(seen[-1], 1, atol=1e-6)
        values = []

        def modern(intermediate_result):
            values.append((intermediate_result.fun, intermediate_result.x["a"]))

        optimize.minimize(lambda p: (p["a"] - 1) ** 2, {"a": 3.0}, callback=modern)
        assert all(f == (a - 1) ** 2 for f, a in values)
        assert values

    def test_progress(self):
        out = io.StringIO()
        result = optimize.minimize(rosenbrock, START, progress=out)
        lines = out.getvalue().splitlines()
        assert lines[0].startswith("iteration 1  value ")
        assert "gradient" in lines[0]
        assert f"iteration {result.nit} " in lines[-1]
        assert result.message in lines[-1]

    def test_progress_of_a_method_without_gradient(self):
        out = io.StringIO()
        optimize.minimize(lambda x: (x - 1) ** 2, 0.0, method="Nelder-Mead", progress=out)
        assert "value" in out.getvalue()
        assert "gradient" not in out.getvalue()

    def test_errors(self):
        with pytest.raises(TypeError, match="x0 must hold floats"):
            optimize.minimize(lambda x: x, "a")
        with pytest.raises(ValueError, match="no numbers"):
            optimize.minimize(lambda x: np.sum(x), np.zeros(0))
        with pytest.raises(ValueError, match="scalar"):
            optimize.minimize(lambda x: x * 2, np.ones(3))

    def test_what_jit_refuses_says_how_to_go_on(self):
        def f(x):
            return (x - 1) ** 2 * (1.0 if float(mlgrad.stop_gradient(x)) > 0 else 2.0)

        with pytest.raises(TypeError) as caught:
            optimize.minimize(f, 3.0)
        assert any("jit=False" in note for note in caught.value.__notes__)
        np.testing.assert_allclose(optimize.minimize(f, 3.0, jit=False).x, 1, atol=1e-6)

    def test_integers_are_taken_as_floats(self):
        np.testing.assert_allclose(optimize.minimize(lambda x: np.sum((x - 0.5) ** 2), [1, 2]).x, [0.5, 0.5], atol=1e-7)


class TestLeastSquares:
    T = np.linspace(0, 1, 30)

    def residuals(self, p):
        return p["scale"] * np.exp(-p["rate"] * self.T) - 3 * np.exp(-2 * self.T)

    @pytest.mark.parametrize(
        "options", [{}, {"method": "lm"}, {"method": "dogbox"}, {"matrix_free": True}, {"jit": False}]
    )
    def test_fit(self, options):
        result = optimize.least_squares(self.residuals, {"scale": 1.0, "rate": 1.0}, xtol=1e-14, ftol=1e-14, **options)
        np.testing.assert_allclose([result.x["scale"], result.x["rate"]], [3, 2], rtol=1e-6)
        assert set(result.grad) == {"scale", "rate"}

    def test_bounds_arguments_and_loss(self):
        def f(p, data):
            return {"first": p - data, "second": p[:1]}

        result = optimize.least_squares(f, np.zeros(2), args=(np.array([4.0, 5.0]),), bounds=(-1, 3), loss="soft_l1")
        assert result.x[0] < 3
        np.testing.assert_allclose(result.x[1], 3)


class TestRoot:
    @pytest.mark.parametrize("method", ["hybr", "lm", "krylov"])
    def test_a_system(self, method):
        def f(p, a):
            return {"sum": p["x"] + p["y"] - a, "product": p["x"] * p["y"] - 2}

        result = optimize.root(f, {"x": 2.7, "y": 0.2}, args=(3.0,), method=method, tol=1e-12)
        assert result.success
        np.testing.assert_allclose([result.x["x"], result.x["y"]], [2, 1], rtol=1e-9)

    def test_number_of_equations(self):
        with pytest.raises(ValueError, match="2 equations for 3 unknowns"):
            optimize.root(lambda x: x[:2], np.zeros(3))


@pytest.mark.parametrize("name", ["minimize", "least_squares", "root"])
def test_without_scipy_there_is_a_clear_error(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install 'mlgrad\[optimize\]'"):
        getattr(optimize, name)(lambda x: x, np.ones(1))


def test_a_single_further_argument():
    for found in (
        optimize.minimize(lambda x, a: np.sum((x - a) ** 2), np.zeros(2), args=3.0),
        optimize.least_squares(lambda x, a: x - a, np.zeros(2), args=3.0),
        optimize.root(lambda x, a: x**3 - a**3, np.ones(2), args=3.0),
    ):
        np.testing.assert_allclose(found.x, 3.0, rtol=1e-6)
