"""The graphs behind mlgrad.chain, over every row of the table of operations."""

from __future__ import annotations

import ast
import math

import numpy as np
import pytest
import scipy.special

import mlgrad
from mlgrad import _expressions as expr
from mlgrad._recording import Recorded
from mlgrad.chain._graph import Graph
from mlgrad.chain._paths import find_paths
from tables import ROWS

DIFFERENTIABLE = [r for r in ROWS if r.order and r.differentiable()]


def namespace(row):
    return mlgrad.scipy.special if row.special else mlgrad.numpy


def of_chosen(row, args):
    """The row's function of the arguments that carry derivatives, its result as one vector."""
    chosen = row.differentiable()

    def f(*xs):
        full = list(args)
        for k, x in zip(chosen, xs, strict=True):
            full[k] = x
        leaves, _ = mlgrad.tree.flatten(row.f(namespace(row), *full))
        floats = [np.ravel(y) for y in leaves if np.dtype(y.dtype).kind == "f"]
        return np.concatenate(floats) if len(floats) > 1 else floats[0]

    return f, tuple(args[k] for k in chosen)


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda r: r.name)
def test_the_sweep_over_the_steps_is_the_reverse_walk(row):
    args = row.draw()
    f, chosen = of_chosen(row, args)
    graph = Graph(f, chosen, {}, "test")
    value, back = mlgrad.vjp(f, *chosen)
    want = back(np.ones_like(value))
    for argument, g in zip(graph.recorded.arguments, want, strict=True):
        np.testing.assert_allclose(graph.by_name[argument.name].adjoint, g, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(graph.gradient[argument.name], g, rtol=1e-12, atol=1e-12)
        # checks its own sum
        found = find_paths(graph, argument.name, 5)
        assert found.count >= len(found)
    if row.name != "power 0":  # a constant
        np.testing.assert_array_equal(graph.by_name[graph.outputs[0]].value, value)


NAMES = {
    **{k: getattr(np, k) for k in dir(np) if not k.startswith("_")},
    **{k: getattr(scipy.special, k) for k in ("expit", "log_expit", "erf", "erfc", "erfinv", "gammaln", "digamma",
                                              "xlogy", "xlog1py")},
    "polygamma": lambda n, x: scipy.special.polygamma(int(n), x), "astype": lambda x: x, "stop_gradient": lambda x: x,
}  # fmt: skip


def evaluate(form, names):
    # with all digits of its numbers
    return eval(ast.unparse(form), {**NAMES, **names})


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda r: r.name)
def test_closed_forms_have_the_values_of_the_rules(row):
    args = row.draw()
    f, chosen = of_chosen(row, args)
    graph = Graph(f, chosen, {}, "test")
    names = {n.name: n.value for n in graph.nodes}
    names |= {expr.text(e): v for e, v in constants(graph)}
    for node in graph.nodes:
        step = None if node.is_argument else graph._steps_by_name[node.name]
        if step is None or step.node.form is None or step.node.form[1] != "elementwise":
            continue
        if len(step.body) == 1:
            got = evaluate(node.form, names)
            np.testing.assert_allclose(np.broadcast_to(got, node.value.shape), node.value, rtol=1e-9, atol=1e-12)
        for e in node.edges:
            if len(step.body) == 1:
                got = np.broadcast_to(evaluate(e.form, names), np.shape(e.value))
                np.testing.assert_allclose(got, e.value, rtol=1e-8, atol=1e-11, err_msg=f"{node.text}: {e.partial}")


def constants(graph):
    values = graph.recorded.values(sorted(graph._constants))
    return [(e, values[n]) for n, e in graph._constants.items() if expr.value_of(e) is None]


def test_every_operation_with_inputs_has_a_form():
    seen = {}
    for row in ROWS:
        args = row.draw()
        if not any(np.asarray(a).dtype.kind == "f" for a in args):
            continue

        def f(*xs, row=row):
            leaves, _ = mlgrad.tree.flatten(row.f(namespace(row), *xs))
            return leaves

        recorded = Recorded(f, tuple(args), what="test")
        # operations with several results are written by their names
        several = {i for n in recorded.nodes.values() if n.op == "result" for i in n.inputs}
        for n in recorded.nodes.values():
            if n.inputs and n.op != "result" and n.id not in several:
                seen[n.op] = n.form
    assert len(seen) > 90
    missing = sorted(op for op, form in seen.items() if form is None)
    assert not missing


@pytest.mark.parametrize(
    ("text", "names", "want"),
    [
        ("b*a**(b - 1)", {"b": 3.0}, "3*a**2"),
        ("b*a**(b - 1)", {"b": 2.0}, "2*a"),
        ("-a/b**2", {"b": -2.0}, "-a/(-2)**2"),
        ("a - b", {"b": -2.0}, "a - -2"),
        ("(a + b)*c", {}, "(a + b)*c"),
        ("a/(b*c)", {}, "a/(b*c)"),
        ("a/b*c", {}, "a/b*c"),
        ("a - (b - c)", {}, "a - (b - c)"),
        ("(a**b)**c", {}, "(a**b)**c"),
        ("a**-b", {}, "a**(-b)"),
        ("(-a)**b", {}, "(-a)**b"),
        ("exp(a)*0", {}, "0"),
    ],
)
def test_expressions_are_written_with_the_brackets_they_need(text, names, want):
    e = expr.substitute(expr.parse(text), {k: expr.number(v) for k, v in names.items()})
    assert expr.text(e) == want
    point = {"a": 1.3, "b": 0.7, "c": 2.1} | names
    again = eval(expr.text(e), {"exp": math.exp}, point)
    assert again == pytest.approx(eval(text, {"exp": math.exp}, point))
