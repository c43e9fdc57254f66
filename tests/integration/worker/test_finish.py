"""A job is held at each step of the finish while its task is changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from saveany.models import ItemStatus, Status
from saveany.store import Claim
from storages.local.upload import LocalUpload
from tests.integration.worker.conftest import JobHarness, content, within
from workers.item_records import ItemRecords


class Gate:
    """Stops the first caller, in any thread, until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._used = threading.Lock()

    def open(self) -> None:
        self._opened.set()

    def hold(self) -> None:
        """For code in a thread."""
        if self._used.acquire(blocking=False):
            self.reached.set()
            assert self._opened.wait(20)

    async def hold_here(self) -> None:
        """For code on the event loop."""
        if self._used.acquire(blocking=False):
            self.reached.set()
            await asyncio.to_thread(self._opened.wait, 20)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 20), "the boundary was never reached"


def _held_in_thread(gate: Gate, name: str) -> Callable[..., Any]:
    real = getattr(LocalUpload, name)

    def patched(*args: Any) -> Any:
        gate.hold()
        return real(*args)

    return patched


def _held(
    gate: Gate, owner: type, name: str, *, after: bool, only: Callable[..., bool]
) -> Callable[..., Any]:
    real = getattr(owner, name)

    async def patched(*args: Any, **more: Any) -> Any:
        if not after and only(*args):
            await gate.hold_here()
        result = await real(*args, **more)
        if after and only(*args):
            await gate.hold_here()
        return result

    return patched


def _finishing(*args: Any) -> bool:
    return args[1].status is ItemStatus.FINISHING


def _completing(*args: Any) -> bool:
    return args[1] is Status.COMPLETED


Patch = tuple[type, str, Callable[..., Any]]


def _disk(name: str) -> Callable[[Gate], Patch]:
    """Stop before a step of the storage."""
    return lambda gate: (LocalUpload, name, _held_in_thread(gate, name))


def _record(owner: type, name: str, only: Callable[..., bool], *, after: bool) -> Callable[[Gate], Patch]:
    """Stop before or after a record is written."""
    return lambda gate: (owner, name, _held(gate, owner, name, after=after, only=only))


BOUNDARIES: dict[str, Callable[[Gate], Patch]] = {
    "before-finishing-recorded": _record(ItemRecords, "put", _finishing, after=False),
    "after-finishing-recorded": _record(ItemRecords, "put", _finishing, after=True),
    "before-link": _disk("_link"),
    "after-link-before-unlink": _disk("_drop_part"),
    "after-unlink-before-folder-fsync": _disk("_sync_folder"),
    "before-finish-recorded": _record(Claim, "finish", _completing, after=False),
}


@pytest.fixture(params=BOUNDARIES)
def gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(*BOUNDARIES[request.param](gate))
    yield gate
    gate.open()


async def test_a_cancel_takes_effect_at_every_boundary(harness: JobHarness, gate: Gate) -> None:
    task_id = await harness.accept()
    job = await harness.job()
    running = asyncio.create_task(job.run())
    await gate.until_reached()
    assert await harness.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    gate.open()
    await within(running)
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.CANCELED, "")
    assert harness.files() == {}
    assert await harness.delivered_events(task_id) == ["task.canceled"]


async def test_a_retry_works_after_a_cancel_at_every_boundary(harness: JobHarness, gate: Gate) -> None:
    task_id = await harness.accept()
    job = await harness.job()
    running = asyncio.create_task(job.run())
    await gate.until_reached()
    await harness.store.tasks.cancel(task_id, [])
    gate.open()
    await within(running)
    assert await harness.store.tasks.retry(await harness.task(task_id))
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert harness.files() == {"a.bin": content("a.bin")}
    assert sorted(await harness.delivered_events(task_id)) == ["task.canceled", "task.completed"]


@pytest.mark.parametrize("policy", ["rename", "overwrite", "skip"])
async def test_a_frozen_worker_that_wakes_up_writes_nothing(
    harness: JobHarness, gate: Gate, policy: str
) -> None:
    """It wakes up after another worker has completed its task, at the worst moments."""
    task_id = await harness.accept(on_conflict=policy)
    frozen = asyncio.create_task((await harness.job()).run())
    await gate.until_reached()
    await harness.expire_lease(task_id)
    await within((await harness.job()).run())
    done = await harness.task(task_id)
    assert (done.status, done.epoch) == (Status.COMPLETED, 2)
    assert harness.files() == {"a.bin": content("a.bin")}
    gate.open()
    await within(frozen)
    assert await harness.task(task_id) == done
    assert harness.files() == {"a.bin": content("a.bin")}
    assert [item.final for item in await harness.store.tasks.all_items(task_id)] == ["a.bin"]
    assert await harness.delivered_events(task_id) == ["task.completed"]


async def test_a_stop_at_every_boundary_costs_no_attempt(harness: JobHarness, gate: Gate) -> None:
    """After the drain the job is canceled. The worker with the next claim completes the task."""
    task_id = await harness.accept()
    running = asyncio.create_task((await harness.job()).run())
    await gate.until_reached()
    running.cancel()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await within(running)
    task = await harness.task(task_id)
    assert task.error == ""
    assert [item.failures for item in await harness.store.tasks.all_items(task_id)] == [0]
    if task.status is Status.QUEUED:
        await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert harness.files() == {"a.bin": content("a.bin")}
    assert await harness.delivered_events(task_id) == ["task.completed"]
