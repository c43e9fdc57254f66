"""Workers, storages, task types and readiness as the API reports them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api import openapi
from saveany.api.app import create_app
from saveany.api.health import CachedCheck
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Store, WorkerInfo, connect
from saveany.texts import Text
from tests.fixtures.tcp import say_nothing, tcp_server
from tests.integration.api.conftest import AUTH, check_error, create

READY = {"local1": "", "local2": "", "local3": ""}


async def send_heartbeat(store: Store, id_: str = "w1", **told: Any) -> None:
    info = WorkerInfo(id=id_, host="nas", pid=7, started_at=1_700_000_000_000, tasks=["t"], **told)
    await store.workers.heartbeat(info)


async def test_workers_are_listed(client: httpx.AsyncClient, store: Store) -> None:
    await send_heartbeat(store, inboxes={"/a": "", "/b": Text("it is gone")})
    assert (await client.get("/api/v1/workers")).json() == {
        "workers": [
            {
                "id": "w1",
                "host": "nas",
                "pid": 7,
                "started_at": "2023-11-14T22:13:20Z",
                "tasks": ["t"],
                "inboxes": [{"folder": "/a", "problem": ""}, {"folder": "/b", "problem": "it is gone"}],
            }
        ]
    }


async def test_task_types_are_listed(client: httpx.AsyncClient, store: Store) -> None:
    await send_heartbeat(store, "w1", sources={"tgfiles": "no account", "directlinks": ""})
    await send_heartbeat(store, "w2", sources={"tgfiles": "", "transfer": "why"})
    body = (await client.get("/api/v1/task-types")).json()
    assert body["types"] == ["tgfiles", "directlinks"]
    details = {each["type"]: each for each in body["details"]}
    assert details["transfer"]["error"] == "why"
    assert "disabled" in details["aria2"]["error"]
    assert "no running worker" in details["ytdlp"]["error"]
    assert "saveany worker" in details["tphpics"]["error"]
    assert "message_links" in details["tgfiles"]["params"]["properties"]


async def test_storages_are_listed(client: httpx.AsyncClient, store: Store) -> None:
    await send_heartbeat(store, "w1", storages={"local1": "disk full", "local2": "no permission"})
    await send_heartbeat(store, "w2", storages={"local1": ""})
    first, second, third = (await client.get("/api/v1/storages")).json()["storages"]
    assert (first["name"], first["type"], first["ready"]) == ("local1", "local", True)
    assert "error" not in first
    assert (second["ready"], second["error"]) == (False, "no permission")
    assert (third["ready"], third["error"]) == (False, "no running worker has this storage")


async def test_translatable_problems_are_shown_in_english(client: httpx.AsyncClient, store: Store) -> None:
    problem = Text("storage {storage!r}: {reason}", {"storage": "local1", "reason": Text("it hangs")})
    await send_heartbeat(store, storages={"local1": problem}, sources={"tgfiles": problem})
    first = (await client.get("/api/v1/storages")).json()["storages"][0]
    assert (first["ready"], first["error"]) == (False, "storage 'local1': it hangs")
    details = {each["type"]: each for each in (await client.get("/api/v1/task-types")).json()["details"]}
    assert details["tgfiles"]["error"] == "storage 'local1': it hangs"


async def test_storages_without_a_worker_are_listed(client: httpx.AsyncClient) -> None:
    for storage in (await client.get("/api/v1/storages")).json()["storages"]:
        assert "no worker is running" in storage["error"]


async def test_a_task_without_a_suitable_worker_shows_the_reason(
    client: httpx.AsyncClient, store: Store
) -> None:
    task_id = await create(client)

    async def waiting() -> str | None:
        task: dict[str, Any] = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        return task.get("waiting")

    assert await waiting() == "no running worker has this source; start one: saveany worker"
    await send_heartbeat(store, "w1", sources={"tgfiles": "no account"}, storages={"local1": "disk full"})
    assert await waiting() == "no account"
    await send_heartbeat(store, "w1", sources={"tgfiles": ""}, storages={"local1": "disk full"})
    assert await waiting() == "disk full"
    await send_heartbeat(store, "w2", storages={"local1": ""})
    assert "no single worker has both" in str(await waiting())
    await send_heartbeat(store, "w2", sources={"tgfiles": ""}, storages={"local1": ""}, slots=1)
    assert await waiting() == "all slots are busy (1 of 1); it starts when one is free"
    await send_heartbeat(store, "w2", sources={"tgfiles": ""}, storages={"local1": ""}, slots=2)
    assert await waiting() is None
    await client.post(f"/api/v1/tasks/{task_id}/pause")
    assert "the task is paused" in str(await waiting())
    await client.post(f"/api/v1/tasks/{task_id}/resume")
    await client.post("/api/v1/queue/pause")
    assert "the queue is paused" in str(await waiting())
    await client.post("/api/v1/queue/resume")
    assert await waiting() is None


async def test_the_list_shows_why_tasks_wait(client: httpx.AsyncClient, store: Store) -> None:
    await send_heartbeat(store, "w1", sources={"tgfiles": ""}, storages={"local1": ""}, slots=4)
    first, second = await create(client), await create(client)
    claim = await store.claims.claim("w1", ["tgfiles/local1"])
    assert claim is not None
    assert claim.task.id == first
    await client.put("/api/v1/limits", json={"tasks_per_user": 1})

    async def listed() -> dict[str, str | None]:
        tasks = (await client.get("/api/v1/tasks")).json()["tasks"]
        return {task["task_id"]: task.get("waiting") for task in tasks}

    assert await listed() == {
        first: None,
        second: "user 123456789 has reached the limit tasks_per_user (1 running)",
    }
    await client.put("/api/v1/limits", json={})
    await claim.release(60_000, "Telegram asks to wait 60 s")
    told = await listed()
    assert told[second] is None
    assert str(told[first]).startswith("Telegram asks to wait 60 s; it continues in ")


async def test_a_working_service_is_ready(client: httpx.AsyncClient, store: Store) -> None:
    await send_heartbeat(store, storages=READY, accounts={"bot": "", "me": "log in again"})
    reply = await client.get("/readyz")
    assert (reply.status_code, reply.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("storages", "accounts", "fields", "words"),
    [
        (READY, {}, ["telegram"], "saveany login"),
        (READY, {"bot": "the token was revoked"}, ["telegram"], "bot: the token was revoked"),
        (READY | {"local2": "disk full"}, {"bot": ""}, ["storages.local2"], "disk full"),
        ({"local1": ""}, {"bot": ""}, ["storages.local2", "storages.local3"], "no running worker has"),
    ],
)
async def test_a_service_with_a_problem_is_not_ready(
    client: httpx.AsyncClient,
    store: Store,
    storages: dict[str, str],
    accounts: dict[str, str],
    fields: list[str],
    words: str,
) -> None:
    await send_heartbeat(store, storages=storages, accounts=accounts)
    error = check_error(await client.get("/readyz"), 503)
    assert [detail["field"] for detail in error["details"]] == fields
    assert words in error["message"]


async def test_a_service_without_a_worker_is_not_ready(client: httpx.AsyncClient) -> None:
    assert "no worker is running" in check_error(await client.get("/readyz"), 503)["message"]


async def test_readiness_details_require_the_token(
    client: httpx.AsyncClient, app: FastAPI, store: Store
) -> None:
    strangers = {"Authorization": "Bearer wrong"}
    error = check_error(await client.get("/readyz", headers=strangers), 503)
    assert set(error) == {"error", "code", "message"}
    assert "worker" not in error["message"]
    await send_heartbeat(store, storages=READY, accounts={"bot": ""})
    app.state.readiness = CachedCheck()  # a second has passed
    reply = await client.get("/readyz", headers=strangers)
    assert (reply.status_code, reply.json()) == (200, {"status": "ready"})


async def test_unauthenticated_readiness_checks_are_cached(client: httpx.AsyncClient, store: Store) -> None:
    async def commands() -> int:
        return int((await store.db.redis.info("commandstats")).get("cmdstat_smembers", {}).get("calls", 0))

    before = await commands()
    headers = {"Authorization": ""}
    await asyncio.gather(*(client.get("/readyz", headers=headers) for _ in range(50)))
    assert await commands() - before <= 2


async def test_an_unreachable_redis_is_reported(config: Config, tmp_path: Path) -> None:
    store = Store(connect("unix:///nowhere/redis.sock"))
    app = create_app(config, store, Catalogue("", tmp_path, store))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as client:
        assert "Redis" in check_error(await client.get("/api/v1/tasks"), 503)["message"]
        assert "redis" in check_error(await client.get("/readyz"), 503)["message"]
        assert (await client.get("/health")).status_code == 200
    await store.db.close()


async def test_an_unresponsive_redis_is_reported(config: Config, tmp_path: Path) -> None:
    """Redis accepts connections but never replies; the request does not wait for it."""
    async with tcp_server(say_nothing) as server:
        store = Store(connect(f"redis://127.0.0.1:{server.port}"))
        app = create_app(config, store, Catalogue("", tmp_path, store))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as client:
            reply = await asyncio.wait_for(client.get("/readyz"), 60)
        (detail,) = check_error(reply, 503)["details"]
        assert detail["field"] == "redis"
        assert "does it hang?" in detail["message"]
        await store.db.close()


async def test_without_a_configured_token_none_is_required(store: Store, catalogue: Catalogue) -> None:
    app = create_app(Config(), store, catalogue)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/api/v1/tasks")).status_code == 200


async def test_the_committed_openapi_file_is_the_served_one(client: httpx.AsyncClient) -> None:
    served = await client.get("/openapi.json", headers={"Authorization": ""})
    assert served.json() == json.loads(openapi.FILE.read_text()), "run: python -m saveany.api.openapi"
    assert openapi.FILE.read_text() == openapi.render()


async def test_the_openapi_description_is_complete(app: FastAPI) -> None:
    schema = app.openapi()
    operations = [o for path in schema["paths"].values() for o in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        assert {"400", "500", "503"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = response["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Error"}
                assert content["example"]["code"] == int(status)


async def test_changes_that_are_not_recorded_for_long_are_reported(
    client: httpx.AsyncClient, store: Store
) -> None:
    await store.db.do("XADD", "sa:record", "1700000000000-1", "task", "x", "items", "*")
    details = check_error(await client.get("/readyz"), 503)["details"]
    (detail,) = [each for each in details if each["field"] == "catalogue"]
    assert "1 change waits to be recorded since 2023-11-14T22:13:20Z" in detail["message"]
