"""How much memory a gradient takes, by what the operating system saw of a process of its own (Linux)."""

import subprocess
import sys

from table import verdict

_PEAK = """
import sys
from pathlib import Path
import numpy as np
import mlgrad
from mlgrad._problems import CHAIN

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

g = mlgrad.value_and_grad(CHAIN.define(np))
if sys.argv[1] == "jit":
    g = mlgrad.jit(g)
g(np.ones(1000))
Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
before = status("VmRSS")
x = np.full(int(sys.argv[2]), 0.5)
value, gradient = g(x)
print((status("VmHWM") - before) / (x.nbytes + gradient.nbytes))
"""

_GROWTH = """
import gc
from pathlib import Path
import numpy as np
import mlgrad
from mlgrad._problems import CHAIN

def resident():
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

plain = mlgrad.value_and_grad(CHAIN.define(np))
jitted = mlgrad.jit(plain)
x = np.linspace(-1.0, 1.0, 5000)
def calls(n):
    for _ in range(n):
        plain(x), jitted(x)
    return resident()
after_some = calls(100)
print((calls(9900) - after_some) / 1024)
"""


def _figure(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(quick):
    if not sys.platform.startswith("linux"):
        print("  left out: it reads /proc/self/status")
        return {}
    figures = {}
    for kind in ("plain", "jit"):
        # the interpreter's own pages, a megabyte or two, count as well: at 1e6 elements they would be a tenth
        figures[f"chain 1e7, {kind}"] = share = _figure(_PEAK, kind, str(10**7))
        what = "value and gradient of the chain at 1e7, " + ("jitted" if kind == "jit" else "not jitted")
        print(f"  {what}: {share:.3f} x (input + gradient)  {verdict(share, 1.15, at_least=False)}")
    figures["growth, MiB"] = growth = _figure(_GROWTH)
    # the allocator's own pages come and go: half a megabyte is less than one leaked byte an element
    print(f"  growth from 100 to 10,000 calls: {growth:.2f} MiB  {verdict(growth, 0.5, at_least=False)}")
    return figures
