"""`python -m mlgrad` says what is running; `python -m mlgrad bench` measures it against NumPy."""

from __future__ import annotations

import argparse
import platform
import sys

import numpy as np

import mlgrad
from mlgrad import _core


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mlgrad", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["info", "bench"], default="info")
    chosen = parser.parse_args(arguments).command
    print(f"mlgrad {mlgrad.__version__}, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"instruction set  {_core.isa()}")
    print(f"threads          {_core.num_threads()}")
    print(f"build profile    {_core.build_profile()}")
    if chosen == "bench":
        from mlgrad import _bench

        print()
        _bench.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
