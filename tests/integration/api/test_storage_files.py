"""Listing and testing a storage over the API; a worker with the storage replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Store, WorkerInfo
from storages.base import UploadKey
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from workers.storage_queries import reply_forever


async def put(storage: LocalStorage, path: str, data: bytes, item: int) -> None:
    async with await storage.begin(UploadKey("t", item, 1), path, len(data)) as upload:
        await upload.write(0, data)
        await upload.commit(path, len(data), replace=False)


@pytest.fixture
async def storage(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalStorage]:
    monkeypatch.setattr("saveany.store.workers.SILENCE_MS", 600_000)  # there is one heartbeat
    storage = LocalStorage(LocalOptions(name="local1", type="local", base_path=tmp_path / "files"))
    storages = StorageSet([StorageHandle(store, storage)])
    await storages["local1"].check()
    info = WorkerInfo(id="w", host="nas", pid=7, started_at=0, storages={"local1": ""})
    await store.workers.heartbeat(info)
    replying = asyncio.create_task(reply_forever(store.queries, storages))
    yield storage
    replying.cancel()
    await asyncio.wait([replying])
    await storage.close()


async def test_files_come_in_pages(client: httpx.AsyncClient, storage: LocalStorage) -> None:
    for item, name in enumerate(["films/c.mkv", "films/a.mkv", "films/b/x.mkv"]):
        await put(storage, name, b"x" * item, item)
    first = (await client.get("/api/v1/storages/local1/files?path=/films&limit=2")).json()
    assert [(each["name"], each["path"], each["is_dir"]) for each in first["entries"]] == [
        ("a.mkv", "films/a.mkv", False),
        ("b", "films/b", True),
    ]
    assert first["path"] == "films"
    rest = await client.get("/api/v1/storages/local1/files", params={"path": "films", "after": first["next"]})
    assert [each["name"] for each in rest.json()["entries"]] == ["c.mkv"]
    assert rest.json()["next"] is None
    assert rest.json()["entries"][0]["modified_at"].endswith("Z")


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("query", "status"), [("path=../etc", 400), ("path=nothing", 404), ("limit=0", 400), ("limit=1001", 400)]
)
async def test_invalid_folders_and_limits_are_refused(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    answer = await client.get(f"/api/v1/storages/local1/files?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, status)
    assert [each["field"] for each in answer.json().get("details", [])] in ([], [query.partition("=")[0]])


@pytest.mark.usefixtures("storage")
async def test_a_storage_is_tested(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/storages/local1/test")
    assert answer.status_code == 200
    assert answer.json()["ok"] is True


async def test_a_failing_storage_shows_the_reason(client: httpx.AsyncClient, storage: LocalStorage) -> None:
    await put(storage, "a", b"x", 0)
    marker = next(Path(str(storage.disk._base)).glob(".saveany-storage"))
    marker.unlink()
    answer = await client.post("/api/v1/storages/local1/test")
    assert answer.status_code == 503
    assert "local1" in answer.json()["message"]


async def test_a_storage_without_a_worker_is_reported(client: httpx.AsyncClient, store: Store) -> None:
    assert (await client.get("/api/v1/storages/nope/files")).status_code == 404
    none = await client.post("/api/v1/storages/local1/test")
    assert none.status_code == 503
    assert "saveany worker" in none.json()["message"]


async def pages(client: httpx.AsyncClient, action: str, **body: Any) -> list[dict[str, Any]]:
    """The replies of `action`, each of which continues after the one before."""
    asked, replied = {"scan": ("after", "next"), "check": ("cursor", "next_cursor")}[action]
    replies: list[dict[str, Any]] = []
    while not replies or replies[-1][replied]:
        at = {asked: replies[-1][replied]} if replies else {}
        reply = await client.post(f"/api/v1/storages/local1/{action}", json=body | at)
        assert reply.status_code == 200, reply.text
        replies.append(reply.json())
        assert len(replies) < 50
    return replies


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_a_scan_lists_each_file_once_in_pages(
    client: httpx.AsyncClient,
    storage: LocalStorage,
    tmp_path: Path,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("saveany.service.inventory._ENTRIES", 2)
    paths = ["a/1", "a/b/2", "a/b/3", "a/c", "a.txt", "b", "电/影.mkv", "z/1/2/3/4", "z/1/2/5", "z/6"]
    for item, path in enumerate(paths):
        await put(storage, path, b"x" * item, item)
    for path in ("a/unfinished.partial", "a/b/.saveany-x", "b.partial"):
        (tmp_path / "files" / path).write_bytes(b"x")
    (tmp_path / "files/empty/folder").mkdir(parents=True)
    below = await pages(client, "scan", path="/a/b", limit=limit, user_id=42)
    assert sum(each["added"] for each in below) == 2
    found = await pages(client, "scan", limit=limit)
    assert sum(each["added"] for each in found) == len(paths) - 2
    assert sum(each["known"] for each in found) == 2
    listed = (await client.get("/api/v1/files?limit=100")).json()["files"]
    assert sorted(each["path"] for each in listed) == sorted(paths)
    assert {each["user_id"] for each in listed if each["path"].startswith("a/b/")} == {42}
    assert {each["size"] for each in listed} == set(range(len(paths)))
    assert sum(each["added"] for each in await pages(client, "scan", limit=limit)) == 0


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_a_check_finds_copies_that_are_missing_or_changed(
    client: httpx.AsyncClient, storage: LocalStorage, tmp_path: Path, limit: int
) -> None:
    for item, path in enumerate(["a/same", "b/missing", "c"]):
        await put(storage, path, b"content", item)
    await pages(client, "scan")
    (tmp_path / "files/b/missing").unlink()
    (tmp_path / "files/c").write_bytes(b"longer content")
    replies = await pages(client, "check", limit=limit)
    assert sum(each["checked"] for each in replies) == 3
    found = [(d["path"], d["size"], d["found"]) for each in replies for d in each["differences"]]
    assert found == [("b/missing", 7, None), ("c", 7, 14)]


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("scan", {"path": "../etc"}, "path"),
        ("scan", {"path": "a", "after": "b/c"}, "after"),
        ("scan", {"after": "../etc/passwd"}, "after"),
        ("scan", {"after": "a//b"}, "after"),
        ("scan", {"after": "a/" * 200}, "after"),
        ("scan", {"user_id": 7}, "user_id"),
        ("scan", {"limit": 0}, "limit"),
        ("check", {"cursor": "nonsense"}, "cursor"),
        ("check", {"limit": 1001}, "limit"),
    ],
)
async def test_invalid_scans_and_checks_are_refused(
    client: httpx.AsyncClient, action: str, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(f"/api/v1/storages/local1/{action}", json=body)
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["details"]] == [field]


@pytest.mark.parametrize("action", ["scan", "check"])
async def test_a_scan_and_a_check_need_a_worker(client: httpx.AsyncClient, action: str) -> None:
    assert (await client.post(f"/api/v1/storages/nope/{action}", json={})).status_code == 404
    none = await client.post(f"/api/v1/storages/local1/{action}", json={})
    assert none.status_code == 503
    assert "saveany worker" in none.json()["message"]
