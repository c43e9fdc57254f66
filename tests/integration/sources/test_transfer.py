"""What is taken from a storage, and what when it changes or goes away meanwhile."""

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


class Bench(conftest.Bench):
    """Takes everything from the storage `shelf`."""

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
def shelf(places: dict[str, Storage]) -> MemoryStorage:
    shelf = MemoryStorage(MemoryOptions(name="shelf", type="memory", space=uuid4().hex))
    places["shelf"] = shelf
    return shelf


@pytest.fixture
def bench(tools: Tools) -> Bench:
    return Bench(TransferSource(tools))


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
    shelf: MemoryStorage, bench: Bench, root: str, params: dict[str, Any], paths: list[str]
) -> None:
    for path in ("a.mkv", "films/b.mkv", "films/old/c.mkv", "films/old/d.txt"):
        await save(shelf, path, path.encode())
    items = await bench.items(root, **params)
    assert sorted(item.path for item in items) == paths
    for item in items:
        assert await bench.fetched(await bench.prepared(item)) == item.source["path"].encode()


@pytest.mark.parametrize("root", ["gone", "films/gone.mkv"])
async def test_a_missing_path_is_an_error(shelf: MemoryStorage, bench: Bench, root: str) -> None:
    await save(shelf, "films/b.mkv")
    with pytest.raises(StorageError, match="gone"):
        await bench.items(root)


async def test_a_filter_without_matches_is_an_error(shelf: MemoryStorage, bench: Bench) -> None:
    await save(shelf, "films/b.mkv")
    with pytest.raises(Permanent, match="no files to transfer"):
        await bench.items("films", pattern="*.txt")


@pytest.mark.parametrize("name", ["a\\b", "CON", "x:y", "dot.", " space ", "\u202efdp.exe", "n" * 250])
async def test_unsafe_names_are_made_safe(shelf: MemoryStorage, bench: Bench, name: str) -> None:
    """They are made safe for where they go, and found where they are."""
    await save(shelf, f"{name}/{name}", name.encode())
    (item,) = await bench.items("")
    folder, file = item.path.split("/")
    assert not set(folder + file) & set("\\:\u202e")
    assert await bench.fetched(await bench.prepared(item)) == name.encode()


async def test_hidden_files_keep_their_leading_dot(shelf: MemoryStorage, bench: Bench) -> None:
    await save(shelf, ".config/.nomedia", b"")
    (item,) = await bench.items("")
    assert item.path == ".config/.nomedia"
    (entry,) = [each async for each in shelf.walk("")]
    reserved = [
        dataclasses.replace(entry, name=name, path=name) for name in (".saveany-x", ".a.t-1.2.partial")
    ]
    assert [_resolved_file(shelf, "", each).name for each in reserved] == ["saveany-x", "a.t-1.2.partial"]


async def test_only_missing_ranges_are_read(shelf: MemoryStorage, bench: Bench) -> None:
    await save(shelf, "a.bin")
    (item,) = await bench.items("a.bin")
    sink = conftest.Sink()
    await bench.source.fetch(item, sink.write, ((0, 100), (200, 1000)))
    assert min(sink.parts) == 100
    assert sum(map(len, sink.parts.values())) == len(DATA) - 900
    assert all(DATA[at : at + len(part)] == part for at, part in sink.parts.items())


async def test_a_changed_file_is_read_again(shelf: MemoryStorage, bench: Bench) -> None:
    await save(shelf, "a.bin")
    (item,) = await bench.items("a.bin")
    shelf._space.files["a.bin"] = (bytearray(b"new"), 7)
    again = await bench.prepared(item)
    assert (again.size, again.source != item.source) == (3, True)
    assert await bench.fetched(again) == b"new"
    with pytest.raises(Retryable, match="changed since"):
        await bench.fetched(item)


@pytest.mark.parametrize("after", [bytearray(DATA[::-1]), bytearray(DATA + b"more")])
async def test_a_file_that_changes_while_it_is_read_is_an_error(
    shelf: MemoryStorage, bench: Bench, after: bytearray
) -> None:
    """Somebody may be writing it just now."""
    await save(shelf, "a.bin")
    (item,) = await bench.items("a.bin")
    item, sink = await bench.prepared(item), conftest.Sink()

    async def write(offset: int, data: bytes | memoryview) -> None:
        shelf._space.files["a.bin"] = (after, 7)
        await sink.write(offset, data)

    with pytest.raises(Retryable, match="changed while"):
        await bench.source.fetch(item, write)
    assert await bench.fetched(await bench.prepared(item)) == after


async def test_a_removed_file_is_an_error(shelf: MemoryStorage, bench: Bench) -> None:
    await save(shelf, "a.bin")
    (item,) = await bench.items("a.bin")
    del shelf._space.files["a.bin"]
    with pytest.raises(Retryable):
        await bench.fetched(item)
    with pytest.raises(Permanent, match="does not exist any more"):
        await bench.prepared(item)


async def test_an_outage_of_the_source_storage_is_retried(
    places: dict[str, Storage], bench: Bench, tmp_path: Path
) -> None:
    """It is tried again, and is no fault of the storage that is written to."""
    with webdav.rclone() as server:
        async with fault_proxy(server.port) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            shelf = places["shelf"] = WebdavStorage(server.options(uuid4().hex, name="shelf", url=url))
            await save(shelf, "a.bin")
            (item,) = await bench.items("a.bin")
            item = await bench.prepared(item)
            proxy.cut_reply_after = 1 << 20
            proxy.drop()
            with pytest.raises(Retryable):
                await bench.fetched(item)
            proxy.cut_reply_after = None
            proxy.drop()
            assert await bench.fetched(await bench.prepared(item)) == DATA
            await shelf.close()


async def test_a_cancel_stops_reading(
    shelf: MemoryStorage, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(shelf, "a.bin")
    (item,) = await bench.items("a.bin")
    closed, begun = asyncio.Event(), asyncio.Event()

    async def endless(file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        try:
            yield DATA[:10]
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    monkeypatch.setattr(shelf, "_read", endless)
    fetching = asyncio.create_task(bench.fetched(item))
    await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert closed.is_set()


async def test_a_storage_missing_on_this_worker_is_reported(bench: Bench, places: dict[str, Storage]) -> None:
    def missing(name: str) -> Storage:
        raise StorageUnavailable(f"this worker has no storage {name!r}")

    bench.source._storage = missing  # type: ignore[attr-defined]
    with pytest.raises(StorageUnavailable):
        await bench.items("a.bin")
