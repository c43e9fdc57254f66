"""Webhook deliveries are listed and repeated over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.config.hidden import HIDDEN
from saveany.models import Delivery, Status
from saveany.store import Store
from saveany.webhooks.notify import address_of
from saveany.webhooks.signing import Signer
from tests.integration.api.conftest import TOKEN, USER, check_error, claim, create
from tests.integration.api.keys import with_key, with_secret
from tests.unit.webhooks.receiver import receiving
from tests.unit.webhooks.receiver import reply as refuse

URL = "/api/v1/webhooks/deliveries"


async def ended(client: httpx.AsyncClient, store: Store, url: str = "https://example.com/hook") -> Delivery:
    """An ended task with a webhook."""
    task_id = await create(client)
    told = Delivery(
        id=f"msg_{task_id}_1_completed_own",
        task_id=task_id,
        event="task.completed",
        url=url,
        body="{}",
        created_at=1_705_638_600_000,
    )
    await (await claim(store)).finish(Status.COMPLETED, deliveries=[told])
    return told


async def pages(client: httpx.AsyncClient, **params: Any) -> list[str]:
    found: list[str] = []
    while True:
        body = (await client.get(URL, params=params)).json()
        found += [each["id"] for each in body["deliveries"]]
        if body["next_cursor"] is None:
            return found
        params["cursor"] = body["next_cursor"]


async def test_deliveries_are_listed(client: httpx.AsyncClient, store: Store) -> None:
    told = [await ended(client, store) for _ in range(3)]
    ids = [each.id for each in told]
    assert sorted(await pages(client, limit=2)) == ids
    assert await pages(client, task_id=told[1].task_id) == [ids[1]]
    assert (await client.get(URL, params={"task_id": told[0].task_id})).json() == {
        "deliveries": [
            {
                "id": ids[0],
                "task_id": told[0].task_id,
                "event": "task.completed",
                "url": f"https://example.com/{HIDDEN}",
                "state": "pending",
                "attempts": 0,
                "last_status": 0,
                "last_error": "",
                "created_at": "2024-01-19T04:30:00Z",
            }
        ],
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://me:secret@example.com:8443/a/b?token=secret#x", f"https://example.com:8443/{HIDDEN}"),
        ("https://discord.com/api/webhooks/1/secret", f"https://discord.com/{HIDDEN}"),
        ("http://[::1]:80/", "http://[::1]:80/"),
    ],
)
async def test_urls_are_shown_without_secrets(
    client: httpx.AsyncClient, store: Store, url: str, seen: str
) -> None:
    await ended(client, store, url)
    reply = await client.get(URL)
    assert reply.json()["deliveries"][0]["url"] == seen
    assert "secret" not in reply.text


async def test_a_delivery_can_be_repeated(client: httpx.AsyncClient, store: Store) -> None:
    told = await ended(client, store)
    (first,) = await store.outbox.claim(10, 60_000)
    await store.outbox.settle(first, "gave_up", 410, "gone")
    reply = await client.post(f"{URL}/{told.id}/redeliver")
    assert reply.status_code == 202
    assert (reply.json()["id"], reply.json()["state"], reply.json()["attempts"]) == (told.id, "pending", 1)
    assert [each.id for each in await store.outbox.claim(10, 60_000)] == [told.id]
    task = (await client.get(f"/api/v1/tasks/{told.task_id}")).json()
    assert task["webhook"] == {"state": "pending", "attempts": 1, "last_status": 410}


async def test_unknown_deliveries_are_not_found(client: httpx.AsyncClient) -> None:
    check_error(await client.post(f"{URL}/msg_nobody/redeliver"), 404)
    check_error(await client.get(URL, params={"cursor": "msg_nobody"}), 400)
    check_error(await client.get(URL, params={"limit": 0}), 400)
    assert (await client.get(URL, params={"task_id": "nobody"})).json()["deliveries"] == []


async def test_a_test_is_sent_signed_and_its_outcome_is_in_the_reply(
    config: Config, store: Store, catalogue: Catalogue
) -> None:
    async with receiving() as receiver:
        api = config.api.model_copy(update={"webhook_url": SecretStr(receiver.url)})
        app = create_app(config.model_copy(update={"api": api}), store, catalogue)
        async with with_secret(app, TOKEN) as client:
            done = (await client.post("/api/v1/webhooks/test", json={})).json()
            receiver.answer = refuse(500)
            failed = (await client.post("/api/v1/webhooks/test", json={})).json()
        assert (done["delivered"], done["status"], done["error"]) == (True, 200, "")
        assert (failed["delivered"], failed["status"]) == (False, 500)
        assert "500" in failed["error"]
        first = receiver.requests[0]
        secret = await store.secret("webhook_secret", "", bool)
        signed = Signer(secret).headers(
            first.headers["webhook-id"], first.body, int(first.headers["webhook-timestamp"]) * 1000
        )
        assert first.headers["webhook-signature"] == signed["webhook-signature"]
        assert json.loads(first.body)["event"] == "test"


async def test_a_test_of_another_address_passes_the_guard(client: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        reply = (await client.post("/api/v1/webhooks/test", json={"url": receiver.url})).json()
        assert (reply["delivered"], reply["status"]) == (False, 0)
        assert "[net] allow" in reply["error"]
        assert receiver.requests == []


async def test_a_test_without_an_address_says_what_is_missing(client: httpx.AsyncClient) -> None:
    refused = await client.post("/api/v1/webhooks/test", json={})
    assert "api.webhook_url" in check_error(refused, 400)["message"]


async def test_only_the_operator_sends_tests(app: FastAPI, client: httpx.AsyncClient) -> None:
    async with await with_key(app, client, USER, "tasks") as own:
        check_error(await own.post("/api/v1/webhooks/test", json={"url": "https://example.com"}), 403)


async def test_a_notification_is_listed_with_its_service(client: httpx.AsyncClient, store: Store) -> None:
    address = address_of("ntfys://ntfy.sh/secret-topic")
    told = await ended(client, store, address)
    (listed,) = (await client.get(URL, params={"task_id": told.task_id})).json()["deliveries"]
    assert listed["url"] == address
    assert address.startswith("notify:ntfys-")


async def test_notifications_are_tested(
    app: FastAPI, config: Config, store: Store, catalogue: Catalogue, client: httpx.AsyncClient
) -> None:
    nothing = await client.post("/api/v1/notifications/test", json={})
    assert "[notify] urls is empty" in check_error(nothing, 400)["message"]
    async with receiving() as receiver:
        urls = [f"json://127.0.0.1:{receiver.port}/", "unknown://"]
        changed = Config.model_validate({**config.model_dump(), "notify": {"urls": urls}})
        other = create_app(changed, store, catalogue)
        async with with_secret(other, TOKEN) as operator:
            errors = (await operator.post("/api/v1/notifications/test", json={})).json()["errors"]
        assert errors[0] == ""
        assert "not a URL" in errors[1]
        assert len(receiver.requests) == 1
    async with await with_key(app, client, USER, "tasks") as own:
        check_error(await own.post("/api/v1/notifications/test", json={}), 403)


async def test_a_test_to_what_is_no_address_is_no_crash(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/webhooks/test", json={"url": "http://[::1"})
    assert (reply.status_code, reply.json()["delivered"]) == (200, False)
