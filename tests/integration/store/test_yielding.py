"""Users share the slots of busy workers: every user is served, and no task starves or is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saveany.errors import CancelRequested, PauseRequested
from saveany.models import Checkpoint, Status
from saveany.store import Claim, Store, connect
from saveany.store.claims import PREEMPT_AFTER_MS, SLICE_MS
from tests.integration.store.test_lifecycle import LANE, accept, claim, expire
from tests.integration.store.test_queue import record


async def advance_time(store: Store, ms: int) -> None:
    """Move all times of waiting and running tasks into the past by that many milliseconds."""
    for key in await store.db.do("KEYS", "sa:task:*"):
        known = await store.db.do("HMGET", key, "created_at", "wake", "claimed_at")
        for name, value in zip(("created_at", "wake", "claimed_at"), known, strict=True):
            if value:
                await store.db.do("HSET", key, name, int(value) - ms)
    for key in await store.db.do("KEYS", "sa:room:*"):
        left = await store.db.do("PTTL", key)
        await store.db.do("PEXPIRE", key, max(0, left - ms))


async def request_yields(store: Store, tasks: list[Claim], worker: str = "w1", **limits: int) -> list[str]:
    return await store.claims.make_room(worker, [LANE], [each.task.id for each in tasks], **limits)


async def running_tasks_of(store: Store, *users: int) -> list[Claim]:
    """Start one more task for each of the users."""
    for user in users:
        await accept(store, user_id=user)
    return [await claim(store) for _ in users]


async def owners(store: Store, count: int) -> list[int]:
    return [(await claim(store)).task.spec.user_id for _ in range(count)]


async def test_a_free_slot_goes_to_the_user_with_the_fewest_running(store: Store) -> None:
    for user in (1, 1, 1, 1, 2):
        await accept(store, user_id=user)
    assert await owners(store, 3) == [1, 2, 1]
    await accept(store, user_id=2)
    assert await owners(store, 1) == [2], "user 1 has two running, and stands before user 2 in the ring"


async def test_a_user_who_joins_the_queue_is_served_last(store: Store) -> None:
    """Even after a user with a greater id who joined since the last claim."""
    await accept(store, user_id=2)
    await accept(store, user_id=1)
    assert await owners(store, 2) == [2, 1]


async def test_the_user_with_most_slots_yields_the_task_started_last(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1, 1)
    waiting = await accept(store, user_id=2)
    assert await request_yields(store, running) == [], "a slot may become free by itself"
    await advance_time(store, PREEMPT_AFTER_MS)
    assert await request_yields(store, running) == [running[2].task.id]
    assert await request_yields(store, running) == [], "one at a time"
    with pytest.raises(PauseRequested):
        await running[2].renew()
    await running[2].release()
    assert (await claim(store)).task.id == waiting


async def test_a_yielding_slot_counts_as_free(store: Store) -> None:
    """A worker that stops its tasks slowly does not stop more of them than is fair."""
    running = await running_tasks_of(store, 1, 1, 1)
    for _ in range(2):
        await accept(store, user_id=2)
    told = []
    for _ in range(4):
        await advance_time(store, PREEMPT_AFTER_MS)
        told += await request_yields(store, running)
    assert told == [running[2].task.id, running[1].task.id]


async def test_the_task_of_lowest_priority_yields(store: Store) -> None:
    for priority in (0, -1, 1):
        await accept(store, user_id=1, priority=priority)
    running = [await claim(store) for _ in range(3)]
    await accept(store, user_id=2, priority=-100)
    await advance_time(store, PREEMPT_AFTER_MS)
    assert await request_yields(store, running) == [running[2].task.id]
    assert running[2].task.spec.priority == -1


async def test_a_task_that_yielded_keeps_its_bytes_and_attempts(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1)
    await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    (stopped,) = await request_yields(store, running)
    known = Checkpoint(source={}, size=9, durable=((0, 4),))
    await running[1].record_checkpoints({0: known})
    await running[1].release()
    assert ((await record(store, stopped)).status, (await record(store, stopped)).paused) == ("queued", False)
    await (await claim(store)).finish(Status.COMPLETED)
    again = await claim(store)
    assert (again.task.id, again.task.attempts) == (stopped, 1)
    assert await again.checkpoints() == {0: known}
    await again.renew()


async def test_a_task_completed_instead_of_yielding_stays_completed(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1)
    await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    (stopped,) = await request_yields(store, running)
    await running[1].finish(Status.FAILED)
    assert await store.tasks.retry(await record(store, stopped))
    await claim(store)
    again = await claim(store)
    assert again.task.id == stopped
    await again.renew()


async def test_a_worker_that_dies_while_yielding_frees_the_slot(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1)
    waiting = await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    (stopped,) = await request_yields(store, running)
    await expire(store, stopped)
    assert (await store.claims.reconcile(check_leases=True)).returned == 1
    assert (await claim(store)).task.id == waiting
    await (await claim(store)).renew()


async def test_a_cancel_takes_precedence_over_yielding(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1)
    await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    (stopped,) = await request_yields(store, running)
    assert await store.tasks.cancel(stopped, []) == "requested"
    with pytest.raises(CancelRequested):
        await running[1].release()
    await running[1].finish(Status.CANCELED)


async def test_a_task_paused_while_yielding_stays_paused(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1)
    await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    (stopped,) = await request_yields(store, running)
    await store.tasks.pause(stopped)
    await running[1].release()
    assert (await record(store, stopped)).paused
    assert await owners(store, 1) == [2]
    assert await store.claims.claim("w1", [LANE]) is None


async def test_more_users_than_slots_are_served_in_turn(store: Store) -> None:
    (running,) = await running_tasks_of(store, 1)
    await accept(store, user_id=1)  # who stays in the ring, and was there first
    waiting = await accept(store, user_id=2)
    await advance_time(store, SLICE_MS - 1_000)
    assert await request_yields(store, [running]) == []
    await advance_time(store, 1_000)
    assert await request_yields(store, [running]) == [running.task.id]
    await running.release()
    other = await claim(store)
    assert other.task.id == waiting
    await advance_time(store, SLICE_MS)
    assert await request_yields(store, [other]) == [waiting]
    await other.release()
    again = await claim(store)
    assert again.task.id == running.task.id
    await advance_time(store, SLICE_MS)
    assert await request_yields(store, [again]) == [], "a task that was stopped before has more time"
    await advance_time(store, SLICE_MS)
    assert await request_yields(store, [again]) == [running.task.id]


async def test_no_task_yields_without_need(store: Store) -> None:
    """Not for a task of the same user, of another worker, over a limit, or in a paused queue."""
    running = await running_tasks_of(store, 1, 1, 1)
    await accept(store, user_id=1)
    await advance_time(store, SLICE_MS)
    assert await request_yields(store, running) == []
    await accept(store, user_id=2, storage="elsewhere")
    await advance_time(store, SLICE_MS)
    assert await request_yields(store, running) == []
    await accept(store, user_id=2)
    await advance_time(store, SLICE_MS)
    await store.settings.pause()
    assert await request_yields(store, running) == []
    await store.settings.resume()
    assert await request_yields(store, running, worker="another") == [], "it does not run these"
    assert len(await request_yields(store, running)) == 1


async def test_yielding_respects_the_limit_of_a_user(store: Store) -> None:
    running = await running_tasks_of(store, 1, 1, 1, 2)
    await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    assert await request_yields(store, running, tasks_per_user=1) == []
    assert len(await request_yields(store, running)) == 1


async def test_several_users_get_their_shares_at_once(store: Store) -> None:
    running = await running_tasks_of(store, *[1] * 8)
    for user in (2, 3, 4):
        for _ in range(4):
            await accept(store, user_id=user)
    for _ in range(4):
        await advance_time(store, PREEMPT_AFTER_MS)
        stopped = await request_yields(store, running)
        for each in [each for each in running if each.task.id in stopped]:
            await each.release()
            running.remove(each)
            running.append(await claim(store))
    users = [each.task.spec.user_id for each in running]
    assert {user: users.count(user) for user in set(users)} == {1: 2, 2: 2, 3: 2, 4: 2}


# Any number of users and tasks, in steps of five seconds.

STEP_MS = 5_000
STEPS_OF_SLICE = SLICE_MS // STEP_MS


@dataclass
class SimulatedTask:
    """A task: the step of its submission and its number of steps. An interrupted one may start over."""

    user: int
    at: int
    steps: int
    goes_on: bool
    priority: int
    id: str = ""
    done: int = 0


@dataclass
class SimulatedWorker:
    """A worker with the given number of slots, in simulated time."""

    store: Store
    slots: int
    workloads: list[SimulatedTask]
    running: list[tuple[Claim, SimulatedTask]] = field(default_factory=list)
    served: dict[int, int] = field(default_factory=dict)  # user -> step of the first claim
    ended: int = 0

    async def step(self, now: int) -> None:
        for work in self.workloads:
            if work.at == now:
                work.id = await accept(self.store, user_id=work.user, priority=work.priority)
        await self._fill(now)
        for each in list(self.running):
            await self._advance(*each)
        await self._fill(now)
        await advance_time(self.store, STEP_MS)
        if len(self.running) == self.slots:
            await request_yields(self.store, [claim for claim, _ in self.running])

    async def _advance(self, claim: Claim, work: SimulatedTask) -> None:
        try:
            await claim.renew()
            work.done += 1
        except PauseRequested:
            work.done = work.done if work.goes_on else 0
            self.running.remove((claim, work))
            await claim.release()
            return
        if work.done == work.steps:
            self.running.remove((claim, work))
            self.ended += 1
            await claim.finish(Status.COMPLETED)

    async def _fill(self, now: int) -> None:
        while len(self.running) < self.slots and (claim := await self.store.claims.claim("w1", [LANE])):
            work = next(work for work in self.workloads if work.id == claim.task.id)
            assert claim.task.attempts == 1, "making room spends no try"
            assert work.id not in [each.id for _, each in self.running]
            self.served.setdefault(work.user, now)
            self.running.append((claim, work))


def workloads(users: int, longest: int) -> st.SearchStrategy[list[SimulatedTask]]:
    one = st.builds(
        SimulatedTask,
        user=st.integers(1, users),
        at=st.integers(0, 10),
        steps=st.integers(1, longest),
        goes_on=st.booleans(),
        priority=st.integers(-1, 1),
    )
    return st.lists(one, min_size=2, max_size=10)


def restarted(valkey_url: str, run: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        db = connect(valkey_url)
        try:
            await db.do("FLUSHALL")
            await run(Store(db))
        finally:
            await db.close()

    asyncio.run(main())


SOME = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.timeout(600)
@SOME
@given(slots=st.integers(1, 3), wanted=workloads(users=4, longest=3 * STEPS_OF_SLICE))
def test_every_user_is_served_and_every_task_ends(
    valkey_url: str, slots: int, wanted: list[SimulatedTask]
) -> None:
    users = {work.user for work in wanted}
    # With every slot taken by others a user waits for a slice, and for the users who came before.
    soon = max(work.at for work in wanted) + (len(users) + 1) * 2 * STEPS_OF_SLICE
    # One that begins again did work for nothing, at most as long as it takes, and once more per slice.
    late = soon + 4 * sum(work.steps + STEPS_OF_SLICE for work in wanted)

    async def run(store: Store) -> None:
        workloads = [SimulatedTask(w.user, w.at, w.steps, w.goes_on, w.priority) for w in wanted]
        farm = SimulatedWorker(store, slots, workloads)
        now = 0
        while farm.ended < len(workloads):
            await farm.step(now)
            now += 1
            assert now < soon or farm.served.keys() == users, "a user waits for ever"
            assert now < late, "a task starves"
        assert await store.tasks.counts() == {"queued": 0, "paused": 0, "running": 0}

    restarted(valkey_url, run)


@pytest.mark.timeout(600)
@SOME
@given(hogs=st.integers(2, 4), every=st.integers(1, 6), goes_on=st.booleans(), steps=st.integers(10, 40))
def test_new_users_are_served_at_once_and_starve_nobody(
    valkey_url: str, hogs: int, every: int, goes_on: bool, steps: int
) -> None:
    """One user has as many long tasks as there are slots; other users submit short ones continuously."""

    async def run(store: Store) -> None:
        workloads = [SimulatedTask(1, 0, steps, goes_on, 0) for _ in range(hogs)]
        workloads += [
            SimulatedTask(user, every * user, 1, goes_on, 0)
            for user in range(2, 2 + hogs * steps * 4 // every)
        ]
        farm = SimulatedWorker(store, hogs, workloads)
        for now in range(steps * (hogs + 1) * 4):
            await farm.step(now)
            if all(work.done == steps for work in workloads[:hogs]):
                break
            for work in workloads[hogs:]:
                if work.at + 4 < now:
                    assert farm.served.get(work.user, now) <= work.at + 4, "one who came waits long"
        assert all(work.done == steps for work in workloads[:hogs]), "the long tasks starve"

    restarted(valkey_url, run)


async def test_a_task_records_that_it_yielded(store: Store) -> None:
    """Until the user retries it."""
    (first, _) = await running_tasks_of(store, 1, 1)
    await accept(store, user_id=2)
    await advance_time(store, PREEMPT_AFTER_MS)
    (told,) = await request_yields(store, [first])
    await first.release()
    task = await store.tasks.get(told)
    assert task
    assert (task.status, task.yields) == (Status.QUEUED, 1)
    await store.tasks.cancel(told, [])
    task = await store.tasks.get(told)
    assert task
    assert await store.tasks.retry(task)
    again = await store.tasks.get(told)
    assert again
    assert again.yields == 0
