"""Uploaded files move to their storages: renamed on one disk, else copied, and never lost or doubled."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from saveany.models import Item, Rule, Status, Task
from saveany.storage_set import StorageHandle
from saveany.store import Store
from storages.base import Storage
from storages.local.jail import FolderHandle
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.integration.worker.conftest import within
from tests.integration.worker.moves import DATA, TransferHarness, everything, load, memory
from tests.integration.worker.test_moves_crashes import Gate, held
from workers import lease
from workers.item_records import ItemRecords
from workers.sources.upload import UploadSource

ID = "0123456789abcdefghij"
SHA256 = hashlib.sha256(DATA).hexdigest()


class UploadHarness(TransferHarness):
    """Jobs that save uploaded files in the storage `here`."""

    source_type = UploadSource

    def __init__(self, store: Store, folder: Path, here: Storage, *others: Storage) -> None:
        self.uploads = LocalStorage(
            LocalOptions(name="uploads@x", type="local", base_path=folder / "uploads")
        )
        super().__init__(store, folder, self.uploads, here, *others)
        self.folder_of_uploads = folder / "uploads"

    async def upload(self, data: bytes = DATA, **changes: Any) -> str:
        """Add the task of a file that was uploaded."""
        self.folder_of_uploads.mkdir(exist_ok=True)
        (self.folder_of_uploads / ID).write_bytes(data)
        params = {"name": "a.bin", "mime": "video/mp4", **changes.pop("params", {})}
        return await self.transfer(ID, source_storage="uploads@x", params=params, **changes)

    def left(self) -> list[str]:
        """The uploaded files that are left."""
        return [path.name for path in self.folder_of_uploads.iterdir() if path.name != ".saveany-storage"]

    async def saved(self, **changes: Any) -> tuple[Task, Item]:
        """Upload a file, and save it."""
        task, [item] = await self.done(await self.upload(**changes))
        return task, item


def local(folder: Path) -> LocalStorage:
    return LocalStorage(LocalOptions(name="here", type="local", base_path=folder / "here"))


@pytest.fixture
async def harness(store: Store, tmp_path: Path) -> AsyncIterator[UploadHarness]:
    harness = UploadHarness(store, tmp_path, local(tmp_path))
    yield harness
    await harness.storage.close()
    await harness.uploads.close()


async def test_on_one_disk_the_file_is_renamed(harness: UploadHarness, tmp_path: Path) -> None:
    task_id = await harness.upload()
    before = (tmp_path / "uploads" / ID).stat().st_ino
    task, [item] = await harness.done(task_id)
    assert task.status is Status.COMPLETED
    assert (tmp_path / "here/to/a.bin").stat().st_ino == before
    assert (tmp_path / "here/to/a.bin").read_bytes() == DATA
    assert harness.left() == []
    assert (item.final, item.size, item.sha256) == ("to/a.bin", len(DATA), SHA256)
    assert item.source["mime"] == "video/mp4"


async def test_a_known_hash_is_not_computed_again(harness: UploadHarness) -> None:
    _, item = await harness.saved(params={"sha256": "ab" * 32})
    assert item.sha256 == "ab" * 32


async def test_between_two_disks_the_file_is_copied(
    harness: UploadHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(*args: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    real = FolderHandle.publish

    def only_across(folder: FolderHandle, old: str, new: str, target: FolderHandle | None = None) -> Any:
        return publish() if old == ID else real(folder, old, new, target)

    monkeypatch.setattr(FolderHandle, "publish", only_across)
    task, item = await harness.saved()
    assert (task.status, item.sha256) == (Status.COMPLETED, SHA256)
    assert (tmp_path / "here/to/a.bin").read_bytes() == DATA
    assert harness.left() == []


async def test_to_another_kind_of_storage_it_is_streamed(store: Store, tmp_path: Path) -> None:
    here = memory()
    harness = UploadHarness(store, tmp_path, here)
    task, item = await harness.saved()
    assert (task.status, item.sha256) == (Status.COMPLETED, SHA256)
    assert await load(here, "to/a.bin") == DATA
    assert harness.left() == []


async def test_a_used_name_follows_the_policy(harness: UploadHarness, tmp_path: Path) -> None:
    (tmp_path / "here/to").mkdir(parents=True)
    (tmp_path / "here/to/a.bin").write_bytes(b"other")
    _, item = await harness.saved()
    assert item.final == "to/a_1.bin"
    assert (tmp_path / "here/to/a.bin").read_bytes() == b"other"
    _, item = await harness.saved(on_conflict="overwrite")
    assert (tmp_path / "here/to/a.bin").read_bytes() == DATA
    assert harness.left() == []


async def test_the_rules_of_the_user_apply(store: Store, tmp_path: Path) -> None:
    there = memory("there")
    harness = UploadHarness(store, tmp_path, local(tmp_path), there)
    harness.others = {"there": StorageHandle(store, there)}
    assert await harness.others["there"].probe()
    task, item = await harness.saved(rules=(Rule(name="[.]bin$", storage="there", folder="bins"),))
    assert task.status is Status.COMPLETED, task.error
    assert (item.storage, item.final) == ("there", "bins/a.bin")
    assert await everything(there) == {"bins/a.bin"}
    assert harness.left() == []


async def test_a_file_that_is_gone_fails_the_task(harness: UploadHarness, tmp_path: Path) -> None:
    task_id = await harness.upload()
    (tmp_path / "uploads" / ID).unlink()
    await within((await harness.job()).run())
    assert "upload it again" in (await harness.task(task_id)).error


STEPS = [(ItemRecords, "put"), (LocalStorage, "take"), (UploadSource, "remove")]


@pytest.fixture
def gate(step: tuple[type, str], when: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr(lease, "_PUBLISH_SECONDS", 3600)
    gate = Gate()
    gate.on(monkeypatch, *step, when)
    yield gate
    gate.opened.set()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_another_worker_completes_the_move(harness: UploadHarness, gate: Gate, tmp_path: Path) -> None:
    task_id = await harness.upload()
    dead = await held(await harness.job(), gate)
    await harness.expire_lease(task_id)
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    gate.opened.set()
    await within(asyncio.wait([dead]))
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert [path.name for path in (tmp_path / "here/to").iterdir()] == ["a.bin"]
    assert (tmp_path / "here/to/a.bin").read_bytes() == DATA
    assert harness.left() == []
