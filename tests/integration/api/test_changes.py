"""Changing the priority of a task, and removing ended tasks."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from saveany.models import Status
from saveany.store import Store
from tests.integration.api.conftest import LANES, SEED_BODY, check_error, claim, create

URL = "/api/v1/tasks"
HISTORY = "/api/v1/history"


async def set_priority(client: httpx.AsyncClient, task_id: str, priority: int) -> dict[str, Any]:
    reply = await client.patch(f"{URL}/{task_id}", json={"priority": priority})
    assert reply.status_code == 200, reply.text
    task: dict[str, Any] = reply.json()
    return task


async def order(store: Store, count: int) -> list[str]:
    """The ids in the order in which workers claim the tasks."""
    claims = [await store.claims.claim("w", LANES) for _ in range(count)]
    return [claim.task.id for claim in claims if claim]


async def test_a_higher_priority_goes_first(client: httpx.AsyncClient, store: Store) -> None:
    first, second, third = [await create(client) for _ in range(3)]
    assert (await set_priority(client, third, 5))["priority"] == 5
    await set_priority(client, first, -5)
    assert await order(store, 3) == [third, second, first]


async def test_a_priority_can_be_reset(client: httpx.AsyncClient, store: Store) -> None:
    first, second = await create(client), await create(client, priority=100)
    await set_priority(client, second, 0)
    assert await order(store, 2) == [first, second]


@pytest.mark.parametrize("waits", ["paused", "running"])
async def test_the_priority_of_a_task_outside_of_the_queue_applies_later(
    client: httpx.AsyncClient, store: Store, waits: str
) -> None:
    task_id = await create(client)
    if waits == "paused":
        await client.post(f"{URL}/{task_id}/pause")
        await set_priority(client, task_id, 7)
        assert await store.claims.claim("w", LANES) is None, "it is still paused"
        other = await create(client)
        await client.post(f"{URL}/{task_id}/resume")
    else:
        working = await claim(store)
        await set_priority(client, task_id, 7)
        other = await create(client)
        await working.release()
    assert await order(store, 2) == [task_id, other]


async def test_a_retry_keeps_the_priority(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    await set_priority(client, task_id, 7)
    await client.delete(f"{URL}/{task_id}")
    other = await create(client)
    await client.post(f"{URL}/{task_id}/retry")
    assert await order(store, 2) == [task_id, other]


@pytest.mark.parametrize("body", [{}, {"priority": 101}, {"priority": "5"}, {"priority": 5, "status": "x"}])
async def test_invalid_changes_are_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    check_error(await client.patch(f"{URL}/{await create(client)}", json=body), 400)


async def test_unknown_and_ended_tasks_cannot_be_changed(client: httpx.AsyncClient) -> None:
    check_error(await client.patch(f"{URL}/nothing", json={"priority": 1}), 404)
    task_id = await create(client)
    await client.delete(f"{URL}/{task_id}")
    check_error(await client.patch(f"{URL}/{task_id}", json={"priority": 1}), 409)


# --- history


async def ended(client: httpx.AsyncClient) -> str:
    task_id = await create(client)
    await client.delete(f"{URL}/{task_id}")
    return task_id


async def listed(client: httpx.AsyncClient, **params: Any) -> list[str]:
    page = (await client.get(HISTORY, params=params)).json()
    return [task["task_id"] for task in page["tasks"]]


async def test_one_ended_task_is_removed(client: httpx.AsyncClient, store: Store) -> None:
    first, second = await ended(client), await ended(client)
    reply = await client.delete(f"{HISTORY}/{first}")
    assert (reply.status_code, reply.json()) == (200, {"message": "1 task removed", "removed": 1})
    assert await listed(client) == await listed(client, status="canceled") == [second]
    check_error(await client.get(f"{URL}/{first}"), 404)
    check_error(await client.delete(f"{HISTORY}/{first}"), 404)
    left = [key.decode() for key in await store.db.do("KEYS", f"*{first}*")]
    assert left == []


async def test_all_ended_tasks_are_removed_and_no_others(client: httpx.AsyncClient, store: Store) -> None:
    for _ in range(7):
        await ended(client)
    queued, running = await create(client), await create(client)
    working = await claim(store)
    assert (await client.delete(HISTORY)).json() == {"message": "7 tasks removed", "removed": 7}
    assert await listed(client) == []
    assert (await client.get(URL)).json()["total"] == 2
    await working.finish(Status.COMPLETED)
    assert await listed(client) == [working.task.id]
    assert {queued, running} >= {working.task.id}
    assert (await client.delete(HISTORY)).json()["removed"] == 1


async def test_more_tasks_than_one_batch_are_removed(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.catalogue.history._BATCH", 3)
    made = [await ended(client) for _ in range(8)]
    for task_id in (made[0], made[4], made[5], made[6]):
        await store.db.do("HSET", f"sa:task:{task_id}", "epoch", 1)
        await store.db.do("SADD", "sa:cleanup:local1", f"{task_id}:1")
    assert (await client.delete(HISTORY)).json()["removed"] == 4
    assert sorted(await listed(client)) == sorted([made[0], made[4], made[5], made[6]])


async def test_active_tasks_are_not_removed(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    check_error(await client.delete(f"{HISTORY}/{task_id}"), 409)
    await claim(store)
    check_error(await client.delete(f"{HISTORY}/{task_id}"), 409)
    check_error(await client.delete(f"{HISTORY}/nothing"), 404)


async def test_tasks_with_leftovers_are_not_removed(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    working = await claim(store)
    await store.db.do("HSET", f"sa:task:{task_id}", "cancel", 1)
    await working.finish(Status.CANCELED)
    assert "in a moment" in check_error(await client.delete(f"{HISTORY}/{task_id}"), 409)["message"]
    await store.workers.cleaned("local1", task_id, working.task.epoch)
    assert (await client.delete(f"{HISTORY}/{task_id}")).status_code == 200


async def test_an_idempotency_key_keeps_its_reply_after_the_task_was_removed(
    client: httpx.AsyncClient,
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = (await client.post(URL, json=SEED_BODY, headers=headers)).json()
    await client.delete(f"{URL}/{first['task_id']}")
    await client.delete(f"{HISTORY}/{first['task_id']}")
    again = (await client.post(URL, json=SEED_BODY, headers=headers)).json()
    assert again["task_id"] == first["task_id"]
    assert again["created_at"][:4] == first["created_at"][:4] != "1970"


# --- ended tasks that have left Redis


async def leave_redis(client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all ended tasks recorded, and leave Redis as an hour later."""
    await listed(client)
    monkeypatch.setattr("saveany.store.recording._KEPT_MS", -1)
    await store.recording.expire()


async def test_a_task_that_has_left_redis_is_read_retried_and_removed(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await ended(client)
    before = (await client.get(f"{URL}/{task_id}")).json()
    await leave_redis(client, store, monkeypatch)
    assert not await store.tasks.exists(task_id)
    assert (await client.get(f"{URL}/{task_id}")).json() == before
    for reply in (
        await client.delete(f"{URL}/{task_id}"),
        await client.post(f"{URL}/{task_id}/pause"),
        await client.post(f"{URL}/{task_id}/resume"),
        await client.patch(f"{URL}/{task_id}", json={"priority": 1}),
    ):
        assert "has ended already" in check_error(reply, 409)["message"]
    assert (await client.post(f"{URL}/{task_id}/retry")).json()["status"] == "queued"
    assert await listed(client) == []
    assert (await client.get(URL)).json()["total"] == 1
    await client.delete(f"{URL}/{task_id}")
    await leave_redis(client, store, monkeypatch)
    assert (await client.delete(f"{HISTORY}/{task_id}")).status_code == 200
    check_error(await client.get(f"{URL}/{task_id}"), 404)
    check_error(await client.post(f"{URL}/{task_id}/retry"), 404)


async def test_a_completed_task_that_has_left_redis_is_not_retried(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await create(client)
    await (await claim(store)).finish(Status.COMPLETED)
    await leave_redis(client, store, monkeypatch)
    check_error(await client.post(f"{URL}/{task_id}/retry"), 409)
    assert await listed(client) == [task_id]
