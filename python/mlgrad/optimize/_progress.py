"""A line of text that shows how an optimisation gets on."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO


class Progress:
    """Shows iteration, value, gradient and time: in place on a terminal, twice a second elsewhere."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = sys.stderr if file is None else file
        self.terminal = self.file.isatty()
        self.start = self.last = time.perf_counter()
        self.iteration = 0
        self.line = ""

    def step(self, value: Any, slope: Any) -> None:
        """Count an iteration, and show it if the last one shown is old enough."""
        self.iteration += 1
        now = time.perf_counter()
        size = "" if slope is None else f"  gradient {float(slope):.3e}"
        shown = "" if value is None else f"  value {float(value):.8g}"
        self.line = f"iteration {self.iteration}{shown}{size}  {now - self.start:.1f} s"
        if self.iteration == 1 or now - self.last > (0.1 if self.terminal else 0.5):
            self.last = now
            self.show(self.line)

    def show(self, line: str) -> None:
        """Write a line, over the last one on a terminal."""
        self.file.write(f"\r{line}\x1b[K" if self.terminal else line + "\n")
        self.file.flush()

    def close(self, message: str) -> None:
        """Show the last state and how it ended."""
        self.show(f"{self.line}  {message}".strip())
        if self.terminal:
            self.file.write("\n")
