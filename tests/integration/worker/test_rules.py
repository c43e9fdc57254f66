"""Files of one task that rules send into several storages, on a worker that may not have them all."""

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
from tests.integration.worker.conftest import PART, Bench, Files, content, within
from workers.jobs import Job
from workers.recovery import remove_leftovers
from workers.sources.base import Report

RULES = (Rule(name="^b", storage="nas", folder="B"),)
NAMES = ["a.bin", "b.bin"]


class Late(Files):
    """Files whose names and sizes show when their turn comes."""

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        return replace(item, name=f"late-{item.source['name']}", size=len(self.files[item.source["name"]]))


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> Bench:
    bench = Bench(store, tmp_path / "files" / "local1")
    bench.source.files = {name: content(name) for name in NAMES}
    nas = LocalStorage(LocalOptions(name="nas", type="local", base_path=tmp_path / "files" / "nas"))
    bench.others["nas"] = StorageHandle(store, nas)
    await bench.place.check()
    await bench.others["nas"].check()
    bench.folder = tmp_path / "files"
    return bench


def saved(bench: Bench) -> dict[str, bytes]:
    return {path: data for path, data in bench.files().items() if not path.endswith(".saveany-storage")}


async def held(bench: Bench, job: Job, name: str) -> asyncio.Task[None]:
    """The job, running, with half of that file written."""
    arrived = asyncio.Event()

    async def step(at_name: str, offset: int) -> None:
        if (at_name, offset) == (name, 2 * PART):
            arrived.set()
            await asyncio.Event().wait()

    bench.source.step = step
    running = asyncio.create_task(job.run())
    await within(arrived.wait())
    return running


async def test_each_file_is_saved_where_its_rule_says(bench: Bench) -> None:
    task_id = await bench.accept(rules=RULES, path="in")
    await within((await bench.job()).run())
    assert (await bench.task(task_id)).status is Status.COMPLETED
    assert saved(bench) == {"local1/in/a.bin": content("a.bin"), "nas/B/b.bin": content("b.bin")}
    assert [item.storage for item in await bench.store.tasks.all_items(task_id)] == ["", "nas"]


async def test_a_used_name_gets_a_number(bench: Bench) -> None:
    task_ids = [await bench.accept(rules=RULES) for _ in range(2)]
    for _ in task_ids:
        await within((await bench.job()).run())
    assert set(saved(bench)) == {"local1/a.bin", "local1/a_1.bin", "nas/B/b.bin", "nas/B/b_1.bin"}


async def test_a_storage_missing_on_this_worker_fails_that_file_only(bench: Bench) -> None:
    nas = bench.others.pop("nas")
    task_id = await bench.accept(rules=RULES)
    await within((await bench.job()).run())
    task = await bench.task(task_id)
    assert task.status is Status.FAILED
    assert "1 of 2 files failed" in task.error
    assert "a rule sends this file to storage 'nas', which this worker does not have" in task.error
    assert set(saved(bench)) == {"local1/a.bin"}

    bench.others["nas"] = nas
    assert await bench.store.tasks.retry(task)
    await within((await bench.job()).run())
    assert (await bench.task(task_id)).status is Status.COMPLETED
    assert set(saved(bench)) == {"local1/a.bin", "nas/B/b.bin"}


async def test_an_unavailable_storage_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    marker = tmp_path / "files" / "nas" / ".saveany-storage"
    mark = marker.read_text()
    marker.unlink()
    task_id = await bench.accept(rules=RULES)
    await within((await bench.job()).run())
    task = await bench.task(task_id)
    assert (task.status, task.error) == (Status.QUEUED, "")
    assert set(saved(bench)) == {"local1/a.bin"}

    marker.write_text(mark)
    assert await bench.others["nas"].probe()
    await bench.store.db.do("ZADD", "sa:delayed", 1, task_id)
    await bench.store.claims.reconcile(check_leases=True)
    await within((await bench.job()).run())
    assert (await bench.task(task_id)).status is Status.COMPLETED
    assert set(saved(bench)) == {"local1/a.bin", "nas/B/b.bin"}


async def test_nothing_is_written_to_an_unchecked_disk(bench: Bench, tmp_path: Path) -> None:
    bench.others["nas"] = StorageHandle(
        bench.store, LocalStorage(LocalOptions(name="nas", type="local", base_path=tmp_path / "other"))
    )
    task_id = await bench.accept(rules=RULES)
    await within((await bench.job()).run())
    assert (await bench.task(task_id)).status is Status.QUEUED
    assert not (tmp_path / "other" / "B").exists()


async def test_a_cancel_leaves_nothing_in_any_storage(bench: Bench) -> None:
    task_id = await bench.accept(rules=RULES)
    job = await bench.job()
    running = await held(bench, job, "b.bin")
    assert any(path.startswith("nas/") for path in saved(bench))
    assert await bench.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    await within(running)
    assert (await bench.task(task_id)).status is Status.CANCELED
    assert set(saved(bench)) == {"local1/a.bin"}


async def test_another_worker_continues_after_a_crash(bench: Bench) -> None:
    task_id = await bench.accept(rules=RULES)
    dead = await held(bench, await bench.job(), "b.bin")
    await bench.lose(task_id)
    bench.source.step = None
    await within((await bench.job()).run())
    assert (await bench.task(task_id)).status is Status.COMPLETED
    assert set(saved(bench)) == {"local1/a.bin", "nas/B/b.bin"}
    dead.cancel()
    await asyncio.wait([dead])


async def test_leftovers_of_a_dead_worker_are_removed_from_each_storage(bench: Bench) -> None:
    task_id = await bench.accept(rules=RULES)
    dead = await held(bench, await bench.job(), "b.bin")
    await bench.lose(task_id)
    assert await bench.store.tasks.cancel(task_id, []) == "canceled"
    workers = bench.store.workers
    assert [await workers.leftovers(name) for name in ("local1", "nas")] == [[(task_id, 1)]] * 2
    await remove_leftovers(bench.store, bench.storage, task_id, 1)
    assert len(saved(bench)) == 2, "the part in the other storage is not its business"
    await remove_leftovers(bench.store, bench.others["nas"].storage, task_id, 1)
    assert set(saved(bench)) == {"local1/a.bin"}
    dead.cancel()
    await asyncio.wait([dead])


async def test_a_retry_takes_over_every_clean_up(bench: Bench) -> None:
    task_id = await bench.accept(rules=RULES)
    dead = await held(bench, await bench.job(), "b.bin")
    await bench.lose(task_id)
    await bench.store.tasks.cancel(task_id, [])
    assert await bench.store.tasks.retry(await bench.task(task_id))
    assert [await bench.store.workers.leftovers(name) for name in ("local1", "nas")] == [[], []]
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
async def test_a_rule_is_applied_when_the_name_is_known(bench: Bench, rule: Rule, where: str) -> None:
    bench.source = Late(bench.source.files)
    task_id = await bench.accept(rules=(rule,), template="{{ name }}.{{ ext }} x")
    await within((await bench.job()).run())
    task, items = await bench.task(task_id), await bench.store.tasks.all_items(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert set(saved(bench)) == {"local1/late-a.bin x.bin", f"{where}.bin"}
    assert [item.status for item in items] == [ItemStatus.COMPLETED] * 2


async def test_a_late_name_may_choose_a_storage_missing_on_this_worker(bench: Bench) -> None:
    del bench.others["nas"]
    bench.source = Late(bench.source.files)
    task_id = await bench.accept(rules=(Rule(name="^late-b", storage="nas"),))
    await within((await bench.job()).run())
    task = await bench.task(task_id)
    assert "storage 'nas', which this worker does not have" in task.error
    assert set(saved(bench)) == {"local1/late-a.bin"}
