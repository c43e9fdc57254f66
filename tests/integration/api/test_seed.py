"""The requests and replies of the API's first documentation, followed exactly."""

from __future__ import annotations

import asyncio

import httpx

from saveany.errors import CancelRequested
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.api.conftest import SEED_BODY, claim, create


async def test_health_needs_no_token(client: httpx.AsyncClient) -> None:
    reply = await client.get("/health", headers={"Authorization": ""})
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


async def test_creating_a_task_has_the_documented_reply(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/tasks", json=SEED_BODY)
    assert reply.status_code == 201
    body = reply.json()
    assert body["message"] == "task created successfully"
    assert (body["type"], body["status"]) == ("tgfiles", "queued")
    assert body["task_id"].isalnum()
    assert body["created_at"].endswith("Z")


async def test_a_completed_task_has_the_documented_status(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    working = await claim(store)
    item = Item(index=0, name="file.pdf", path="downloads/file.pdf", size=10)
    title = "[tgfiles](file.pdf->local1:/downloads/file.pdf)"
    await working.plan(title, [item], Progress(total_bytes=10, total_files=1), [])
    done = Item(
        index=0, name="file.pdf", path="downloads/file.pdf", size=10, status=ItemStatus.COMPLETED, sha256="ab"
    )
    progress = Progress(total_bytes=10, downloaded_bytes=10, uploaded_bytes=10, total_files=1, done_files=1)
    await working.finish(Status.COMPLETED, items=[done], progress=progress)
    body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
    assert body["task_id"] == task_id
    assert body["status"] == "completed"
    assert body["title"] == title
    assert body["error"] == ""
    assert body["created_at"] <= body["started_at"] <= body["finished_at"]
    assert (body["storage"], body["path"], body["attempts"]) == ("local1", "/downloads", 1)
    assert body["items"] == [
        {"name": "file.pdf", "size": 10, "status": "completed", "path": "downloads/file.pdf", "sha256": "ab"}
    ]
    assert body["progress"] == {
        "total_bytes": 10,
        "downloaded_bytes": 10,
        "uploaded_bytes": 10,
        "total_files": 1,
        "done_files": 1,
        "downloaded_files": 1,
        "percent": 100.0,
        "speed_bps": 0.0,
        "speed_mbps": 0.0,
        "eta_seconds": None,
    }
    assert body["webhook"] is None


async def test_the_list_separates_queued_and_running_tasks(client: httpx.AsyncClient, store: Store) -> None:
    first, second = await create(client), await create(client, dir_path="/b")
    await claim(store)
    body = (await client.get("/api/v1/tasks")).json()
    assert body["queued"] == [{"id": second, "title": "[tgfiles](https://t.me/channel/123->local1:/b)"}]
    assert [task["id"] for task in body["running"]] == [first]
    assert "percent" in body["running"][0]["progress"]
    assert [task["task_id"] for task in body["tasks"]] == [first, second]
    assert body["total"] == 2


async def test_the_list_can_be_limited_to_one_user(client: httpx.AsyncClient) -> None:
    await create(client)
    other = await create(client, user_id=42)
    body = (await client.get("/api/v1/tasks", params={"user_id": 42})).json()
    assert [task["id"] for task in body["queued"]] == [other]


async def test_canceling_a_queued_task_has_the_documented_reply(client: httpx.AsyncClient) -> None:
    task_id = await create(client)
    reply = await client.delete(f"/api/v1/tasks/{task_id}")
    assert (reply.status_code, reply.json()) == (200, {"message": "task canceled"})
    assert (await client.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "canceled"


async def test_cancel_of_a_running_task_waits_for_its_worker(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    working = await claim(store)
    canceling = asyncio.create_task(client.delete(f"/api/v1/tasks/{task_id}"))

    async def noticed() -> bool:
        try:
            await working.renew()
        except CancelRequested:
            return True
        return False

    await until(noticed)
    assert not canceling.done()
    await working.finish(Status.CANCELED)
    assert (await canceling).json() == {"message": "task canceled"}


async def test_retrying_a_task_has_the_documented_reply(client: httpx.AsyncClient) -> None:
    task_id = await create(client)
    await client.delete(f"/api/v1/tasks/{task_id}")
    reply = await client.post(f"/api/v1/tasks/{task_id}/retry")
    assert reply.status_code == 202
    assert (reply.json()["task_id"], reply.json()["status"]) == (task_id, "queued")
    assert (await client.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "queued"


async def test_many_items_come_in_pages(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    working = await claim(store)
    items = [Item(index=n, name=f"{n}.bin", path=f"downloads/{n}.bin") for n in range(205)]
    await working.plan("[tgfiles](205 files->local1:/downloads)", items, Progress(total_files=205), [])
    names: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page = (await client.get(f"/api/v1/tasks/{task_id}", params={"items_cursor": cursor})).json()
        assert len(page["items"]) <= 100
        assert page["items_total"] == 205
        names += [item["name"] for item in page["items"]]
        cursor = page["items_cursor"]
    assert names == [item.name for item in items]


async def test_a_task_has_its_own_webhook(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    summary = '{"state":"delivered","attempts":2,"last_status":204}'
    await store.db.do("HSET", f"sa:task:{task_id}", "webhook", summary)
    body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
    assert body["webhook"] == {"state": "delivered", "attempts": 2, "last_status": 204}


async def test_a_body_with_a_type_and_params_is_accepted(client: httpx.AsyncClient, store: Store) -> None:
    links = ["https://t.me/channel/123", "t.me/c/1234567890/5?single", "https://telegram.me/channel/123"]
    body = {"type": "tgfiles", "storage": "local2", "path": "a/b", "params": {"message_links": links}}
    reply = await client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    task = await store.tasks.get(reply.json()["task_id"])
    assert task is not None
    assert task.spec.links == ("https://t.me/channel/123", "https://t.me/c/1234567890/5?single")
    assert (task.spec.storage, task.spec.path, task.spec.user_id) == ("local2", "a/b", 123456789)


async def test_missing_fields_get_the_documented_defaults(client: httpx.AsyncClient, store: Store) -> None:
    reply = await client.post("/api/v1/tasks", json={"telegram_url": "t.me/channel/123", "user_id": 42})
    task = await store.tasks.get(reply.json()["task_id"])
    assert task is not None
    assert (task.spec.storage, task.spec.path, task.spec.filename) == ("local1", "", "")


async def test_all_documented_options_are_accepted(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(
        client,
        filename="a?.pdf",
        on_conflict="skip",
        priority=-7,
        webhook_url="https://example.com/hook?x=1",
        dir_path="downloads//x/",
    )
    task = await store.tasks.get(task_id)
    assert task is not None
    spec = task.spec
    assert (spec.filename, spec.on_conflict, spec.priority) == ("a_.pdf", "skip", -7)
    assert (spec.webhook_url, spec.path) == ("https://example.com/hook?x=1", "downloads/x")


async def test_url_is_accepted_instead_of_telegram_url(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/tasks", json={"url": "https://t.me/channel/123", "user_id": 42})
    assert reply.status_code == 201


async def test_type_forces_a_source(client: httpx.AsyncClient) -> None:
    body = {"url": "https://vimeo.com/1.mp4", "user_id": 42}
    found = await client.post("/api/v1/tasks", json=body)
    forced = await client.post("/api/v1/tasks", json=body | {"type": "directlinks"})
    assert [reply.json().get("type") for reply in (found, forced)] == ["ytdlp", "directlinks"]


async def test_the_authorization_scheme_is_case_insensitive(client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/v1/tasks", headers={"Authorization": "bEaReR your-secret-token-here"})
    assert reply.status_code == 200
