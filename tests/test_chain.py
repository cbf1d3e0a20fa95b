"""mlgrad.chain: the worked examples, and what the explanations say."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import mlgrad
from mlgrad import chain, nn


def close(got, want, rtol=1e-12):
    np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-300)


def sin_of_square(x):
    u = x**2
    return np.sin(u)


ROOT = Path(__file__).parent.parent
SEVERAL = [0.3, 1.1, -0.6]
e = math.exp

# f, the composition outermost first, the layers' factors outermost first, at several points
LAYERS = [
    (lambda x: np.sin(x**2), (np.sin, np.square), lambda x: (math.cos(x * x), 2 * x)),
    (
        lambda x: np.log(3 * x**2 + 1),
        (np.log, lambda u: 3 * u + 1, np.square),
        lambda x: (1 / (3 * x * x + 1), 3, 2 * x),
    ),
    (
        lambda x: np.sin(5 * x**2),
        (np.sin, lambda u: 5 * u, np.square),
        lambda x: (math.cos(5 * x * x), 5, 2 * x),
    ),
    (
        lambda x: (3 * x**2 + 1) ** 5,
        (lambda u: u**5, lambda u: 3 * u + 1, np.square),
        lambda x: (5 * (3 * x * x + 1) ** 4, 3, 2 * x),
    ),
    (
        lambda x: np.exp(-(x**2)),
        (np.exp, np.negative, np.square),
        lambda x: (e(-x * x), -1, 2 * x),
    ),
    (lambda x: np.sin(x) ** 3, (lambda u: u**3, np.sin), lambda x: (3 * math.sin(x) ** 2, math.cos(x))),
    (
        lambda x: np.cos(np.sin(x**2)),
        (np.cos, np.sin, np.square),
        lambda x: (-math.sin(math.sin(x * x)), math.cos(x * x), 2 * x),
    ),
    (
        lambda x: np.sqrt(1 + x**2),
        (np.sqrt, lambda u: 1 + u, np.square),
        lambda x: (0.5 / math.sqrt(1 + x * x), 1, 2 * x),
    ),
    (
        lambda x: np.sqrt(1 + np.sqrt(1 + x**2)),
        (np.sqrt, lambda u: 1 + u, np.sqrt, lambda u: 1 + u, np.square),
        lambda x: (
            0.5 / math.sqrt(1 + math.sqrt(1 + x * x)), 1, 0.5 / math.sqrt(1 + x * x), 1, 2 * x,
        ),
    ),
    (
        lambda x: np.exp(np.sin(x**2)),
        (np.exp, np.sin, np.square),
        lambda x: (e(math.sin(x * x)), math.cos(x * x), 2 * x),
    ),
    (
        lambda x: np.log(np.sin(np.exp(x))),
        (np.log, np.sin, np.exp),
        lambda x: (1 / math.sin(e(x)), math.cos(e(x)), e(x)),
    ),
    (
        lambda x: np.log(np.cos(np.exp(x**2))),
        (np.log, np.cos, np.exp, np.square),
        lambda x: (1 / math.cos(e(x * x)), -math.sin(e(x * x)), e(x * x), 2 * x),
    ),
]  # fmt: skip


def in_domain(factors, x):
    try:
        return all(math.isfinite(v) for v in factors(x))
    except (ValueError, ZeroDivisionError, OverflowError):
        return False


class TestLayerByLayer:
    @pytest.mark.parametrize("number", range(len(LAYERS)))
    def test_worked_examples(self, number):
        f, functions, factors = LAYERS[number]
        with np.errstate(invalid="ignore"):
            points = [x for x in SEVERAL if in_domain(factors, x) and np.isfinite(f(x))]
        assert points
        for x in points:
            want = factors(x)
            rule = chain.chain_rule(*functions)(x)
            close([layer.jacobian for layer in reversed(rule.layers)], want)
            close(rule.jacobian, math.prod(want))
            close(rule.value, f(x))
            explanation = chain.explain(f)(x)
            close(explanation.gradient["x"], math.prod(want))
            close(explanation.value, f(x))
            found = chain.paths(f)(x)
            assert found.count == 1
            close(found[0].contribution, math.prod(want))
            close(math.prod(edge.value for edge in found[0].edges), math.prod(want))
            close(mlgrad.grad(chain.compose(*functions))(x), math.prod(want))

    def test_values_at_the_points_of_the_table(self):
        rule = chain.chain_rule(np.sin, np.square)(1.5)
        close(rule.value, 0.7780731968879212)
        close(rule.jacobian, -1.8845208681682175)
        close(chain.explain(lambda x: np.log(3 * x**2 + 1))(2.0).gradient["x"], 12 / 13)
        close(chain.explain(lambda x: (3 * x**2 + 1) ** 5)(2.0).gradient["x"], 1713660)
        close(chain.explain(lambda x: 3 * x**4 - 5 * x**2 + 7 * x - 2)(1.0).gradient["x"], 9)
        with mlgrad.Tape() as t:
            x = t.variable(2.0)
            y = (3 * x**2 + 1) ** 5
            y.backward()
        close(x.grad, 1713660)

    @pytest.mark.parametrize("x", SEVERAL)
    def test_product_quotient_and_power(self, x):
        s, c, ex = math.sin(x), math.cos(x), math.exp(x)

        def product(x):
            return np.sin(x) * np.exp(x)

        found = chain.paths(product)(x)
        assert sorted(p.contribution for p in found) == pytest.approx(sorted([c * ex, s * ex]), rel=1e-12)
        close(found.total, c * ex + s * ex)
        quotient = chain.paths(lambda x: np.sin(x) / (2 + np.cos(x)))(x)
        want = sorted([c / (2 + c), s * s / (2 + c) ** 2])
        assert sorted(p.contribution for p in quotient) == pytest.approx(want, rel=1e-12)
        for n in (-2.0, 0.5, 2.5, 3.0, math.pi):
            close(chain.explain(lambda x, n=n: x**n)(abs(x)).gradient["x"], n * abs(x) ** (n - 1))

    @pytest.mark.parametrize("x", SEVERAL)
    def test_second_derivatives(self, x):
        want = 2 * math.cos(x * x) - 4 * x * x * math.sin(x * x)
        explanation = chain.explain(mlgrad.grad(lambda x: np.sin(x**2)))(x)
        close(explanation.gradient["x"], want)
        # the product rule: through the factor 2x, through cos(x²)
        found = chain.paths(mlgrad.grad(lambda x: np.sin(x**2)))(x)
        close(found.total, want)
        assert found.count >= 2

    @pytest.mark.parametrize("x", [-40.0, -1.0, 0.0, 0.5, 40.0])
    def test_activations(self, x):
        s = 1 / (1 + math.exp(-x))
        for f, want in (
            (nn.softplus, s), (nn.sigmoid, s * (1 - s)), (np.tanh, 1 - math.tanh(x) ** 2), (nn.relu, float(x > 0)),
        ):  # fmt: skip
            explanation = chain.explain(f)(x)
            (g,) = explanation.gradient.values()
            np.testing.assert_allclose(g, want, rtol=1e-12, atol=1e-16)
            for step in explanation.steps:
                assert all(np.all(np.isfinite(edge.value)) for edge in step.edges)


class TestPaths:
    @pytest.mark.parametrize("x", SEVERAL)
    def test_two_paths(self, x):
        def f(x):
            u = x**2
            return x + u

        found = chain.paths(f, "x")(x)
        assert found.count == 2
        assert found.complete
        by_length = sorted(found, key=lambda p: len(p.nodes))
        close([p.contribution for p in by_length], [1, 2 * x])
        close(found.derivative, 1 + 2 * x)
        close(found.total, 1 + 2 * x)
        outer = chain.paths(lambda x: np.sin(f(x)))(x)
        assert outer.count == 2
        c = math.cos(x + x * x)
        close(sorted(p.contribution for p in outer), sorted([c, c * 2 * x]))

    def test_the_largest_of_many_are_found_without_enumerating(self):
        def f(x):
            for k in range(60):
                x = (0.5 + 0.01 * k) * x + np.sin(x) * 0.25
            return x

        found = chain.paths(f, k=5)(0.3)
        assert found.count == 2**60
        assert len(found) == 5
        assert not found.complete
        # each step has two ways; the largest product takes the larger one everywhere
        factors, x = [], 0.3
        for k in range(60):
            a, b = 0.5 + 0.01 * k, 0.25 * math.cos(x)
            factors.append(sorted([a, b], reverse=True))
            x = (0.5 + 0.01 * k) * x + math.sin(x) * 0.25
        close(found[0].contribution, math.prod(a for a, _ in factors))
        close(found.derivative, math.prod(a + b for a, b in factors))
        # the next ones exchange the cheapest step, then the second cheapest, …
        ratios = sorted((b / a for a, b in factors), reverse=True)
        best = found[0].contribution
        products = [best * math.prod(c) for n in range(4) for c in itertools.combinations(ratios[:6], n)]
        close([p.contribution for p in found], sorted(products, reverse=True)[:5])

    def test_all_paths_of_a_small_graph(self):
        def f(x, y):
            a = x * y
            b = a + x * x
            return b * a - np.exp(y)

        x, y = 0.7, -1.3
        found = chain.paths(f, "x", k=100)(x, y)
        assert found.complete
        close(sum(p.contribution for p in found), found.derivative)
        close(found.derivative, mlgrad.grad(f)(x, y))
        sizes = [abs(p.contribution) for p in found]
        assert sizes == sorted(sizes, reverse=True)
        # b·a: by way of b to a, to either factor of x·x; by way of a
        assert found.count == 4

    def test_arrays(self):
        rng = np.random.default_rng(0)
        W, V = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))

        def f(x):
            h = np.tanh(W @ x)
            return np.sum(V @ h) + np.sum(h * h)

        x = rng.standard_normal(3)
        found = chain.paths(f)(x)
        assert found.count == 3
        close(sum(p.contribution for p in found), mlgrad.grad(f)(x))
        close(found.total, mlgrad.grad(f)(x))

    def test_arguments_by_position_name_and_path(self):
        def f(p, y):
            return p["w"][0] * y + p["w"][1]

        p = {"w": [2.0, 3.0]}
        close(chain.paths(f, 1)(p, 5.0).derivative, 2)
        close(chain.paths(f, -1)(p, 5.0).derivative, 2)
        close(chain.paths(f, "p['w'][0]")(p, 5.0).derivative, 5)
        with pytest.raises(ValueError, match=r"choose from p\['w'\]\[0\], p\['w'\]\[1\]"):
            chain.paths(f, "p")(p, 5.0)
        with pytest.raises(ValueError, match="2 positional arguments"):
            chain.paths(f, 2)(p, 5.0)
        with pytest.raises(ValueError, match="k must be"):
            chain.paths(f, 0, k=-1)

    def test_no_path_and_an_argument_that_is_the_result(self):
        found = chain.paths(lambda x, y: np.sin(x), "y")(1.0, 2.0)
        assert (found.count, len(found), found.derivative) == (0, 0, 0.0)
        found = chain.paths(lambda x: x)(1.0)
        assert (found.count, found[0].nodes, found[0].contribution) == (1, ("x",), 1.0)


class TestExplanation:
    def test_steps_of_the_example(self):
        explanation = chain.explain(sin_of_square)(1.5)
        u1, u2 = explanation.steps
        assert (u1.name, u1.text, u1.edges[0].source, u1.edges[0].partial) == ("u1", "x**2", "x", "2*x")
        assert (u2.name, u2.text, u2.edges[0].source, u2.edges[0].partial) == ("u2", "sin(u1)", "u1", "cos(u1)")
        close([u1.value, u2.value], [2.25, 0.7780731968879212])
        close([u1.edges[0].value, u2.edges[0].value], [3, math.cos(2.25)])
        close([u1.adjoint, u2.adjoint], [math.cos(2.25), 1])
        assert explanation.outputs == ("u2",)
        assert (u1.source, u2.source) == ("u = x**2", "return np.sin(u)")
        assert u1.file == __file__
        assert u2.line == u1.line + 1
        assert explanation["u2"] is u2
        with pytest.raises(KeyError, match="no step 'u3'; it has x, u1, u2"):
            explanation["u3"]

    def test_text(self):
        lines = str(chain.explain(sin_of_square)(1.5)).splitlines()
        assert lines[0] == "sin_of_square at x = 1.5: 0.778073"
        assert lines[3].startswith("  u1 = x**2     2.25      ∂u1/∂x = 2*x = 3 ")
        assert lines[3].endswith("u = x**2")
        assert lines[4].startswith("  u2 = sin(u1)  0.778073  ∂u2/∂u1 = cos(u1) = -0.628174  1 ")
        assert lines[-4:] == [
            "1 path from x",
            "  x → u1 → u2: 2*x · cos(u1) = 3 · (-0.628174) = -1.88452",
            "  sum of all = -1.88452",
            "  ∂sin_of_square/∂x = -1.88452",
        ]

    def test_markdown_latex_and_mermaid(self):
        explanation = chain.explain(sin_of_square)(1.5)
        markdown = explanation.markdown()
        assert r"$\frac{\partial u_{1}}{\partial x} = 2 \, x = 3$" in markdown
        assert markdown.count("\n| ") == 3
        latex = explanation.latex()
        assert latex.startswith("\\begin{align*}\n")
        assert r"\frac{\partial u_{2}}{\partial u_{1}} &= \cos\left(u_{1}\right) = -0.628174" in latex
        for text in (latex, markdown):
            assert text.count("{") == text.count("}")
            assert text.count(r"\left") == text.count(r"\right")
        assert explanation.mermaid().splitlines() == [
            "flowchart LR",
            '    n0(["x<br/>value 1.5<br/>adjoint -1.88452"])',
            '    n1["u1 = x#42;#42;2<br/>value 2.25<br/>adjoint -0.628174"]',
            '    n2["u2 = sin(u1)<br/>value 0.778073<br/>adjoint 1"]',
            '    n0 -->|"2#42;x = 3"| n1',
            '    n1 -->|"cos(u1) = -0.628174"| n2',
            "    style n2 stroke-width:3px",
        ]

    def test_what_numpy_adds_is_folded(self):
        X = np.arange(6.0).reshape(3, 2)

        def loss(w, b):
            return np.mean((1 - np.maximum(0, X @ w + b)) ** 2)

        w = np.array([0.5, -0.25])
        explanation = chain.explain(loss)(w, 0.1)
        operations = [s.operation for s in explanation.steps]
        assert operations == ["matmul", "add", "maximum", "subtract", "square", "sum", "divide"]
        assert explanation.steps[1].text == "u1 + b"
        close(explanation.gradient["w"], mlgrad.grad(loss)(w, 0.1))
        close(explanation.gradient["b"], mlgrad.grad(loss, 1)(w, 0.1))
        # of the adjoint that reaches b, all elements are summed
        close(explanation["b"].adjoint, explanation["u2"].adjoint.sum())
        close(explanation.steps[0].edges[0].jacobian(), X)

    def test_reading_and_writing_elements(self):
        def f(x):
            y = np.sin(x)
            y[0] = y[1] * 2
            return y[0] * x[-1] + np.sum(y[::2])

        x = np.array([0.1, 0.2, 0.3])
        explanation = chain.explain(f)(x)
        close(explanation.gradient["x"], mlgrad.grad(f)(x))
        texts = {s.text for s in explanation.steps}
        assert "u1[1]" in texts
        assert "x[2]" in texts

    def test_trees_keywords_and_other_leaves(self):
        def f(p, *, scale, name="none"):
            assert name == "a"
            return np.sum(p["W"] @ p["b"]) * scale

        p = {"W": np.eye(2), "b": np.ones(2)}
        explanation = chain.explain(f)(p, scale=3.0, name="a")
        assert [a.name for a in explanation.arguments] == ["p['W']", "p['b']", "scale"]
        close(explanation.gradient["p['b']"], [3, 3])
        close(explanation.gradient["scale"], 2)
        assert "p['W'] @ p['b']" in str(explanation)

    def test_several_results_and_constants(self):
        explanation = chain.explain(lambda x: (np.sin(x), x * 2, 5.0))(1.0)
        assert not explanation.is_scalar
        close(explanation.value, (math.sin(1), 2, 5))
        close(explanation.gradient["x"], math.cos(1) + 2)
        assert "sum(f)" in str(explanation)

    def test_stop_gradient_and_steps_without_derivative(self):
        def f(x):
            return mlgrad.stop_gradient(x) * x + np.floor(x)

        explanation = chain.explain(f)(1.5)
        close(explanation.gradient["x"], 1.5)
        assert chain.paths(f)(1.5).derivative == 1.5

    def test_branches_loops_and_float32(self):
        def f(x):
            for _ in range(3):
                x = x * x if x < 2 else np.sqrt(x)
            return x

        explanation = chain.explain(f)(np.float32(1.5))
        assert [s.operation for s in explanation.steps] == ["multiply", "sqrt", "multiply"]
        assert explanation["u3"].value.dtype == np.float32
        close(explanation.gradient["x"], mlgrad.grad(f)(np.float32(1.5)))

    def test_nested_transforms(self):
        def f(x):
            return mlgrad.grad(lambda y: np.sin(y) * x)(x) + mlgrad.vmap(np.exp)(np.stack([x, x]))[1]

        explanation = chain.explain(f)(0.7)
        close(explanation.gradient["x"], mlgrad.grad(f)(0.7))

    def test_rules_of_ones_own(self):
        @mlgrad.custom_vjp
        def softplus(x):
            return np.log(1 + np.exp(x))

        softplus.defvjp(lambda x: (softplus(x), x), lambda x, g: (g * nn.sigmoid(x),))

        def f(x):
            return softplus(2 * x) * x

        explanation = chain.explain(f)(0.3)
        assert [s.text for s in explanation.steps] == ["2*x", "softplus(u1)", "u2*x"]
        close(explanation.value, math.log(1 + e(0.6)) * 0.3)
        close(explanation.gradient["x"], mlgrad.grad(f)(0.3))
        close(explanation["u2"].edges[0].value, 1 / (1 + e(-0.6)))
        close(explanation.paths["x"].total, mlgrad.grad(f)(0.3))
        close(chain.explain(lambda x: np.linalg.slogdet(x)[1])(np.diag([2.0, 4.0])).gradient["x"], np.diag([0.5, 0.25]))

    def test_names_of_steps_avoid_those_of_arguments(self):
        explanation = chain.explain(lambda u1, u2: u1 * u2)(2.0, 3.0)
        assert [s.name for s in explanation.steps] == ["v1"]

    def test_errors(self):
        with pytest.raises(TypeError, match="expected a function, got float"):
            chain.explain(1.0)
        with pytest.raises(TypeError, match=r"pass floats \(2.0 instead of 2\)"):
            chain.explain(np.sin)(2)
        with pytest.raises(RuntimeError, match="cannot be used inside a transform"):
            mlgrad.grad(lambda x: chain.explain(np.sin)(1.0).value * x)(2.0)
        with pytest.raises(ZeroDivisionError):
            chain.explain(lambda x: x * (1 / 0))(1.0)
        # and nothing is left open
        close(mlgrad.grad(np.sin)(0.5), math.cos(0.5))

    def test_notebook_display(self):
        explanation = chain.explain(sin_of_square)(1.5)
        html = explanation._repr_html_()
        assert "<svg" in html
        assert "<table>" in html
        assert explanation._repr_markdown_() == explanation.markdown()


BOX = re.compile(r'<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)" rx="(\d+)"')


def boxes(svg):
    return [tuple(map(float, m.groups()[:4])) for m in BOX.finditer(svg)]


class TestPicture:
    def functions(self):
        def g(x, y):
            a = np.exp(x * y)
            b = np.log(x) / y
            return a * b + 3 * np.sin(a) ** 3

        def wide(p):
            s = 0.0
            for k, x in enumerate(p):
                s = s + np.sin(x) * p[k - 1] * p[0]
            return s

        def deep(x):
            for _ in range(12):
                x = x + np.tanh(x) * 0.5
            return x

        return [(sin_of_square, (1.5,)), (g, (1.2, 0.7)), (wide, ([0.1 * k for k in range(1, 7)],)), (deep, (0.3,))]

    @pytest.mark.parametrize("number", range(4))
    def test_nothing_overlaps_or_is_cut_off(self, number):
        f, args = self.functions()[number]
        explanation = chain.explain(f)(*args)
        svg = explanation.svg()
        root = ElementTree.fromstring(svg)
        left, top, width, height = map(float, root.get("viewBox").split())
        found = boxes(svg)
        edges = sum(len(s.edges) for s in explanation.steps)
        assert len(found) == len(explanation.arguments) + len(explanation.steps) + edges
        for x, y, w, h in found:
            assert left <= x
            assert x + w <= left + width
            assert top <= y
            assert y + h <= top + height
        for (x0, y0, w0, h0), (x1, y1, w1, h1) in itertools.combinations(found, 2):
            apart = x0 + w0 <= x1 or x1 + w1 <= x0 or y0 + h0 <= y1 or y1 + h1 <= y0
            assert apart
        # every text is inside of a box
        for text in root.iter("{http://www.w3.org/2000/svg}text"):
            x, y, half = float(text.get("x")), float(text.get("y")), len(text.text) * 7.8 / 2
            assert any(bx <= x - half and x + half <= bx + bw and by <= y <= by + bh for bx, by, bw, bh in found)

    def test_partials_values_and_adjoints_are_shown(self):
        svg = chain.explain(sin_of_square)(1.5).svg()
        for text in ("2*x = 3", "cos(u1) = -0.628174", "value 2.25", "adjoint -1.88452", "u2 = sin(u1)"):
            assert text in svg

    def test_the_picture_in_the_guide_is_that_of_today(self):
        def f(x, y):
            return y * np.log(x) * np.sin(y)

        assert chain.explain(f)(1.2, 0.7).svg() + "\n" == (ROOT / "docs" / "chain_rule.svg").read_text()

    def test_marks_of_xml_are_escaped(self):
        svg = chain.explain(lambda x: np.where(x < 1, x, x * x))(0.5).svg()
        ElementTree.fromstring(svg)
        assert "&lt;" in svg


class TestComposition:
    def test_compose(self):
        def f(x, y):
            return x - y

        h = chain.compose(np.sin, np.exp, f)
        close(h(1.0, 0.5), math.sin(e(0.5)))
        close(mlgrad.grad(h, 1)(1.0, 0.5), -math.cos(e(0.5)) * e(0.5))
        assert h.__name__ == "sin ∘ exp ∘ f"
        close(mlgrad.jit(h)(1.0, 0.5), math.sin(e(0.5)))
        again = pickle.loads(pickle.dumps(chain.compose(np.sin, np.exp)))
        close(again(0.5), math.sin(e(0.5)))
        with pytest.raises(ValueError, match="at least one"):
            chain.compose()
        with pytest.raises(TypeError, match="expected functions, got int"):
            chain.chain_rule(np.sin, 3)

    def test_change_of_variables(self):
        u, v = 0.7, -0.2
        rule = chain.chain_rule(lambda w: np.exp(w[0] * w[1]), lambda w: np.stack([w[0] + w[1], w[0] - w[1]]))(
            np.array([u, v])
        )
        z = e(u * u - v * v)
        close(rule.jacobian, [2 * u * z, -2 * v * z])
        close(rule.layers[0].jacobian, [[1, 1], [1, -1]])
        close(rule.layers[1].jacobian, [(u - v) * z, (u + v) * z])
        assert rule.layers[1].matrix.shape == (1, 2)

    def test_the_cheapest_order_is_found(self):
        rng = np.random.default_rng(0)
        for sizes in ([5, 40, 3, 30, 2], [1, 9, 9, 1], [2, 2, 50, 1, 50, 2], [7, 7]):
            ms = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)]
            functions = [lambda x, m=m: np.tanh(m @ x) for m in reversed(ms)]
            x = rng.standard_normal(sizes[0])
            rule = chain.chain_rule(*functions)(x)
            close(rule.jacobian, mlgrad.jacobian(chain.compose(*functions))(x), 1e-10)
            assert rule.cost == cheapest(sizes)
            assert rule.cost == sum(p.cost for p in rule.products)
            assert rule.cost <= min(rule.forward_cost, rule.reverse_cost)
            assert len(rule.products) == len(ms) - 1
            np.testing.assert_allclose(evaluate(rule.order, rule.layers), rule.matrix, rtol=1e-12)

    def test_trees(self):
        def split(p):
            return {"a": np.sin(p["x"]), "b": p["x"] * p["y"]}

        def join(q):
            return q["a"] @ q["b"], np.sum(q["a"])

        p = {"x": np.array([0.1, 0.4]), "y": 2.0}
        rule = chain.chain_rule(join, split)(p)
        assert [layer.matrix.shape for layer in rule.layers] == [(4, 3), (2, 4)]
        assert rule.matrix.shape == (2, 3)
        want = mlgrad.jacobian(lambda p: join(split(p)))(p)
        for row, tree in zip(rule.matrix, want, strict=True):
            close(row, np.concatenate([tree["x"], [tree["y"]]]))
        assert "J2·J1, a 2 x 3 matrix" in str(rule)

    def test_integers_are_refused(self):
        with pytest.raises(TypeError, match=r"layer 1 \(square\) has a leaf of dtype int64"):
            chain.chain_rule(np.sin, np.square)(2)
        with pytest.raises(TypeError, match=r"layer 2 \(argmax\) returns a leaf of dtype int64"):
            chain.chain_rule(np.argmax, np.square)(np.ones(2))


def cheapest(sizes):
    """The least number of multiplications, by trying every order."""
    if len(sizes) <= 2:
        return 0
    return min(
        sizes[k - 1] * sizes[k] * sizes[k + 1] + cheapest(sizes[:k] + sizes[k + 1 :]) for k in range(1, len(sizes) - 1)
    )


def evaluate(order, layers):
    names = {f"J{layer.number}": layer.matrix for layer in layers}
    return eval(order.replace("·", " @ "), names)


class TestBackpropagation:
    def test_two_layers(self):
        def loss(W1, b1, W2, b2, x, y):
            z1 = W1 * x + b1
            a1 = nn.sigmoid(z1)
            z2 = W2 * a1 + b2
            a2 = nn.sigmoid(z2)
            return 0.5 * (a2 - y) ** 2

        explanation = chain.explain(loss)(0.5, 0.1, 0.8, 0.2, 2.0, 1.0)
        by_source = {s.source: s.value for s in explanation.steps}
        # figures to eight decimals, as the exercise gives them
        for line, want in {
            "z1 = W1 * x + b1": 1.1, "a1 = nn.sigmoid(z1)": 0.75026011,
            "z2 = W2 * a1 + b2": 0.80020808, "a2 = nn.sigmoid(z2)": 0.69001899,
        }.items():  # fmt: skip
            assert by_source[line] == pytest.approx(want, abs=5.1e-9)
        assert explanation.value == pytest.approx(0.04804411, abs=5.1e-9)
        for name, want in {"W2": -0.04974427, "b2": -0.0663027, "W1": -0.01987701, "b1": -0.0099385}.items():
            assert explanation.gradient[name] == pytest.approx(want, abs=5.1e-9)
            assert explanation.paths[name].count == 1
        flow = chain.gradient_flow(
            lambda p, x, y: loss(p[0]["W"], p[0]["b"], p[1]["W"], p[1]["b"], x, y),
            [{"W": 0.5, "b": 0.1}, {"W": 0.8, "b": 0.2}], 2.0, 1.0,
        )  # fmt: skip
        assert flow.norms["0"] == pytest.approx(math.hypot(0.01987701, 0.0099385), abs=1e-8)

    def test_three_layers(self):
        rng = np.random.RandomState(42)
        x = rng.randn(4, 1)
        W = [rng.randn(8, 4) * 0.5, rng.randn(4, 8) * 0.5, rng.randn(1, 4) * 0.5]
        b = [np.zeros((n, 1)) for n in (8, 4, 1)]

        def loss(W, b):
            a = x
            for Wk, bk in zip(W, b, strict=True):
                a = nn.sigmoid(Wk @ a + bk)
            return np.sum(0.5 * (a - 1.0) ** 2)

        explanation = chain.explain(loss)(W, b)
        assert explanation.value == pytest.approx(0.07247575, abs=5.1e-9)
        for k, want in enumerate((0.03398996, 0.10656471, 0.15787038)):
            assert np.sum(np.abs(explanation.gradient[f"W[{k}]"])) == pytest.approx(want, abs=5.1e-9)

    def test_log_loss(self):
        w, x, y = np.array([0.3, -0.8, 0.5]), np.array([1.0, 2.0, -1.5]), 1.0

        def loss(w):
            p = nn.sigmoid(w @ x)
            return -(y * np.log(p) + (1 - y) * np.log(1 - p))

        p = 1 / (1 + math.exp(-(w @ x)))
        close(chain.explain(loss)(w).gradient["w"], (p - y) * x)

    @pytest.mark.parametrize("x", [-2.0, 0.5, 3.0])
    def test_ten_layers(self, x):
        def deep(biases, x):
            for b in biases:
                x = nn.sigmoid(x + b)
            return x

        flow = chain.gradient_flow(deep, [0.0] * 10, x)
        assert max(flow.gains.values()) <= 0.25
        assert flow.whole <= 0.25**10
        close(flow.whole, mlgrad.grad(deep, 1)([0.0] * 10, x))
        close(list(flow.norms.values()), np.abs(mlgrad.grad(deep)([0.0] * 10, x)))
        assert flow.vanishing[:4] == ("0", "1", "2", "3")
        assert not flow.exploding
        assert "gradients that vanish: 0, 1, 2, 3" in str(flow)

    @staticmethod
    def network(activation, residual):
        def loss(layers, x):
            for layer in layers:
                y = activation(layer["W"] @ x + layer["b"])
                x = x + y if residual else y
            return np.sum(x**2)

        return loss

    def test_relu_and_residual_connections(self):
        rng = np.random.default_rng(1)
        layers = [{"W": rng.standard_normal((8, 8)) * math.sqrt(2 / 8), "b": np.zeros(8)} for _ in range(10)]
        x = rng.standard_normal(8)
        sigmoid = chain.gradient_flow(self.network(nn.sigmoid, False), layers, x)
        relu = chain.gradient_flow(self.network(nn.relu, False), layers, x)
        residual = chain.gradient_flow(self.network(nn.sigmoid, True), layers, x)
        assert sigmoid.vanishing
        assert not relu.vanishing
        assert not residual.vanishing
        for flow, loss in ((sigmoid, self.network(nn.sigmoid, False)), (relu, self.network(nn.relu, False))):
            for k, g in enumerate(mlgrad.grad(loss)(layers, x)):
                close(flow.norms[str(k)], math.hypot(np.linalg.norm(g["W"]), np.linalg.norm(g["b"])))

    def test_flows_can_be_plotted(self):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        flow = chain.gradient_flow(lambda p: np.sin(p[0] * p[1]), [1.0, 0.5])
        ax = mlgrad.plot.gradient_flow({"one": flow, "again": flow})
        close(ax.lines[0].get_ydata(), list(flow.norms.values()))

    def test_exploding_dead_and_named_layers(self):
        def loss(p, x):
            return p["first"] * x * 1e4 * p["second"] + 0.0 * p["dead"]

        flow = chain.gradient_flow(loss, {"second": 1.0, "first": 2.0, "dead": 1.0}, 3.0, high=10.0)
        # the order is the caller's
        assert list(flow.norms) == ["second", "first", "dead"]
        assert flow.norms["dead"] == 0.0
        assert flow.vanishing == ("dead",)
        assert flow.exploding == ("second", "first")

    def test_errors_of_gradient_flow(self):
        with pytest.raises(TypeError, match="one entry a layer, got ndarray"):
            chain.gradient_flow(np.sum, np.ones(3))
        with pytest.raises(TypeError, match="layer 1 of params has no float"):
            chain.gradient_flow(lambda p: p[0] * 1.0, [1.0, 2])
        with pytest.raises(ValueError, match="must be a scalar"):
            chain.gradient_flow(lambda p: p[0] * np.ones(2), [1.0])

    def test_total_derivative_names_its_terms(self):
        t = 0.8
        x, y = math.cos(t), math.sin(t)
        total = mlgrad.total_derivative(lambda x, y: x**2 * y, np.cos, np.sin)(t)
        assert [term.variable for term in total.terms] == ["x", "y"]
        close([term.product for term in total.terms], [2 * x * y * -y, x**2 * x])
        # the same terms as paths
        found = chain.paths(lambda t: np.cos(t) ** 2 * np.sin(t))(t)
        close(sorted(p.contribution for p in found), sorted(term.product for term in total.terms))


class TestTape:
    def test_a_tape_with_lines_prints_them(self):
        with mlgrad.Tape(lines=True) as t:
            x = t.variable(2.0)
            y = np.sin(x) * x
            y.backward()
        rows = [r for r in str(t).splitlines() if "sin %" in r]
        assert rows
        assert rows[0].endswith(f"# {__file__}:{sys._getframe().f_lineno - 4}")
        close(x.grad, math.cos(2) * 2 + math.sin(2))
        with mlgrad.Tape() as t:
            t.variable(2.0)
        assert "#" not in str(t)


def test_import_does_not_load_it():
    code = (
        "import sys, json, mlgrad; before = [m for m in sys.modules if m.startswith('mlgrad.')]; mlgrad.chain.explain; "
        "print(json.dumps([before, 'mlgrad.chain' in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = json.loads(out.stdout)
    assert not {m for m in before if m.startswith(("mlgrad.chain", "mlgrad._expressions", "mlgrad._recording"))}
    assert after
