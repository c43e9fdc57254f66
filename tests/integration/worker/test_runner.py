"""A worker claims tasks as long as it has slots and room for them, and runs each of them once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from saveany.config import Config
from saveany.errors import StoreUnavailable
from saveany.ids import new_id
from saveany.loops import Signal, repeat
from saveany.models import Item, Status, TaskSpec, WorkerInfo
from saveany.planning.plan import ResolvedFile
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Limits, Store
from saveany.texts import Text, loaded
from saveany.webhooks.builder import DeliveryBuilder
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.fixtures.waiting import until
from tests.integration.worker.conftest import FilesSource
from workers import slots
from workers.arq_worker import ArqWorker
from workers.heartbeat import Heartbeat
from workers.inboxes import InboxWatcher
from workers.limits import Throttle
from workers.runner import WITHOUT_SLOT, TaskRunner
from workers.slots import SMALL_BYTES
from workers.transfer_budget import TransferBudget

LARGE, SMALL = SMALL_BYTES + 1, 1000


class Source(FilesSource):
    """Tasks of one file each, whose sizes are in `sizes` by task; `hold` keeps their fetches waiting."""

    def __init__(self, *, concurrent: bool) -> None:
        super().__init__({}, concurrent=concurrent)
        self.sizes: dict[str, int] = {}
        self.begun: list[str] = []  # task of each fetch
        self.release = asyncio.Event()
        self.may_resolve = asyncio.Event()
        self.may_resolve.set()
        self.lacking: Text | None = None
        self.on_stop: Callable[[], Awaitable[object]] | None = None
        self.on_leave: Callable[[], Awaitable[object]] | None = None

    @property
    def drawback(self) -> Text | None:
        return self.lacking

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        await self.may_resolve.wait()
        return [ResolvedFile(spec.id, self.sizes[spec.id], {"task": spec.id})]

    async def fetch(self, item: Item, write: Any, have: Any = ()) -> None:
        task_id = item.source["task"]
        self.begun.append(task_id)
        try:
            await self.release.wait()
        finally:
            if not self.release.is_set() and self.on_leave:
                await self.on_leave()
        await write(0, bytes(self.sizes[task_id]))

    async def stop(self, task_id: str) -> None:
        await super().stop(task_id)
        if self.on_stop:
            await self.on_stop()


class WorkerHarness:
    """A worker with two storages, of which "busy" takes one file at a time."""

    def __init__(self, store: Store, folder: Path, *, concurrent: bool, slots: int) -> None:
        self.store = store
        self.source = Source(concurrent=concurrent)
        handles = []
        for name in ("busy", "idle"):
            (folder / name).mkdir()
            storage = LocalStorage(LocalOptions(name=name, type="local", base_path=folder / name))
            storage.uploads_at_once = 1 if name == "busy" else 64
            handles.append(StorageHandle(store, storage))
        self.storages = StorageSet(handles)
        config = SimpleNamespace(
            workers=slots,
            retry=3,
            limits=SimpleNamespace(tasks_per_user=0),
            live=SimpleNamespace(recordings=1),
            services=SimpleNamespace(scratch=folder / "scratch"),
        )
        self.runner = TaskRunner(
            store,
            "w",
            cast(Config, config),
            machine="",
            storages=self.storages,
            sources={"tgfiles": self.source},
            throttle=Throttle(store, "w", Limits()),
            budget=TransferBudget(),
            build_deliveries=DeliveryBuilder("", [], store.claims.time_ms),
            changed=Signal(),
            leftovers=Signal(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        for handle in self.storages.values():
            assert await handle.probe()
        worker = ArqWorker(self.store, self.runner, max_jobs=self.runner.slots.count + WITHOUT_SLOT)
        loops = [
            asyncio.create_task(worker.main()),
            asyncio.create_task(repeat("stop_requests", self.runner.watch_stop_requests)),
        ]
        try:
            yield
        finally:
            self.source.release.set()
            await worker.drain(0)
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def accept(self, size: int, *, user: int = 1, storage: str = "idle") -> str:
        spec = TaskSpec(
            id=new_id(), type="tgfiles", links=("https://t.me/c/1",), user_id=user, storage=storage
        )
        self.source.sizes[spec.id] = size
        assert await self.store.tasks.accept(spec, "title")
        return spec.id

    async def reach(self, task_id: str, condition: Callable[[Any], bool]) -> None:
        """Wait until the record of a task fulfills the condition."""

        async def reached() -> bool:
            return condition(await self.store.tasks.get(task_id))

        await until(reached)


Build = Callable[..., WorkerHarness]


@pytest.fixture
def build(store: Store, tmp_path: Path) -> Build:
    def make(*, concurrent: bool, slots: int) -> WorkerHarness:
        return WorkerHarness(store, tmp_path, concurrent=concurrent, slots=slots)

    return make


@pytest.mark.parametrize("concurrent", [False, True], ids=["with a slot", "looked up first"])
async def test_a_task_that_is_claimed_again_waits_for_its_last_run_here(
    build: Build, caplog: pytest.LogCaptureFixture, concurrent: bool
) -> None:
    """It was resumed while its source still ends what ran for it, which must not concern the new run."""
    harness, ending, stopping = build(concurrent=concurrent, slots=2), asyncio.Event(), asyncio.Event()
    source = harness.source

    async def stop_slowly() -> None:
        stopping.set()
        await ending.wait()

    source.on_stop = stop_slowly
    async with harness.running():
        task_id = await harness.accept(LARGE)
        await until(lambda: source.begun == [task_id])
        await harness.store.tasks.pause(task_id)
        await harness.reach(task_id, lambda task: task.stage == "paused")
        await asyncio.wait_for(stopping.wait(), 20)
        await harness.store.tasks.resume(task_id)
        await harness.reach(task_id, lambda task: task.status is Status.RUNNING)
        assert source.begun == [task_id]
        source.on_stop = None
        ending.set()
        await until(lambda: source.begun == [task_id] * 2)
        assert harness.runner.running == [task_id]
        await until(lambda: len(harness.runner.slots.holders) == 1)
        await harness.store.tasks.pause(task_id)  # reaches the new run
        await harness.reach(task_id, lambda task: task.stage == "paused")
        await until(lambda: harness.runner.running == [])
        assert harness.runner.slots.free == 2
    assert "job_failed" not in caplog.text


async def test_a_task_that_was_lost_and_claimed_again_leaves_no_slot_to_too_many(build: Build) -> None:
    """Its lease expired while the worker was frozen, and the old run ends slowly."""
    harness, closing = build(concurrent=True, slots=3), asyncio.Event()
    source, db = harness.source, harness.store.db
    source.on_leave = closing.wait
    async with harness.running():
        first = await harness.accept(LARGE)
        await until(lambda: source.begun == [first])
        await db.do("ZADD", "sa:leases", "XX", 1, first)
        assert (await harness.store.claims.reconcile(check_leases=True)).returned == 1
        await harness.reach(first, lambda task: task.status is Status.RUNNING)
        second = await harness.accept(LARGE)
        await until(lambda: second in source.begun)
        assert source.begun == [first, second], "the old run has not ended"
        source.on_leave = None
        closing.set()
        await until(lambda: source.begun == [first, second, first])
        more = [await harness.accept(LARGE) for _ in range(3)]
        await until(lambda: len(source.begun) == 4)

        async def two_wait() -> bool:
            return int(await db.do("ZCARD", "sa:ready:1:slot:tgfiles/idle")) == 2

        await until(two_wait)
        await until(lambda: len(harness.runner.running) == 3)
        assert harness.runner.running == sorted({first, second, source.begun[3]})
        source.release.set()
        for task_id in (first, second, *more):
            await harness.reach(task_id, lambda task: task.status is Status.COMPLETED)
        await until(lambda: harness.runner.slots.free == 3)


async def test_small_files_that_wait_for_their_storage_take_no_slots(build: Build) -> None:
    harness = build(concurrent=True, slots=3)
    source = harness.source
    async with harness.running():
        small = [await harness.accept(SMALL, user=1, storage="busy") for _ in range(10)]
        await until(lambda: len(source.begun) == 1)
        large = await harness.accept(LARGE, user=2)
        await until(lambda: large in source.begun)
        assert len(source.begun) == 2
        assert sorted(harness.runner.running) == sorted([*small, large])
        assert len(harness.runner.slots.holders) == await harness.store.db.do("SCARD", "sa:slots:2") == 1


async def test_no_task_makes_room_while_a_slot_is_only_kept(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a task that is looked up: the slot will be free if that one is small."""
    monkeypatch.setattr(slots, "_KEEP_SECONDS", 3600)
    harness = build(concurrent=True, slots=3)
    source, db = harness.source, harness.store.db
    async with harness.running():
        large = [await harness.accept(LARGE) for _ in range(2)]
        await until(lambda: len(source.begun) == 2)
        source.may_resolve.clear()
        small = await harness.accept(SMALL)
        await harness.reach(small, lambda task: task.status is Status.RUNNING)
        assert harness.runner.slots.free == 0
        waiting = await harness.accept(LARGE, user=2)
        await harness.reach(waiting, lambda task: task.status is Status.RUNNING)
        await db.do("HSET", f"sa:task:{waiting}", "lane", "slot:tgfiles/idle")
        await db.do("ZADD", "sa:leases", "XX", 1, waiting)
        assert (await harness.store.claims.reconcile(check_leases=True)).returned == 1
        for key in await db.do("KEYS", "sa:task:*"):
            await db.do("HSET", key, "created_at", 1, "wake", 0)
        await harness.runner.make_room()
        tasks = [await harness.store.tasks.get(task_id) for task_id in large]
        assert [task and task.yields for task in tasks] == [0, 0]
        source.may_resolve.set()
        await until(lambda: waiting in source.begun)


async def test_tasks_that_lack_something_here_run_here_only_if_no_other_worker_can_run_them(
    store: Store, tmp_path: Path
) -> None:
    worker, changed = WorkerHarness(store, tmp_path, concurrent=False, slots=1), Signal()
    for handle in worker.storages.values():
        assert await handle.probe()
    heartbeat = Heartbeat(
        store,
        worker.runner,
        storages=worker.storages,
        sources={"tgfiles": worker.source},
        accounts=cast(Any, SimpleNamespace(ready=[], problems={})),
        inboxes=InboxWatcher(Config(), store, ""),
        changed=changed,
        on_lanes=lambda: None,
    )

    async def lacks(what: str) -> None:
        """Have this worker lack it, and wait until it has told."""
        worker.source.lacking = Text(what)
        changed.send()

        async def is_told() -> bool:
            infos = {each.id: each for each in await store.workers.living()}
            return "w" in infos and str(loaded(infos["w"].sources["tgfiles"])) == what

        await until(is_told)

    await store.workers.heartbeat(
        WorkerInfo(id="other", host="h", pid=1, started_at=0, sources={"tgfiles": ""})
    )
    beating = asyncio.create_task(heartbeat.run())
    try:
        await lacks("a program")
        await lacks("a program, still")
        assert worker.runner.lanes() == []
        await store.workers.leave("other")
        await lacks("another program")
        await until(worker.runner.lanes)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_room_is_not_forgotten_when_listening_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = asyncio.Event()

    async def claim(wake_up: str = "") -> list[Any]:
        claimed.set()
        return []

    runner = cast(Any, SimpleNamespace(claim=claim, open_lanes=lambda: ["lane"]))
    worker, waits = ArqWorker(store, runner, max_jobs=1), list[object]()

    async def next_wake_up(*args: object) -> str:
        waits.append(args)
        if len(waits) == 1:
            worker.claim_soon()
            raise StoreUnavailable("Redis is away")
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(store.claims, "next_wake_up", next_wake_up)
    running = asyncio.create_task(worker.main())
    try:
        await asyncio.wait_for(claimed.wait(), 10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
