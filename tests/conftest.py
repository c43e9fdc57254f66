"""Fixtures for all tests."""

import os
import signal
from collections.abc import Iterator

import pytest

from saveany import advice

pytest_plugins = ["tests.fixtures.leaks", "tests.fixtures.redis", "tests.fixtures.catalogue"]

# In the background a shell has Ctrl-C ignored, and programs inherit that: those under test, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def plain_commands() -> Iterator[None]:
    """Messages name commands as `saveany …`, whatever command an earlier test has run in this process."""
    yield
    os.environ.pop(advice.VARIABLE, None)
