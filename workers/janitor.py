"""Removes what dead workers have left behind: on storages, on this machine and in the queue."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from saveany.errors import Fenced, StorageError
from saveany.ids import is_id
from saveany.logs import get_logger
from saveany.loops import Signal, repeat, run_for_each
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Store
from storages.base import Storage
from workers.orphans import OrphanedLanes
from workers.recovery import remove_leftovers
from workers.removals import remove_copies
from workers.runner import TaskRunner
from workers.sources.base import Source

#: Seconds between two runs of each chore.
CLEAN_SECONDS = 2.0
#: Seconds after which storages are checked without a signal.
_UNASKED_SECONDS = 60.0
TIDY_SECONDS = 60.0
ORPHANS_SECONDS = 10.0
#: Seconds after which tasks in a lane that no worker knows are failed.
ORPHAN_GRACE_SECONDS = 300.0

log = get_logger("saveany.worker")


class Janitor:
    """Does the chores of one worker; every worker has one."""

    def __init__(
        self,
        store: Store,
        runner: TaskRunner,
        *,
        storages: StorageSet,
        sources: Mapping[str, Source],
        leftovers: Signal | None = None,
    ) -> None:
        """`leftovers` is sent when there may be something to remove from a storage."""
        self._leftovers = leftovers or Signal()
        self._store = store
        self._runner = runner
        self._storages = storages
        self._sources = sources
        self._orphans = OrphanedLanes(ORPHAN_GRACE_SECONDS)

    def loops(self) -> dict[str, Coroutine[Any, Any, Any]]:
        """The chores by name, each repeated until it is canceled."""
        return {
            "clean": repeat("clean", self._clean_when_needed, CLEAN_SECONDS),
            "tidy": repeat("tidy", self.tidy_sources, TIDY_SECONDS),
            "orphans": repeat("orphans", self.fail_orphans, ORPHANS_SECONDS),
        }

    async def _clean_when_needed(self) -> None:
        """Clean the storages. When nothing was left there, wait until something may be."""
        seen = self._leftovers.count
        if not await self.clean_storages():
            await self._leftovers.wait(_UNASKED_SECONDS, since=seen)

    async def clean_storages(self) -> int:
        """Remove unfinished uploads of canceled tasks whose workers died, and copies of deleted files, from
        this worker's storages. Returns how many were found."""
        found: list[int] = []

        async def clean(handle: StorageHandle) -> None:
            leftovers = await self._store.workers.leftovers(handle.storage.name)
            found.append(len(leftovers))
            await run_for_each(leftovers, partial(self._clean_up_after, handle.storage))
            found.append(await remove_copies(self._store.removals, handle.storage))

        await run_for_each(self._storages.present, clean)
        return sum(found)

    async def _clean_up_after(self, storage: Storage, leftover: tuple[str, int]) -> None:
        task_id, epoch = leftover
        try:
            await remove_leftovers(self._store, storage, task_id, epoch)
        except StorageError as e:
            log.warning("cleanup_failed", task=task_id, storage=storage.name, reason=e.message)
            return
        except Fenced:
            log.info("cleanup_obsolete", task=task_id, reason="the task was retried")
        await self._store.workers.cleaned(storage.name, task_id, epoch)

    async def tidy_sources(self) -> None:
        """Remove files that sources keep on this machine for tasks that have ended elsewhere."""
        await run_for_each(self._sources.values(), self._tidy_source)

    async def _tidy_source(self, source: Source) -> None:
        for task_id in await source.kept_tasks():
            task = await self._store.tasks.get(task_id)
            has_left = task is None and is_id(task_id) and not await self._store.tasks.exists(task_id)
            is_over = task is not None and not source.keeps_files_after(task.status)
            if (has_left or is_over) and task_id not in self._runner.running:
                await source.forget(task_id)

    async def fail_orphans(self) -> None:
        """Fail the tasks whose storage or task type no worker knows any more: no worker would ever start
        them."""
        ready, workers = await self._store.claims.lanes(), await self._store.workers.living()
        lanes = self._orphans.update(ready, workers)
        while lanes and (claim := await self._store.claims.claim(self._runner.worker, lanes)):
            if not (reason := self._runner.why_unrunnable(claim.task)):
                await claim.release()  # this worker knows the lane after all
                return
            await self._runner.fail(claim, reason)
