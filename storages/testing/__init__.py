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

pytest.register_assert_rewrite("storages.testing")  # before the imports: a failed assertion shows its values

from storages.testing.helpers import Open  # noqa: E402
from storages.testing.suite import StorageSuite  # noqa: E402

__all__ = ["Open", "StorageSuite"]
