"""`POST /api/v1/files`: a file in one request becomes a task, or nothing remains of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.models import TaskSpec
from saveany.store import Store
from tests.fixtures.tcp import connection
from tests.fixtures.waiting import until
from tests.integration.api.conftest import TOKEN, USER, check_error, url_of


def port_of(server: ApiServer) -> int:
    return int(url_of(server).rpartition(":")[2])


DATA = b"the bytes of a file" * 1000
FILES = "/api/v1/files"


def uploads(data_dir: Path) -> set[str]:
    """The names of all uploaded files, with unfinished ones."""
    folder = data_dir / "uploads"
    return (
        {path.name for path in folder.iterdir() if path.name != ".saveany-id"} if folder.exists() else set()
    )


async def spec_of(store: Store, reply: httpx.Response) -> TaskSpec:
    assert reply.status_code == 201, reply.text
    task = await store.tasks.get(reply.json()["task_id"])
    assert task is not None
    return task.spec


async def post(client: httpx.AsyncClient, content: Any = DATA, **params: Any) -> httpx.Response:
    return await client.post(FILES, content=content, params={"name": "a.txt", **params})


async def test_a_file_is_stored_and_gets_a_task(
    client: httpx.AsyncClient, store: Store, data_dir: Path
) -> None:
    reply = await client.post(
        FILES,
        content=DATA,
        params={"name": "film.mkv", "folder": "/films", "storage_name": "local2", "user_id": USER},
        headers={"Content-Type": "video/x-matroska"},
    )
    spec = await spec_of(store, reply)
    assert reply.json()["type"] == "upload"
    assert (spec.user_id, spec.storage, spec.path, spec.filename) == (USER, "local2", "films", "film.mkv")
    assert spec.params == {
        "name": "film.mkv",
        "mime": "video/x-matroska",
        "sha256": hashlib.sha256(DATA).hexdigest(),
    }
    assert uploads(data_dir) == {spec.id}
    assert (data_dir / "uploads" / spec.id).read_bytes() == DATA


async def test_a_form_is_taken_whatever_its_field_is_called(
    client: httpx.AsyncClient, store: Store, data_dir: Path
) -> None:
    files = {"x.mp4": ("holiday.png", DATA, "image/png")}
    spec = await spec_of(store, await client.post(FILES, data={"note": "hi"}, files=files))
    assert (spec.params["name"], spec.params["mime"], spec.filename) == ("holiday.png", "image/png", "")
    assert (data_dir / "uploads" / spec.id).read_bytes() == DATA


@pytest.mark.parametrize("type_", ["application/octet-stream", "application/x-www-form-urlencoded"])
async def test_a_type_that_means_nothing_is_not_kept(
    client: httpx.AsyncClient, store: Store, type_: str
) -> None:
    reply = await client.post(FILES, content=DATA, params={"name": "a.txt"}, headers={"Content-Type": type_})
    assert "mime" not in (await spec_of(store, reply)).params


async def test_names_are_made_safe(client: httpx.AsyncClient, store: Store) -> None:
    files = {"file": ("../../etc/pass\x00wd", b"x")}
    spec = await spec_of(store, await client.post(FILES, files=files))
    assert "/" not in spec.params["name"]
    assert ".." not in spec.params["name"]
    check_error(await post(client, name="../a.txt"), 400)


async def test_an_empty_file_is_a_file(client: httpx.AsyncClient, store: Store, data_dir: Path) -> None:
    spec = await spec_of(store, await post(client, b""))
    assert (data_dir / "uploads" / spec.id).read_bytes() == b""


async def test_what_cannot_be_saved_is_refused_before_it_is_read(
    client: httpx.AsyncClient, data_dir: Path
) -> None:
    read = []

    async def content() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"x"

    headers = {"Content-Length": "100", "Expect": "100-continue"}
    refused: list[tuple[dict[str, Any], int]] = [
        ({"storage_name": "nowhere"}, 404),
        ({"storage_name": "local2", "user_id": 42}, 403),
        ({"folder": "../up"}, 400),
        ({"user_id": 7}, 403),
        ({"name": ""}, 400),
        ({"name": "a/b"}, 400),
        ({"nonsense": "1"}, 400),
    ]
    for params, status in refused:
        reply = await client.post(
            FILES, content=content(), params={"name": "a.txt", **params}, headers=headers
        )
        check_error(reply, status)
    reply = await client.post(
        FILES, content=content(), params={"name": "a"}, headers=headers | {"Content-Length": "1000001"}
    )
    assert "1 MB" in check_error(reply, 413)["message"]
    assert not read
    assert uploads(data_dir) == set()


async def test_a_file_that_turns_out_to_be_too_large_is_removed(
    client: httpx.AsyncClient, data_dir: Path
) -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield bytes(100_000)

    check_error(await post(client, content()), 413)
    check_error(await client.post(FILES, files={"file": ("a", bytes(1_000_001))}), 413)
    assert uploads(data_dir) == set()


async def test_without_room_on_the_disk_it_is_refused(
    client: httpx.AsyncClient, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.uploads.folder._SPARE_BYTES", 1 << 60)
    monkeypatch.setattr("saveany.uploads.folder._SPARE_SHARE", 2.0)
    assert "free space" in check_error(await post(client), 507)["message"]
    assert uploads(data_dir) == set()


async def test_the_same_request_is_saved_once(
    client: httpx.AsyncClient, store: Store, data_dir: Path
) -> None:
    async def send(content: bytes) -> httpx.Response:
        return await client.post(
            FILES, content=content, params={"name": "a"}, headers={"Idempotency-Key": "k"}
        )

    first, again = await send(DATA), await send(DATA)
    assert first.json() == again.json()
    check_error(await send(DATA + b"other"), 422)
    assert uploads(data_dir) == {first.json()["task_id"]}


async def test_uploads_need_the_token(client: httpx.AsyncClient, data_dir: Path) -> None:
    reply = await client.post(FILES, content=DATA, params={"name": "a"}, headers={"Authorization": ""})
    check_error(reply, 401)
    assert uploads(data_dir) == set()


async def test_nobody_can_create_such_a_task_in_another_way(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/tasks", json={"type": "upload", "params": {"upload": "x" * 20}})
    check_error(reply, 400)
    types = (await client.get("/api/v1/task-types")).json()
    assert "upload" not in [each["type"] for each in types["details"]]


async def test_of_an_upload_that_stops_nothing_remains(server: ApiServer, data_dir: Path) -> None:
    head = (
        f"POST {FILES}?name=a HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Length: 500000\r\n\r\n"
    )
    async with connection("127.0.0.1", port_of(server)) as (_, writer):
        writer.write(head.encode() + bytes(200_000))
        await writer.drain()
        await until(lambda: len(uploads(data_dir)) == 1, what="the unfinished file")
    await until(lambda: uploads(data_dir) == set(), what="its removal")


async def test_a_slow_upload_has_the_time_it_needs(
    server: ApiServer, live: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.api.connections.BODY_SECONDS", 3.0)
    swept = 0
    sweep = server.server_state.sweep

    def count() -> None:
        nonlocal swept
        swept += 1
        sweep()

    monkeypatch.setattr(server.server_state, "sweep", count)

    def reached(number: int) -> bool:
        return swept >= number

    async def content() -> AsyncIterator[bytes]:
        for n in range(1, 7):  # one piece for each second of the server
            await until(partial(reached, n))
            yield b"x"

    assert await spec_of(store, await post(live, content()))


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
async def test_a_client_that_waits_for_permission_gets_the_refusal_at_once(
    server: ApiServer, expect: str
) -> None:
    head = (
        f"POST {FILES}?name=a&storage_name=nowhere HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: 5\r\n{expect}\r\n"
    )
    async with connection("127.0.0.1", port_of(server)) as (reader, writer):
        writer.write(head.encode() + (b"" if expect else b"12345"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")


async def test_a_crash_leaves_nothing_behind(
    app: FastAPI, client: httpx.AsyncClient, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an API that is killed while it receives a file, or right before it creates the task."""
    spec = await spec_of(store, await post(client))
    folder = data_dir / "uploads"
    (folder / ".saveany-0123456789abcdefghij.part").write_bytes(DATA)
    (folder / "0123456789abcdefghik").write_bytes(DATA)
    service = app.state.services.uploads
    await service.tidy()
    assert len(uploads(data_dir)) == 3  # they may still be used
    monkeypatch.setattr("saveany.uploads.folder._age", lambda path: 4000.0 if path.exists() else None)
    await service.tidy()
    assert uploads(data_dir) == {spec.id}


async def test_a_file_is_kept_as_long_as_its_task_may_need_it(
    app: FastAPI, client: httpx.AsyncClient, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.uploads.folder._age", lambda path: 1e6 if path.exists() else None)
    service = app.state.services.uploads
    spec = await spec_of(store, await post(client))
    assert (await client.delete(f"/api/v1/tasks/{spec.id}")).status_code == 200
    await service.tidy()
    assert uploads(data_dir) == {spec.id}  # for a retry
    monkeypatch.setattr("saveany.service.uploads._FAILED_SECONDS", -1)
    await service.tidy()
    assert uploads(data_dir) == set()


async def test_two_api_processes_may_tidy_at_the_same_time(
    app: FastAPI,
    config: Config,
    store: Store,
    catalogue: Catalogue,
    client: httpx.AsyncClient,
    data_dir: Path,
) -> None:
    other = create_app(config, store, catalogue).state.services.uploads
    spec = await spec_of(store, await post(client))
    await asyncio.gather(other.tidy(), app.state.services.uploads.tidy())
    assert uploads(data_dir) == {spec.id}
