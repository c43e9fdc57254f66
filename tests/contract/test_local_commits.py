"""Many commits into one folder of a local disk at the same time."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from saveany.errors import Fenced, NameTaken, StorageError
from storages.base import Upload
from storages.local import jail
from storages.local.storage import LocalStorage
from storages.testing.helpers import Crash, content, key
from tests.contract.disk import files

COUNT = 20


class Uploads:
    """Sealed uploads of 1 KB each, to one folder."""

    def __init__(self, storage: LocalStorage, stack: AsyncExitStack) -> None:
        self.storage = storage
        self.stack = stack
        self.uploads: list[Upload] = []

    async def add(self, count: int = COUNT) -> None:
        for number in range(count):
            upload = await self.storage.begin(key(item=number), f"d/{number}.bin", 1000)
            await self.stack.enter_async_context(upload)
            await upload.write(0, content(1000))
            await upload.seal(1000)
            self.uploads.append(upload)

    def commits(self) -> list[asyncio.Task[Any]]:
        return [
            asyncio.create_task(upload.commit(f"d/{number}.bin", 1000, replace=False))
            for number, upload in enumerate(self.uploads)
        ]

    async def is_found_by_a_later_claim(self, number: int) -> bool:
        path = f"d/{number}.bin"
        return await self.storage.finished(key(item=number, epoch=2), path, path, 1000) is not None


@pytest.fixture
async def uploads(storage: LocalStorage) -> Any:
    async with AsyncExitStack() as stack:
        yield Uploads(storage, stack)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens when a folder is synced, in turn; afterwards, nothing but the sync."""
    steps: list[Callable[[], None]] = []
    real = jail.FolderHandle.sync

    def sync(folder: jail.FolderHandle) -> None:
        if steps:
            steps.pop(0)()
        real(folder)

    monkeypatch.setattr(jail.FolderHandle, "sync", sync)
    return steps


async def test_commits_that_wait_share_an_fsync_of_their_folder(
    uploads: Uploads, base: Path, syncs: list[Callable[[], None]]
) -> None:
    await uploads.add()
    synced: list[set[str]] = []  # the files that were visible
    syncs += [lambda: synced.append(set(files(base / "d")))] * COUNT
    await asyncio.gather(*uploads.commits())
    assert 1 <= len(synced) <= 2
    assert synced[-1] == {f"{number}.bin" for number in range(COUNT)}
    assert set(files(base / "d")) == synced[-1]


async def test_a_commit_that_is_refused_does_not_affect_the_others(uploads: Uploads, base: Path) -> None:
    await uploads.add()
    (base / "d/3.bin").write_bytes(b"another file")
    later = await uploads.storage.begin(key(item=7, epoch=2), "d/7.bin", 1000)  # fences the upload
    results = await asyncio.gather(*uploads.commits(), return_exceptions=True)
    failed = {number: type(each) for number, each in enumerate(results) if isinstance(each, BaseException)}
    assert failed == {3: NameTaken, 7: Fenced}
    assert (base / "d/3.bin").read_bytes() == b"another file"
    await later.abort()
    await later.__aexit__()
    receipt = await uploads.uploads[3].commit("d/3_1.bin", 1000, replace=False)
    assert receipt.version == (await uploads.storage.open("d/3_1.bin")).version


async def test_nothing_counts_as_committed_if_the_folder_cannot_be_synced(
    uploads: Uploads, syncs: list[Callable[[], None]]
) -> None:
    await uploads.add()

    def fail() -> None:
        raise OSError(errno.EIO, "")

    syncs.append(fail)
    results = await asyncio.gather(*uploads.commits(), return_exceptions=True)
    assert [isinstance(each, StorageError) for each in results] == [True] * COUNT
    for number in range(COUNT):
        # A later claim finds the files, and makes them durable.
        found = await uploads.storage.finished(
            key(item=number, epoch=2), f"d/{number}.bin", f"d/{number}.bin", 1000
        )
        assert found is not None


async def test_a_crash_between_the_files_of_a_batch_leaves_each_whole_or_unpublished(
    uploads: Uploads, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await uploads.add()

    def crash(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(uploads.uploads[5], "_link", crash)
    monkeypatch.setattr(uploads.uploads[6], "_drop_part", crash)
    results = await asyncio.gather(*uploads.commits(), return_exceptions=True)
    assert [number for number, each in enumerate(results) if isinstance(each, Crash)] == [5, 6]
    visible = {name for name in files(base / "d") if not name.startswith(".")}
    assert visible == {f"{number}.bin" for number in range(COUNT) if number != 5}
    for number in (5, 6):
        found = await uploads.storage.finished(
            key(item=number, epoch=2), f"d/{number}.bin", f"d/{number}.bin", 1000
        )
        assert (found is not None) == (number == 6)


async def test_a_cancellation_takes_effect_before_the_commit_or_after_it(
    uploads: Uploads, base: Path, syncs: list[Callable[[], None]]
) -> None:
    await uploads.add(3)
    syncing, proceed = threading.Event(), threading.Event()

    def wait() -> None:
        syncing.set()
        proceed.wait(20)

    syncs.append(wait)
    first, second, third = uploads.uploads
    begun = asyncio.create_task(first.commit("d/0.bin", 1000, replace=False))
    assert await asyncio.to_thread(syncing.wait, 20)
    waiting = [
        asyncio.create_task(upload.commit(f"d/{number}.bin", 1000, replace=False))
        for number, upload in ((1, second), (2, third))
    ]
    await asyncio.sleep(0)
    waiting[0].cancel()
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert not begun.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await begun
    await waiting[1]
    visible = {name for name in files(base / "d") if not name.startswith(".")}
    assert visible == {"0.bin", "2.bin"}


async def test_folders_do_not_wait_for_each_other(
    storage: LocalStorage, syncs: list[Callable[[], None]]
) -> None:
    async with AsyncExitStack() as stack:
        uploads = []
        for number, folder in enumerate("ab"):
            upload = await storage.begin(key(item=number), f"{folder}/x.bin", 1)
            await stack.enter_async_context(upload)
            await upload.write(0, b"x")
            uploads.append(upload)
        syncing, proceed = threading.Event(), threading.Event()

        def wait() -> None:
            syncing.set()
            proceed.wait(20)

        syncs.append(wait)
        stuck = asyncio.create_task(uploads[0].commit("a/x.bin", 1, replace=False))
        assert await asyncio.to_thread(syncing.wait, 20)
        await asyncio.wait_for(uploads[1].commit("b/x.bin", 1, replace=False), 20)
        assert not stuck.done()
        proceed.set()
        await stuck
