"""Watched folders, with a running SaveAny."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTLE = 0.3


def inbox(path: Path, to: str, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "to": f"{STORAGE}:{to}", "settle_seconds": SETTLE, **more}


class Folders:
    """A running SaveAny with some watched folders."""

    def __init__(self, stack: Stack, root: Path) -> None:
        self.stack = stack
        self.root = root

    def write(self, path: str, data: bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def stored(self, folder: str) -> dict[str, bytes]:
        root = self.stack.storage_dir / folder
        found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    async def tasks(self) -> list[dict[str, Any]]:
        # In this order: one that ends in between is in both.
        live = (await self.stack.client.get("/api/v1/tasks")).json()["tasks"]
        reply = await self.stack.client.get("/api/v1/history", params={"type": "inbox", "limit": 200})
        return list({task["task_id"]: task for task in (*live, *reply.json()["tasks"])}.values())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folders(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Folders]:
    root = tmp_path_factory.mktemp("inboxes")
    for name in ("first", "odd", "keep", "move", "delete", "flat"):
        (root / name).mkdir()
    tables = {
        "inboxes": [
            inbox(root / "first", "first"),
            inbox(root / "odd", "odd"),
            inbox(root / "keep", "keep", on_conflict="overwrite"),
            inbox(root / "move", "move", after="move"),
            inbox(root / "delete", "delete", after="delete", poll_seconds=0.2),
            inbox(root / "flat", "flat", recursive=False, patterns=["*.mkv"], exclude=["*sample*"]),
            inbox(root / "later", "later", poll_seconds=0.2),
        ]
    }
    async with Stack(tmp_path_factory.mktemp("stack"), workers=2, tables=tables) as stack:
        yield Folders(stack, root)


async def test_files_are_saved_once_with_their_folders(folders: Folders) -> None:
    odd = os.fsdecode(b"odd/caf\xe9.txt")
    folders.write("first/a.txt", b"a")
    folders.write("first/b/c.txt", b"c" * 3_000_000)
    folders.write(odd, b"latin")
    await until(lambda: folders.stored("first") == {"a.txt": b"a", "b/c.txt": b"c" * 3_000_000})
    await until(lambda: folders.stored("odd") == {"café.txt": b"latin"})
    tasks = [task for task in await folders.tasks() if ":/first" in task["title"] or ":/odd" in task["title"]]
    assert sorted(task["title"] for task in tasks) == [
        f"[inbox](a.txt->{STORAGE}:/first/a.txt)",
        f"[inbox](c.txt->{STORAGE}:/first/b/c.txt)",
        f"[inbox](café.txt->{STORAGE}:/odd/café.txt)",
    ]
    assert {task["type"] for task in tasks} == {"inbox"}


async def test_a_changed_file_is_saved_again_and_others_are_not(folders: Folders) -> None:
    async def count() -> int:
        return sum(f"{STORAGE}:/keep/change/" in task["title"] for task in await folders.tasks())

    folders.write("keep/change/a.txt", b"a")
    folders.write("keep/change/b.txt", b"b")
    await until(lambda: len(folders.stored("keep/change")) == 2)
    folders.write("keep/change/a.txt", b"another")
    await until(lambda: folders.stored("keep/change")["a.txt"] == b"another")
    folders.write("keep/change/last.txt", b"last")
    await until(lambda: "last.txt" in folders.stored("keep/change"))
    assert await count() == 4


async def test_unfinished_files_are_left_alone(folders: Folders) -> None:
    names = ["f.part", "f.crdownload", "x.!qB", "f.aria2", "g.tmp", ".hidden", "f.PART", ".dir/x", "d.part/x"]
    for name in (*names, "f"):
        folders.write(f"keep/{name}", b"x")
    os.mkfifo(folders.root / "keep" / "pipe")
    (folders.root / "keep" / "passwd").symlink_to("/etc/passwd")
    (folders.root / "keep" / "etc").symlink_to("/etc")
    with (folders.root / "keep" / "open.txt").open("wb") as file:
        file.write(b"begin")
        file.flush()
        folders.write("keep/done.txt", b"done")
        await until(lambda: "done.txt" in folders.stored("keep"))
        assert "open.txt" not in folders.stored("keep"), "it is open for writing"
        file.write(b" and end")
    await until(lambda: folders.stored("keep").get("open.txt") == b"begin and end")
    assert set(folders.stored("keep")) & {*names, "f", "pipe", "passwd"} == set()
    (folders.root / "keep" / "f.part").rename(folders.root / "keep" / "f.bin")
    (folders.root / "keep" / "f.aria2").unlink()
    (folders.root / "keep" / "f.PART").unlink()
    await until(lambda: {"f.bin", "f"} <= set(folders.stored("keep")))


async def test_saved_files_are_moved_or_deleted(folders: Folders) -> None:
    files = {"a.txt": b"1", "b/c.txt": b"2"}

    async def is_moved_away(name: str) -> None:
        for path, data in files.items():
            folders.write(f"{name}/{path}", data)
        await until(lambda: files.items() <= folders.stored(name).items())
        await until(lambda: not any((folders.root / name / path).exists() for path in files))

    await is_moved_away("move")
    await is_moved_away("delete")
    saved = folders.root / "move" / "saved"
    assert {path.name: path.read_bytes() for path in saved.rglob("*.txt")} == {"a.txt": b"1", "c.txt": b"2"}
    file = folders.root / "delete" / "a.txt"
    file.write_bytes(b"1")
    await until(lambda: not file.exists())
    folders.write("move/a.txt", b"3")
    await until(lambda: (saved / "a_1.txt").exists())
    assert len(folders.stored("move")) == 3


async def test_patterns_and_folders_that_come_later(folders: Folders) -> None:
    folders.write("flat/film.mkv", b"film")
    folders.write("flat/film.nfo", b"text")
    folders.write("flat/film.sample.mkv", b"sample")
    folders.write("flat/below/film2.mkv", b"film")

    async def problem() -> str:
        workers = (await folders.stack.client.get("/api/v1/workers")).json()["workers"]
        [found] = [each for worker in workers for each in worker["inboxes"] if "later" in each["folder"]]
        return str(found["problem"])

    async def is_missing() -> bool:
        return "cannot be read (No such file or directory); mount its disk" in await problem()

    await until(is_missing)
    folders.write("later/x.txt", b"x")
    await until(lambda: folders.stored("flat") == {"film.mkv": b"film"})
    await until(lambda: folders.stored("later") == {"x.txt": b"x"})

    async def is_well() -> bool:
        return not await problem()

    await until(is_well)
    assert folders.stored("flat") == {"film.mkv": b"film"}


async def test_a_file_is_saved_once_also_after_kills_and_restarts(folders: Folders) -> None:
    stack = folders.stack
    files = {f"{number}.bin": os.urandom(200_000) for number in range(12)}

    def some_are_stored(before: int) -> bool:
        return len(folders.stored("keep/kill")) > before

    for start in (0, 4, 8):
        for name, data in list(files.items())[start : start + 4]:
            folders.write(f"keep/kill/{name}", data)
        await until(partial(some_are_stored, start))
        for worker in list(stack.workers):
            await stack.kill(worker)
        for _ in range(2):
            await stack.start_worker()
    await until(lambda: folders.stored("keep/kill") == files)
    tasks = [task for task in await folders.tasks() if f"{STORAGE}:/keep/kill/" in task["title"]]
    assert len(tasks) == 12


async def test_changes_of_the_settings_apply_at_once(folders: Folders) -> None:
    (folders.root / "new").mkdir()
    folders.write("new/n.txt", b"n")
    tables = folders.stack._tables["inboxes"]
    folders.stack.write_config(inboxes=[*tables, inbox(folders.root / "new", "new")])
    await until(lambda: folders.stored("new") == {"n.txt": b"n"})
