"""Shared by all tests: every warning is an error, and settings that a test changes are put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgrad import _core

# generators of tables, to be run by hand
collect_ignore = ["tools"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")


@pytest.fixture
def engine() -> Iterator[None]:
    """For tests that change the number of threads or the planner's options."""
    threads = _core.num_threads()
    yield
    _core.set_num_threads(threads)
    _core.set_options()
