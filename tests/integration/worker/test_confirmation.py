"""A task whose files only wait until their storage confirms them leaves its slot to others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from saveany.errors import StorageError
from saveany.models import Status
from storages.local.upload import LocalUpload
from tests.fixtures.waiting import until
from tests.integration.worker.conftest import JobHarness, content, within
from workers.slots import SMALL_BYTES, Slots

SIZE = SMALL_BYTES + 1


class Storage:
    """Confirms no file before the test permits it; `failures` are raised first."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.failures: list[Exception] = []
        self.confirms = asyncio.Event()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    state, real = Storage(), LocalUpload.commit

    async def commit(upload: LocalUpload, path: str, size: int, **more: Any) -> object:
        state.waiting.add(path)
        await state.confirms.wait()
        if state.failures:
            raise state.failures.pop()
        return await real(upload, path, size, **more)

    monkeypatch.setattr(LocalUpload, "commit", commit)
    return state


async def test_the_slot_is_free_when_all_files_wait_for_the_storage(
    harness: JobHarness, storage: Storage
) -> None:
    slots, arrive = Slots(1), asyncio.Event()

    async def step(name: str, offset: int) -> None:
        if name == "b.bin":
            await arrive.wait()

    harness.source.files = {name: content(name, SIZE) for name in ("a.bin", "b.bin")}
    harness.source.concurrent, harness.source.step = True, step
    task_id = await harness.accept()
    claim = await harness.claim()
    assert slots.take(task_id)
    job = asyncio.create_task(harness.job_of(claim, slots.of(task_id)).run())
    await until(lambda: storage.waiting == {"a.bin"})
    assert not slots.take("another"), "bytes of the second file are still awaited"
    arrive.set()
    await until(lambda: slots.take("another"))
    assert not job.done()
    await until(lambda: storage.waiting == {"a.bin", "b.bin"})
    storage.confirms.set()
    await within(job)
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert harness.files() == harness.source.files


async def test_a_file_that_is_not_confirmed_takes_the_slot_again(
    harness: JobHarness, storage: Storage
) -> None:
    slots, held = Slots(1), list[bool]()

    async def step(name: str, offset: int) -> None:
        if not offset:
            held.append(slots.free == 0)

    harness.source.files, harness.source.step = {"a.bin": content("a.bin", SIZE)}, step
    storage.failures = [StorageError("the server has lost the file")]
    task_id = await harness.accept()
    claim = await harness.claim()
    assert slots.take(task_id)
    job = asyncio.create_task(harness.job_of(claim, slots.of(task_id)).run())
    await until(lambda: slots.free == 1)
    storage.confirms.set()
    await within(job)
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert held == [True, True]
