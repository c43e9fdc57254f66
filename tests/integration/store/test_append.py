"""A running task gains items: they continue those that it has, and a crash loses none of them."""

from __future__ import annotations

import msgspec
import pytest

from saveany.errors import CancelRequested, Fenced, PauseRequested
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Claim, Store
from tests.integration.store.test_lifecycle import accept, claim, delivery, expire


def item(index: int, **changes: object) -> Item:
    made = Item(index=index, name=f"{index}.mp4", path=f"{index}.mp4", size=1)
    return msgspec.structs.replace(made, **changes)


async def planned(store: Store) -> Claim:
    """A claimed task with one item."""
    await accept(store)
    claimed = await claim(store)
    await claimed.plan("title", [item(0)], Progress(total_files=1), [])
    return claimed


async def test_items_are_added_until_the_task_ends(store: Store) -> None:
    running = await planned(store)
    await running.append([item(1), item(2)], Progress(total_files=3), [delivery(running.task.id)])
    await running.item(item(1, status=ItemStatus.COMPLETED))
    await running.append([item(3)], Progress(total_files=4))
    task = await store.tasks.get(running.task.id)
    assert task is not None
    assert (task.items_total, task.title, task.progress.total_files) == (4, "title", 4)
    assert len(await store.outbox.claim(10, 60_000)) == 1
    await running.finish(Status.COMPLETED)
    with pytest.raises(Fenced):
        await running.append([item(4)], Progress())


async def test_the_next_claim_has_all_items(store: Store) -> None:
    first = await planned(store)
    await first.append([item(1), item(2)], Progress(total_files=3))
    await expire(store, first.task.id)
    await store.claims.reconcile(check_leases=True)
    second = await claim(store)
    assert [each.index for each in second.items] == [0, 1, 2]
    assert not second.task.unreadable
    with pytest.raises(Fenced):
        await first.append([item(3)], Progress())
    await second.append([item(3)], Progress(total_files=4))
    assert len(await store.tasks.items(first.task.id)) == 4


async def test_a_repeated_call_adds_nothing_and_changes_nothing(store: Store) -> None:
    running = await planned(store)
    for _ in range(2):
        await running.append([item(1)], Progress(total_files=2))
    await running.item(item(1, status=ItemStatus.COMPLETED))
    for wrong in ([item(1)], [item(3)], [item(2), item(4)], [item(0, name="other")]):
        with pytest.raises(ValueError, match="continue"):
            await running.append(wrong, Progress())
    items = await store.tasks.items(running.task.id)
    assert [(each.index, each.status) for each in items] == [
        (0, ItemStatus.QUEUED),
        (1, ItemStatus.COMPLETED),
    ]


async def test_a_task_without_a_plan_gains_nothing(store: Store) -> None:
    await accept(store)
    running = await claim(store)
    with pytest.raises(ValueError, match="continue"):
        await running.append([item(0)], Progress())


async def test_a_canceled_or_paused_task_gains_nothing(store: Store) -> None:
    running = await planned(store)
    await store.tasks.pause(running.task.id)
    with pytest.raises(PauseRequested):
        await running.append([item(1)], Progress())
    await store.tasks.cancel(running.task.id, [])
    with pytest.raises(CancelRequested):
        await running.append([item(1)], Progress())
    assert len(await store.tasks.items(running.task.id)) == 1
