"""Files are admitted by the memory they need and by their storages."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from storages.memory import MemoryOptions, MemoryStorage
from workers.slots import Slots
from workers.transfer_budget import BudgetShare, Place, TransferBudget

MIB = 1 << 20


def storage(name: str, uploads: int = 64) -> MemoryStorage:
    opened = MemoryStorage(MemoryOptions(name=name, type="memory"))
    opened.uploads_at_once = uploads
    return opened


async def admitted(share: BudgetShare, *files: tuple[MemoryStorage, int | None]) -> list[Any]:
    """The places of those files that are admitted now, and tasks that wait for the others."""
    waiting = [asyncio.create_task(share.acquire(*file)) for file in files]
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.result() if task.done() else task for task in waiting]


def places(found: list[Any]) -> list[Place]:
    return [each for each in found if isinstance(each, Place)]


async def stop(found: list[Any]) -> None:
    for each in found:
        if isinstance(each, asyncio.Task):
            each.cancel()
    await asyncio.gather(*(each for each in found if isinstance(each, asyncio.Task)), return_exceptions=True)


async def test_small_files_fill_the_memory_and_large_ones_a_quarter_each() -> None:
    disk = storage("disk")
    small = await admitted(TransferBudget().share(concurrent=True), *[(disk, 1000)] * 80)
    assert len(places(small)) == 64
    large = await admitted(TransferBudget().share(concurrent=True), *[(disk, 1 << 40)] * 8)
    assert len(places(large)) == 4
    await stop(small + large)


async def test_a_task_without_a_file_in_flight_is_always_admitted() -> None:
    budget, disk = TransferBudget(4 * MIB), storage("disk", uploads=1)
    first = await admitted(budget.share(concurrent=True), (disk, 1 << 40), (disk, 1))
    second = await admitted(budget.share(concurrent=True), (disk, 1 << 40), (disk, 1))
    assert [len(places(each)) for each in (first, second)] == [1, 1]
    places(first)[0].release()
    await asyncio.sleep(0.01)
    assert cast(asyncio.Task[Place], first[1]).done()
    await stop(first + second)


async def test_a_task_whose_storage_is_slow_leaves_memory_to_another_one() -> None:
    """It has all of it when the other one begins, and its next file has waited for longer."""
    budget = TransferBudget(8 * MIB)
    nas, disk = storage("nas"), storage("disk")
    slow = await admitted(budget.share(concurrent=True), *[(nas, MIB)] * 10)
    quick = await admitted(budget.share(concurrent=True), *[(disk, MIB)] * 10)
    assert [len(places(each)) for each in (slow, quick)] == [8, 1]
    for saved in range(4):
        slow[saved].release()
        await asyncio.sleep(0.01)
    waiting = [
        sum(isinstance(each, asyncio.Task) and not each.done() for each in found) for found in (slow, quick)
    ]
    assert waiting == [2, 6]
    await stop(slow + quick)


async def test_a_storage_gets_only_as_many_files_as_it_takes() -> None:
    ftp, disk = storage("ftp", uploads=2), storage("disk")
    found = await admitted(TransferBudget().share(concurrent=True), *[(ftp, 1)] * 4, *[(disk, 1)] * 4)
    assert [isinstance(each, Place) for each in found] == [True, True, False, False, *[True] * 4]
    found[0].release()
    found[0].release()  # harmless
    await asyncio.sleep(0.01)
    assert found[2].done()
    assert not found[3].done()
    await stop(found)


async def test_a_file_that_needs_memory_is_not_overtaken_by_smaller_ones() -> None:
    budget, disk = TransferBudget(8 * MIB), storage("disk")
    share = budget.share(concurrent=True)
    found = await admitted(share, (disk, 6 * MIB), (disk, 4 * MIB), (disk, 1))
    assert [isinstance(each, Place) for each in found] == [True, False, False]
    await stop(found[1:2])
    await asyncio.sleep(0.01)
    assert found[2].done(), "the one before it has been canceled"


async def test_files_of_a_source_that_is_not_concurrent_are_admitted_one_by_one() -> None:
    found = await admitted(TransferBudget().share(concurrent=False), *[(storage("disk"), 1)] * 3)
    assert len(places(found)) == 1
    await stop(found)


async def test_a_busy_storage_takes_one_file_of_tasks_without_a_slot() -> None:
    """So they do not wait for large files, and take no slots from these."""
    budget, nas, slots = TransferBudget(), storage("nas", uploads=1), Slots(2)
    assert slots.take("large")
    large = await admitted(budget.share(concurrent=True, slot=slots.of("large")), *[(nas, 1 << 40)] * 2)
    small = [
        (await admitted(budget.share(concurrent=True, slot=slots.of(name)), (nas, 1)))[0] for name in "abc"
    ]
    assert [isinstance(each, Place) for each in [*large, *small]] == [True, False, True, False, False]
    assert slots.holders == {"large"}
    small[0].release()
    await asyncio.sleep(0.01)
    assert [each.done() for each in small[1:]] == [True, False]
    await stop(large + small)
