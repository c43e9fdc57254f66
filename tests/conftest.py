"""Fixtures for all tests."""

import signal

pytest_plugins = ["tests.fixtures.redis"]

# In the background a shell has Ctrl-C ignored, and programs inherit that: those under test, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
