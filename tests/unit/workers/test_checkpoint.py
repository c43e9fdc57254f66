"""When checkpoints are saved."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from saveany.models import Checkpoint, Item
from storages.base import Range, Storage
from workers import checkpoint as module
from workers.checkpoint import Checkpoints

MIB = 1 << 20
SIZE = 100 * MIB


class Recorder:
    """The storage, the upload and the records of one file."""

    def __init__(self, size: int | None = SIZE, kept: int = 0) -> None:
        self.recorded: list[tuple[Range, ...]] = []
        self.synced = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.kept = ((0, kept),) if kept else ()
        self.item = Item(index=0, name="f", path="f", size=size)
        self.checkpoints = Checkpoints(
            cast(Any, self),
            self.item,
            cast(Any, self),
            cast(Storage, SimpleNamespace(capabilities=SimpleNamespace(resumes=True))),
        )

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        self.synced += 1
        await self.hold.wait()
        return written

    async def checkpoint(self, index: int, checkpoint: Checkpoint) -> None:
        self.recorded.append(checkpoint.durable)

    async def write(self, size: int) -> None:
        await self.checkpoints.save_if_due(size, lambda: [(0, size)])


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 3600.0)


@pytest.mark.usefixtures("still_clock")
async def test_every_32_mib_are_recorded_even_if_they_come_within_a_second() -> None:
    file = Recorder()
    for size in range(MIB, SIZE + MIB, MIB):
        await file.write(size)
    assert file.recorded == [((0, n * 32 * MIB),) for n in (1, 2, 3)]


async def test_less_is_recorded_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.0)
    file = Recorder()
    await file.write(1)
    await file.write(2)
    assert file.recorded == [((0, 1),), ((0, 2),)]


@pytest.mark.usefixtures("still_clock")
async def test_bytes_of_an_earlier_attempt_do_not_count() -> None:
    file = Recorder(kept=40 * MIB)
    await file.write(50 * MIB)
    assert file.recorded == []
    await file.write(72 * MIB)
    assert file.recorded == [((0, 72 * MIB),)]


async def test_a_complete_file_gets_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sealed instead, which makes its bytes durable, too."""
    monkeypatch.setattr(module, "_INTERVAL", 0.0)
    file = Recorder()
    await file.write(SIZE)
    assert file.synced == 0


async def test_one_checkpoint_is_saved_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.0)
    file = Recorder()
    file.hold.clear()
    first = asyncio.create_task(file.write(1))
    await asyncio.sleep(0)
    await file.write(2)
    file.hold.set()
    await first
    assert file.recorded == [((0, 1),)]


async def test_a_file_of_unknown_size_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.0)
    file = Recorder(size=None)
    await file.write(99 * MIB)
    assert (file.synced, file.recorded) == (0, [])
