"""explain through control flow: what is inside the steps."""

import numpy as np
import pytest

import mlgrad
from mlgrad import chain

X = np.array([0.5, 2.0])


def test_the_branch_that_is_taken():
    def f(x, w):
        return mlgrad.cond(x > 0, lambda x: np.sin(x) * w, lambda x: x - 1.0, x) + 1.0

    e = chain.explain(f)(0.5, 3.0)
    positive, first, last = e.steps
    assert (positive.operation, first.operation, last.operation) == ("greater", "result", "add")
    assert positive.adjoint == 0.0
    assert isinstance(positive.adjoint, float)
    assert first.value == np.sin(0.5) * 3
    values = {edge.source: edge.value for edge in first.edges if edge.source != "u1"}
    assert values == {"x": pytest.approx(3 * np.cos(0.5)), "w": pytest.approx(np.sin(0.5))}
    assert first.text == "cond(u1, w, x)"
    inside = first.inside
    assert (inside.kind, inside.branch, inside.steps) == ("cond", 1, None)
    taken = inside.explanation()
    assert [(s.text, s.value) for s in taken.steps] == [("sin(x)", np.sin(0.5)), ("u1*w", np.sin(0.5) * 3)]
    assert taken.gradient == {"x": pytest.approx(3 * np.cos(0.5)), "w": pytest.approx(np.sin(0.5))}
    assert "inside u2, cond: the branch for True, which was taken" in str(e)
    assert "∂u1/∂x = cos(x) = 0.877583" in str(e)
    # the other one
    e = chain.explain(f)(-0.5, 3.0)
    assert e.steps[1].inside.branch == 0
    assert [s.text for s in e.steps[1].inside.explanation().steps] == ["x - 1"]
    assert "the branch for False" in e.markdown()
    assert "<details>" in e._repr_html_()
    assert last.inside is None
    with pytest.raises(IndexError, match="no step 1"):
        inside.explanation(1)


def test_the_steps_of_a_loop():
    def f(x, w):
        return mlgrad.scan(lambda c, s: (np.sin(c) * w + s, c), x, np.array([1.0, 2.0, 3.0]))[0]

    e = chain.explain(f)(0.5, 0.7)
    [step] = e.steps
    inside = step.inside
    assert (inside.kind, inside.branch, inside.steps) == ("scan", None, 3)
    carry = 0.5
    for k in range(3):
        one = inside.explanation(k)
        assert [s.text for s in one.steps] == ["sin(carry)", "u1*w", "u2 + x"]
        assert one["carry"].value == pytest.approx(carry)
        assert one["x"].value == k + 1.0
        assert one.gradient["carry"] == pytest.approx(0.7 * np.cos(carry))
        carry = np.sin(carry) * 0.7 + k + 1.0
        assert one.value == pytest.approx(carry)
    assert e.value == pytest.approx(carry)
    assert e.gradient["w"] == pytest.approx(mlgrad.grad(f, 1)(0.5, 0.7))
    assert "inside u1, scan: the first of 3 steps" in str(e)
    for k in (-1, 3):
        with pytest.raises(IndexError, match="it has 3"):
            inside.explanation(k)


def test_loops_of_other_kinds():
    f = lambda x: np.sum(mlgrad.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, c[1] * 1.5), (0, x))[1])
    e = chain.explain(f)(X)
    inside = e.steps[0].inside
    assert (inside.kind, inside.steps) == ("while_loop", 4)
    np.testing.assert_allclose(inside.explanation(3).value, X * 1.5**4)
    assert e.steps[1].inside is None
    backwards = lambda x: mlgrad.scan(lambda c, s: (c * s, None), x, np.array([2.0, 3.0]), reverse=True)[0]
    assert chain.explain(backwards)(1.0).steps[0].inside.explanation()["x"].value == 3.0
    none = chain.explain(lambda x: mlgrad.fori_loop(0, 0, lambda i, c: c * x, x))(2.0)
    assert none.steps[0].inside.steps == 0
    assert "no steps" in str(none)
    endless = chain.explain(lambda x: mlgrad.while_loop(lambda c: c < 20_000, lambda c: c + 1.0, x))(0.0)
    assert endless.steps[0].inside.steps is None
    assert "more than 10000 steps" in str(endless)


def test_checkpoint_switch_and_nesting():
    block = mlgrad.checkpoint(lambda x: mlgrad.switch(1, [np.sin, lambda x: np.exp(x) * x, np.cos], x))
    e = chain.explain(block)(0.5)
    outer = e.steps[0].inside
    assert (outer.kind, outer.branch) == ("checkpoint", None)
    inner = outer.explanation().steps[0].inside
    assert (inner.kind, inner.branch) == ("switch", 1)
    assert [s.text for s in inner.explanation().steps] == ["exp(x)", "u1*x"]
    shown = str(e)
    assert shown.index("inside u1, checkpoint") < shown.index("inside u1, switch") < shown.index("exp(x)")


def test_branches_that_read_nothing():
    e = chain.explain(lambda x: x * mlgrad.cond(x > 0, lambda: 1.0, lambda: x * 2))(3.0)
    [inside] = [s.inside for s in e.steps if s.inside]
    assert inside.constant
    assert "which was taken, where no float is read" in str(e)
    assert e.gradient["x"] == 1.0


def test_rules_inside():
    f = mlgrad.custom_vjp(lambda x: np.sin(x))
    f.defvjp(lambda x: (f(x), x), lambda x, g: (7.0 * g,))
    e = chain.explain(lambda x: mlgrad.scan(lambda c, _: (f(c) * 2, None), x, length=2)[0])(0.5)
    assert e.gradient["x"] == 4 * 49
    assert e.steps[0].inside.explanation().gradient["carry"] == 14.0
