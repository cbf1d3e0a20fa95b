"""The same cores for every library, settled before any of them is imported, and what machine the figures are from."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PEERS = ("numpy", "scipy", "autograd", "jax", "jaxlib", "torch")


def threads():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def prepare(wanted=None):
    """Bind this process to `wanted` cores (default: all that it has) and tell every library to use as many threads."""
    if wanted and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:wanted])
    # jax has no setting of its own for this: it makes as many threads as the process has cores
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MLGRAD_NUM_THREADS"):
        os.environ[variable] = str(threads())
    # idle threads of OpenBLAS look for work for 20 ms unless told otherwise, on cores that others are measured on then
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"


def _cpu():
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def describe():
    """Return the machine and the versions that figures depend on, as one dict of plain values."""
    import mlgrad

    packages = {"mlgrad": mlgrad.__version__}
    for name in PEERS:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "threads": threads(),
        "isa": mlgrad._core.isa(),
        "profile": mlgrad._core.build_profile(),
        "python": platform.python_version(),
        "packages": packages,
    }


def headline(machine):
    """Say in two lines what `describe` returned."""
    return (
        f"{machine['cpu']}, {machine['threads']} cores; instruction set {machine['isa']}, "
        f"build profile {machine['profile']}, Python {machine['python']}\n"
        + ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    )
