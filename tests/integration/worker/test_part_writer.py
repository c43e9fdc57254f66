"""Parts that arrive in any order give the correct hash."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from saveany.errors import NoSpace, Permanent
from saveany.models import Item
from storages.base import Range, Storage, Upload, UploadKey
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.memory import MemoryOptions, MemoryStorage
from tests.fixtures.waiting import until
from workers.checkpoint import Checkpoints
from workers.part_writer import PartWriter
from workers.progress import ProgressMeter

PART = 1 << 20
AHEAD = 4 * PART
CONTENT = random.Random(1).randbytes(40 * PART + 777)  # more bytes than are held in memory
OFFSETS = range(0, len(CONTENT), PART)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path))


@pytest.fixture(autouse=True)
def nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that leave a writer before its file is complete do not concern the next one."""
    monkeypatch.setattr(PartWriter, "held_bytes", 0)


def writer_for(upload: Upload, storage: Storage) -> PartWriter:
    nowhere = cast(Any, None)  # a file of unknown size has no checkpoints
    item = Item(index=0, name="a.bin", path="a.bin", size=None)
    checkpoints = Checkpoints(nowhere, item, upload, storage)
    return PartWriter(storage, upload, ProgressMeter(nowhere).start(0), checkpoints, AHEAD)


async def begin(storage: LocalStorage, epoch: int = 1, keep: list[Range] | None = None) -> Upload:
    return await storage.begin(UploadKey("task", 0, epoch), "a.bin", len(CONTENT), keep or [])


def part(offset: int) -> memoryview:
    return memoryview(CONTENT)[offset : offset + PART]


ORDERS = {
    "ascending": list(OFFSETS),
    "descending": list(reversed(OFFSETS)),
    "first comes last": [*OFFSETS[1:], 0],
    "at random": random.Random(2).sample(OFFSETS, len(OFFSETS)),
}


@pytest.mark.parametrize("order", ORDERS)
async def test_the_hash_is_right_in_any_order(storage: LocalStorage, order: str) -> None:
    async with await begin(storage) as upload:
        writer = writer_for(upload, storage)
        for offset in ORDERS[order]:
            await writer.write(offset, part(offset))
        assert await writer.sha256() == hashlib.sha256(CONTENT).hexdigest()
        assert writer.size == len(CONTENT)
    await storage.close()


async def test_the_hash_is_right_when_parts_come_at_once(storage: LocalStorage) -> None:
    async with await begin(storage) as upload:
        writer = writer_for(upload, storage)
        await asyncio.gather(*(writer.write(offset, part(offset)) for offset in ORDERS["at random"]))
        assert await writer.sha256() == hashlib.sha256(CONTENT).hexdigest()
    await storage.close()


async def test_all_files_of_a_process_hold_few_bytes_together(storage: LocalStorage) -> None:
    uploads = [
        await storage.begin(UploadKey(f"task{n}", 0, 1), f"{n}.bin", len(CONTENT), []) for n in range(3)
    ]
    held = PartWriter.held_bytes
    for upload in uploads:
        async with upload, writer_for(upload, storage) as writer:
            for offset in OFFSETS[1:20]:
                await writer.write(offset, part(offset))
            assert 0 < PartWriter.held_bytes - held <= 8 * PART
    assert PartWriter.held_bytes == held
    first, second = [
        await storage.begin(UploadKey(f"task{n}", 0, 2), f"{n}.bin", len(CONTENT), []) for n in range(2)
    ]
    async with first, second, writer_for(first, storage) as one, writer_for(second, storage) as other:
        for offset in reversed(OFFSETS):
            await asyncio.gather(one.write(offset, part(offset)), other.write(offset, part(offset)))
            assert PartWriter.held_bytes - held <= 10 * PART  # and one each that is hashed at once
        for writer in (one, other):
            assert await writer.sha256() == hashlib.sha256(CONTENT).hexdigest()
    assert PartWriter.held_bytes == held
    await storage.close()


async def test_bytes_that_are_being_hashed_are_held_as_well(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_hash = threading.Event()

    class SlowHash:
        def __init__(self) -> None:
            self._hash = hashlib.new("sha256")

        def update(self, data: bytes | memoryview) -> None:
            assert may_hash.wait(30)
            self._hash.update(data)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()

    async with await begin(storage) as upload:
        monkeypatch.setattr("workers.part_writer.hashlib", SimpleNamespace(sha256=SlowHash))
        writer, parts = writer_for(upload, storage), []
        for offset in [*OFFSETS[1:8], 0, *OFFSETS[8:]]:
            data = part(offset)
            parts.append(weakref.ref(data))
            await writer.write(offset, data)
            del data
        # 8, and one that would be hashed at once
        await until(lambda: sum(each() is not None for each in parts) <= 9)
        may_hash.set()
        assert await writer.sha256() == hashlib.sha256(CONTENT).hexdigest()
    await storage.close()


async def test_bytes_of_an_earlier_attempt_are_hashed(storage: LocalStorage) -> None:
    kept = [(0, 3 * PART), (30 * PART, 32 * PART)]
    async with await begin(storage) as upload:
        for start, end in kept:
            await upload.write(start, CONTENT[start:end])
    async with await begin(storage, 2, kept) as upload:
        writer = writer_for(upload, storage)
        assert upload.kept
        rest = [each for each in OFFSETS if not any(start <= each < end for start, end in kept)]
        for offset in reversed(rest):
            await writer.write(offset, part(offset))
        assert await writer.sha256() == hashlib.sha256(CONTENT).hexdigest()
    await storage.close()


async def test_a_missing_part_is_an_error(storage: LocalStorage) -> None:
    async with await begin(storage) as upload:
        writer = writer_for(upload, storage)
        for offset in [*OFFSETS[:7], *OFFSETS[8:]]:
            await writer.write(offset, part(offset))
        with pytest.raises(Permanent, match=f"hole at byte {7 * PART}"):
            await writer.sha256()
    await storage.close()


# Storages that take parts in order only.


@pytest.fixture
def ordered() -> MemoryStorage:
    return MemoryStorage(MemoryOptions(name=uuid4().hex, type="memory"))


async def bring(writer: PartWriter, offsets: Sequence[int]) -> None:
    """Write parts as sources do: no write waits for a later one."""
    await asyncio.gather(*(writer.write(offset, part(offset)) for offset in offsets))


@pytest.mark.parametrize("order", ORDERS)
async def test_parts_in_any_order_become_a_stream(ordered: MemoryStorage, order: str) -> None:
    async with await ordered.begin(UploadKey("task", 0, 1), "a.bin", len(CONTENT)) as upload:
        async with writer_for(upload, ordered) as writer:
            await bring(writer, ORDERS[order])
            assert await writer.sha256() == hashlib.sha256(CONTENT).hexdigest()
        await upload.commit("a.bin", len(CONTENT), replace=False)
    async with await ordered.open("a.bin") as reader:
        assert b"".join([piece async for piece in reader.read()]) == CONTENT


async def test_a_part_far_ahead_waits(ordered: MemoryStorage) -> None:
    async with (
        await ordered.begin(UploadKey("task", 0, 1), "a.bin", len(CONTENT)) as upload,
        writer_for(upload, ordered) as writer,
    ):
        early = [asyncio.create_task(writer.write(offset, part(offset))) for offset in OFFSETS[1:]]
        done, waiting = await asyncio.wait(early, timeout=0.5)
        assert len(done) * PART < AHEAD
        assert waiting
        await writer.write(0, part(0))
        await asyncio.wait_for(asyncio.gather(*waiting), 20)


async def test_an_error_of_the_storage_reaches_waiting_writes(
    ordered: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(*_: object) -> None:
        raise NoSpace("full")

    monkeypatch.setattr(ordered, "_put", put)
    async with (
        await ordered.begin(UploadKey("task", 0, 1), "a.bin", len(CONTENT)) as upload,
        writer_for(upload, ordered) as writer,
    ):
        with pytest.raises(NoSpace):
            await asyncio.wait_for(bring(writer, OFFSETS), 20)


async def test_a_resumed_file_that_cannot_be_read_back_has_no_hash(ordered: MemoryStorage) -> None:
    key, half = UploadKey("task", 0, 1), 20 * PART
    async with await ordered.begin(key, "a.bin", len(CONTENT)) as crashed:
        for offset in range(0, half, PART):
            await crashed.write(offset, part(offset))
        kept = await crashed.sync([(0, half)])
    async with await ordered.begin(UploadKey("task", 0, 2), "a.bin", len(CONTENT), kept) as upload:
        async with writer_for(upload, ordered) as writer:
            start = kept[0][1]
            for offset in range(start, len(CONTENT), PART):
                await writer.write(offset, memoryview(CONTENT)[offset : offset + PART])
            assert await writer.sha256() == ""
            assert writer.size == len(CONTENT)
        await upload.commit("a.bin", len(CONTENT), replace=False)
