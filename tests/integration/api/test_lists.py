"""`POST /api/v1/tasks/list`: how many tasks a list becomes, and what is refused before there is one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.service import lists
from saveany.store import Store
from tests.integration.api.conftest import check_error
from tests.integration.api.keys import make_key, with_secret

ADDRESS = "/api/v1/tasks/list"


async def post(client: httpx.AsyncClient, *lines: str, key: str = "", **params: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(ADDRESS, content="\n".join(lines), params=params, headers=headers)


async def links_of(store: Store, reply: httpx.Response) -> list[tuple[str, ...]]:
    assert reply.status_code == 201, reply.text
    tasks = [await store.tasks.get(each["task_id"]) for each in reply.json()["tasks"]]
    return [task.spec.links for task in tasks if task]


def link(number: int) -> str:
    return f"https://t.me/channel/{number}"


async def test_many_links_become_a_few_tasks_in_their_order(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_LINKS", 3)
    page = "https://telegra.ph/Title-01-3"
    files = [f"https://example.com/{n}" for n in range(2)]
    given = [link(5), files[0], f"{page}1", link(4), link(3), link(5), files[1], link(2), f"{page}2"]
    reply = await post(client, *given, storage_name="local2", dir_path="/all", priority=7)
    assert await links_of(store, reply) == [
        (link(5), link(4), link(3)),
        (link(2),),
        tuple(files),
        (f"{page}1",),
        (f"{page}2",),
    ]
    assert [each["type"] for each in reply.json()["tasks"]] == ["tgfiles"] * 2 + ["directlinks"] + [
        "tphpics"
    ] * 2
    for each in reply.json()["tasks"]:
        task = await store.tasks.get(each["task_id"])
        assert task
        assert (task.spec.storage, task.spec.path, task.spec.priority) == ("local2", "all", 7)


async def test_a_list_that_is_too_long_makes_no_task(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_LIST_LINKS", 4)
    monkeypatch.setattr(lists, "MAX_SINGLE_LINKS", 2)
    error = check_error(await post(client, *(link(n) for n in range(1, 90_000))), 400)
    assert error["message"] == "the list has more than 4 links; split it"
    pages = [f"https://telegra.ph/Title-0{n}-01" for n in range(1, 4)]
    assert "each of which becomes a task" in check_error(await post(client, *pages), 400)["message"]
    assert (await store.tasks.counts())["queued"] == 0
    assert (await post(client, *(link(n) for n in (1, 2, 3, 4, 4)))).json()["duplicates"] == 1


async def test_only_the_first_problems_are_listed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_PROBLEMS", 3)
    found = (await post(client, *("nothing" for _ in range(9)), '{"link": null}', link(1))).json()
    assert ([each["line"] for each in found["problems"]], found["refused"], found["links"]) == (
        [1, 2, 3],
        10,
        1,
    )
    found = (await post(client, '{"link": null, "name": "of a private chat"}')).json()
    assert "archive the chat" in found["problems"][0]["reason"]
    chinese = await client.post(ADDRESS, content="nothing", headers={"Accept-Language": "zh-Hans"})
    assert "无法识别" in chinese.json()["problems"][0]["reason"]


async def test_a_full_disk_is_no_crash(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(lists._LinkTable, "add", full)
    assert "disk is full" in check_error(await post(client, link(1)), 507)["message"]


async def test_a_key_counts_for_the_links_and_their_options(client: httpx.AsyncClient) -> None:
    first = (await post(client, link(1), link(2), key="k")).json()["tasks"]
    assert (await post(client, link(1), "", link(2), key="k")).json()["tasks"] == first
    check_error(await post(client, link(1), key="k"), 422)
    check_error(await post(client, link(1), link(2), key="k", dir_path="/other"), 422)


async def test_a_user_saves_only_what_and_where_it_may(client: httpx.AsyncClient, app: FastAPI) -> None:
    key = await make_key(client, 42, "tasks")
    async with with_secret(app, key["secret"]) as bert:
        assert (
            "storage 'local2'"
            in check_error(await post(bert, link(1), storage_name="local2"), 403)["message"]
        )
        private = "tg://openmessage?user_id={}&message_id=7"
        found = (await post(bert, private.format(42), private.format(43))).json()
        assert [each["line"] for each in found["problems"]] == [2]
        assert "another user's private chat" in found["problems"][0]["reason"]
    key = await make_key(client, 42, "files")
    async with with_secret(app, key["secret"]) as reader:
        check_error(await post(reader, link(1)), 403)


async def test_slow_lists_of_a_user_do_not_keep_others_waiting(
    client: httpx.AsyncClient,
) -> None:
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        begun.release()
        yield b"https://t.me/channel/1\n"
        await end.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(client.post(ADDRESS, content=slow()))
            await begun.acquire()
        async with asyncio.timeout(10):
            reply = await post(client, link(2), user_id=42)
        end.set()
    assert reply.status_code == 201, reply.text
