"""Slots are taken by tasks with large files, in the order of the queue."""

from __future__ import annotations

import asyncio

import pytest

from saveany.models import Item
from workers import slots as module
from workers.slots import SMALL_BYTES, Slots, needs_slot


def items(*sizes: int | None) -> list[Item]:
    return [Item(index=i, name="f", path=f"f{i}", size=size) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((), False),
        ((0,), False),
        ((SMALL_BYTES,), False),
        ((SMALL_BYTES + 1,), True),
        ((SMALL_BYTES - 1, 1), False),
        ((SMALL_BYTES - 1, 2), True),
        ((None,), True),
    ],
)
def test_files_of_more_than_a_part_or_of_unknown_size_need_a_slot(
    sizes: tuple[int | None, ...], expected: bool
) -> None:
    assert needs_slot(items(*sizes)) is expected


async def test_a_slot_that_becomes_free_is_announced() -> None:
    announced = []
    slots = Slots(1, lambda: announced.append(slots.free))
    first, second = slots.of("first"), slots.of("second")
    assert first.take()
    assert first.take(), "it has it already"
    assert not second.take()
    second.release()
    assert announced == []
    first.release()
    assert announced == [1]
    assert second.take()
    assert (first.held, second.held) == (False, True)


async def test_a_slot_is_kept_for_the_task_that_was_claimed_first() -> None:
    slots = Slots(1)
    slots.keep("first")
    slots.keep("second")  # none is left
    assert slots.free == 0
    assert not slots.take("second")
    assert slots.take("first")
    slots.release("first")
    assert slots.free == 1


async def test_a_slot_is_not_kept_for_a_slow_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEEP_SECONDS", 0.01)
    freed = asyncio.Event()
    slots = Slots(1, freed.set)
    slots.keep("first")
    await asyncio.wait_for(freed.wait(), 5)
    assert slots.take("second")
    assert not slots.take("first")


async def test_tasks_that_are_being_claimed_find_their_slots() -> None:
    slots = Slots(2)
    with slots.reserved(2):
        assert not slots.take("planned meanwhile")
    slots.take("claimed")
    assert slots.free == 1


async def test_no_more_tasks_leave_their_slots_than_there_are() -> None:
    slots = Slots(1)
    assert slots.take("first")
    slots.leave("first")
    assert slots.take("second")
    slots.leave("second")
    assert not slots.take("third"), "the storage of the first one has confirmed nothing"
    slots.release("first")  # it has ended
    slots.leave("second")
    assert slots.take("third")


async def test_only_a_task_that_has_left_its_slot_takes_it_again() -> None:
    slots = Slots(1)
    small, large = slots.of("small"), slots.of("large")
    small.take_again()
    assert not small.held
    assert large.take()
    large.leave()
    large.take_again()
    assert large.held
    large.leave()
    assert slots.take("another")
    large.take_again()
    assert not large.held
