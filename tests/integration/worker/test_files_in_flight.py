"""Many files of one task in flight: failures, cancels, pauses and outages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from saveany.errors import CancelRequested, Permanent, StorageBusy, StorageUnavailable
from saveany.models import Item, ItemStatus, Rule, Status
from saveany.storage_set import StorageHandle
from saveany.store import Claim
from storages.base import Range, Upload, UploadKey
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.local.upload import LocalUpload
from tests.fixtures.waiting import until
from tests.integration.worker.conftest import PART, JobHarness, content, within
from workers.slots import Slots
from workers.transfer_budget import MAX_BYTES

NAMES = [f"{number:02}.bin" for number in range(64)]


class Gate:
    """A step of the source that waits until it is opened, and counts the files that have reached it."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, name: str, offset: int) -> None:
        if offset == PART:
            self.waiting.add(name)
            await self._open.wait()


@pytest.fixture
def many(harness: JobHarness) -> JobHarness:
    """A task of 64 files that are saved at the same time."""
    harness.source.files = {name: content(name) for name in NAMES}
    harness.source.concurrent = True
    return harness


async def test_a_file_that_fails_delays_no_other(many: JobHarness) -> None:
    async def step(name: str, offset: int) -> None:
        await gate(name, offset)
        if name == NAMES[3]:
            raise Permanent("it is gone")

    gate = Gate()
    many.source.step = step
    task_id = await many.accept()
    job = asyncio.create_task((await many.job()).run())
    await until(lambda: len(gate.waiting) == 63 and NAMES[3] not in gate.waiting, within=20)
    gate.open()
    await within(job)
    task = await many.task(task_id)
    assert task.status is Status.FAILED
    assert "1 of 64 files failed" in task.error
    assert many.files() == {name: content(name) for name in NAMES if name != NAMES[3]}
    items = await many.store.tasks.all_items(task_id)
    assert Counter(item.status for item in items) == {ItemStatus.COMPLETED: 63, ItemStatus.FAILED: 1}


async def test_sixty_four_files_are_recorded_in_a_few_writes(
    many: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, busy, most_busy = 0, 0, 0
    real = Claim.item

    async def counted(*args: object, **more: object) -> None:
        nonlocal writes, busy, most_busy
        writes, busy = writes + 1, busy + 1
        most_busy = max(most_busy, busy)
        await real(*args, **more)  # type: ignore[arg-type]
        busy -= 1

    monkeypatch.setattr(Claim, "item", counted)
    task_id = await many.accept()
    await within((await many.job()).run())
    assert (await many.task(task_id)).status is Status.COMPLETED
    assert many.files() == {name: content(name) for name in NAMES}
    assert most_busy == 1
    assert writes < 3 * 64


async def test_a_small_task_records_its_start_with_its_plan(
    many: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write for the plan, one before the file becomes visible, one for the end."""
    recorded: list[list[ItemStatus]] = []
    real = Claim.item

    async def noted(claim: Claim, *items: Item, **more: Any) -> None:
        recorded.append([item.status for item in items])
        await real(claim, *items, **more)

    monkeypatch.setattr(Claim, "item", noted)
    many.source.files = {"a.bin": content("a.bin")}
    many.source.step = gate = Gate()
    task_id = await many.accept()
    running = asyncio.create_task((await many.job()).run())
    await until(lambda: gate.waiting)
    (item,) = await many.store.tasks.all_items(task_id)
    assert item.status is ItemStatus.RUNNING
    gate.open()
    await within(running)
    assert (await many.task(task_id)).status is Status.COMPLETED
    assert recorded == [[ItemStatus.FINISHING]]


async def test_a_cancel_waits_for_no_file(many: JobHarness) -> None:
    """None of the files in flight ends here."""
    many.source.step = gate = Gate()
    task_id = await many.accept()
    job = await many.job()
    running = asyncio.create_task(job.run())
    await until(lambda: len(gate.waiting) == 64, within=20)
    await many.store.tasks.cancel(task_id, [])
    job.check_requests()
    await within(running)
    assert (await many.task(task_id)).status is Status.CANCELED
    assert many.files() == {}


async def test_a_pause_waits_for_no_file_and_loses_nothing(many: JobHarness) -> None:
    many.source.step = gate = Gate()
    task_id = await many.accept()
    job = await many.job()
    running = asyncio.create_task(job.run())
    await until(lambda: len(gate.waiting) == 64, within=20)
    await many.store.tasks.pause(task_id)
    job.check_requests()
    await within(running)
    assert (await many.task(task_id)).stage == "paused"
    await many.store.tasks.resume(task_id)
    many.source.step = None
    await within((await many.job()).run())
    task = await many.task(task_id)
    assert (task.status, task.attempts) == (Status.COMPLETED, 1)
    assert many.files() == {name: content(name) for name in NAMES}


async def test_a_worker_that_lost_its_claim_writes_nothing(many: JobHarness) -> None:
    many.source.step = gate = Gate()
    task_id = await many.accept()
    frozen = asyncio.create_task((await many.job()).run())
    await until(lambda: len(gate.waiting) == 64, within=20)
    await many.expire_lease(task_id)
    many.source.step = None
    await within((await many.job()).run())
    after = await many.store.tasks.all_items(task_id)
    gate.open()
    await within(frozen)
    assert await many.store.tasks.all_items(task_id) == after
    assert many.files() == {name: content(name) for name in NAMES}
    assert await many.delivered_events(task_id) == ["task.completed"]


async def test_an_outage_of_the_storage_releases_the_task_once(
    many: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases: list[str] = []
    real = Claim.release

    async def release(self: Claim, delay_ms: int = 0, reason: str = "", storage: str = "") -> None:
        releases.append(storage)
        await real(self, delay_ms, reason, storage)

    async def fail(self: LocalUpload, offset: int, data: bytes) -> None:
        raise StorageUnavailable("the disk is gone")

    async def probe(self: StorageHandle) -> bool:
        return False

    task_id = await many.accept()
    with monkeypatch.context() as patch:
        patch.setattr(Claim, "release", release)
        patch.setattr(LocalUpload, "write", fail)
        patch.setattr(StorageHandle, "probe", probe)
        await within((await many.job()).run())
    assert releases == ["local1"]
    task = await many.task(task_id)
    assert (task.status, task.error) == (Status.QUEUED, "")
    await many.store.claims.storages_recovered(["local1"])
    await within((await many.job()).run())
    assert (await many.task(task_id)).status is Status.COMPLETED
    assert many.files() == {name: content(name) for name in NAMES}


async def test_a_busy_storage_delays_no_file_that_is_being_saved(
    many: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the file that found it busy waits, and then the task."""
    real = LocalStorage.begin

    async def begin(
        self: LocalStorage, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()
    ) -> Upload:
        if key.item == 63:
            await until(lambda: len(gate.waiting) == 63)
            refused.set()
            raise StorageBusy("all connections are in use")
        return await real(self, key, path, size, keep)

    gate, refused = Gate(), asyncio.Event()
    many.source.step = gate
    task_id = await many.accept()
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "begin", begin)
        job = asyncio.create_task((await many.job()).run())
        await within(refused.wait())
        await asyncio.sleep(0.1)
        gate.open()
        await within(job)
    assert (await many.task(task_id)).status is Status.QUEUED
    items = await many.store.tasks.all_items(task_id)
    assert [item.index for item in items if item.status is not ItemStatus.COMPLETED] == [63]
    await many.store.db.do("ZADD", "sa:delayed", "XX", 1, task_id)
    await many.store.claims.reconcile(check_leases=True)
    await within((await many.job()).run())
    assert (await many.task(task_id)).status is Status.COMPLETED
    assert many.files() == {name: content(name) for name in NAMES}
    assert Counter(many.source.fetched).most_common(1)[0][1] == 1


class BusyStorage(LocalStorage):
    """A storage that takes one file at a time, and none for now."""

    uploads_at_once = 1
    asked = 0

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        self.asked += 1
        raise StorageBusy("all connections are in use")


async def test_a_busy_storage_is_asked_once_and_others_get_their_files(
    many: JobHarness, tmp_path: Path
) -> None:
    storage = BusyStorage(LocalOptions(name="nas", type="local", base_path=tmp_path / "nas"))
    handle = many.others["nas"] = StorageHandle(many.store, storage)
    await handle.check_presence()
    task_id = await many.accept(rules=(Rule(name="0.bin$", storage="nas"),))
    await within((await many.job()).run())
    assert (await many.task(task_id)).status is Status.QUEUED
    assert storage.asked == 1
    assert many.files() == {name: content(name) for name in NAMES if not name.endswith("0.bin")}


async def test_an_error_of_the_task_ends_the_wait_for_a_storage(harness: JobHarness) -> None:
    """A file of another task may be all that it takes."""

    async def step(name: str, offset: int) -> None:
        harness.storage.uploads_at_once = 1
        raise CancelRequested

    other = harness.budget.share(concurrent=True, slot=Slots(0).of("other"))
    await other.acquire(harness.storage, 1)
    harness.storage.uploads_at_once = 2
    harness.source.files = dict.fromkeys(NAMES[:4], b"x")
    harness.source.concurrent = True
    harness.source.step = step
    task_id = await harness.accept()
    await within(harness.job_of(await harness.claim(), Slots(0).of(task_id)).run())
    assert (await harness.task(task_id)).status is Status.CANCELED


class OneConnection(LocalStorage):
    """A storage whose server accepts one connection at a time."""

    uploads_at_once = 1
    connections = 0

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        if type(self).connections:
            raise StorageUnavailable("421 too many connections")
        upload = await super().begin(key, path, size, keep)
        type(self).connections += 1
        leave = upload.__aexit__

        async def left(*exc: object) -> None:
            type(self).connections -= 1
            await leave(*exc)

        upload.__class__ = type("Connected", (type(upload),), {"__aexit__": lambda _, *exc: left(*exc)})
        return upload


async def test_a_storage_that_accepts_one_connection_gets_one_file_at_a_time(
    many: JobHarness, tmp_path: Path
) -> None:
    options = LocalOptions(name="local1", type="local", base_path=tmp_path / "files")
    many.storage = OneConnection(options)
    many.handle = StorageHandle(many.store, many.storage)
    task_id = await many.accept()
    await within((await many.job()).run())
    assert (await many.task(task_id)).status is Status.COMPLETED
    assert many.source.fetched == NAMES
    assert many.files() == {name: content(name) for name in NAMES}


async def test_names_do_not_depend_on_the_order_in_which_files_arrive(harness: JobHarness) -> None:
    """`a.bin` is taken, and the number that it would get belongs to another file of the task."""
    harness.folder.mkdir(parents=True, exist_ok=True)
    (harness.folder / "a.bin").write_bytes(b"of another task")
    (harness.folder / "a_1.bin").touch()
    (harness.folder / "a_1.bin").unlink()
    harness.source.concurrent = True
    names = ("a.bin", "a_1.bin", "b.bin")
    for first in names:
        for path in harness.folder.glob("*"):
            if path.name not in ("a.bin", ".saveany-storage"):
                path.unlink()

        async def step(name: str, offset: int, first: str = first) -> None:
            if offset == 0 and name != first:
                await asyncio.sleep(0.2)

        harness.source.files = {name: content(name + first) for name in names}
        harness.source.step = step
        task_id = await harness.accept()
        await within((await harness.job()).run())
        saved: list[Item] = await harness.store.tasks.all_items(task_id)
        assert [item.final for item in saved][1:] == ["a_1.bin", "b.bin"]
        assert saved[0].final not in names
        assert harness.files()[saved[0].final] == content("a.bin" + first)
        assert harness.files()["a_1.bin"] == content("a_1.bin" + first)


async def test_a_file_that_is_large_holds_back_those_that_do_not_fit(many: JobHarness) -> None:
    """The budget bounds the files in flight by their bytes."""
    many.budget.limit(8 * MAX_BYTES // 64)
    many.source.step = gate = Gate()
    task_id = await many.accept()
    running = asyncio.create_task((await many.job()).run())
    await until(lambda: len(gate.waiting) == 8, within=20)
    await asyncio.sleep(0.2)
    assert len(gate.waiting) == 8
    gate.open()
    await within(running)
    assert (await many.task(task_id)).status is Status.COMPLETED
