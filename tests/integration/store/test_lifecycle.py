"""The states of a task in the store, with a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from saveany.catalogue.catalogue import Catalogue
from saveany.errors import CancelRequested, Fenced
from saveany.ids import new_id
from saveany.models import TRANSITIONS, Delivery, Item, ItemStatus, Progress, Stage, Status, TaskSpec
from saveany.store import Claim, Store
from saveany.store.cursors import BATCH

LANE = "tgfiles/local1"


def spec(**changes: object) -> TaskSpec:
    fields: dict[str, object] = {
        "id": new_id(),
        "type": "tgfiles",
        "links": ("https://t.me/channel/123",),
        "user_id": 1,
        "storage": "local1",
    }
    return TaskSpec(**{**fields, **changes})  # type: ignore[arg-type]


async def accept(store: Store, **changes: object) -> str:
    accepted = await store.tasks.accept(spec(**changes), "title")
    assert accepted is not None
    return accepted.id


async def claim(store: Store, worker: str = "w1", lanes: tuple[str, ...] = (LANE,)) -> Claim:
    claimed = await store.claims.claim(worker, lanes)
    assert claimed is not None
    return claimed


async def expire(store: Store, task_id: str) -> None:
    """Have the lease of a task run out, as if 15 s had passed."""
    await store.db.do("ZADD", "sa:leases", "XX", 1, task_id)


def delivery(task_id: str, event: str = "task.completed") -> Delivery:
    return Delivery(id=f"msg_{task_id}_{event}", task_id=task_id, event=event, url="http://x/", body="{}")


async def status_of(store: Store, task_id: str) -> Status:
    task = await store.tasks.get(task_id)
    assert task is not None
    return task.status


async def test_an_accepted_task_is_queued_and_listed(store: Store) -> None:
    wish = spec(path="downloads", priority=5, filename="x.bin")
    await store.tasks.accept(wish, "[tgfiles](x->local1:/downloads)")
    task = await store.tasks.get(wish.id)
    assert task is not None
    assert (task.status, task.spec, task.title) == (Status.QUEUED, wish, "[tgfiles](x->local1:/downloads)")
    assert [t.id for t in await store.tasks.live()] == [wish.id]
    assert await store.tasks.live(user_id=2) == []


def test_ids_sort_by_time_and_are_url_safe() -> None:
    ids = [new_id() for _ in range(500)]
    assert len(set(ids)) == 500
    assert ids == sorted(ids)
    assert all(len(i) == 20 and set(i) <= set("0123456789abcdefghijklmnopqrstuv") for i in ids)


async def test_a_claim_runs_the_task_and_finishing_ends_it(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    assert (claimed.task.id, claimed.task.status, claimed.task.epoch) == (task_id, Status.RUNNING, 1)
    item = Item(index=0, name="f", path="f", size=3)
    await claimed.plan("planned", [item], Progress(total_bytes=3, total_files=1), [])
    await claimed.progress(Stage.DOWNLOADING, Progress(total_bytes=3, downloaded_bytes=1))
    running = await store.tasks.get(task_id)
    assert running is not None
    assert (running.title, running.stage, running.progress.downloaded_bytes) == ("planned", "downloading", 1)
    done = Item(index=0, name="f", path="f", size=3, status=ItemStatus.COMPLETED, final="f")
    await claimed.finish(Status.COMPLETED, items=[done], deliveries=[delivery(task_id)])
    assert await status_of(store, task_id) is Status.COMPLETED
    assert await store.tasks.items(task_id) == [done]
    assert await store.tasks.live() == []
    assert [d.task_id for d in await store.outbox.claim(10, 1000)] == [task_id]


@pytest.mark.parametrize("end", [Status.COMPLETED, Status.FAILED, Status.CANCELED])
async def test_terminal_states_are_final(store: Store, end: Status) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    await claimed.finish(end, "why" if end is Status.FAILED else "")
    with pytest.raises(Fenced):
        await claimed.progress(Stage.DOWNLOADING, Progress())
    for other in (Status.COMPLETED, Status.FAILED, Status.CANCELED):
        with pytest.raises(Fenced):
            await claimed.finish(other)
    assert await store.tasks.cancel(task_id, []) == "ended"
    assert await status_of(store, task_id) is end
    assert await store.claims.claim("w", [LANE]) is None


async def in_state(store: Store, status: Status) -> tuple[str, Claim | None]:
    """A fresh task in that state, and the claim that brought it there."""
    await store.db.do("FLUSHALL")
    task_id = await accept(store)
    if status is Status.QUEUED:
        return task_id, None
    claimed = await claim(store)
    if status.ended:
        await claimed.finish(status)
    return task_id, claimed


async def push(store: Store, task_id: str, claimed: Claim | None, target: Status) -> None:
    """Try every operation that could bring a task into `target`."""
    task = await store.tasks.get(task_id)
    assert task is not None
    if target is Status.QUEUED:
        await store.tasks.retry(task)
        if claimed and not task.status.ended:
            await claimed.release()
    elif target is Status.RUNNING:
        await store.claims.claim("w", [LANE])
    else:
        if target is Status.CANCELED:
            await store.tasks.cancel(task_id, [])
        if claimed:
            with contextlib.suppress(Fenced):
                await claimed.finish(target)


async def test_the_lua_files_allow_exactly_the_transitions_of_the_table(store: Store) -> None:
    seen: dict[Status, frozenset[Status]] = {}
    for status in Status:
        reached = set()
        for target in Status:
            task_id, claimed = await in_state(store, status)
            await push(store, task_id, claimed, target)
            reached.add(await status_of(store, task_id))
        seen[status] = frozenset(reached - {status})
    assert seen == dict(TRANSITIONS)


async def test_one_task_goes_to_one_worker(store: Store) -> None:
    ids = {await accept(store) for _ in range(20)}
    claims = await asyncio.gather(*(store.claims.claim(f"w{n}", [LANE]) for n in range(40)))
    taken = [c.task.id for c in claims if c]
    assert len(taken) == 20
    assert set(taken) == ids


async def test_a_worker_gets_only_what_it_can_run(store: Store) -> None:
    await accept(store, storage="nas")
    assert await store.claims.claim("w", [LANE]) is None
    assert await store.claims.claim("w", []) is None
    assert await store.claims.claim("w", [LANE, "tgfiles/nas"]) is not None


async def test_tasks_are_claimed_by_priority_then_age(store: Store) -> None:
    first, second = await accept(store), await accept(store)
    urgent = await accept(store, priority=1)
    late = await accept(store, priority=-1)
    assert [(await claim(store)).task.id for _ in range(4)] == [urgent, first, second, late]


async def test_users_are_served_in_turn(store: Store) -> None:
    for _ in range(5):
        await accept(store, user_id=1)
    for _ in range(2):
        await accept(store, user_id=2)
    served = [(await claim(store)).task.spec.user_id for _ in range(7)]
    assert served in ([1, 2, 1, 2, 1, 1, 1], [2, 1, 2, 1, 1, 1, 1])


async def test_an_expired_lease_returns_the_task_and_fences_the_old_worker(store: Store) -> None:
    task_id = await accept(store)
    frozen = await claim(store, "frozen")
    assert (await store.claims.reconcile(check_leases=True)).returned == 0
    await expire(store, task_id)
    assert (await store.claims.reconcile(check_leases=False)).returned == 0
    assert (await store.claims.reconcile(check_leases=True)).returned == 1
    with pytest.raises(Fenced):
        await frozen.renew()
    second = await claim(store, "second")
    for write in (
        frozen.renew(),
        frozen.progress(Stage.DOWNLOADING, Progress()),
        frozen.item(Item(index=0, name="f", path="f")),
        frozen.finish(Status.COMPLETED),
        frozen.release(),
    ):
        with pytest.raises(Fenced):
            await write
    assert second.task.epoch > frozen.task.epoch
    await second.finish(Status.COMPLETED)


async def test_an_expired_lease_can_be_renewed_if_the_task_was_not_claimed(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    await expire(store, task_id)
    await claimed.renew()
    assert (await store.claims.reconcile(check_leases=True)).returned == 0


async def test_the_leases_of_a_dead_worker_can_be_expired_at_once(store: Store) -> None:
    await accept(store)
    await accept(store)
    await claim(store, "dead")
    other = await claim(store, "alive")
    assert await store.claims.expire_leases("dead") == 1
    assert (await store.claims.reconcile(check_leases=True)).returned == 1
    await other.renew()


async def test_a_released_task_can_be_delayed(store: Store) -> None:
    task_id = await accept(store)
    await (await claim(store)).release(delay_ms=60_000)
    assert await store.claims.claim("w", [LANE]) is None
    assert await status_of(store, task_id) is Status.QUEUED
    await store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    assert (await store.claims.reconcile(check_leases=True)).woken == 1
    assert (await claim(store)).task.id == task_id


async def test_canceling_a_queued_task_ends_it(store: Store) -> None:
    task_id = await accept(store)
    assert await store.tasks.cancel(task_id, [delivery(task_id, "task.canceled")]) == "canceled"
    assert await store.claims.claim("w", [LANE]) is None
    assert await store.tasks.cancel(task_id, []) == "ended"
    assert [d.event for d in await store.outbox.claim(10, 1000)] == ["task.canceled"]
    assert await store.tasks.cancel("nope", []) == "unknown"


async def test_canceling_a_running_task_refuses_all_writes_but_the_last(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    assert await store.tasks.cancel(task_id, []) == "requested"
    for write in (
        claimed.renew(),
        claimed.progress(Stage.NONE, Progress()),
        claimed.finish(Status.COMPLETED),
    ):
        with pytest.raises(CancelRequested):
            await write
    assert await status_of(store, task_id) is Status.RUNNING
    await claimed.finish(Status.CANCELED)
    assert await status_of(store, task_id) is Status.CANCELED


async def test_a_canceled_task_of_a_dead_worker_is_handed_over_for_clean_up(store: Store) -> None:
    task_id = await accept(store)
    dead = await claim(store)
    await store.tasks.cancel(task_id, [])
    await expire(store, task_id)
    found = await store.claims.reconcile(check_leases=True)
    assert [i for i, _ in found.canceled] == [task_id]
    task = await store.tasks.get(task_id)
    assert task is not None
    with pytest.raises(Fenced):
        await dead.finish(Status.CANCELED)
    await store.claims.take_over(task, []).finish(Status.CANCELED)
    assert await store.workers.leftovers("local1") == [(task_id, task.epoch)]
    await store.workers.cleaned("local1", task_id, task.epoch)
    assert await store.workers.leftovers("local1") == []


async def test_one_clean_up_may_delete_the_file_of_a_canceled_task(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    item = Item(index=0, name="a", path="a", size=1, status=ItemStatus.FINISHING, final="a", sha256="00")
    await claimed.plan("", [item], Progress(), [])
    await expire(store, task_id)
    await store.claims.reconcile(check_leases=True)
    assert not await store.workers.clear_final_path(task_id, 1, item), "it is not canceled"
    assert await store.tasks.cancel(task_id, []) == "canceled"
    assert not await store.workers.clear_final_path(task_id, 0, item), "another epoch"
    assert await store.workers.clear_final_path(task_id, 1, item)
    assert not await store.workers.clear_final_path(task_id, 1, item), "somebody else does it"
    (after,) = await store.tasks.all_items(task_id)
    assert (after.status, after.final) == (ItemStatus.QUEUED, "")


async def test_a_retry_takes_over_the_clean_up(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    item = Item(index=0, name="a", path="a", size=1, status=ItemStatus.FINISHING, final="a")
    await claimed.plan("", [item], Progress(), [])
    await expire(store, task_id)
    await store.claims.reconcile(check_leases=True)
    await store.tasks.cancel(task_id, [])
    task = await store.tasks.get(task_id)
    assert task is not None
    assert await store.tasks.retry(task)
    assert await store.workers.leftovers("local1") == []
    assert not await store.workers.clear_final_path(task_id, 1, item)
    assert (await claim(store)).items == [item]


async def test_retry_keeps_finished_items_and_starts_a_new_run(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    done = Item(index=0, name="a", path="a", status=ItemStatus.COMPLETED)
    bad = Item(index=1, name="b", path="b", status=ItemStatus.FAILED, error="no", failures=3)
    await claimed.plan("t", [done, bad], Progress(), [])
    await claimed.finish(Status.FAILED, "1 of 2 files failed")
    task = await store.tasks.get(task_id)
    assert task is not None
    assert await store.tasks.retry(task)
    assert not await store.tasks.retry(task), "the second of two clicks finds it queued"
    again = await claim(store)
    assert (again.task.run, again.task.error) == (2, "")
    assert [(i.status, i.error) for i in again.items] == [(ItemStatus.COMPLETED, ""), (ItemStatus.QUEUED, "")]
    assert again.task.epoch > claimed.task.epoch


async def test_an_idempotency_key_creates_one_task(store: Store) -> None:
    async def post(body: str) -> object:
        return await store.tasks.accept(spec(), "t", key="k", body_hash=body)

    answers = await asyncio.gather(*(post("same") for _ in range(50)))
    assert len({a.id for a in answers if a}) == 1  # type: ignore[attr-defined]
    assert len(await store.tasks.live()) == 1
    assert await post("other") is None


async def test_a_repeated_event_creates_one_delivery(store: Store) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    await claimed.item(Item(index=0, name="f", path="f"), deliveries=[delivery(task_id)])
    await claimed.item(Item(index=0, name="f", path="f"), deliveries=[delivery(task_id)])
    (only,) = await store.outbox.claim(10, 60_000)
    assert await store.outbox.claim(10, 60_000) == [], "it is leased"
    await store.outbox.retry(only, 0, 503, "busy")
    (second,) = await store.outbox.claim(10, 60_000)
    assert (second.id, second.attempts, second.last_status) == (only.id, 1, 503)
    await store.outbox.settle(second, "delivered", 200, "")
    assert await store.outbox.claim(10, 60_000) == []
    task = await store.tasks.get(task_id)
    assert task is not None
    assert task.webhook == {"state": "delivered", "attempts": 2, "last_status": 200}
    assert [d.state for d in await store.outbox.of_task(task_id)] == ["delivered"]


async def test_events_report_every_state_in_order(store: Store) -> None:
    start = await store.events.last_id()
    task_id = await accept(store)
    claimed = await claim(store)
    await claimed.plan("t", [], Progress(), [])
    await claimed.finish(Status.COMPLETED)
    events = await store.events.after(start)
    names = ["task.queued", "task.running", "task.updated", "task.completed"]
    assert [e.type for e in events] == names
    assert {e.task_id for e in events} == {task_id}
    followed = []
    async for event in store.events.follow(events[0].id):
        followed.append(event)
        if len(followed) == 3:
            break
    assert followed == events[1:]
    assert not await store.events.trimmed(events[0].id)
    assert await store.events.trimmed("1-1")


async def test_pruning_skips_tasks_with_leftovers(store: Store, catalogue: Catalogue) -> None:
    """Newer tasks are deleted even if there are many of these, as after the removal of a storage."""
    for _ in range(BATCH):
        await accept(store)
        claimed = await claim(store)
        await store.tasks.cancel(claimed.task.id, [])
        await claimed.finish(Status.CANCELED)
    await accept(store)
    await (await claim(store)).finish(Status.COMPLETED)
    assert await catalogue.history.forget(await store.db.time_ms() + 1000) == 1
    assert (await catalogue.history.counts())[Status.CANCELED] == BATCH


async def test_pruning_deletes_all_records_of_a_task(store: Store, catalogue: Catalogue) -> None:
    task_id = await accept(store)
    claimed = await claim(store)
    await claimed.plan("t", [Item(index=0, name="f", path="f")], Progress(), [])
    await claimed.finish(Status.COMPLETED, deliveries=[delivery(task_id)])
    assert await catalogue.history.forget(0) == 0
    assert await catalogue.history.forget(await store.db.time_ms() + 1000) == 1
    left = {key.decode() for key in await store.db.do("KEYS", "sa:*")}
    assert left <= {"sa:events", "sa:turn", "sa:outbox:wake", "sa:record", "sa:meta"}
