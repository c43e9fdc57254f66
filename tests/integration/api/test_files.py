"""The routes of saved files and folders."""

from __future__ import annotations

import httpx

from saveany.store import Store
from tests.integration.api.conftest import check_error
from tests.integration.catalogue.test_files import save


async def test_saved_files_are_listed_with_their_folders(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await save(store, "films/a.mkv", "films/b.mkv", "c.txt", user=7)
    page = (await client.get("/api/v1/files", params={"limit": 2, "sort": "name"})).json()
    assert [(each["name"], each["folder"]) for each in page["files"]] == [
        ("a.mkv", "/films"),
        ("b.mkv", "/films"),
    ]
    params = {"limit": 2, "sort": "name", "cursor": page["next_cursor"]}
    last = (await client.get("/api/v1/files", params=params)).json()
    assert ([each["name"] for each in last["files"]], last["next_cursor"]) == (["c.txt"], None)
    one = (await client.get(f"/api/v1/files/{page['files'][0]['file_id']}")).json()
    assert one == page["files"][0]
    assert (one["task_id"], one["user_id"], one["type"]) == (task_id, 7, "video")
    (folder,) = (await client.get("/api/v1/folders")).json()["folders"]
    assert (folder["path"], folder["folder_id"]) == ("/films", one["folder_id"])
    inside = (await client.get("/api/v1/files", params={"folder": folder["folder_id"]})).json()
    assert len(inside["files"]) == 2


async def test_sums_are_reported(client: httpx.AsyncClient, store: Store) -> None:
    await save(store, "a.mkv", "b.txt", user=7, size=5)
    sums = (await client.get("/api/v1/stats")).json()
    assert (sums["files"], sums["bytes"]) == (2, 11)
    assert sums["by_type"] == {"text": {"files": 1, "bytes": 6}, "video": {"files": 1, "bytes": 5}}
    assert (await client.get("/api/v1/stats", params={"user_id": 8})).json()["files"] == 0


async def test_what_does_not_exist_is_not_found(client: httpx.AsyncClient) -> None:
    assert "no file" in check_error(await client.get("/api/v1/files/nothing"), 404)["message"]
    assert "no folder" in check_error(await client.get("/api/v1/files?folder=9"), 404)["message"]
    assert "no folder" in check_error(await client.get("/api/v1/folders?parent=9"), 404)["message"]
    assert "cursor" in check_error(await client.get("/api/v1/files?cursor=x"), 400)["message"]
    check_error(await client.get("/api/v1/files?sort=colour"), 400)
