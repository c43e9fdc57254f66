"""A SaveAny that runs, shared by the tests of a module: they must leave it as it was.

Its slow sample takes half a minute, so that whatever a test does to it comes in time on a busy machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fixtures.stack import Stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.sandbox.faults.add("total_rate=2000000,file=1006")
        yield stack
