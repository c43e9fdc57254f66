"""Files of one task that rules send to several storages, on a worker that may lack some of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from saveany.models import Item, ItemStatus, Rule, Status, TaskSpec
from saveany.storage_set import StorageHandle
from saveany.store import Store
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.integration.worker.conftest import PART, FilesSource, JobHarness, content, within
from workers.jobs import Job
from workers.recovery import remove_leftovers
from workers.sources.base import Report

RULES = (Rule(name="^b", storage="nas", folder="B"),)
NAMES = ["a.bin", "b.bin"]


class LateNamesSource(FilesSource):
    """Files whose names and sizes become known when they are prepared."""

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        return replace(item, name=f"late-{item.source['name']}", size=len(self.files[item.source["name"]]))


@pytest.fixture
async def harness(store: Store, tmp_path: Path) -> JobHarness:
    harness = JobHarness(store, tmp_path / "files" / "local1")
    harness.source.files = {name: content(name) for name in NAMES}
    nas = LocalStorage(LocalOptions(name="nas", type="local", base_path=tmp_path / "files" / "nas"))
    harness.others["nas"] = StorageHandle(store, nas)
    await harness.handle.check()
    await harness.others["nas"].check()
    harness.folder = tmp_path / "files"
    return harness


def saved(harness: JobHarness) -> dict[str, bytes]:
    return {path: data for path, data in harness.files().items() if not path.endswith(".saveany-storage")}


async def held(harness: JobHarness, job: Job, name: str) -> asyncio.Task[None]:
    """The running job, with half of that file written."""
    arrived = asyncio.Event()

    async def step(at_name: str, offset: int) -> None:
        if (at_name, offset) == (name, 2 * PART):
            arrived.set()
            await asyncio.Event().wait()

    harness.source.step = step
    running = asyncio.create_task(job.run())
    await within(arrived.wait())
    return running


async def test_each_file_is_saved_where_its_rule_says(harness: JobHarness) -> None:
    task_id = await harness.accept(rules=RULES, path="in")
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert saved(harness) == {"local1/in/a.bin": content("a.bin"), "nas/B/b.bin": content("b.bin")}
    assert [item.storage for item in await harness.store.tasks.all_items(task_id)] == ["", "nas"]


async def test_a_used_name_gets_a_number(harness: JobHarness) -> None:
    task_ids = [await harness.accept(rules=RULES) for _ in range(2)]
    for _ in task_ids:
        await within((await harness.job()).run())
    assert set(saved(harness)) == {"local1/a.bin", "local1/a_1.bin", "nas/B/b.bin", "nas/B/b_1.bin"}


async def test_a_storage_missing_on_this_worker_fails_that_file_only(harness: JobHarness) -> None:
    nas = harness.others.pop("nas")
    task_id = await harness.accept(rules=RULES)
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert task.status is Status.FAILED
    assert "1 of 2 files failed" in task.error
    assert "a rule sends this file to storage 'nas', which this worker does not have" in task.error
    assert set(saved(harness)) == {"local1/a.bin"}

    harness.others["nas"] = nas
    assert await harness.store.tasks.retry(task)
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert set(saved(harness)) == {"local1/a.bin", "nas/B/b.bin"}


async def test_an_unavailable_storage_is_waited_for(harness: JobHarness, tmp_path: Path) -> None:
    marker = tmp_path / "files" / "nas" / ".saveany-storage"
    mark = marker.read_text()
    marker.unlink()
    task_id = await harness.accept(rules=RULES)
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert (task.status, task.error) == (Status.QUEUED, "")
    assert set(saved(harness)) == {"local1/a.bin"}

    marker.write_text(mark)
    assert await harness.others["nas"].probe()
    await harness.store.db.do("ZADD", "sa:delayed", 1, task_id)
    await harness.store.claims.reconcile(check_leases=True)
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert set(saved(harness)) == {"local1/a.bin", "nas/B/b.bin"}


async def test_nothing_is_written_to_an_unchecked_disk(harness: JobHarness, tmp_path: Path) -> None:
    harness.others["nas"] = StorageHandle(
        harness.store, LocalStorage(LocalOptions(name="nas", type="local", base_path=tmp_path / "other"))
    )
    task_id = await harness.accept(rules=RULES)
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.QUEUED
    assert not (tmp_path / "other" / "B").exists()


async def test_a_cancel_leaves_nothing_in_any_storage(harness: JobHarness) -> None:
    task_id = await harness.accept(rules=RULES)
    job = await harness.job()
    running = await held(harness, job, "b.bin")
    assert any(path.startswith("nas/") for path in saved(harness))
    assert await harness.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    await within(running)
    assert (await harness.task(task_id)).status is Status.CANCELED
    assert set(saved(harness)) == {"local1/a.bin"}


async def test_another_worker_continues_after_a_crash(harness: JobHarness) -> None:
    task_id = await harness.accept(rules=RULES)
    dead = await held(harness, await harness.job(), "b.bin")
    await harness.expire_lease(task_id)
    harness.source.step = None
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert set(saved(harness)) == {"local1/a.bin", "nas/B/b.bin"}
    dead.cancel()
    await asyncio.wait([dead])


async def test_leftovers_of_a_dead_worker_are_removed_from_each_storage(harness: JobHarness) -> None:
    task_id = await harness.accept(rules=RULES)
    dead = await held(harness, await harness.job(), "b.bin")
    await harness.expire_lease(task_id)
    assert await harness.store.tasks.cancel(task_id, []) == "canceled"
    workers = harness.store.workers
    assert [await workers.leftovers(name) for name in ("local1", "nas")] == [[(task_id, 1)]] * 2
    await remove_leftovers(harness.store, harness.storage, task_id, 1)
    assert len(saved(harness)) == 2, "the part in the other storage is not its business"
    await remove_leftovers(harness.store, harness.others["nas"].storage, task_id, 1)
    assert set(saved(harness)) == {"local1/a.bin"}
    dead.cancel()
    await asyncio.wait([dead])


async def test_a_retry_takes_over_every_clean_up(harness: JobHarness) -> None:
    task_id = await harness.accept(rules=RULES)
    dead = await held(harness, await harness.job(), "b.bin")
    await harness.expire_lease(task_id)
    await harness.store.tasks.cancel(task_id, [])
    assert await harness.store.tasks.retry(await harness.task(task_id))
    assert [await harness.store.workers.leftovers(name) for name in ("local1", "nas")] == [[], []]
    dead.cancel()
    await asyncio.wait([dead])


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        (Rule(name="^late-b", storage="nas"), "nas/late-b.bin x"),
        (Rule(name="-b", min_size=1, storage="nas", folder="B"), "nas/B/late-b.bin x"),
        (Rule(name="^b", storage="nas"), "local1/late-b.bin x"),
    ],
)
async def test_a_rule_is_applied_when_the_name_is_known(harness: JobHarness, rule: Rule, where: str) -> None:
    harness.source = LateNamesSource(harness.source.files)
    task_id = await harness.accept(rules=(rule,), template="{{ name }}.{{ ext }} x")
    await within((await harness.job()).run())
    task, items = await harness.task(task_id), await harness.store.tasks.all_items(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert set(saved(harness)) == {"local1/late-a.bin x.bin", f"{where}.bin"}
    assert [item.status for item in items] == [ItemStatus.COMPLETED] * 2


async def test_a_late_name_may_choose_a_storage_missing_on_this_worker(harness: JobHarness) -> None:
    del harness.others["nas"]
    harness.source = LateNamesSource(harness.source.files)
    task_id = await harness.accept(rules=(Rule(name="^late-b", storage="nas"),))
    await within((await harness.job()).run())
    task = await harness.task(task_id)
    assert "storage 'nas', which this worker does not have" in task.error
    assert set(saved(harness)) == {"local1/late-a.bin"}
