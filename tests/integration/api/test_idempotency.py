"""Idempotency-Key: repeated requests create one task."""

from __future__ import annotations

import asyncio

import httpx

from saveany.store import Store
from tests.integration.api.conftest import SEED_BODY, check_error


async def post(client: httpx.AsyncClient, key: str, **body: object) -> httpx.Response:
    return await client.post("/api/v1/tasks", json=SEED_BODY | body, headers={"Idempotency-Key": key})


async def test_a_hundred_simultaneous_requests_with_one_key_create_one_task(
    client: httpx.AsyncClient, store: Store
) -> None:
    replies = await asyncio.gather(*(post(client, "k") for _ in range(100)))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.content for reply in replies}) == 1
    assert (await store.tasks.counts())["queued"] == 1


async def test_a_repeated_request_gets_the_first_reply_after_the_task_has_changed(
    client: httpx.AsyncClient,
) -> None:
    first = await post(client, "k")
    await client.delete(f"/api/v1/tasks/{first.json()['task_id']}")
    assert (await post(client, "k")).content == first.content


async def test_equivalent_bodies_count_as_the_same_request(client: httpx.AsyncClient) -> None:
    first = await post(client, "k")
    assert (await post(client, "k", priority=0, on_conflict="rename")).content == first.content


async def test_another_body_with_the_same_key_is_refused(client: httpx.AsyncClient) -> None:
    await post(client, "k")
    error = check_error(await post(client, "k", dir_path="/other"), 422)
    assert "use a new key" in error["message"]


async def test_different_keys_create_different_tasks(client: httpx.AsyncClient, store: Store) -> None:
    await post(client, "k")
    await post(client, "K")
    assert (await store.tasks.counts())["queued"] == 2


async def test_a_refused_request_does_not_use_its_key(client: httpx.AsyncClient) -> None:
    check_error(await post(client, "k", storage_name="nas"), 404)
    assert (await post(client, "k")).status_code == 201
