"""Files read from a storage, also when they change or disappear meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from saveany.errors import Permanent, Retryable, StorageError, StorageUnavailable
from saveany.models import Item, TaskSpec
from saveany.planning.plan import plan
from storages.base import Entry, Storage, UploadKey
from storages.memory import MemoryOptions, MemoryStorage
from storages.webdav.storage import WebdavStorage
from tests.fixtures import webdav
from tests.fixtures.faultproxy import fault_proxy
from tests.integration.sources import conftest
from workers.sources.base import Tools
from workers.sources.transfer import TransferSource, _resolved_file

DATA = bytes(range(256)) * 8192


class TransferSourceHarness(conftest.SourceHarness):
    """Reads everything from the storage `shelf`."""

    async def items(self, *links: str, **params: Any) -> list[Item]:
        self.spec = TaskSpec(
            id="t",
            type="transfer",
            links=links,
            user_id=1,
            storage="s",
            source_storage="shelf",
            params=params,
        )
        return plan(self.spec, await self.source.resolve(self.spec))


@pytest.fixture
def source_storage(storages: dict[str, Storage]) -> MemoryStorage:
    source_storage = MemoryStorage(MemoryOptions(name="shelf", type="memory", space=uuid4().hex))
    storages["shelf"] = source_storage
    return source_storage


@pytest.fixture
def harness(tools: Tools) -> TransferSourceHarness:
    return TransferSourceHarness(TransferSource(tools))


async def save(storage: Storage, path: str, data: bytes = DATA) -> None:
    async with await storage.begin(UploadKey("earlier", 0, 1), path, len(data)) as upload:
        await upload.write(0, data)
        await upload.commit(path, len(data), replace=False)


@pytest.mark.parametrize(
    ("root", "params", "paths"),
    [
        ("", {}, ["a.mkv", "films/b.mkv", "films/old/c.mkv", "films/old/d.txt"]),
        ("films", {}, ["b.mkv", "old/c.mkv", "old/d.txt"]),
        ("films", {"recursive": False}, ["b.mkv"]),
        ("films/b.mkv", {}, ["b.mkv"]),
        ("films/b.mkv", {"pattern": "*.txt"}, ["b.mkv"]),  # one that is named is meant
        ("", {"pattern": "*.txt"}, ["films/old/d.txt"]),
        ("", {"pattern": "films/*"}, ["films/b.mkv", "films/old/c.mkv", "films/old/d.txt"]),
    ],
)
async def test_folders_are_kept(
    source_storage: MemoryStorage,
    harness: TransferSourceHarness,
    root: str,
    params: dict[str, Any],
    paths: list[str],
) -> None:
    for path in ("a.mkv", "films/b.mkv", "films/old/c.mkv", "films/old/d.txt"):
        await save(source_storage, path, path.encode())
    items = await harness.items(root, **params)
    assert sorted(item.path for item in items) == paths
    for item in items:
        assert await harness.fetched(await harness.prepared(item)) == item.source["path"].encode()


@pytest.mark.parametrize("root", ["gone", "films/gone.mkv"])
async def test_a_missing_path_is_an_error(
    source_storage: MemoryStorage, harness: TransferSourceHarness, root: str
) -> None:
    await save(source_storage, "films/b.mkv")
    with pytest.raises(StorageError, match="gone"):
        await harness.items(root)


async def test_a_filter_without_matches_is_an_error(
    source_storage: MemoryStorage, harness: TransferSourceHarness
) -> None:
    await save(source_storage, "films/b.mkv")
    with pytest.raises(Permanent, match="no files to transfer"):
        await harness.items("films", pattern="*.txt")


@pytest.mark.parametrize("name", ["a\\b", "CON", "x:y", "dot.", " space ", "\u202efdp.exe", "n" * 250])
async def test_unsafe_names_are_made_safe(
    source_storage: MemoryStorage, harness: TransferSourceHarness, name: str
) -> None:
    """Names are made safe for the target, and the files are found under the original names."""
    await save(source_storage, f"{name}/{name}", name.encode())
    (item,) = await harness.items("")
    folder, file = item.path.split("/")
    assert not set(folder + file) & set("\\:\u202e")
    assert await harness.fetched(await harness.prepared(item)) == name.encode()


async def test_hidden_files_keep_their_leading_dot(
    source_storage: MemoryStorage, harness: TransferSourceHarness
) -> None:
    await save(source_storage, ".config/.nomedia", b"")
    (item,) = await harness.items("")
    assert item.path == ".config/.nomedia"
    (entry,) = [each async for each in source_storage.walk("")]
    reserved = [
        dataclasses.replace(entry, name=name, path=name) for name in (".saveany-x", ".a.t-1.2.partial")
    ]
    assert [_resolved_file(source_storage, "", each).name for each in reserved] == [
        "saveany-x",
        "a.t-1.2.partial",
    ]


async def test_only_missing_ranges_are_read(
    source_storage: MemoryStorage, harness: TransferSourceHarness
) -> None:
    await save(source_storage, "a.bin")
    (item,) = await harness.items("a.bin")
    sink = conftest.Sink()
    await harness.source.fetch(item, sink.write, ((0, 100), (200, 1000)))
    assert min(sink.parts) == 100
    assert sum(map(len, sink.parts.values())) == len(DATA) - 900
    assert all(DATA[at : at + len(part)] == part for at, part in sink.parts.items())


async def test_a_changed_file_is_read_again(
    source_storage: MemoryStorage, harness: TransferSourceHarness
) -> None:
    await save(source_storage, "a.bin")
    (item,) = await harness.items("a.bin")
    source_storage._space.files["a.bin"] = (bytearray(b"new"), 7)
    again = await harness.prepared(item)
    assert (again.size, again.source != item.source) == (3, True)
    assert await harness.fetched(again) == b"new"
    with pytest.raises(Retryable, match="changed since"):
        await harness.fetched(item)


@pytest.mark.parametrize("after", [bytearray(DATA[::-1]), bytearray(DATA + b"more")])
async def test_a_file_that_changes_while_it_is_read_is_an_error(
    source_storage: MemoryStorage, harness: TransferSourceHarness, after: bytearray
) -> None:
    """Another program may be writing it."""
    await save(source_storage, "a.bin")
    (item,) = await harness.items("a.bin")
    item, sink = await harness.prepared(item), conftest.Sink()

    async def write(offset: int, data: bytes | memoryview) -> None:
        source_storage._space.files["a.bin"] = (after, 7)
        await sink.write(offset, data)

    with pytest.raises(Retryable, match="changed while"):
        await harness.source.fetch(item, write)
    assert await harness.fetched(await harness.prepared(item)) == after


async def test_a_removed_file_is_an_error(
    source_storage: MemoryStorage, harness: TransferSourceHarness
) -> None:
    await save(source_storage, "a.bin")
    (item,) = await harness.items("a.bin")
    del source_storage._space.files["a.bin"]
    with pytest.raises(Retryable):
        await harness.fetched(item)
    with pytest.raises(Permanent, match="does not exist any more"):
        await harness.prepared(item)


async def test_an_outage_of_the_source_storage_is_retried(
    storages: dict[str, Storage], harness: TransferSourceHarness, tmp_path: Path
) -> None:
    """It is not treated as a failure of the target storage."""
    with webdav.rclone() as server:
        async with fault_proxy(server.port) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            source_storage = storages["shelf"] = WebdavStorage(
                server.options(uuid4().hex, name="shelf", url=url)
            )
            await save(source_storage, "a.bin")
            (item,) = await harness.items("a.bin")
            item = await harness.prepared(item)
            proxy.cut_reply_after = 1 << 20
            proxy.drop()
            with pytest.raises(Retryable):
                await harness.fetched(item)
            proxy.cut_reply_after = None
            proxy.drop()
            assert await harness.fetched(await harness.prepared(item)) == DATA
            await source_storage.close()


async def test_a_cancel_stops_reading(
    source_storage: MemoryStorage, harness: TransferSourceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(source_storage, "a.bin")
    (item,) = await harness.items("a.bin")
    closed, begun = asyncio.Event(), asyncio.Event()

    async def endless(file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        try:
            yield DATA[:10]
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    monkeypatch.setattr(source_storage, "_read", endless)
    fetching = asyncio.create_task(harness.fetched(item))
    await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert closed.is_set()


async def test_a_storage_missing_on_this_worker_is_reported(
    harness: TransferSourceHarness, storages: dict[str, Storage]
) -> None:
    def missing(name: str) -> Storage:
        raise StorageUnavailable(f"this worker has no storage {name!r}")

    harness.source._storage = missing  # type: ignore[attr-defined]
    with pytest.raises(StorageUnavailable):
        await harness.items("a.bin")
