"""Stopping over HTTP, with a job that runs in this process: what is saved is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from tests.integration.api.conftest import LANES, check_error, claim, create
from tests.integration.api.test_pause import post, running_job, shown
from tests.integration.worker.conftest import PART, JobHarness, content, within

A, B = content("a.bin"), content("b.bin", 8 * PART)


@pytest.fixture
async def harness(store: Store, tmp_path: Path) -> JobHarness:
    return JobHarness(store, tmp_path / "files")


class TwoFiles:
    """A small file, and one that stops at its fifth part until `go` is set."""

    def __init__(self, harness: JobHarness) -> None:
        self.arrived, self.go = asyncio.Event(), asyncio.Event()
        harness.source.files = {"a.bin": A, "b.bin": B}
        harness.source.step = self.step

    async def step(self, name: str, offset: int) -> None:
        if (name, offset) == ("b.bin", 4 * PART):
            self.arrived.set()
            await self.go.wait()


async def items(client: httpx.AsyncClient, task_id: str) -> dict[str, tuple[str, str]]:
    body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
    return {item["name"]: (item["status"], item.get("error", "")) for item in body["items"]}


STOPPED = {
    "a.bin": ("completed", ""),
    "b.bin": ("failed", "the task was stopped before this file was saved"),
}


async def test_a_stopped_task_keeps_what_is_saved_and_removes_the_rest(
    client: httpx.AsyncClient, harness: JobHarness
) -> None:
    files = TwoFiles(harness)
    task_id = await create(client)
    async with running_job(await harness.job(), harness) as running:
        await files.arrived.wait()
        reply = await post(client, task_id, "stop")
        assert (reply.status_code, reply.json()) == (200, {"message": "task stopped"})
        await within(running)
    assert await shown(client, task_id) == ("completed", "")
    assert harness.files() == {"downloads/a.bin": A}
    assert await items(client, task_id) == STOPPED
    assert await harness.delivered_events(task_id) == ["task.completed"]
    check_error(await post(client, task_id, "stop"), 409)


async def test_a_task_whose_worker_died_is_stopped_by_the_next_one(
    client: httpx.AsyncClient, harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is paused: it needs no resume. Its source is not asked, because it may not reply."""
    files = TwoFiles(harness)
    task_id = await create(client)
    async with running_job(await harness.job(), harness) as running:
        await files.arrived.wait()
        await post(client, task_id, "pause")
        await within(running)
    assert (await post(client, task_id, "stop")).status_code == 200
    assert "ended" in check_error(await post(client, task_id, "pause"), 409)["message"]
    await harness.claim()  # this worker dies
    await harness.expire_lease(task_id)
    monkeypatch.setattr(harness.source, "look_up", None)
    await within((await harness.job()).run())
    assert await shown(client, task_id) == ("completed", "")
    assert harness.files() == {"downloads/a.bin": A}
    assert await items(client, task_id) == STOPPED


async def test_a_file_that_became_visible_before_its_worker_died_is_kept(
    client: httpx.AsyncClient, harness: JobHarness
) -> None:
    harness.source.files = {"a.bin": A}
    task_id = await create(client)
    await within((await harness.job()).run())
    (saved,) = await harness.store.tasks.all_items(task_id)
    # The same file, as a worker leaves it that dies after the commit and before it records the end.
    again = await create(client)
    dying = await claim(harness.store)
    await dying.plan("a", [saved_by_dead_worker(saved)], Progress(total_files=1), [])
    assert (await post(client, again, "stop")).status_code == 200
    await harness.expire_lease(again)
    await within((await harness.job()).run())
    assert await shown(client, again) == ("completed", "")
    assert (await items(client, again))["a.bin"] == ("completed", "")
    assert harness.files() == {"downloads/a.bin": A}


def saved_by_dead_worker(saved: Item) -> Item:
    return Item(
        index=0,
        name=saved.name,
        path=saved.path,
        size=saved.size,
        status=ItemStatus.FINISHING,
        final=saved.final,
        sha256=saved.sha256,
        source=saved.source,
    )


async def test_a_task_without_a_saved_file_ends_as_canceled(
    client: httpx.AsyncClient, harness: JobHarness
) -> None:
    files = TwoFiles(harness)
    harness.source.files = {"b.bin": B}
    task_id = await create(client)
    async with running_job(await harness.job(), harness) as running:
        await files.arrived.wait()
        assert (await post(client, task_id, "stop")).status_code == 200
        await within(running)
    assert await shown(client, task_id) == ("canceled", "")
    assert harness.files() == {}


async def test_a_cancel_overrides_a_stop(client: httpx.AsyncClient, store: Store) -> None:
    task_id = await create(client)
    working = await claim(store)
    await working.plan("a", [Item(index=0, name="a", path="a")], Progress(), [])
    assert await store.tasks.stop(task_id) == "requested"
    assert (await client.delete(f"/api/v1/tasks/{task_id}")).status_code == 200
    check_error(await post(client, task_id, "stop"), 409)
    await working.finish(Status.CANCELED)
    assert await shown(client, task_id) == ("canceled", "")


async def test_what_cannot_be_stopped(client: httpx.AsyncClient, store: Store) -> None:
    check_error(await post(client, "c9h8t1234abcd", "stop"), 404)
    task_id = await create(client)
    assert "cancel it instead" in check_error(await post(client, task_id, "stop"), 409)["message"]
    assert await store.claims.claim("w", LANES) is not None, "it is as it was"
