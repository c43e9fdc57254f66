"""`saveany files`, `folders` and `trash` with a running SaveAny."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.cli.test_tasks import PDF, fails, run
from tests.fixtures.stack import USER_ID, Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def saved(stack: Stack, folder: str) -> dict[str, Any]:
    """A file that was saved to a folder."""
    task = await stack.ended((await stack.add(PDF, dir_path=folder))["task_id"])
    found: list[dict[str, Any]] = []

    async def is_listed() -> bool:
        reply = await stack.client.get("/api/v1/files", params={"limit": 200})
        found[:] = [file for file in reply.json()["files"] if file["task_id"] == task["task_id"]]
        return bool(found)

    await until(is_listed)
    return found[0]


async def test_files_are_listed_and_changed(running: Stack) -> None:
    file = await saved(running, "cli")
    out = await run(running, "folders", "add", "papers", "--user", str(USER_ID))
    folder_id, path = out.split()
    assert path == "/papers"
    assert "/papers" in await run(running, "folders")
    out = await run(
        running,
        "files",
        "change",
        file["file_id"],
        "--name",
        "mine.pdf",
        "--folder",
        folder_id,
        "--caption",
        "my words",
    )
    assert out == f"{file['file_id']} /papers/mine.pdf\n"
    found = json.loads(await run(running, "files", "list", "my words", "--json"))["files"]
    assert [each["name"] for each in found] == ["mine.pdf"]
    assert "mine.pdf" in await run(running, "files")
    assert "nothing to change" in await fails(running, "files", "change", file["file_id"], code=2)
    assert "dot" in await fails(running, "files", "change", file["file_id"], "--name", "..")
    assert "no file" in await fails(running, "files", "change", "nothing", "--name", "x")
    out = await run(running, "folders", "change", folder_id, "--name", "old papers")
    assert out == f"{folder_id} /old papers\n"
    assert "not empty" in await fails(running, "folders", "delete", folder_id)
    assert "folder deleted" in await run(running, "folders", "delete", folder_id, "--recursive")
    assert f"{file['file_id']} /old papers/mine.pdf" in await run(
        running, "trash", "restore", file["file_id"]
    )


async def test_files_are_deleted_and_restored(running: Stack) -> None:
    file, other = await saved(running, "one"), await saved(running, "two")
    ids = [file["file_id"], other["file_id"]]
    out = await run(running, "files", "delete", *ids)
    assert out.splitlines() == [f"{each} file moved to the trash" for each in ids]
    assert file["file_id"] in await run(running, "trash")
    result = await running.saveany("files", "delete", file["file_id"], "nothing")
    assert (result.code, result.err.count("no file")) == (1, 2)
    assert file["name"] in await run(running, "trash", "restore", file["file_id"])
    assert "in the trash" in await fails(running, "trash", "restore", file["file_id"])
    assert "files deleted" in await run(running, "trash", "empty", "--yes")
    assert (await running.saveany("trash")).err == "The trash is empty.\n"
    await until(lambda: not (running.storage_dir / other["path"]).exists())
    assert (running.storage_dir / file["path"]).exists()
    out = await run(running, "files", "delete", "--now", file["file_id"])
    assert out == f"{file['file_id']} file deleted\n"
    await until(lambda: not (running.storage_dir / file["path"]).exists())


async def test_a_link_is_resolved(running: Stack) -> None:
    out = await run(running, "resolve", PDF, "--dir", "papers")
    assert "local1:/papers/file.pdf" in out
    assert await fails(running, "resolve", "https://t.me/channel/9999")
    assert await fails(running, "resolve", "ftp://example.com/x")
