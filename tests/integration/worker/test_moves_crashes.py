"""No file is lost when a worker dies or a task is canceled during a move."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from saveany.models import Status
from saveany.store import Store
from storages.memory import MemoryOptions, MemoryStorage
from tests.integration.worker.conftest import within
from tests.integration.worker.moves import DATA, TransferHarness, memory, save
from workers import lease
from workers.item_records import ItemRecords
from workers.jobs import Job
from workers.recovery import remove_leftovers
from workers.sources.transfer import TransferSource


class Gate:
    """Stops the first call of a method, before or after it, until it is opened."""

    def __init__(self) -> None:
        self.closed = False
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    def on(self, patch: pytest.MonkeyPatch, owner: type, name: str, when: str) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def held(*args: Any, **more: Any) -> Any:
            if when == "before":
                await self._hold()
            result = await real(*args, **more)
            if when == "after":
                await self._hold()
            return result

        patch.setattr(owner, name, held)

    async def _hold(self) -> None:
        if self.closed and not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()


class Bucket(MemoryStorage):
    """A storage that cannot rename files: it copies, and deletes the original at the end."""

    capabilities = dataclasses.replace(MemoryStorage.capabilities, late_name=False, exclusive=False)


#: How the file comes to its place, and what happens on the way.
WAYS: dict[str, list[tuple[type, str]]] = {
    "renamed": [(ItemRecords, "put"), (MemoryStorage, "move"), (TransferSource, "remove")],
    "copied": [
        (MemoryStorage, "_copy"),
        (ItemRecords, "put"),
        (MemoryStorage, "_rename"),
        (TransferSource, "remove"),
        (MemoryStorage, "delete"),
    ],
    "fetched": [
        (ItemRecords, "put"),
        (MemoryStorage, "_rename"),
        (TransferSource, "remove"),
        (MemoryStorage, "delete"),
    ],
}


BOUNDARIES = [
    pytest.param(way, step, when, id=f"{way}-{when}-{step[1]}")
    for way, steps in WAYS.items()
    for step in steps
    for when in ("before", "after")
]


class HeldMove:
    """A file that a job, stopped at the gate, moves to `to/a.bin` of the storage `here`."""

    def __init__(self, store: Store, folder: Path, way: str) -> None:
        options = MemoryOptions(name="here", type="memory", space=uuid4().hex)
        here = Bucket(options) if way == "copied" else MemoryStorage(options)
        self.target = here._space.files
        self.origin = memory("there") if way == "fetched" else here
        self.harness = TransferHarness(store, folder, here, self.origin)

    async def accept(self) -> str:
        await save(self.origin, "a.bin", DATA)
        return await self.harness.transfer("a.bin", source_storage=self.origin.name, params={"move": True})

    def check(self) -> None:
        """Check that every file is in its place, and that there is no other file."""
        assert {path: data for path, (data, _) in self.target.items()} == {"to/a.bin": DATA}
        assert self.origin._space.files is self.target or not self.origin._space.files


@pytest.fixture
def move(store: Store, tmp_path: Path, way: str) -> HeldMove:
    return HeldMove(store, tmp_path, way)


@pytest.fixture
def gate(step: tuple[type, str], when: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    # A held job stands for a dead or frozen worker: it must not notice by itself what happens to its task.
    monkeypatch.setattr(lease, "_PUBLISH_SECONDS", 3600)
    gate = Gate()
    gate.on(monkeypatch, *step, when)
    yield gate
    gate.opened.set()


async def held(job: Job, gate: Gate) -> asyncio.Task[None]:
    gate.closed = True
    running = asyncio.create_task(job.run())
    await within(gate.reached.wait(), 10)
    return running


@pytest.mark.parametrize(("way", "step", "when"), BOUNDARIES)
async def test_another_worker_completes_the_move(move: HeldMove, gate: Gate) -> None:
    """The first worker is dead, or frozen until the move is complete."""
    harness, task_id = move.harness, await move.accept()
    frozen = await held(await harness.job(), gate)
    await harness.expire_lease(task_id)
    task, (item,) = await harness.done(task_id)
    gate.opened.set()
    await within(frozen)
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", "to/a.bin")
    move.check()


@pytest.mark.parametrize(("way", "step", "when"), BOUNDARIES)
async def test_a_cancel_loses_nothing(move: HeldMove, gate: Gate) -> None:
    """A retry then continues with the existing files."""
    harness, task_id = move.harness, await move.accept()
    running = await held(job := await harness.job(), gate)
    assert await harness.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    gate.opened.set()
    await within(running)
    kept = move.origin._space.files.get("a.bin"), move.target.get("to/a.bin")
    assert any(each and each[0] == DATA for each in kept)
    assert set(move.target) <= {"a.bin", "to/a.bin"}
    task = await harness.task(task_id)
    if task.status is Status.CANCELED:
        assert await harness.store.tasks.retry(task)
        task, _ = await harness.done(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    move.check()


@pytest.mark.parametrize(("way", "step", "when"), BOUNDARIES)
async def test_a_cancel_after_a_crash_loses_nothing(move: HeldMove, gate: Gate) -> None:
    """The clean-up never removes the only copy."""
    harness, task_id = move.harness, await move.accept()
    dead = await held(await harness.job(), gate)
    assert await harness.store.tasks.cancel(task_id, []) == "requested"
    await harness.store.db.do("ZADD", "sa:leases", "XX", 1, task_id)
    ((_, epoch),) = (await harness.store.claims.reconcile(check_leases=True)).canceled
    claim = harness.store.claims.take_over(replace(await harness.task(task_id), epoch=epoch), [])
    await claim.finish(Status.CANCELED)
    await remove_leftovers(harness.store, harness.storage, task_id, epoch)
    kept = move.origin._space.files.get("a.bin"), move.target.get("to/a.bin")
    assert any(each and each[0] == DATA for each in kept)
    dead.cancel()
    await asyncio.wait([dead])
