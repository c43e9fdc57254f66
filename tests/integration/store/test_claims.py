"""Several tasks are claimed in one step: with a slot, and without one."""

from __future__ import annotations

from typing import Any

import pytest

from saveany.errors import Fenced
from saveany.models import Item, Progress, Status, slot_lane
from saveany.store import Claim, Store
from tests.integration.store.test_lifecycle import LANE, accept, claim, expire

SLOT_LANE = slot_lane(LANE)
WEB_LANE = "directlinks/local1"


async def claims(store: Store, slots: int, without_slot: int, wake_up: str = "", **more: Any) -> list[Claim]:
    return await store.claims.claim_several(
        "w",
        slot_lanes=[WEB_LANE, SLOT_LANE],
        slots=slots,
        lanes=[LANE],
        without_slot=without_slot,
        wake_up=wake_up,
        **more,
    )


def ids(found: list[Claim]) -> list[str]:
    return [each.task.id for each in found]


async def wake_up(store: Store, lane: str) -> str:
    return await store.claims.next_wake_up([lane], 0.01)


async def test_as_many_tasks_are_claimed_as_there_is_room_for(store: Store) -> None:
    small = [await accept(store) for _ in range(5)]
    web = [await accept(store, type="directlinks") for _ in range(3)]
    found = await claims(store, 2, 3)
    assert [(each.task.id, each.has_slot) for each in found] == [
        *((task_id, False) for task_id in small[:3]),
        *((task_id, True) for task_id in web[:2]),
    ]
    assert {each.task.status for each in found} == {Status.RUNNING}
    assert ids(await claims(store, 2, 0)) == web[2:]
    assert ids(await claims(store, 0, 9)) == small[3:]
    assert await claims(store, 9, 9) == []


async def test_users_take_turns_within_one_step(store: Store) -> None:
    first = [await accept(store, user_id=1) for _ in range(4)]
    second = [await accept(store, user_id=2) for _ in range(2)]
    expected = [first[0], second[0], first[1], second[1], first[2], first[3]]
    assert ids(await claims(store, 0, 9)) == expected


async def test_a_limit_per_user_applies_to_all_claims_of_a_step(store: Store) -> None:
    for _ in range(3):
        await accept(store, user_id=1)
        await accept(store, user_id=1, type="directlinks")
    assert len(await claims(store, 9, 9, tasks_per_user=2)) == 2
    assert await claims(store, 9, 9, tasks_per_user=2) == []


async def test_each_claim_uses_up_a_wake_up(store: Store) -> None:
    for _ in range(4):
        await accept(store)
    await accept(store, type="directlinks")
    assert await wake_up(store, LANE)
    assert len(await claims(store, 1, 3, wake_up=LANE)) == 4
    assert await wake_up(store, LANE) == LANE  # of the task that is left
    assert await wake_up(store, LANE) == ""
    assert await wake_up(store, WEB_LANE) == ""


async def test_a_wake_up_without_room_for_its_task_is_put_back(store: Store) -> None:
    await accept(store, type="directlinks")
    assert await wake_up(store, WEB_LANE) == WEB_LANE
    assert await claims(store, 0, 3, wake_up=WEB_LANE) == []
    assert await wake_up(store, WEB_LANE) == WEB_LANE
    assert len(await claims(store, 1, 3, wake_up=WEB_LANE)) == 1
    assert await wake_up(store, WEB_LANE) == ""


async def test_a_task_that_needs_a_slot_is_claimed_only_with_one(store: Store) -> None:
    large, small = await accept(store), await accept(store)
    found = (await claims(store, 0, 1))[0]
    await found.plan("t", [Item(index=0, name="f", path="f", size=9)], Progress(), [])
    await found.release(needs_slot=True)
    assert await wake_up(store, SLOT_LANE) == SLOT_LANE
    assert ids(await claims(store, 0, 9)) == [small]
    (again,) = await claims(store, 1, 9)
    assert (again.task.id, again.has_slot, again.task.attempts) == (large, True, 1)
    assert [item.name for item in again.items] == ["f"]
    await expire(store, large)
    assert (await store.claims.reconcile(check_leases=True)).returned == 1
    assert await claims(store, 0, 9) == []
    with pytest.raises(Fenced):
        await again.release(needs_slot=True)


async def test_older_large_tasks_go_before_younger_small_ones(store: Store) -> None:
    large, small = await accept(store), await accept(store)
    await (await claims(store, 0, 1))[0].release(needs_slot=True)
    assert ids(await claims(store, 1, 1)) == [large, small]


async def test_a_task_that_has_taken_a_slot_keeps_needing_one(store: Store) -> None:
    task_id = await accept(store)
    (found,) = await claims(store, 1, 1)
    assert not found.has_slot
    await found.take_slot()
    await found.release()
    assert await claims(store, 0, 9) == []
    assert ids(await claims(store, 1, 0)) == [task_id]


async def test_small_tasks_do_not_count_as_slots_when_these_are_shared(store: Store) -> None:
    """User 1 has both slots; user 2 has many small tasks running, and waits for a slot."""
    with_slots = [await accept(store, user_id=1, type="directlinks") for _ in range(2)]
    assert ids(await claims(store, 2, 0)) == with_slots
    for _ in range(4):
        await accept(store, user_id=2)
    assert len(await claims(store, 0, 9)) == 4
    await accept(store, user_id=2, type="directlinks")
    await store.db.do("HSET", f"sa:task:{with_slots[0]}", "claimed_at", 1)
    for key in await store.db.do("KEYS", "sa:task:*"):
        await store.db.do("HSET", key, "created_at", 1)
    assert await store.claims.make_room("w", [WEB_LANE, SLOT_LANE], with_slots) == with_slots[1:]


async def time_passes(store: Store) -> None:
    """All waiting tasks have waited long enough for room, and it was made for nobody recently."""
    for key in await store.db.do("KEYS", "sa:task:*"):
        await store.db.do("HSET", key, "created_at", 1, "wake", 0)
    for key in await store.db.do("KEYS", "sa:room:*"):
        await store.db.do("DEL", key)


async def large_tasks(store: Store, user_id: int, count: int) -> list[Claim]:
    """New tasks of a user that need a slot, and were looked up."""
    for _ in range(count):
        await accept(store, user_id=user_id)
    return await claims(store, 0, count)


async def test_a_slot_goes_to_the_user_for_whom_room_was_made(store: Store) -> None:
    """User 1 has small tasks running, and waits for one of the slots, which are all of user 2."""
    large = await large_tasks(store, 2, 10)
    for each in large[3:]:
        await each.release(needs_slot=True)
    for each in large[:3]:
        await each.take_slot()
    waiting, *_ = await large_tasks(store, 1, 7)
    await waiting.release(needs_slot=True)
    await time_passes(store)
    with_slots = {each.task.id: each for each in large[:3]}
    (stopped,) = await store.claims.make_room("w", [SLOT_LANE], list(with_slots))
    await with_slots.pop(stopped).release()
    (served,) = await claims(store, 1, 0)
    assert (served.task.id, served.has_slot) == (waiting.task.id, True)
    await time_passes(store)
    with_slots[served.task.id] = served
    assert await store.claims.make_room("w", [SLOT_LANE], list(with_slots)) == [], "each has its share"


async def test_small_tasks_of_a_user_do_not_cost_the_turn_for_a_slot(store: Store) -> None:
    """The users take turns, because there is one slot. User 1, whose turn it is, starts small tasks first."""
    running, another = await large_tasks(store, 2, 2)
    await running.take_slot()
    await another.release(needs_slot=True)
    (waiting,) = await large_tasks(store, 1, 1)
    await waiting.release(needs_slot=True)
    await time_passes(store)
    await store.db.do("HSET", f"sa:task:{running.task.id}", "claimed_at", 1)
    assert await store.claims.make_room("w", [SLOT_LANE], [running.task.id]) == [running.task.id]
    await time_passes(store)  # it stops slowly
    await running.release()
    for _ in range(2):
        await accept(store, user_id=1)
        assert len(await claims(store, 0, 1)) == 1
    (served,) = await claims(store, 1, 0)
    assert served.task.id == waiting.task.id


async def test_a_user_with_large_tasks_running_gets_no_fewer_places_for_small_ones(store: Store) -> None:
    for each in await large_tasks(store, 1, 3):
        await each.take_slot()
    small = {user: [await accept(store, user_id=user) for _ in range(2)] for user in (2, 1)}
    assert ids(await claims(store, 0, 2)) == [small[2][0], small[1][0]]


async def test_slots_are_known_again_after_the_indexes_were_rebuilt(store: Store) -> None:
    await accept(store)
    running = await claim(store)
    await store.db.do("DEL", "sa:slots:1")
    await store.db.script("reindex", running.task.id)
    assert list(await store.db.do("SMEMBERS", "sa:slots:1")) == [running.task.id.encode()]
    await running.finish(Status.COMPLETED)
    assert await store.db.do("EXISTS", "sa:slots:1") == 0


async def test_recordings_have_slots_of_their_own(store: Store) -> None:
    """They are claimed without a slot for downloads, and count for no limit of running tasks."""
    recordings = [await accept(store, type="live") for _ in range(3)]
    downloads = [await accept(store, type="directlinks") for _ in range(2)]

    async def claimed(count: int, slots: int) -> list[Claim]:
        return await claims(store, slots, 9, live_lanes=["live/local1"], recordings=count, tasks_per_user=1)

    assert ids(await claimed(2, 0)) == recordings[:2]
    (download,) = await claimed(0, 5)
    assert (download.task.id, download.has_slot) == (downloads[0], True)
    (recording,) = await claimed(5, 5)
    assert (recording.task.id, recording.has_slot) == (recordings[2], False)
    assert await store.tasks.running([1]) == {1: 1}
    await recording.release()
    await download.finish(Status.COMPLETED)
    assert ids(await claimed(1, 1)) == [recordings[2], downloads[1]]
    assert await store.tasks.running([1]) == {1: 1}


async def test_no_recording_starts_while_the_queue_is_paused(store: Store) -> None:
    recording = await accept(store, type="live")
    await store.settings.pause()
    more: dict[str, Any] = {"live_lanes": ["live/local1"], "recordings": 1}
    assert await claims(store, 1, 1, **more) == []
    await store.settings.resume()
    assert ids(await claims(store, 1, 1, **more)) == [recording]
