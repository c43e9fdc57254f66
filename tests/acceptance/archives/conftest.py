"""A running SaveAny without a bot, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import Stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def harness(running: Stack) -> ArchiveHarness:
    running.sandbox.faults.clear()
    return ArchiveHarness(running)
