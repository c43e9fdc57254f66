"""Listing and testing a storage over the API; a worker with the storage replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

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
async def storage(store: Store, tmp_path: Path) -> AsyncIterator[LocalStorage]:
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
