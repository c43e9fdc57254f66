"""The storage contract as a test suite, for storages of SaveAny and of other packages.

A test class inherits `StorageSuite` and provides two fixtures:

    class TestTape(StorageSuite):
        @pytest.fixture
        def open_storage(self, server) -> Open:
            return lambda: TapeStorage(server.options())

        @pytest.fixture
        def everything(self, server) -> Callable[[], set[str]]:
            return server.paths

Tests of capabilities that the storage does not declare are skipped. Needs pytest, hypothesis, and
pytest-asyncio with `asyncio_mode = "auto"`.
"""

import pytest

_THEMES = ("commits", "contents", "folders", "paths", "resume", "takeover")
pytest.register_assert_rewrite(*(f"{__name__}.{theme}" for theme in _THEMES))  # assertions show their values

from storages.testing.helpers import Open  # noqa: E402  # after the registration
from storages.testing.suite import StorageSuite  # noqa: E402  # after the registration

__all__ = ["Open", "StorageSuite"]
