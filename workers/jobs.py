"""The work on one claimed task: plan it, save its files, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from saveany.errors import (
    CancelRequested,
    Fenced,
    PauseRequested,
    SaveAnyError,
    StopRequested,
)
from saveany.logs import get_logger
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.planning.plan import ResolvedFile, further_item, plan, planned_subject, planned_title
from saveany.storage_set import StorageHandle
from saveany.store import Claim
from saveany.texts import Text
from workers.ending import BuildDeliveries, end_task, with_file_deliveries
from workers.files_in_flight import FilesInFlight
from workers.item_records import ItemRecords
from workers.lease import LeaseRenewer
from workers.progress import ProgressMeter
from workers.retries import LONG_WAIT, Retries, StorageOutage
from workers.slots import NoSlot, SlotUse, TaskSlot, needs_slot
from workers.sources.base import Source
from workers.task_files import TaskFiles
from workers.task_storages import TaskStorages
from workers.transfer_budget import TransferBudget
from workers.transfer_context import TransferContext

replace = msgspec.structs.replace
#: Milliseconds until a stopped task is ended that could not be, because a storage did not reply.
_STOP_AGAIN_MS = 30_000

log = get_logger("saveany.job")


class Job:
    """The work on one claim. `run` never raises because of the task: its outcome is recorded in the store."""

    def __init__(
        self,
        claim: Claim,
        *,
        source: Source,
        storages: Mapping[str, StorageHandle],
        build_deliveries: BuildDeliveries,
        attempts: int,
        scratch: Path,
        budget: TransferBudget,
        slot: TaskSlot | None = None,
        may_begin: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Without `slot` the task may use as much as one that has a slot. The work begins when `may_begin`
        returns."""
        self._claim = claim
        self._task = claim.task
        self._source = source
        self._build_deliveries = build_deliveries
        self._records = ItemRecords(claim)
        continues = self._task.run == 1 or self._records.unfinished
        self._meter = meter = ProgressMeter(self._records, self._task.progress if continues else Progress())
        self._renewer = LeaseRenewer(claim, meter)
        self._storages = TaskStorages(self._task.spec, storages)
        self._retries = Retries(self._task.id, meter, attempts)
        self._slot_use = use = SlotUse(slot)
        storage_of = self._storages.storage_of
        context = TransferContext(claim, self._records, source, storage_of, meter, use, scratch)
        self._files = TaskFiles(context, self._storages, self._retries)
        self._slot = slot
        self._may_begin = may_begin
        self._share = budget.share(concurrent=source.is_concurrent, slot=slot)
        self._is_stopped = False  # whether a task that grows is saved as far as it has come
        self._removal_failure: Text | None = None  # for originals of moved files that could not be removed
        self._ended: Status | None = None  # how this job has ended the task

    def check_requests(self) -> None:
        """Check now, not with the next renewal, whether the task was canceled, stopped or paused."""
        self._renewer.check_now()

    async def run(self) -> None:
        """Work on the task until it has ended, another worker owns it, or it must wait. If this call is
        canceled, the task returns to the queue."""
        try:
            await self._conclude(self._work_until_end())
        finally:
            is_over = self._ended and not self._source.keeps_files_after(self._ended)
            await (self._source.forget if is_over else self._source.stop)(self._task.id)

    async def cancel(self) -> None:
        """Remove unfinished files, and end the task as canceled."""
        await self._conclude(self._abandon(Status.CANCELED))

    async def _conclude(self, last_step: Awaitable[None]) -> None:
        """Await what ends the work on this claim. A cancel that the user has recorded first comes instead; if
        the claim is lost, another worker ends the task."""
        try:
            await last_step
        except CancelRequested:
            await self.cancel()
        except Fenced as error:
            log.warning("claim_lost", task=self._task.id, reason=error.message)

    async def _work_until_end(self) -> None:
        try:
            async with self._renewer:
                try:
                    last = await self._work()
                finally:
                    await self._records.drain()  # what follows must be the last write
            await _run_to_end(self._complete(last))
        except (CancelRequested, Fenced):
            raise
        except StopRequested:
            if self._source.grows:
                await self._save_rest()
            else:
                await self._stop()
        except PauseRequested:
            await self._release()
        except NoSlot:
            await self._claim.release(needs_slot=True)
        except asyncio.CancelledError:
            await asyncio.shield(self._conclude(self._release()))
            raise
        except SaveAnyError as error:
            if error.retryable and error.after > LONG_WAIT:
                await self._release(error)
            else:
                await self._abandon(Status.FAILED, error.text)
        except Exception:
            reference = uuid4().hex[:8]
            log.exception("task_crashed", task=self._task.id, reference=reference)
            internal = Text("internal error; see {reference} in the worker's log", {"reference": reference})
            await self._abandon(Status.FAILED, internal)

    async def _work(self) -> list[Item]:
        """Save all files. Returns those that were saved last, which are recorded together with the end of the
        task."""
        if self._may_begin:
            await self._may_begin()
        if self._task.stop_requested and not self._is_stopped:
            raise StopRequested("Task {task} was stopped.", task=self._task.id)
        if not self._records.items:
            await self._retries.run(self._plan, self._suspects)
        else:
            await self._source.look_up(self._records.pending, self._task.spec)
        await self._take_slot_if_needed()
        if self._source.grows:
            await self._save_growing()
            return []
        last = await self._in_flight().save_all(self._files.units())
        if self._source.moves(self._task.spec):
            # A copy must be recorded before its original is removed.
            await self._record(last)
            await self._remove_originals()
            return []
        return last

    def _in_flight(self) -> FilesInFlight:
        return FilesInFlight(self._files, self._record, self._share, self._meter, self._slot_use)

    async def _save_growing(self) -> None:
        """Save all files, and those that come while that happens, until none come."""
        units, is_complete = self._files.units(), False
        while not is_complete:
            before = len(self._records.items)
            async with aclosing(self._more()) as more:
                await self._record(await self._in_flight().save_all(units, more))
            is_complete = not units and len(self._records.items) == before
            units = []  # what has failed is not tried again
            ended = await self._build_deliveries(self._task, self._records.items, "live_ended")
            if ended:  # the same each time
                await self._records.put(deliveries=ended)
        await self._files.take_back(self._source.replaced(self._records.items), ItemStatus.SKIPPED)

    async def _more(self) -> AsyncGenerator[list[Item], None]:
        """The items that come to the task, recorded."""
        spec, items = self._task.spec, list(self._records.items)
        found = self._source.more(spec, items, stopped=self._is_stopped, growth=self._meter.growth())
        async with aclosing(found):
            async for file in found:
                yield [await self._append(file)]

    async def _append(self, file: ResolvedFile) -> Item:
        item = further_item(self._task.spec, file, len(self._records.items))
        path = self._records.choose_path(item)
        item = replace(item, path=path, name=path.rpartition("/")[2])
        shown = self._meter.progress()
        total = 0 if shown.grows else shown.total_bytes + (item.size or 0)
        progress = replace(shown, total_files=shown.total_files + 1, total_bytes=total)
        await self._claim.append([item], progress)
        self._records.add(item)
        return item

    async def _save_rest(self) -> None:
        """End a task that grows with what has come until now; as canceled if that is nothing."""
        self._is_stopped = True
        await self._claim.accept_stop()
        self._renewer = LeaseRenewer(self._claim, self._meter)
        await self._work_until_end()

    async def _plan(self) -> None:
        """Find the files of the task and record them as its items."""
        spec = self._task.spec
        items = plan(spec, await self._source.resolve(spec))
        if not needs_slot(items):  # all files begin at once; recording that here saves a write
            items = [replace(item, status=ItemStatus.RUNNING) for item in items]
        title, subject = planned_title(spec, items), planned_subject(spec, items)
        self._task = replace(self._task, title=title, subject=subject, items_total=len(items))
        progress = Progress(total_bytes=sum(item.size or 0 for item in items), total_files=len(items))
        deliveries = await self._build_deliveries(self._task, items, "task.running")
        if self._source.grows:
            deliveries += await self._build_deliveries(self._task, items, "live_started")
        await self._claim.plan(title, items, progress, deliveries, subject=subject)
        self._records.replace_all(items)

    async def _take_slot_if_needed(self) -> None:
        """Raise `NoSlot` if the files are large and no slot is free."""
        if self._slot is None or self._slot.held:
            return
        if not needs_slot(self._records.pending):
            self._slot.release()
        elif self._slot.take():
            await self._claim.take_slot()
        else:
            raise NoSlot

    def _suspects(self, error: SaveAnyError) -> list[StorageHandle]:
        return self._storages.suspects(error, None)

    async def _record(self, items: list[Item]) -> None:
        if items:
            items, deliveries = await with_file_deliveries(self._build_deliveries, self._task, items)
            await self._records.put(*items, deliveries=deliveries)

    async def _remove_originals(self) -> None:
        """Remove the originals of all saved files, also of those that an earlier claim has saved: its worker
        may have died before it removed them."""
        errors = []
        for item in self._records.items:
            if item.status is ItemStatus.COMPLETED:
                try:
                    await self._retries.run(
                        partial(self._source.remove, item, self._task.spec), self._suspects
                    )
                except SaveAnyError as error:
                    if error.fatal:
                        raise
                    errors.append((item.name, error.text))
        if errors:
            name, reason = errors[0]
            self._removal_failure = Text(
                "all files were saved, but {count} could not be removed from the source; {name}: {reason}",
                {"count": len(errors), "name": name, "reason": reason},
            )

    async def _complete(self, last: list[Item], *, stopped: bool = False) -> None:
        """End the task after all of its files were tried: completed, or failed if some of them failed and the
        user has not `stopped` it."""
        items = list(self._records.items)
        for item in last:
            items[item.index] = item
        needed = [item for item in items if not self._source.is_optional(item)]
        error = (None if stopped else _first_failure(needed)) or self._removal_failure
        saved = [item for item in items if item.status.done]
        if self._is_stopped and not saved:
            await self._end(Status.CANCELED, None)
            return
        is_piece = ItemStatus.SKIPPED if self._source.grows else None  # of the file that is there now
        counted = [item for item in items if item.status is not is_piece]
        saved = [item for item in counted if item.status.done]
        saved_bytes = sum(item.size or 0 for item in saved)
        progress = Progress(
            total_bytes=sum(item.size or 0 for item in counted),
            downloaded_bytes=saved_bytes,
            uploaded_bytes=saved_bytes,
            total_files=len(counted),
            done_files=len(saved),
        )
        await self._end(Status.FAILED if error else Status.COMPLETED, error, last, progress)

    async def _abandon(self, status: Status, error: Text | None = None) -> None:
        """Remove unfinished files, and end the task as canceled or failed. A canceled task that grows keeps
        nothing: its files are pieces of one."""
        await self._files.roll_back(*self._records.unfinished)
        if status is Status.CANCELED and self._source.grows:
            saved = [item for item in self._records.items if item.status is ItemStatus.COMPLETED]
            await self._files.take_back(saved, ItemStatus.QUEUED)
        await self._end(status, error)

    async def _stop(self) -> None:
        """End the task with the files that are saved, also those that became visible just now; as canceled if
        there are none."""
        begun = {item.index for item in self._records.unfinished}
        await self._files.roll_back(*self._records.unfinished, keep=True)
        if self._records.unfinished:  # only their storage knows whether they are visible
            await self._claim.release(_STOP_AGAIN_MS)
            return
        items = self._records.items
        if not any(item.status.done for item in items):
            await self._end(Status.CANCELED, None)
            return
        if self._source.moves(self._task.spec):
            await self._remove_originals()
        reason = Text("the task was stopped before this file was saved")
        rest = [
            replace(item, status=ItemStatus.FAILED, error=str(reason), error_text=reason)
            for item in items
            if item.status is ItemStatus.QUEUED
        ]
        kept = [item for item in items if item.index in begun and item.status.done]
        await self._complete([*kept, *rest], stopped=True)

    async def _end(
        self, status: Status, error: Text | None, last: Sequence[Item] = (), progress: Progress | None = None
    ) -> None:
        await end_task(
            self._claim,
            self._build_deliveries,
            status,
            error,
            task=self._task,
            items=self._records.items,
            last=last,
            progress=progress,
        )
        self._ended = status

    async def _release(self, wait: SaveAnyError | None = None) -> None:
        """Return the task to the queue, to be claimed again at once or after a wait."""
        if wait is None:
            await self._claim.release()
            return
        log.info("task_delayed", task=self._task.id, seconds=wait.after, reason=wait.message)
        storage = wait.storage if isinstance(wait, StorageOutage) else ""
        await self._claim.release(round(wait.after * 1000), wait.text, storage)


async def _run_to_end(step: Coroutine[Any, Any, None]) -> None:
    """Await a step that runs to its end even if the caller is canceled."""
    running = asyncio.create_task(step)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())  # no caller may be left
    await asyncio.shield(running)


def _first_failure(items: list[Item]) -> Text | None:
    """Why a task failed, None if it did not: the reason itself for a single file, else how many failed and
    the first reason."""
    failed = [item for item in items if item.status is ItemStatus.FAILED]
    if not failed:
        return None
    reason = failed[0].error_text or Text(failed[0].error)
    if len(items) == 1:
        return reason
    return Text(
        "{failed} of {count} files failed; {name}: {reason}",
        {"failed": len(failed), "count": len(items), "name": failed[0].name, "reason": reason},
    )
