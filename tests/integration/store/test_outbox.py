"""Webhook deliveries are listed and repeated."""

from __future__ import annotations

import asyncio

import pytest

from saveany.catalogue.catalogue import Catalogue
from saveany.errors import InvalidInput
from saveany.models import Delivery, Status
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.store.test_lifecycle import accept, claim, delivery


async def deliveries(store: Store, count: int) -> list[str]:
    """Create that many ended tasks with a webhook; returns the ids of the deliveries, oldest first."""
    ids = []
    for _ in range(count):
        task_id = await accept(store)
        told = delivery(task_id)
        await (await claim(store)).finish(Status.COMPLETED, deliveries=[told])
        ids.append(told.id)
    return ids


async def listed(store: Store, task_id: str = "", limit: int = 2) -> list[str]:
    """All of them, page by page."""
    found: list[str] = []
    cursor = ""
    while True:
        page = await store.outbox.page(task_id, limit, cursor)
        assert len(page.deliveries) <= limit
        found += [each.id for each in page.deliveries]
        if not page.cursor:
            return found
        cursor = page.cursor


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
async def test_deliveries_are_listed_newest_first_in_pages(store: Store, count: int) -> None:
    ids = await deliveries(store, count)
    assert sorted(await listed(store)) == sorted(ids)
    moments = [float(await store.db.do("ZSCORE", "sa:posted", each)) for each in await listed(store)]
    assert moments == sorted(moments, reverse=True)


async def test_deliveries_of_one_task_are_listed(store: Store) -> None:
    await deliveries(store, 2)
    task_id = await accept(store)
    told = [delivery(task_id, f"file_uploaded{n}") for n in range(5)]
    await (await claim(store)).finish(Status.COMPLETED, deliveries=told)
    assert sorted(await listed(store, task_id)) == sorted(each.id for each in told)
    assert await listed(store, "nothing") == []


@pytest.mark.parametrize("task_id", ["", "c9h8t1234abcd"])
async def test_an_invalid_cursor_is_refused(store: Store, task_id: str) -> None:
    with pytest.raises(InvalidInput):
        await store.outbox.page(task_id, 10, "msg_nobody")


async def due(store: Store) -> list[Delivery]:
    return await store.outbox.claim(10, 60_000)


async def test_a_failed_delivery_is_repeated_under_the_same_id(store: Store) -> None:
    (delivery_id,) = await deliveries(store, 1)
    (first,) = await due(store)
    await store.outbox.settle(first, "gave_up", 500, "the receiver responded 500")
    assert await due(store) == []
    again = await store.outbox.redeliver(delivery_id)
    assert again is not None
    assert (again.id, again.state, again.attempts) == (delivery_id, "pending", 1)
    task = await store.tasks.get(again.task_id)
    assert task is not None
    assert task.webhook == {"state": "pending", "attempts": 1, "last_status": 500}
    (second,) = await due(store)
    assert (second.id, second.body, second.attempts) == (first.id, first.body, 1)
    await store.outbox.settle(second, "delivered", 204, "")
    (shown,) = (await store.outbox.page()).deliveries
    assert (shown.state, shown.attempts, shown.last_status) == ("delivered", 2, 204)


async def test_a_waiting_delivery_can_be_sent_immediately(store: Store) -> None:
    (delivery_id,) = await deliveries(store, 1)
    (first,) = await due(store)
    await store.outbox.retry(first, 3_600_000, 503, "busy")
    assert await due(store) == []
    await store.outbox.redeliver(delivery_id)
    assert [each.id for each in await due(store)] == [delivery_id]


async def test_a_concurrent_change_is_not_lost(store: Store) -> None:
    """The delivery was settled after it was read: its number of attempts must not decrease."""
    (delivery_id,) = await deliveries(store, 1)
    (first,) = await due(store)
    stale = await store.db.do("GET", f"sa:delivery:{delivery_id}")
    await store.outbox.settle(first, "delivered", 200, "")
    assert await store.db.script("redeliver", delivery_id, first.task_id, stale, stale, "{}") == 0
    assert await due(store) == []


async def test_an_unknown_delivery_is_not_found(store: Store) -> None:
    assert await store.outbox.redeliver("msg_nobody") is None


async def test_deliveries_are_deleted_with_their_task(store: Store, catalogue: Catalogue) -> None:
    await deliveries(store, 2)
    await catalogue.history.clear()
    assert await listed(store) == []
    assert await store.db.do("EXISTS", "sa:posted", "sa:outbox") == 0


async def test_attempts_are_counted_by_outcome(store: Store) -> None:
    await deliveries(store, 3)
    first, second, third = await due(store)
    await store.outbox.settle(first, "delivered", 200, "")
    await store.outbox.settle(second, "gave_up", 410, "gone")
    for _ in range(2):
        await store.outbox.retry(third, 0, 500, "no")
    await store.outbox.settle(first, "delivered", 200, "")  # settled already: no attempt was made
    assert await store.counters.read() == {
        "webhook_attempts:delivered": 1,
        "webhook_attempts:failed": 2,
        "webhook_attempts:gave_up": 1,
    }


async def waiting_sender(store: Store, begun: list[asyncio.Task[None]]) -> asyncio.Task[None]:
    """A sender that waits for deliveries for a long time, after it has read that none is due."""
    sender = asyncio.create_task(store.outbox.wait(3600))
    begun.append(sender)

    async def is_blocked() -> bool:
        return int((await store.db.info("clients"))["blocked_clients"]) == len(begun)

    await until(is_blocked)
    return sender


async def test_a_new_delivery_wakes_one_sender_at_once(store: Store) -> None:
    begun: list[asyncio.Task[None]] = []
    senders = [await waiting_sender(store, begun) for _ in range(2)]
    await deliveries(store, 1)
    awake, asleep = await asyncio.wait(senders, return_when=asyncio.FIRST_COMPLETED)
    assert len(awake) == len(asleep) == 1
    asleep.pop().cancel()


async def test_a_failed_and_a_repeated_delivery_wake_a_sender(store: Store) -> None:
    (told,) = await deliveries(store, 1)
    (first,) = await due(store)
    await store.outbox.wait(3600)  # takes the wake-up of the new delivery
    sender = await waiting_sender(store, [])
    await store.outbox.retry(first, 10_000, 500, "")
    await sender
    sender = await waiting_sender(store, [])
    await store.outbox.redeliver(told)
    await sender


async def test_an_idle_sender_does_not_ask_again(store: Store) -> None:
    await store.db.do("CONFIG", "RESETSTAT")
    sender = await waiting_sender(store, [])
    calls = await store.db.info("commandstats")
    assert calls["cmdstat_zrange"]["calls"] == 1
    assert "cmdstat_blpop" not in calls  # it counts when it ends
    sender.cancel()


async def test_a_delivery_without_a_task_is_sent_once(store: Store) -> None:
    about_link = Delivery(
        id="msg_t_file_uploaded_own", task_id="", event="file_uploaded", url="http://x/", body="{}"
    )
    await store.outbox.add([about_link])
    await store.outbox.add([about_link])
    [claimed] = await due(store)
    assert claimed.id == about_link.id
    assert await listed(store) == [about_link.id]
    await store.outbox.settle(claimed, "delivered", 200, "")
    await store.outbox.add([about_link])  # by a process that repeats what another one has begun
    assert await due(store) == []
    assert await listed(store) == []
    assert 0 < await store.db.do("TTL", "sa:delivery:msg_t_file_uploaded_own") <= 2 * 24 * 3600
    assert not await store.db.do("EXISTS", "sa:deliveries:")


async def test_one_that_was_given_up_is_listed_and_sent_again(store: Store) -> None:
    about_link = Delivery(
        id="msg_t_file_uploaded_own", task_id="", event="file_uploaded", url="http://x/", body="{}"
    )
    await store.outbox.add([about_link])
    [claimed] = await due(store)
    await store.outbox.settle(claimed, "gave_up", 500, "the receiver responded 500")
    assert await listed(store) == [about_link.id]
    assert await store.outbox.redeliver(about_link.id)
    assert [each.id for each in await due(store)] == [about_link.id]
