"""Pages of the list of tasks are complete and in order, also when tasks change in between."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saveany.ids import new_id
from saveany.store import Store
from tests.integration.api.conftest import USER, check_error, claim, create

URL = "/api/v1/tasks"


async def pages(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        reply = await client.get(URL, params=params | more)
        assert reply.status_code == 200, reply.text
        found.append(reply.json())
        cursor = found[-1]["next_cursor"]
    return found


def ids(listed: list[dict[str, Any]]) -> list[str]:
    return [task["task_id"] for page in listed for task in page["tasks"]]


async def test_without_a_limit_the_list_is_complete(client: httpx.AsyncClient) -> None:
    made = [await create(client) for _ in range(7)]
    page = (await client.get(URL)).json()
    assert ([task["task_id"] for task in page["tasks"]], page["next_cursor"]) == (made, None)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_queued_paused_and_running_tasks_come_in_pages(
    client: httpx.AsyncClient, store: Store, limit: int
) -> None:
    made = [await create(client) for _ in range(7)]
    await client.post(f"{URL}/{made[3]}/pause")
    await claim(store)
    listed = await pages(client, limit=limit)
    assert ids(listed) == made
    assert [page["total"] for page in listed[:-1]] == [limit] * (len(listed) - 1)
    assert sum(len(page["running"]) for page in listed) == 1
    assert sum(len(page["queued"]) for page in listed) == 6


async def test_a_page_costs_the_same_however_long_the_list(client: httpx.AsyncClient, store: Store) -> None:
    """Commands are counted instead of timed."""

    async def reads() -> int:
        stats = await store.db.redis.info("commandstats")
        return int(stats["cmdstat_hgetall"]["calls"])

    costs = []
    for _ in range(2):
        for _ in range(30):
            await create(client)
        before = await reads()
        assert len((await client.get(URL, params={"limit": 5})).json()["tasks"]) == 5
        costs.append(await reads() - before)
    assert costs[0] == costs[1] <= 7


async def test_tasks_of_one_user_come_in_pages(client: httpx.AsyncClient) -> None:
    made = [await create(client, user_id=user) for user in (USER, 42, USER, 42, 42, USER)]
    assert ids(await pages(client, user_id=42, limit=2)) == [made[1], made[3], made[4]]
    assert ids(await pages(client, user_id=USER, limit=1)) == [made[0], made[2], made[5]]
    assert ids(await pages(client, user_id=77, limit=1)) == []


async def test_a_task_that_ends_between_two_pages_shifts_no_other(client: httpx.AsyncClient) -> None:
    made = [await create(client) for _ in range(6)]
    first = (await client.get(URL, params={"limit": 3})).json()
    for gone in (made[2], made[3]):
        await client.delete(f"{URL}/{gone}")
    rest = (await client.get(URL, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert ids([first]) + ids([rest]) == [*made[:3], made[4], made[5]]
    assert rest["next_cursor"] is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(
        st.tuples(st.sampled_from(["queued", "paused", "running"]), st.integers(1, 4)), max_size=30
    ),
    limit=st.integers(1, 6),
)
async def test_tasks_of_the_same_millisecond_are_listed_once_and_in_order(
    client: httpx.AsyncClient, store: Store, places: list[tuple[str, int]], limit: int
) -> None:
    """This holds for tasks in any state."""
    await store.db.do("FLUSHALL")
    template = await create(client)
    record = await store.db.do("HGETALL", f"sa:task:{template}")
    await store.db.do("FLUSHALL")
    made = []
    for place, at in places:
        task_id = new_id()
        spec = record[b"spec"].replace(template.encode(), task_id.encode())
        fields = [
            each for pair in (record | {b"spec": spec, b"created_at": b"%d" % at}).items() for each in pair
        ]
        await store.db.do("HSET", f"sa:task:{task_id}", *fields)
        await store.db.do("ZADD", f"sa:{place}", at, task_id)
        made.append((at, task_id))
    assert ids(await pages(client, limit=limit)) == [task_id for _, task_id in sorted(made)]


@pytest.mark.parametrize("params", ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=1-%00"])
async def test_invalid_pages_are_refused(client: httpx.AsyncClient, params: str) -> None:
    error = check_error(await client.get(f"{URL}?{params}"), 400)
    assert error["details"][0]["field"] == params.partition("=")[0]
