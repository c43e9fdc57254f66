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


async def test_a_list_of_files_can_be_entered_anywhere(client: httpx.AsyncClient, store: Store) -> None:
    await save(store, "c.pdf", "a.pdf", "b.pdf")
    params: dict[str, str | int] = {"sort": "name", "limit": 1}
    page = (await client.get("/api/v1/files", params={**params, "offset": 2})).json()
    assert [each["name"] for each in page["files"]] == ["c.pdf"]
    assert (page["total"], page["next_cursor"]) == (3, None)
    page = (await client.get("/api/v1/files", params={**params, "offset": 1, "start": "b"})).json()
    assert ([each["name"] for each in page["files"]], page["total"]) == (["c.pdf"], 2)
    assert (await client.get("/api/v1/files", params={**params, "offset": 9})).json()["files"] == []
    assert (await client.get("/api/v1/files", params=params)).json()["total"] is None
    refused = await client.get("/api/v1/files", params={"offset": 1, "q": "pdf"})
    assert "offset" in check_error(refused, 400)["message"]


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


async def test_a_file_is_changed(client: httpx.AsyncClient, store: Store) -> None:
    await save(store, "in/a.mkv", user=7)
    (file,) = (await client.get("/api/v1/files")).json()["files"]
    address = f"/api/v1/files/{file['file_id']}"
    made = await client.post("/api/v1/folders", json={"name": "films", "user_id": 7})
    assert made.status_code == 201
    folder = made.json()
    assert (folder["path"], folder["parent_id"], folder["user_id"]) == ("/films", 0, 7)
    body = {"name": "b.mkv", "folder_id": folder["folder_id"], "caption": "A film"}
    changed = await client.patch(address, json=body)
    assert changed.status_code == 200
    assert changed.json() == file | {**body, "folder": "/films"}
    assert (await client.get(address)).json() == changed.json()
    assert "dot" in check_error(await client.patch(address, json={"name": ".."}), 400)["message"]
    check_error(await client.patch(address, json={"folder_id": 9}), 404)
    check_error(await client.patch(address, json={"path": "x"}), 400)
    check_error(await client.patch("/api/v1/files/nothing", json={"name": "x"}), 404)


async def test_folders_are_made_changed_and_deleted(client: httpx.AsyncClient) -> None:
    async def make(name: str, parent: int = 0, **more: int) -> int:
        reply = await client.post("/api/v1/folders", json={"name": name, "parent_id": parent, **more})
        assert reply.status_code == 201, reply.text
        return int(reply.json()["folder_id"])

    films = await make("films", user_id=7)
    year = await make("2024", films)
    address = f"/api/v1/folders/{films}"
    conflict = await client.post("/api/v1/folders", json={"name": "films", "user_id": 7})
    assert "folder named 'films'" in check_error(conflict, 409)["message"]
    check_error(await client.patch(address, json={"parent_id": year}), 409)
    check_error(await client.delete(address), 409)
    renamed = await client.patch(f"/api/v1/folders/{year}", json={"name": "old", "parent_id": 0})
    assert (renamed.json()["path"], renamed.json()["parent_id"]) == ("/old", 0)
    assert (await client.delete(address)).json() == {"message": "folder deleted"}
    check_error(await client.delete(address), 404)
    check_error(await client.delete("/api/v1/folders/0"), 400)
    details = check_error(await client.post("/api/v1/folders", json={"name": "x"}), 400)["details"]
    assert details[0]["field"] == "user_id"
