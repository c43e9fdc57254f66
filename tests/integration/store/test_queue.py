"""Pauses and limits: which tasks a worker may claim."""

from __future__ import annotations

import asyncio

import pytest

from saveany.errors import CancelRequested, PauseRequested
from saveany.models import Checkpoint, Item, Progress, Stage, Status, Task
from saveany.store import Claim, PauseResult, ResumeResult, Store
from tests.integration.store.test_lifecycle import LANE, accept, claim, expire


async def record(store: Store, task_id: str) -> Task:
    found = await store.tasks.get(task_id)
    assert found is not None
    return found


async def nothing_to_do(store: Store) -> bool:
    return await store.claims.claim("w", [LANE]) is None


async def paused_while_running(store: Store) -> tuple[str, Claim]:
    task_id = await accept(store)
    working = await claim(store)
    assert await store.tasks.pause(task_id) == "requested"
    return task_id, working


async def test_a_paused_task_is_not_claimed_until_it_is_resumed(store: Store) -> None:
    task_id, other = await accept(store), await accept(store)
    for _ in range(2):
        assert await store.tasks.pause(task_id) == "paused"
    assert ((await record(store, task_id)).status, (await record(store, task_id)).paused) == ("queued", True)
    assert [task.id for task in await store.tasks.live()] == [task_id, other]
    assert await store.tasks.counts() == {"queued": 1, "paused": 1, "running": 0}
    assert (await claim(store)).task.id == other
    assert await nothing_to_do(store)
    for _ in range(2):
        assert await store.tasks.resume(task_id) == "resumed"
    assert (await claim(store)).task.id == task_id


async def test_pausing_twice_sends_one_event(store: Store) -> None:
    task_id = await accept(store)
    for _ in range(2):
        await store.tasks.pause(task_id)
    for _ in range(2):
        await store.tasks.resume(task_id)
    told = [(event.type, event.stage) for event in await store.events.after("0-0")]
    assert told == [("task.queued", ""), ("task.queued", "paused"), ("task.queued", "")]


async def test_a_pause_refuses_writes_that_would_begin_more_work(store: Store) -> None:
    _, working = await paused_while_running(store)
    item = Item(index=0, name="f", path="f")
    for write in (
        working.renew(),
        working.progress(Stage.DOWNLOADING, Progress()),
        working.plan("planned", [item], Progress(), []),
        working.item(item),
    ):
        with pytest.raises(PauseRequested):
            await write


async def test_a_worker_returns_a_paused_task_with_its_checkpoint(store: Store) -> None:
    task_id, working = await paused_while_running(store)
    known = Checkpoint(source={}, size=9, durable=((0, 4),))
    await working.record_checkpoints({0: known})
    await working.release()
    assert (await record(store, task_id)).paused
    assert await nothing_to_do(store)
    await store.tasks.resume(task_id)
    assert await (await claim(store)).checkpoints() == {0: known}


async def test_a_task_completed_during_the_pause_stays_completed(store: Store) -> None:
    task_id, working = await paused_while_running(store)
    await working.finish(Status.COMPLETED)
    assert ((await record(store, task_id)).status, (await record(store, task_id)).paused) == (
        "completed",
        False,
    )
    assert await store.tasks.pause(task_id) is PauseResult.ENDED
    assert await store.tasks.resume(task_id) is ResumeResult.ENDED


async def test_a_pause_resumed_in_time_stops_nothing(store: Store) -> None:
    task_id, working = await paused_while_running(store)
    assert await store.tasks.resume(task_id) == "resumed"
    await working.renew()
    await working.finish(Status.COMPLETED)


async def test_a_paused_task_of_a_dead_worker_stays_paused(store: Store) -> None:
    task_id, _ = await paused_while_running(store)
    await expire(store, task_id)
    assert (await store.claims.reconcile(check_leases=True)).returned == 1
    assert await nothing_to_do(store)
    await store.tasks.resume(task_id)
    assert (await claim(store)).task.id == task_id


async def test_a_cancel_takes_precedence_over_a_pause(store: Store) -> None:
    task_id, working = await paused_while_running(store)
    assert await store.tasks.cancel(task_id, []) == "requested"
    assert await store.tasks.pause(task_id) is PauseResult.ENDED
    assert await store.tasks.resume(task_id) is ResumeResult.ENDED
    with pytest.raises(CancelRequested):
        await working.renew()
    await working.finish(Status.CANCELED)
    await store.tasks.retry(await record(store, task_id))
    assert (await claim(store)).task.id == task_id, "the pause is over"


async def test_a_paused_task_can_be_canceled_and_retried(store: Store) -> None:
    task_id = await accept(store)
    await store.tasks.pause(task_id)
    assert await store.tasks.cancel(task_id, []) == "canceled"
    assert await store.tasks.counts() == {"queued": 0, "paused": 0, "running": 0}
    assert await store.tasks.retry(await record(store, task_id))
    assert (await claim(store)).task.id == task_id


async def test_a_pause_does_not_shorten_a_delay(store: Store) -> None:
    task_id = await accept(store)
    await (await claim(store)).release(delay_ms=3_600_000)
    await store.tasks.pause(task_id)
    assert (await store.claims.reconcile(check_leases=True)).woken == 0
    await store.tasks.resume(task_id)
    assert await nothing_to_do(store)
    await store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    assert (await store.claims.reconcile(check_leases=True)).woken == 1
    assert (await claim(store)).task.id == task_id


async def wakes_workers(store: Store) -> bool:
    """Whether the reconciler wakes a worker after all wake-ups were lost."""
    lanes = sorted(await store.claims.lanes())
    await store.db.do("DEL", *(f"sa:wake:{lane}" for lane in lanes))
    await store.claims.reconcile(check_leases=True)
    return bool(await store.claims.next_wake_up(lanes, 0.01))


async def test_a_paused_queue_starts_no_tasks_and_lets_running_ones_end(store: Store) -> None:
    await accept(store)
    working = await claim(store)
    await accept(store)
    await store.settings.pause()
    assert await nothing_to_do(store)
    assert await wakes_workers(store) is False
    await working.renew()
    await working.finish(Status.COMPLETED)
    await store.settings.resume()
    assert await wakes_workers(store) is True
    assert not await nothing_to_do(store)


async def test_the_number_of_running_tasks_per_user_is_limited(store: Store) -> None:
    for user in (1, 1, 1, 2):
        await accept(store, user_id=user)

    async def owner(most: int) -> int | None:
        claimed = await store.claims.claim("w", [LANE], tasks_per_user=most)
        return claimed.task.spec.user_id if claimed else None

    assert sorted([await owner(1) or 0, await owner(1) or 0]) == [1, 2]
    assert await owner(1) is None
    await store.settings.set({"tasks_per_user": 2})
    assert (await owner(1), await owner(1)) == (1, None)
    await store.settings.set({"tasks_per_user": 0})
    assert await owner(1) == 1


async def test_a_task_that_stops_running_frees_its_slot(store: Store) -> None:
    """Whether it is released, ended or returned after its lease."""
    for _ in range(4):
        await accept(store)

    async def next_one() -> Claim:
        claimed = await store.claims.claim("w", [LANE], tasks_per_user=1)
        assert claimed is not None
        assert await store.claims.claim("w", [LANE], tasks_per_user=1) is None
        return claimed

    await (await next_one()).release(delay_ms=3_600_000)
    await (await next_one()).finish(Status.FAILED)
    lost = await next_one()
    await expire(store, lost.task.id)
    await store.claims.reconcile(check_leases=True)
    await next_one()


async def test_ten_thousand_tasks_of_one_user_do_not_delay_that_of_another(store: Store) -> None:
    for _ in range(200):
        await asyncio.gather(*(accept(store, user_id=1, priority=100) for _ in range(50)))
    single = await accept(store, user_id=2, priority=-100)
    assert single in [(await claim(store)).task.id for _ in range(2)]


async def test_limits_are_divided_among_busy_workers(store: Store) -> None:
    for user in (1, 1, 2):
        await accept(store, user_id=user)
    taken = [(await claim(store, worker)).task.spec.user_id for worker in ("a", "b", "b")]
    assert taken == [1, 2, 1]
    a, b, idle = [await store.settings.sharers(worker) for worker in ("a", "b", "idle")]
    assert (a.workers, b.workers, idle.workers) == (2, 2, 2)
    assert (a.by_user, b.by_user, idle.by_user) == ({1: 2}, {1: 2, 2: 1}, {})


async def test_changed_limits_override_configured_ones(store: Store) -> None:
    assert await store.settings.changed() == {}
    await store.settings.set({"bytes_per_second": 7, "tasks_per_user": 0, "bytes_per_second_per_user": None})
    assert await store.settings.changed() == {"bytes_per_second": 7, "tasks_per_user": 0}
    assert (await store.settings.sharers("w")).changed == {"bytes_per_second": 7, "tasks_per_user": 0}
    await store.settings.set({"bytes_per_second": None})
    assert await store.settings.changed() == {"tasks_per_user": 0}
