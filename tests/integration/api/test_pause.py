"""Pausing over HTTP, with a job that runs in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from saveany.models import Status
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.api.conftest import LANES, check_error, claim, create
from tests.integration.worker.conftest import PART, JobHarness, content, within
from workers import checkpoint
from workers.jobs import Job

SIZE = 8 * PART


class HeldSource:
    """Waits at the fifth part until `go` is set."""

    def __init__(self, harness: JobHarness) -> None:
        self.arrived, self.go = asyncio.Event(), asyncio.Event()
        self.offsets: list[int] = []
        harness.source.files = {"a.bin": content("a.bin", SIZE)}
        harness.source.step = self.step

    async def step(self, _: str, offset: int) -> None:
        self.offsets.append(offset)
        if offset == 4 * PART:
            self.arrived.set()
            await self.go.wait()


@asynccontextmanager
async def running_job(job: Job, harness: JobHarness) -> AsyncIterator[asyncio.Task[None]]:
    """A running job that receives pauses as in a worker."""

    async def listen() -> None:
        async for message in harness.store.db.listen("control"):
            if message:
                job.check_requests()
            else:
                listening.set()

    listening = asyncio.Event()
    listener = asyncio.create_task(listen())
    await listening.wait()
    running = asyncio.create_task(job.run())
    yield running
    running.cancel()
    listener.cancel()
    await asyncio.wait([running, listener])


@pytest.fixture
async def harness(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobHarness:
    monkeypatch.setattr(checkpoint, "_INTERVAL", 0)
    return JobHarness(store, tmp_path / "files")


async def post(client: httpx.AsyncClient, task_id: str, action: str) -> httpx.Response:
    return await client.post(f"/api/v1/tasks/{task_id}/{action}")


async def shown(client: httpx.AsyncClient, task_id: str) -> tuple[str, str]:
    body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
    return body["status"], body["stage"]


async def test_a_queued_task_is_paused_and_resumed(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    for _ in range(2):
        reply = await post(client, task_id, "pause")
        assert (reply.status_code, reply.json()) == (200, {"message": "task paused"})
    assert await shown(client, task_id) == ("queued", "paused")
    live = (await client.get("/api/v1/tasks")).json()
    assert [(each["id"]) for each in live["queued"]] == [task_id]
    assert await store.claims.claim("w", LANES) is None
    for _ in range(2):
        reply = await post(client, task_id, "resume")
        assert (reply.status_code, reply.json()) == (200, {"message": "task resumed"})
    assert await shown(client, task_id) == ("queued", "")
    assert (await claim(store)).task.id == task_id


async def test_a_running_task_stops_and_later_continues_where_it_stopped(
    client: httpx.AsyncClient, harness: JobHarness
) -> None:
    slow = HeldSource(harness)
    task_id = await create(client)
    async with running_job(await harness.job(), harness) as running:
        await slow.arrived.wait()
        began = time.monotonic()
        assert (await post(client, task_id, "pause")).status_code == 200
        assert time.monotonic() - began < 2  # it takes less than one, but who knows what else runs here
        await within(running)
    assert await shown(client, task_id) == ("queued", "paused")
    (part,) = harness.files()
    assert part.endswith(".partial")
    assert await harness.store.db.do("HLEN", f"sa:checkpoints:{task_id}") == 1
    assert await harness.store.claims.claim("w", LANES) is None
    assert (await post(client, task_id, "resume")).status_code == 200
    slow.go.set()
    await within((await harness.job()).run())
    assert await shown(client, task_id) == ("completed", "")
    assert harness.files() == {"downloads/a.bin": content("a.bin", SIZE)}
    assert len(slow.offsets) < 2 * SIZE // PART - 2, "what was there is not fetched again"
    assert [item.failures for item in await harness.store.tasks.all_items(task_id)] == [0]


async def test_canceling_a_paused_task_leaves_no_unknown_leftovers(
    client: httpx.AsyncClient, harness: JobHarness
) -> None:
    slow = HeldSource(harness)
    task_id = await create(client)
    async with running_job(await harness.job(), harness) as running:
        await slow.arrived.wait()
        await post(client, task_id, "pause")
        await within(running)
    assert (await client.delete(f"/api/v1/tasks/{task_id}")).status_code == 200
    assert await shown(client, task_id) == ("canceled", "")
    assert await harness.store.workers.leftovers("local1") == [(task_id, 1)]


async def test_a_task_may_end_before_its_worker_sees_the_pause(
    client: httpx.AsyncClient, store: Store
) -> None:
    task_id = await create(client)
    working = await claim(store)
    pausing = asyncio.create_task(post(client, task_id, "pause"))

    async def marked() -> bool:
        task = await store.tasks.get(task_id)
        return task is not None and task.paused

    await until(marked)
    await working.finish(Status.COMPLETED)
    check_error(await pausing, 409)


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_ended_and_unknown_tasks_cannot_be_paused(client: httpx.AsyncClient, action: str) -> None:
    check_error(await post(client, "c9h8t1234abcd", action), 404)
    task_id = await create(client)
    await client.delete(f"/api/v1/tasks/{task_id}")
    assert "ended" in check_error(await post(client, task_id, action), 409)["message"]


async def test_a_pause_is_an_event_of_the_stream(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    await post(client, task_id, "pause")
    last = (await store.events.after("0-0"))[-1]
    assert (last.type, last.status, last.stage) == ("task.queued", "queued", "paused")


async def test_the_whole_queue_is_paused_and_resumed(client: httpx.AsyncClient, store: Store) -> None:
    sizes = {"queued_tasks": 0, "paused_tasks": 0, "running_tasks": 0}
    assert (await client.get("/api/v1/queue")).json() == {"paused": False, **sizes}
    for _ in range(2):
        assert (await client.post("/api/v1/queue/pause")).json() == {"message": "queue paused"}
    paused = await create(client)
    await create(client)
    await post(client, paused, "pause")
    assert await store.claims.claim("w", LANES) is None
    sizes = {"queued_tasks": 1, "paused_tasks": 1, "running_tasks": 0}
    assert (await client.get("/api/v1/queue")).json() == {"paused": True, **sizes}
    await store.db.do("DEL", *(f"sa:wake:{lane}" for lane in LANES))
    for _ in range(2):
        assert (await client.post("/api/v1/queue/resume")).json() == {"message": "queue resumed"}
    assert await store.claims.next_wake_up(LANES, 1), "workers are woken"
    assert (await claim(store)).task.id != paused
    assert await store.claims.claim("w", LANES) is None
