"""What a canceled task has left is found by every worker, and a large folder is not listed for each file."""

from __future__ import annotations

import asyncio

import pytest

from saveany.errors import StorageUnavailable
from saveany.ids import new_id
from saveany.models import Item, ItemStatus, Progress, Status, TaskSpec
from saveany.store import Store
from storages.base import Entry, UploadKey
from storages.local.jail import FolderHandle
from storages.memory import MemoryOptions, MemoryStorage
from storages.testing.helpers import MIB, content, fill
from tests.fixtures.waiting import until
from tests.integration.worker.conftest import JobHarness, within
from workers.jobs import Job
from workers.recovery import remove_leftovers


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[FolderHandle]:
    """The listings of local folders."""
    noted: list[FolderHandle] = []
    names = FolderHandle.names

    def note(folder: FolderHandle) -> list[str]:
        noted.append(folder)
        return names(folder)

    monkeypatch.setattr(FolderHandle, "names", note)
    return noted


def remote(name: str, space: str) -> MemoryStorage:
    return MemoryStorage(MemoryOptions(name=name, type="memory", space=space))


async def in_flight(harness: JobHarness, count: int) -> tuple[str, Job, asyncio.Task[None]]:
    """A task of small files, all recorded as running, as many of them in flight as the storage takes."""
    harness.source.files = {f"{n:04}.webp": bytes(1000) for n in range(count)}
    harness.source.concurrent = True
    waiting: list[str] = []

    async def wait(name: str, offset: int) -> None:
        waiting.append(name)
        await asyncio.Event().wait()

    harness.source.step = wait
    task_id = await harness.accept()
    job = await harness.job()
    running = asyncio.create_task(job.run())
    await until(lambda: len(waiting) == min(count, 64), within=30)
    return task_id, job, running


async def paused(store: Store, storage: MemoryStorage) -> str:
    """The id of a paused task that has begun its first file in epoch 1, and not its second one."""
    spec = TaskSpec(id=new_id(), type="tgfiles", links=("https://t.me/c/1",), user_id=1, storage=storage.name)
    assert await store.tasks.accept(spec, "title")
    claim = await store.claims.claim("w1", [spec.lane])
    assert claim is not None
    items = [
        Item(index=0, name="a.bin", path="a/a.bin", size=8 * MIB, status=ItemStatus.RUNNING),
        Item(index=1, name="b.bin", path="b/b.bin", size=8 * MIB),
    ]
    await claim.plan("title", items, Progress(), [])
    async with await storage.begin(UploadKey(spec.id, 0, 1), "a/a.bin", 8 * MIB) as upload:
        await fill(upload, content(4 * MIB))
        await upload.sync([(0, 4 * MIB)])
    await store.tasks.pause(spec.id)
    await claim.release()
    return spec.id


async def test_another_worker_removes_what_the_first_claim_has_left(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = remote("box", "shared"), remote("box", "shared")
    task_id = await paused(store, first)
    assert len(await first._scan("a")) == 1
    await store.tasks.cancel(task_id, [])
    assert await store.workers.leftovers("box") == [(task_id, 1)]
    listed: list[str] = []
    scan = second._scan

    async def note(path: str) -> list[Entry]:
        listed.append(path)
        return await scan(path)

    monkeypatch.setattr(second, "_scan", note)
    await remove_leftovers(store, second, task_id, 1)
    assert await first._scan("a") == []
    assert listed == ["a"], "no folder is listed for a file that was never begun"


async def test_a_cancel_looks_once_for_the_parts_of_all_files(
    harness: JobHarness, listings: list[FolderHandle]
) -> None:
    task_id, job, running = await in_flight(harness, 300)
    begun = {name for name in harness.files() if name.endswith(".partial")}
    assert len(begun) == 64
    await harness.store.tasks.cancel(task_id, [])
    job.check_requests()
    await within(running)
    assert (await harness.task(task_id)).status is Status.CANCELED
    assert harness.files() == {}
    assert 0 < len(listings) <= 2
    items = await harness.store.tasks.all_items(task_id)
    assert {item.status for item in items} == {ItemStatus.QUEUED}


async def test_a_later_claim_looks_once_for_the_parts_of_all_files(
    harness: JobHarness, listings: list[FolderHandle]
) -> None:
    task_id, _, dead = await in_flight(harness, 300)
    await harness.expire_lease(task_id)
    job = await harness.job()
    listings.clear()
    await harness.store.tasks.cancel(task_id, [])
    await within(job.cancel())
    assert harness.files() == {}
    assert 0 < len(listings) <= 2
    dead.cancel()
    await asyncio.wait([dead])


async def test_a_part_that_cannot_be_removed_at_once_is_removed_later(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id, job, running = await in_flight(harness, 2)

    async def fail(key: UploadKey, path: str) -> None:
        raise StorageUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(harness.storage, "discard", fail)
        await harness.store.tasks.cancel(task_id, [])
        job.check_requests()
        await within(running)
    assert (await harness.task(task_id)).status is Status.CANCELED
    assert len(harness.files()) == 2
    await remove_leftovers(harness.store, harness.storage, task_id, 1)
    assert harness.files() == {}
