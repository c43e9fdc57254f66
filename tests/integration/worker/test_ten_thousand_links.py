"""A task of 10,000 links, of which every third is wrong."""

from __future__ import annotations

from collections import Counter

from saveany.errors import Permanent
from saveany.models import Item, ItemStatus, Status, TaskSpec
from saveany.storage_set import StorageHandle
from storages.base import Entry
from storages.memory import MemoryOptions, MemoryStorage
from tests.integration.worker.conftest import FilesSource, JobHarness, within
from workers.sources.base import Report

COUNT = 10_000


class HalfWrongSource(FilesSource):
    """Every third of its files does not exist."""

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        if item.index % 3 == 0:
            raise Permanent("it is gone")
        return item


async def test_every_file_that_exists_is_saved_with_a_few_commands_each(harness: JobHarness) -> None:
    names = [f"{number}.bin" for number in range(COUNT)]
    harness.source = HalfWrongSource({name: name.encode() for name in names}, concurrent=True)
    storage = MemoryStorage(MemoryOptions(name="local1", type="memory", space="ten thousand"))
    harness.others["local1"] = harness.handle = StorageHandle(harness.store, storage)
    harness.storage = storage  # type: ignore[assignment]
    task_id = await harness.accept(links=tuple(f"https://t.me/channel/{n + 1}" for n in range(COUNT)))
    job = await harness.job()
    await harness.store.db.do("CONFIG", "RESETSTAT")
    await within(job.run(), 300)
    commands = await _commands(harness)
    task = await harness.task(task_id)
    assert task.status is Status.FAILED
    assert "3334 of 10000 files failed; 0.bin: it is gone" in task.error
    assert (task.progress.done_files, task.progress.total_files) == (6666, COUNT)
    items = await harness.store.tasks.all_items(task_id)
    assert Counter(item.status for item in items) == {ItemStatus.COMPLETED: 6666, ItemStatus.FAILED: 3334}
    assert await storage.size("1.bin") == len("1.bin")
    assert await storage.size("0.bin") is None
    # Each file is written as planned, running, finishing, and completed or failed. While it is published, its
    # path is kept apart, so that no removal of a deleted copy there hits it.
    assert commands["hset"] <= 4.2 * COUNT
    assert sum(commands.values()) <= 8 * COUNT


class ScanCountingStorage(MemoryStorage):
    """Counts how often a folder is listed."""

    scans = 0

    async def _scan(self, path: str) -> list[Entry]:
        self.scans += 1
        return await super()._scan(path)


async def test_no_folder_is_listed_for_files_that_were_never_begun(harness: JobHarness) -> None:
    """A listing for each of them would be slow in a large folder."""
    names = [f"{number}.bin" for number in range(30)]
    harness.source = HalfWrongSource({name: name.encode() for name in names}, concurrent=True)
    storage = ScanCountingStorage(MemoryOptions(name="local1", type="memory", space="never begun"))
    harness.others["local1"] = harness.handle = StorageHandle(harness.store, storage)
    harness.storage = storage  # type: ignore[assignment]
    task_id = await harness.accept()
    await within((await harness.job()).run())
    assert "10 of 30 files failed" in (await harness.task(task_id)).error
    assert storage.scans == 0


async def _commands(harness: JobHarness) -> Counter[str]:
    """The commands that Redis has executed, also by scripts."""
    stats = await harness.store.db.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})
