"""The package: what importing it costs, its command line, its example, its trees."""

import importlib.util
import subprocess
import sys
import zlib
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mlgrad
from mlgrad import tree

ROOT = Path(__file__).parent.parent


def python(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_at_most_six_megabytes():
    files = [p for p in Path(mlgrad.__file__).parent.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert any(p.name.startswith("_core.") for p in files)
    # as a wheel is: deflated file by file
    assert sum(len(zlib.compress(p.read_bytes())) for p in files) <= 6_000_000


def test_importing_brings_numpy_and_little_else():
    code = (
        "import numpy, sys; before = set(sys.modules); import mlgrad\n"
        "print(*sorted({m for m in set(sys.modules) - before if not m.startswith('mlgrad')}))\n"
        "print(*sorted(m for m in sys.modules if m.startswith('mlgrad')))"
    )
    foreign, own = python("-c", code).splitlines()
    assert not {"scipy", "mlgrad.nn", "mlgrad.testing"} & {*foreign.split(), *own.split()}
    assert len(foreign.split()) < 15


def test_submodules_come_when_they_are_named():
    code = "import mlgrad; mlgrad.nn.relu, mlgrad.scipy.special.erf, mlgrad.numpy.zeros, mlgrad.testing, mlgrad.tree"
    python("-c", code)
    with pytest.raises(AttributeError, match="nonsense"):
        mlgrad.nonsense  # noqa: B018
    assert {"nn", "grad", "testing"} <= set(dir(mlgrad))


def test_every_public_name_is_there():
    for name in mlgrad.__all__:
        assert getattr(mlgrad, name) is not None


def test_command_line():
    out = python("-m", "mlgrad")
    assert mlgrad.__version__ in out
    assert mlgrad._core.isa() in out
    assert "release" in out or "debug" in out


def test_the_bench_s_problems_agree_with_their_derivatives_by_hand():
    from mlgrad import _bench, _problems

    rng = np.random.default_rng(0)
    for problem in (p for p in vars(_problems).values() if isinstance(p, _problems.Problem)):
        arguments = problem.arguments(50, rng)
        f = mlgrad.value_and_grad(problem.define(np))
        results = {"by hand": problem.by_hand(*arguments), "mlgrad": f(*arguments), "jit": mlgrad.jit(f)(*arguments)}
        _bench.check_equal(results)
    with pytest.raises(AssertionError, match="different"):
        _bench.check_equal({"a": 1.0, "b": 1.0 + 1e-6})


def load_example():
    spec = importlib.util.spec_from_file_location("digits", ROOT / "examples" / "digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_example_learns_digits(monkeypatch, capsys):
    pytest.importorskip("sklearn")
    digits = load_example()
    monkeypatch.setattr(digits, "best_times", lambda functions: [1.0 for f in functions if f() > 0])
    assert digits.digits(epochs=15, progress=False) > 0.9
    assert digits.breast_cancer() > 0.9
    assert "gradients agree" in capsys.readouterr().out


Pair = namedtuple("Pair", "a b")


@dataclass
class Record:
    x: object
    y: object


class TestTree:
    @pytest.mark.parametrize(
        "value",
        [
            1.0,
            None,
            (),
            [],
            {},
            (1.0, [2.0, (3.0,)], {"k": 4.0}),
            {"b": 1.0, "a": {"d": [2.0], "c": None}},
            Pair(1.0, [2.0]),
            Record({"p": 1.0}, (2.0,)),
            "text",
        ],
    )
    def test_there_and_back(self, value):
        leaves, structure = tree.flatten(value)
        again = tree.unflatten(structure, leaves)
        assert again == value
        assert type(again) is type(value)
        assert tree.flatten(again)[1] == structure

    def test_order_and_map(self):
        assert tree.flatten({"b": 1, "a": 2})[0] == [2, 1]
        assert tree.map(lambda a, b: a + b, [1, {"x": 2}], [10, {"x": 20}]) == [11, {"x": 22}]

    def test_what_does_not_fit(self):
        with pytest.raises(ValueError, match="structure"):
            tree.map(lambda a, b: a, [1, 2], [1, (2,)])
        with pytest.raises(ValueError, match="leaves"):
            tree.unflatten(tree.flatten([1, 2])[1], [1])
        loop = []
        loop.append(loop)
        with pytest.raises(ValueError, match="deep"):
            tree.flatten(loop)

    def test_registered_classes(self):
        class Interval:
            def __init__(self, low, high, unit):
                self.low, self.high, self.unit = low, high, unit

        tree.register(Interval, lambda i: ((i.low, i.high), i.unit), lambda unit, ends: Interval(*ends, unit))
        g = mlgrad.grad(lambda i: i.high**2 - i.low)(Interval(1.0, 3.0, "m"))
        assert (g.low, g.high, g.unit) == (-1.0, 6.0, "m")
