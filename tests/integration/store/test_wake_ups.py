"""A task that becomes ready wakes one idle worker that can run it."""

from __future__ import annotations

import asyncio

from saveany.models import Status
from saveany.store import Store
from tests.integration.store.test_lifecycle import LANE, accept, claim

OTHER_LANE = "directlinks/local1"
WORKERS = 100


async def wake_up(store: Store, *lanes: str, seconds: float = 5) -> str:
    return await store.claims.next_wake_up(lanes or (LANE,), seconds)


async def test_one_of_many_idle_workers_wakes(store: Store) -> None:
    waiting = [asyncio.create_task(wake_up(store, seconds=30)) for _ in range(WORKERS)]
    await asyncio.sleep(0.5)
    await accept(store)
    awake, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [await each for each in awake] == [LANE]
    await asyncio.sleep(0.2)
    assert sum(each.done() for each in waiting) == 1
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


async def test_a_worker_that_cannot_run_the_lane_stays_idle(store: Store) -> None:
    await accept(store)
    assert await wake_up(store, OTHER_LANE, seconds=0.01) == ""
    assert await wake_up(store, OTHER_LANE, LANE) == LANE


async def test_each_ready_task_has_one_wake_up_until_it_is_claimed(store: Store) -> None:
    for _ in range(3):
        await accept(store)
    assert await wake_up(store) == LANE
    assert await store.claims.claim("w", [LANE], wake_up=LANE)
    await claim(store)  # by a slot that has just become free, without a wake-up
    assert await wake_up(store) == LANE
    assert await wake_up(store, seconds=0.01) == ""


async def test_a_wake_up_is_put_back_if_a_task_of_another_lane_goes_first(store: Store) -> None:
    await accept(store, type="directlinks")
    await accept(store)
    assert await wake_up(store) == LANE
    first = await store.claims.claim("w", [LANE, OTHER_LANE], wake_up=LANE)
    assert first
    assert first.task.spec.lane == OTHER_LANE
    assert await wake_up(store, OTHER_LANE, seconds=0.01) == "", "its own wake-up is used up"
    assert await wake_up(store) == LANE


async def test_unneeded_wake_ups_are_removed(store: Store) -> None:
    for _ in range(3):
        await store.tasks.cancel(await accept(store), [])
    assert await wake_up(store) == LANE
    assert await store.claims.claim("w", [LANE], wake_up=LANE) is None
    assert await wake_up(store, seconds=0.01) == ""


async def test_a_worker_that_dies_before_it_claims_loses_nothing(store: Store) -> None:
    await accept(store)
    assert await wake_up(store) == LANE
    assert await wake_up(store, seconds=0.01) == ""
    await store.claims.reconcile(check_leases=True)
    assert await wake_up(store) == LANE


async def test_a_user_who_is_below_the_limit_again_wakes_a_worker(store: Store) -> None:
    await accept(store)
    await accept(store, type="directlinks")
    running = await store.claims.claim("w", [LANE], tasks_per_user=1)
    assert running
    assert await wake_up(store, OTHER_LANE) == OTHER_LANE
    assert await store.claims.claim("v", [OTHER_LANE], tasks_per_user=1, wake_up=OTHER_LANE) is None
    await running.finish(Status.COMPLETED)
    assert await wake_up(store, OTHER_LANE) == OTHER_LANE


async def test_the_number_of_pending_wake_ups_is_limited(store: Store) -> None:
    """Even if many tasks wait while all workers are busy."""
    await store.db.do("RPUSH", f"sa:wake:{LANE}", *[1] * 1000)
    await accept(store)
    assert await store.db.do("LLEN", f"sa:wake:{LANE}") == 1000
