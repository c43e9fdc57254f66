"""Many uploads to a video host at the same time, also to one that takes few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_network

import pytest

from saveany.errors import StorageUnavailable
from storages import limit as limit_module
from storages.base import Services
from storages.openload.storage import OpenloadStorage
from storages.testing.helpers import MIB, content, key, save
from tests.fixtures.openload import OpenloadServer, openload
from tests.fixtures.waiting import until

SIZE = 100_000


@pytest.fixture
def server() -> Iterator[OpenloadServer]:
    with openload(pstream=False) as server:
        yield server


@pytest.fixture
async def storage(server: OpenloadServer) -> AsyncIterator[OpenloadStorage]:
    storage = OpenloadStorage(server.options("x"), Services(allow=[ip_network("127.0.0.0/8")]))
    yield storage
    await storage.close()


async def saved_in_the_end(storage: OpenloadStorage, number: int) -> int:
    """Save a file as a worker does, with attempts; returns how many failed."""
    failures = 0
    while True:
        try:
            await save(storage, f"new/{number % 2}/{number}.bin", content(SIZE + number), key(item=number))
            return failures
        except StorageUnavailable:
            failures += 1


async def test_many_files_are_saved_at_the_same_time(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    """Into folders that do not exist yet, each of which is made once."""
    assert storage.uploads_at_once == 4
    await asyncio.gather(*(saved_in_the_end(storage, number) for number in range(8)))
    for number in range(8):
        assert server.content(f"/x/new/{number % 2}/{number}.bin") == content(SIZE + number)
    assert sorted(folder.name for folder in server.folders.values()) == ["0", "1", "new", "x"]
    assert storage.uploads_at_once == 4


@pytest.mark.parametrize("allowed", [1, 2, 3])
async def test_a_service_that_takes_few_uploads_gets_no_more(
    server: OpenloadServer, storage: OpenloadStorage, allowed: int
) -> None:
    """Each file needs no more attempts than a worker makes."""
    server.allows = allowed
    server.goes_on.clear()
    saving = asyncio.gather(*(saved_in_the_end(storage, number) for number in range(12)))
    await until(lambda: server.refused_uploads == 4 - allowed and storage.uploads_at_once == allowed)
    server.goes_on.set()
    assert max(await saving) < 3
    assert server.refused_uploads == 4 - allowed
    assert storage.uploads_at_once == allowed
    for number in range(12):
        assert server.content(f"/x/new/{number % 2}/{number}.bin") == content(SIZE + number)


async def test_the_limit_is_tried_again_after_a_while(
    server: OpenloadServer, storage: OpenloadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.allows = 1
    server.goes_on.clear()
    saving = asyncio.gather(*(saved_in_the_end(storage, number) for number in range(4)))
    await until(lambda: storage.uploads_at_once == 1)
    server.goes_on.set()
    await saving
    monkeypatch.setattr(limit_module, "RETRY_SECONDS", 0.0)
    server.allows = 0
    await asyncio.gather(*(saved_in_the_end(storage, number) for number in range(4, 12)))
    assert storage.uploads_at_once == 4


async def test_uploads_that_wait_keep_no_test_file_waiting(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    async with AsyncExitStack() as stack:
        for number in range(4):
            path = f"{number}.bin"
            upload = await stack.enter_async_context(await storage.begin(key(item=number), path, 2 * MIB))
            await upload.write(0, content(MIB))
        await asyncio.wait_for(storage.probe(), 20)


async def test_a_refusal_of_the_only_upload_changes_nothing(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    server.refuses = 503
    with pytest.raises(StorageUnavailable, match="503"):
        await save(storage, "a.bin", content(SIZE))
    assert storage.uploads_at_once == 4
