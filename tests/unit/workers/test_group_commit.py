"""Changes that wait at the same time are written together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from workers.group_commit import GroupCommit


class Writer:
    """Writes numbers, each write when the test allows it. Numbers of equal parity are compatible."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.allowed = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.commits = GroupCommit(self._write, lambda one, other: one % 2 == other % 2)

    async def _write(self, changes: Sequence[int]) -> None:
        self.batches.append(list(changes))
        await self.allowed.acquire()
        if self.error:
            raise self.error

    def add(self, *numbers: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.commits.add(number)) for number in numbers]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_added_during_a_write_goes_into_the_next_one() -> None:
    writer = Writer()
    first = writer.add(2)
    await settle()
    others = writer.add(4, 6, 8)
    await settle()
    assert writer.batches == [[2]]
    writer.allowed.release()
    await asyncio.gather(*first)
    await settle()
    assert writer.batches == [[2], [4, 6, 8]]
    assert not any(task.done() for task in others)
    writer.allowed.release()
    await asyncio.gather(*others)


async def test_changes_that_are_not_compatible_are_written_apart_and_in_order() -> None:
    writer = Writer()
    tasks = writer.add(2, 4, 1, 3, 6)
    for _ in range(3):
        writer.allowed.release()
    await asyncio.gather(*tasks)
    assert writer.batches == [[2, 4], [1, 3], [6]]


async def test_an_error_is_raised_to_those_in_its_write_only() -> None:
    writer = Writer()
    failing = writer.add(2, 4)
    await settle()
    later = writer.add(6)
    await settle()
    writer.error = ValueError("no")
    writer.allowed.release()
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(each) for each in results] == [ValueError, ValueError]
    writer.error = None
    writer.allowed.release()
    await asyncio.gather(*later)


async def test_a_canceled_change_is_dropped_before_its_write_and_drained_during_it() -> None:
    writer = Writer()
    (written,) = writer.add(2)
    await settle()
    dropped, kept = writer.add(4, 6)
    await settle()
    written.cancel()
    dropped.cancel()
    drained = asyncio.create_task(writer.commits.drain())
    await settle()
    assert not drained.done()
    writer.allowed.release()
    writer.allowed.release()
    await asyncio.gather(kept, drained)
    assert writer.batches == [[2], [6]]
    with pytest.raises(asyncio.CancelledError):
        await written
