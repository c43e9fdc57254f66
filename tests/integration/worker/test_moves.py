"""Transfers within one storage, and transfers that move files."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from saveany.errors import StorageError
from saveany.models import Item, Status
from saveany.store import Store
from storages.base import Storage
from storages.local.jail import FolderHandle
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.rclone.options import RcloneOptions
from storages.rclone.storage import RcloneStorage
from storages.s3.storage import S3Storage
from storages.webdav.storage import WebdavStorage
from tests.fixtures import s3, webdav
from tests.fixtures.s3 import S3Server
from tests.fixtures.webdav import DavServer
from tests.integration.worker.moves import DATA, TransferHarness, everything, load, memory, save
from workers.sources.transfer import TransferSource


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def dav() -> Iterator[DavServer]:
    with webdav.rclone() as server:
        yield server


@pytest.fixture(params=["memory", "local", "s3", "webdav", "rclone"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "memory":
        made: Storage = memory()
    elif request.param == "local":
        made = LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path / "here"))
    elif request.param == "rclone":
        made = RcloneStorage(RcloneOptions(name="here", type="rclone", remote=f":local:{tmp_path}/here"))
    elif request.param == "s3":
        server = request.getfixturevalue("moto")
        made = S3Storage(server.options(server.bucket(), name="here"))
    else:
        made = WebdavStorage(request.getfixturevalue("dav").options(uuid4().hex, name="here"))
    yield made
    await made.close()


@pytest.mark.parametrize("move", [False, True])
async def test_transfers_within_one_storage_download_nothing(
    store: Store, tmp_path: Path, storage: Storage, move: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = TransferHarness(store, tmp_path, storage)
    await save(storage, "from/a.bin", DATA)
    await save(storage, "from/b/empty", b"")
    task_id = await harness.transfer("from", params={"move": move})
    with monkeypatch.context() as patch:
        patch.setattr(type(storage), "open", None)
        task, items = await harness.done(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert task.progress.downloaded_bytes == task.progress.total_bytes == len(DATA)
    assert [(item.final, item.size, item.sha256) for item in items] == [
        ("to/a.bin", len(DATA), ""),
        ("to/b/empty", 0, ""),
    ]
    there = {"to/a.bin", "to/b/empty"}
    assert await everything(storage) == (there if move else there | {"from/a.bin", "from/b/empty"})
    assert await load(storage, "to/a.bin") == DATA


async def test_a_move_between_disks_of_one_storage_copies_and_deletes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path / "here"))
    harness = TransferHarness(store, tmp_path, storage)
    await save(storage, "from/a.bin", DATA)
    rename = FolderHandle.publish

    def publish(self: FolderHandle, old: str, new: str, to: FolderHandle | None = None) -> None:
        if to and os.fstat(to.fd).st_ino != os.fstat(self.fd).st_ino:
            raise OSError(errno.EXDEV, "two disks")
        rename(self, old, new, to)

    monkeypatch.setattr(FolderHandle, "publish", publish)
    task, (item,) = await harness.done(await harness.transfer("from", params={"move": True}))
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", "to/a.bin")
    assert await load(storage, "to/a.bin") == DATA
    assert await everything(storage) == {"to/a.bin"}
    await storage.close()


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize(
    ("policy", "final", "left"),
    [("rename", "to/a_1.bin", b"before"), ("overwrite", "to/a.bin", DATA), ("skip", "", b"before")],
)
async def test_a_used_name_follows_the_conflict_policy(
    store: Store, tmp_path: Path, storage: Storage, policy: str, final: str, left: bytes, move: bool
) -> None:
    harness = TransferHarness(store, tmp_path, storage)
    await save(storage, "a.bin", DATA)
    await save(storage, "to/a.bin", b"before")
    task, (item,) = await harness.done(
        await harness.transfer("a.bin", params={"move": move}, on_conflict=policy)
    )
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", final)
    assert await load(storage, "to/a.bin") == left
    if final:
        assert await load(storage, final) == DATA
    kept = {"a.bin"} if not (move and final) else set[str]()
    assert await everything(storage) == kept | {"to/a.bin"} | ({final} - {""})


@pytest.mark.parametrize("policy", ["rename", "overwrite", "skip"])
async def test_a_move_to_the_same_path_changes_nothing(
    store: Store, tmp_path: Path, storage: Storage, policy: str
) -> None:
    harness = TransferHarness(store, tmp_path, storage)
    await save(storage, "to/a.bin", DATA)
    task, _ = await harness.done(await harness.transfer("to", params={"move": True}, on_conflict=policy))
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert await everything(storage) == {"to/a.bin"}
    assert await load(storage, "to/a.bin") == DATA


async def test_a_file_that_the_server_cannot_copy_is_downloaded_and_uploaded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = memory()
    harness = TransferHarness(store, tmp_path, storage)
    await save(storage, "a.bin", DATA)

    async def refuse(path: str, to: str) -> None:
        storage._space.files[to] = (bytearray(b"half"), 1)
        raise StorageError("this server does not copy")

    monkeypatch.setattr(storage, "_copy", refuse)
    task, (item,) = await harness.done(await harness.transfer("a.bin"))
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert item.sha256
    assert set(storage._space.files) == {"a.bin", "to/a.bin"}
    assert await load(storage, "to/a.bin") == DATA


async def test_files_are_copied_between_buckets_of_one_account(
    store: Store, tmp_path: Path, moto: S3Server
) -> None:
    here, there = (S3Storage(moto.options(moto.bucket(), name=name)) for name in ("here", "there"))
    harness = TransferHarness(store, tmp_path, here, there)
    await save(there, "x/ä #.bin", DATA)
    there.open = cast(Any, None)  # type: ignore[method-assign]  # nobody reads
    task, (item,) = await harness.done(
        await harness.transfer("x", source_storage="there", params={"move": True})
    )
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", "to/ä #.bin")
    assert await load(here, "to/ä #.bin") == DATA
    assert await everything(there) == set()
    for storage in (here, there):
        await storage.close()


def two_folders(tmp_path: Path, below: str = "there") -> tuple[LocalStorage, LocalStorage]:
    here = LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path / "here"))
    there = LocalStorage(LocalOptions(name="there", type="local", base_path=tmp_path / below))
    return here, there


async def test_a_move_between_storages_removes_the_original(store: Store, tmp_path: Path) -> None:
    there = memory("there")
    harness = TransferHarness(store, tmp_path, memory(), there)
    await save(there, "x/a.bin", DATA)
    await save(there, "x/b.bin", b"b")
    await save(there, "y.bin", b"y")
    await save(harness.storage, "to/b.bin", b"is here")
    task, items = await harness.done(
        await harness.transfer("x", source_storage="there", params={"move": True}, on_conflict="skip")
    )
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert items[0].sha256
    assert await everything(there) == {"x/b.bin", "y.bin"}  # what was skipped stays
    assert await load(harness.storage, "to/a.bin") == DATA


async def test_a_move_between_two_storages_of_one_folder_keeps_the_file(store: Store, tmp_path: Path) -> None:
    """The replaced file is the original, which must not be removed afterwards."""
    here, there = two_folders(tmp_path, "here/to")
    harness = TransferHarness(store, tmp_path, here, there)
    await save(there, "a.bin", DATA)
    await harness.done(
        await harness.transfer(
            "a.bin", source_storage="there", params={"move": True}, on_conflict="overwrite"
        )
    )
    assert await load(here, "to/a.bin") == DATA


async def test_a_move_within_one_folder_works_without_modification_times(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.memory._now", lambda: 0)
    here, there = memory(space=str(tmp_path)), memory("there", str(tmp_path))
    harness = TransferHarness(store, tmp_path, here, there)
    await save(there, "to/a.bin", DATA)
    task, _ = await harness.done(
        await harness.transfer(
            "to/a.bin", source_storage="there", params={"move": True}, on_conflict="overwrite"
        )
    )
    assert task.status is Status.FAILED
    assert "may be the same file as its copy" in task.error
    assert await load(here, "to/a.bin") == DATA


async def test_an_original_changed_after_the_copy_is_not_removed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory("there")
    harness = TransferHarness(store, tmp_path, memory(), there)
    await save(there, "a.bin", DATA)
    await save(there, "b.bin", b"b")
    real = TransferSource.remove

    async def changed(self: TransferSource, item: Item, spec: Any) -> None:
        there._space.files["a.bin"] = (bytearray(b"new"), 7)
        await real(self, item, spec)

    monkeypatch.setattr(TransferSource, "remove", changed)
    task, _ = await harness.done(
        await harness.transfer("", source_storage="there", params={"move": True, "recursive": False})
    )
    assert task.status is Status.FAILED
    assert "all files were saved, but 1 could not be removed" in task.error
    assert "there:/a.bin was not removed, because it has changed" in task.error
    assert await load(there, "a.bin") == b"new"
    assert await everything(there) == {"a.bin"}
    assert await everything(harness.storage) == {"to/a.bin", "to/b.bin"}


async def test_a_retry_only_removes_the_remaining_originals(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory("there")
    harness = TransferHarness(store, tmp_path, memory(), there)
    await save(there, "a.bin", DATA)
    with monkeypatch.context() as patch:

        async def refuse(path: str) -> None:
            raise StorageError("read only")

        patch.setattr(there, "_remove", refuse)
        task_id = await harness.transfer("a.bin", source_storage="there", params={"move": True})
        task, _ = await harness.done(task_id)
    assert (task.status, "read only" in task.error) == (Status.FAILED, True)
    assert await harness.store.tasks.retry(task)
    task, items = await harness.done(task_id)
    assert (task.status, task.error, len(items)) == (Status.COMPLETED, "", 1)
    assert await everything(there) == set()
    assert await everything(harness.storage) == {"to/a.bin"}
