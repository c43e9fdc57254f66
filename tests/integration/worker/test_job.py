"""Tasks whose source, storage or Redis fails."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from saveany import storage_set
from saveany.embedded import EmbeddedRedis
from saveany.errors import NeedsLogin, Offline, Permanent, Retryable, StorageUnavailable, StoreUnavailable
from saveany.models import ItemStatus, Status
from saveany.storage_set import StorageHandle
from saveany.store import open_store
from storages.base import Receipt
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.local.upload import LocalUpload
from tests.fixtures.waiting import until
from tests.integration.worker.conftest import PART, JobHarness, content, within

Step = Callable[[str, int], Awaitable[None]]


def failing(error: Exception, times: int = 1_000, name: str = "a.bin", offset: int = PART) -> Step:
    """A step that raises `error` at that part of that file, the given number of times."""
    left = [times]

    async def step(at_name: str, at: int) -> None:
        if (at_name, at) == (name, offset) and left[0]:
            left[0] -= 1
            raise error

    return step


async def test_a_temporary_failure_is_retried(harness: JobHarness) -> None:
    harness.source.step = failing(Retryable("the line broke"), times=2)
    task_id = await harness.accept()
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert harness.files() == {"a.bin": content("a.bin")}
    assert harness.source.fetched == ["a.bin"] * 3


@pytest.mark.parametrize(
    "error", [Permanent("it is gone"), NeedsLogin("log in again"), Retryable("the line broke")]
)
async def test_a_lasting_failure_fails_the_task(harness: JobHarness, error: Exception) -> None:
    harness.source.step = failing(error)
    task_id = await harness.accept()
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.FAILED, str(error))
    assert harness.files() == {}
    assert await harness.delivered_events(task_id) == ["task.failed"]
    assert len(harness.source.fetched) == (3 if isinstance(error, Retryable) else 1)


async def test_a_long_wait_releases_the_slot_and_is_not_a_failure(harness: JobHarness) -> None:
    harness.source.step = failing(Retryable("flood", after=600), times=1)
    task_id = await harness.accept()
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.QUEUED, "")
    assert harness.source.left == ["stopped"], "what is here may be of use when it goes on"
    assert await harness.store.claims.claim("w", ["tgfiles/local1"]) is None, "it must wait"
    await harness.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    await harness.store.claims.reconcile(check_leases=True)
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert [item.failures for item in await harness.store.tasks.all_items(task_id)] == [0]
    assert harness.files() == {"a.bin": content("a.bin")}
    assert harness.source.left == ["stopped", "forgotten"]


async def test_a_retry_fetches_only_the_failed_file(harness: JobHarness) -> None:
    names = ["a.bin", "b.bin", "c.bin"]
    harness.source.files = {name: content(name) for name in names}
    harness.source.step = failing(Permanent("b is gone"), name="b.bin")
    task_id = await harness.accept()
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.FAILED, "1 of 3 files failed; b.bin: b is gone")
    assert harness.source.left == ["forgotten"]
    assert harness.files() == {name: content(name) for name in ("a.bin", "c.bin")}
    harness.source.step = None
    assert await harness.store.tasks.retry(task)
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error, task.run) == (Status.COMPLETED, "", 2)
    assert harness.files() == {name: content(name) for name in names}
    assert Counter(harness.source.fetched) == {"a.bin": 1, "b.bin": 2, "c.bin": 1}
    assert harness.source.resolved == 1


async def test_a_failure_in_a_task_group_is_not_taken_for_a_cancel(harness: JobHarness) -> None:
    """Up to Python 3.12 a TaskGroup with a failed child leaves its task marked as canceled."""

    async def fail() -> None:
        raise OSError("inside")

    async def step(name: str, offset: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except* OSError:
            pass
        raise Permanent("it is gone")

    harness.source.step = step
    task_id = await harness.accept()
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.FAILED


async def test_every_file_that_failed_keeps_its_reason(harness: JobHarness) -> None:
    harness.source.files = {name: content(name) for name in ("a.bin", "b.bin", "c.bin")}

    async def step(name: str, offset: int) -> None:
        if name != "b.bin":
            raise Permanent(f"{name} is gone")

    harness.source.step = step
    task_id = await harness.accept()
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.FAILED, "2 of 3 files failed; a.bin: a.bin is gone")
    items = await harness.store.tasks.all_items(task_id)
    assert [(item.status, item.error) for item in items] == [
        (ItemStatus.FAILED, "a.bin is gone"),
        (ItemStatus.COMPLETED, ""),
        (ItemStatus.FAILED, "c.bin is gone"),
    ]
    assert harness.files() == {"b.bin": content("b.bin")}


async def test_an_unexpected_error_fails_the_task_and_reveals_no_secret(harness: JobHarness) -> None:
    harness.source.step = failing(RuntimeError("token=hunter2"))
    task_id = await harness.accept()
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert task.status is Status.FAILED
    assert task.error.startswith("internal error")
    assert "hunter2" not in task.error
    assert harness.files() == {}


async def test_a_skipped_file_leaves_no_part_of_an_earlier_attempt(harness: JobHarness) -> None:
    """A worker died during the transfer, and another file has taken the name since."""
    task_id = await harness.accept(on_conflict="skip")
    arrived = asyncio.Event()

    async def step(_: str, offset: int) -> None:
        if offset:
            arrived.set()
            await asyncio.Event().wait()

    harness.source.step = step
    dead = asyncio.create_task((await harness.job()).run())
    await arrived.wait()
    await harness.expire_lease(task_id)
    (harness.folder / "a.bin").write_bytes(b"of somebody else")
    await within((await harness.job()).run())
    dead.cancel()
    await asyncio.wait([dead])
    (item,) = await harness.store.tasks.all_items(task_id)
    assert ((await harness.task(task_id)).status, item.status) == (Status.COMPLETED, ItemStatus.SKIPPED)
    assert harness.files() == {"a.bin": b"of somebody else"}


async def test_a_file_is_finished_after_an_outage_of_redis(tmp_path: Path) -> None:
    """The outage exceeds the client's own retries: the job waits, and continues where it stopped."""
    redis = EmbeddedRedis(tmp_path)
    store = await open_store(redis.start())
    try:
        harness = JobHarness(store, tmp_path / "files")
        (tmp_path / "files").mkdir()
        (tmp_path / "files/a.bin").write_bytes(b"the name is taken")
        last, go = asyncio.Event(), asyncio.Event()

        async def step(_: str, offset: int) -> None:
            if offset == 3 * PART:
                last.set()
                await go.wait()

        harness.source.step = step
        task_id = await harness.accept()
        running = asyncio.create_task((await harness.job()).run())
        await last.wait()
        assert redis._server is not None
        os.kill(redis._server.pid, signal.SIGKILL)
        redis._server.wait()
        go.set()
        with pytest.raises(StoreUnavailable):
            await store.db.time_ms()
        assert not running.done()
        redis.start()
        await within(running)
        task = await harness.task(task_id)
        assert (task.status, task.error, task.epoch) == (Status.COMPLETED, "", 1)
        assert harness.source.fetched == ["a.bin"]
        assert harness.files()["a_1.bin"] == content("a.bin")
    finally:
        await store.db.close()
        redis.stop()


async def test_a_missing_disk_costs_the_task_no_attempt(harness: JobHarness) -> None:
    await harness.handle.check()
    marker = harness.folder / ".saveany-storage"
    mark = marker.read_text()

    async def unmount(_: str, offset: int) -> None:
        if offset:
            marker.unlink(missing_ok=True)

    harness.source.step = unmount
    task_id = await harness.accept()
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.QUEUED, "")
    assert "is not on this machine" in str(harness.handle.problem)

    marker.write_text(mark)
    harness.source.step = None
    assert await harness.handle.probe()
    assert await harness.store.claims.storages_recovered(["another"]) == 0
    assert await harness.store.claims.storages_recovered(["local1"]) == 1, "it waits no longer"
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert harness.files()["a.bin"] == content("a.bin")


async def test_a_storage_with_a_bug_is_disabled_and_ends_no_worker(harness: JobHarness) -> None:
    class Faulty(LocalStorage):
        async def probe(self) -> None:
            raise ValueError("Invalid endpoint: swordfish")

    storage = Faulty(LocalOptions(name="nas", type="local", base_path=harness.folder))
    place = StorageHandle(harness.store, storage)
    await place.check()
    assert str(place.problem) == "storage 'nas': internal error (ValueError); see the worker's log"
    assert not place.is_present


@pytest.mark.parametrize("known", [False, True])
async def test_a_completed_item_has_the_url_of_its_receipt(
    harness: JobHarness, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def commit(upload: LocalUpload, path: str, size: int, *, replace: bool) -> Receipt:
        receipt = await really(upload, path, size, replace=replace)
        return dataclasses.replace(receipt, page=f"https://host.example/{path}" if known else "")

    really = LocalUpload.commit
    monkeypatch.setattr(LocalUpload, "commit", commit)
    task_id = await harness.accept(path="d")
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    (item,) = await harness.store.tasks.all_items(task_id)
    assert item.url == ("https://host.example/d/a.bin" if known else "")


async def test_a_task_waits_for_the_network_however_often_it_was_attempted(harness: JobHarness) -> None:
    task_id = await harness.accept()

    async def closed(name: str, offset: int) -> None:
        raise Offline("the proxy refuses")

    harness.source.step = closed
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.QUEUED
    assert harness.source.fetched == ["a.bin"]  # once: then the slot is for another task


async def test_a_wait_for_telegram_does_not_end_when_a_storage_returns(harness: JobHarness) -> None:
    """Although the task waited for that storage earlier."""
    task_id = await harness.accept()
    await (await harness.claim()).release(60_000, "the disk is away", "local1")
    await harness.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    await harness.store.claims.reconcile(check_leases=True)
    await (await harness.claim()).release(60_000, "flood")
    assert await harness.store.claims.storages_recovered(["local1"]) == 0
    assert await harness.store.claims.claim("w", ["tgfiles/local1"]) is None


async def test_a_task_waits_for_the_storage_that_it_reads_from(harness: JobHarness) -> None:
    """The target works, and the outage costs the task no attempt."""
    nas = LocalStorage(LocalOptions(name="nas", type="local", base_path=harness.folder.parent / "nas"))
    harness.others["nas"] = StorageHandle(harness.store, nas)
    assert await harness.others["nas"].probe()
    (harness.folder.parent / "nas/.saveany-storage").unlink()
    harness.source.step = failing(Retryable("it broke off"))
    task_id = await harness.accept(source_storage="nas", type="transfer")
    claim = await harness.store.claims.claim("w", ["transfer@nas/local1"])
    assert claim is not None
    await within(harness.job_of(claim).run())
    task = await harness.task(task_id)
    assert (task.status, task.error, task.reason) == (Status.QUEUED, "", "it broke off")
    assert harness.source.fetched == ["a.bin"]
    assert await harness.store.claims.storages_recovered(["nas"]) == 1


class HangingStorage(LocalStorage):
    """A storage whose server accepts connections but never replies."""

    async def probe(self) -> None:
        await asyncio.Event().wait()

    async def reach(self) -> None:
        raise StorageUnavailable("it does not answer")


async def test_a_hanging_storage_test_is_not_waited_for(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_set, "_REACH_SECONDS", 0.01)
    place = StorageHandle(
        harness.store, HangingStorage(LocalOptions(name="nas", type="local", base_path=harness.folder))
    )
    looks = await within(asyncio.gather(place.probe(), place.probe(), place.check()))
    assert looks == [False, False, None]
    assert str(place.problem) == "it does not answer"


async def test_a_task_shows_retries_and_missing_progress(harness: JobHarness) -> None:
    seen = set()

    async def step(name: str, at: int) -> None:
        if "the line broke" not in seen:  # a wait that the other side asks for is no failed attempt
            raise Retryable("the line broke", after=0.6)

    harness.source.step = step
    task_id = await harness.accept()
    running = asyncio.create_task((await harness.job()).run())
    while not running.done():
        seen.add((await harness.task(task_id)).progress.stalled)
        await asyncio.sleep(0)
    await running
    assert seen == {"", "the line broke"}


class HangingDisk(LocalStorage):
    """A network disk that blocks every access while the network is down."""

    answers: asyncio.Event
    at: str

    async def identity(self) -> str | None:
        if self.at == "mark":
            await self.answers.wait()
        return await super().identity()

    async def probe(self) -> None:
        if self.at == "test file":
            await self.answers.wait()
        await super().probe()


@pytest.mark.parametrize("at", ["mark", "test file"])
async def test_a_hanging_disk_is_reported_while_it_hangs(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(storage_set, "_HANG_SECONDS", 0.05)
    storage = HangingDisk(LocalOptions(name="nas", type="local", base_path=harness.folder))
    storage.answers, storage.at = asyncio.Event(), at
    place = StorageHandle(harness.store, storage)
    looking = asyncio.create_task(place.check())

    async def hangs() -> bool:
        return "does the disk hang?" in str(place.problem)

    await until(hangs)
    assert not looking.done()
    storage.answers.set()
    await within(looking)
    await within(place.check())
    assert place.problem is None
