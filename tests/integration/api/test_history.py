"""The history: filters, and pages that contain each task once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saveany.models import Status
from saveany.store import Store
from tests.integration.api.conftest import LANES, USER, claim, create


async def ended(client: httpx.AsyncClient, store: Store, status: Status, error: str = "", **body: Any) -> str:
    """A task that has run and ended."""
    task_id = await create(client, **body)
    claim = await store.claims.claim("w1", LANES)
    assert claim is not None
    await claim.finish(status, error)
    return task_id


async def page(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    reply = await client.get("/api/v1/history", params=params)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def ids(client: httpx.AsyncClient, **params: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while True:
        body = await page(client, **params)
        found += [task["task_id"] for task in body["tasks"]]
        if body["next_cursor"] is None:
            return found
        params["cursor"] = body["next_cursor"]


async def test_the_history_lists_ended_tasks_newest_first(client: httpx.AsyncClient, store: Store) -> None:
    done = [await ended(client, store, Status.COMPLETED) for _ in range(3)]
    await create(client)
    assert await ids(client) == done[::-1]


async def test_filters_select_tasks(client: httpx.AsyncClient, store: Store) -> None:
    a = await ended(client, store, Status.COMPLETED, dir_path="/Spring")
    b = await ended(client, store, Status.FAILED, "no such message", user_id=42)
    c = await ended(client, store, Status.FAILED, "disk full", storage_name="local2")
    assert await ids(client, status="failed") == [c, b]
    assert await ids(client, user_id=USER) == [c, a]
    assert await ids(client, storage="local2") == [c]
    assert await ids(client, storage="nas") == []
    assert await ids(client, type="tgfiles", status="failed", user_id=42) == [b]
    assert await ids(client, q="SPRING") == [a]
    assert await ids(client, q="disk") == [c]
    assert await ids(client, status="failed", q="spring") == []


async def test_times_limit_the_history(client: httpx.AsyncClient, store: Store) -> None:
    done = [await ended(client, store, Status.COMPLETED) for _ in range(3)]
    for n, task_id in enumerate(done):
        await store.db.do("HSET", f"sa:task:{task_id}", "finished_at", 1_700_000_000_000 + 1000 * n)
    assert await ids(client, **{"from": "2023-11-14T22:13:21Z"}) == [done[2], done[1]]
    assert await ids(client, to="2023-11-14T22:13:21Z") == [done[0]]
    assert await ids(client, **{"from": "2023-11-14T23:13:21+01:00", "to": "2023-11-14T22:13:22Z"}) == [
        done[1]
    ]


async def test_history_entries_have_the_documented_fields(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await ended(client, store, Status.FAILED, "no such message")
    [task] = (await page(client))["tasks"]
    assert (task["task_id"], task["status"], task["error"]) == (task_id, "failed", "no such message")
    assert task["finished_at"]


@pytest.fixture
async def twelve_ended_tasks(client: httpx.AsyncClient, store: Store) -> list[str]:
    """Twelve ended tasks, several in one millisecond; newest first."""
    done = [await ended(client, store, Status.COMPLETED) for _ in range(12)]
    for n, task_id in enumerate(done):
        await store.db.do("HSET", f"sa:task:{task_id}", "finished_at", 1_700_000_000_000 + n // 4)
    return sorted(done, key=lambda i: (done.index(i) // 4, i), reverse=True)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 14))
async def test_pages_contain_each_task_once(
    client: httpx.AsyncClient, twelve_ended_tasks: list[str], limit: int
) -> None:
    assert await ids(client, limit=limit) == twelve_ended_tasks


async def test_the_operator_can_clear_the_history_of_one_user(
    client: httpx.AsyncClient, store: Store
) -> None:
    ids = {user: await create(client, user_id=user, storage_name="local1") for user in (USER, 42)}
    for _ in ids:
        await (await claim(store)).finish(Status.COMPLETED)
    assert (await client.delete("/api/v1/history", params={"user_id": 42})).json()["removed"] == 1
    left = (await client.get("/api/v1/history")).json()["tasks"]
    assert [each["task_id"] for each in left] == [ids[USER]]
