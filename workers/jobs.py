"""One claimed task from its claim to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec

from saveany.errors import (
    CancelRequested,
    Fenced,
    NoSpace,
    Offline,
    PauseRequested,
    Permanent,
    Retryable,
    SaveAnyError,
    StorageError,
    StorageUnavailable,
    TaskError,
    UnsafePath,
)
from saveany.logs import get_logger
from saveany.models import Delivery, Item, ItemStatus, Progress, Status, Task
from saveany.planning.plan import plan, planned_title
from saveany.store import Claim
from saveany.texts import Text
from storages.base import Storage
from workers.item_records import ItemRecords
from workers.lease import LeaseRenewer
from workers.progress import ProgressMeter
from workers.sources.base import Source
from workers.storage_set import StorageHandle
from workers.transfer import Transfer, gathers

#: A task that must wait longer than this gives its slot to another meanwhile.
_LONG_WAIT = 30.0
#: How long a task waits for the network or the proxy, or for a storage that has gone away, before it asks for
#: a worker that has it; for a storage no longer than until it works again.
_STORAGE_WAIT = 31.0

replace = msgspec.structs.replace
log = get_logger("saveany.job")
T = TypeVar("T")


class _Away(Retryable):
    """A storage that the task needs does not work now."""

    def __init__(self, text: Text, storage: str) -> None:
        super().__init__(text, after=_STORAGE_WAIT)
        self.storage = storage


class BuildDeliveries(Protocol):
    """Builds the webhooks of an event (`saveany.webhooks.announce`)."""

    async def __call__(self, task: Task, items: list[Item], event: str) -> list[Delivery]:
        """The deliveries to be written together with the change; none if nobody wants to know."""


class Job:
    """The work on one claim. `run` never raises because of the task: how it went is recorded in the store."""

    def __init__(
        self,
        claim: Claim,
        *,
        source: Source,
        places: Mapping[str, StorageHandle],
        announce: BuildDeliveries,
        tries: int,
        scratch: Path,
    ) -> None:
        self._claim = claim
        self._source = source
        self._announce = announce
        self._tries = tries
        self._task = claim.task
        self._ledger = ItemRecords(claim)
        goes_on = self._task.run == 1 or self._ledger.begun
        self._meter = ProgressMeter(self._ledger, self._task.progress if goes_on else Progress())
        self._keeper = LeaseRenewer(claim, self._meter)
        self._places = places
        self._scratch = scratch
        self._over = False  # whether this job has ended the task
        self._left: Text | None = None  # what is saved but still where it came from, too

    def look(self) -> None:
        """The task may have been canceled or paused: find out now."""
        self._keeper.look()

    async def run(self) -> None:
        """Work the task off and end it; or stop, if it is another's now; or give it back, if it
        is paused or this call is cancelled."""
        try:
            await self._run()
        finally:
            done_here = self._source.forget if self._over else self._source.rest
            await done_here(self._task.id)

    async def _run(self) -> None:
        try:
            async with self._keeper:
                last = await self._work()
            ending = asyncio.create_task(self._finish(last))
            ending.add_done_callback(lambda done: done.cancelled() or done.exception())  # if nobody waits
            await asyncio.shield(ending)
        except Fenced as e:
            log.warning("stopping: the task is not ours any more", task=self._task.id, reason=e.message)
        except CancelRequested:
            await self.cancel()
        except PauseRequested:
            await self._give_back()
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back())
            raise
        except Retryable as e:
            await self._wait_or_fail(e)
        except SaveAnyError as e:
            await self._fail(e.text)
        except Exception:
            reference = uuid4().hex[:8]
            log.exception("a task failed unexpectedly", task=self._task.id, reference=reference)
            error = Text("internal error; see {reference} in the worker's log", {"reference": reference})
            await self._fail(error)

    async def cancel(self) -> None:
        """Remove what is half done, and end the task as canceled."""
        try:
            await self._undo(*self._ledger.begun)
            told = await self._announce(self._ended(Status.CANCELED), self._ledger.items, "task.canceled")
            await self._end(Status.CANCELED, deliveries=told)
        except Fenced as e:
            log.warning("stopping: the task is not ours any more", task=self._task.id, reason=e.message)

    async def _work(self) -> list[Item]:
        """Everything but the last word: the last items are returned, not recorded."""
        if not self._ledger.items:
            await self._tried(self._plan)
        last: list[Item] = []
        for unit in self._units():
            await self._record(last)
            last = await self._saved(unit, self._tries)
        if self._source.moves(self._task.spec):
            await self._remove(last)
            return []
        return last

    def _units(self) -> list[list[Item]]:
        """What is left to do: each file by itself, but an album at once where the storage shows it as one."""
        units: dict[object, list[Item]] = {}
        for item in self._ledger.pending:
            unit = (item.album, item.storage) if self._gathers(item) else item.index
            units.setdefault(unit, []).append(item)
        return list(units.values())

    def _gathers(self, item: Item) -> bool:
        place = self._places.get(self._storage_name(item))
        return place is not None and gathers(place.storage, item)

    async def _record(self, items: list[Item]) -> None:
        if items:
            await self._ledger.put(*items, told=await self._told_of(items))

    async def _remove(self, last: list[Item]) -> None:
        """Remove what is saved where it came from. First the store knows that it is saved: then nothing takes
        that back. All of the files, as who worked on this task before may have died in the middle."""
        await self._record(last)
        left = []
        for item in self._ledger.items:
            if item.status is ItemStatus.COMPLETED:
                try:
                    await self._tried(partial(self._source.remove, item, self._task.spec))
                except (TaskError, StorageError) as e:
                    left.append((item.name, e.text))
        if left:
            name, reason = left[0]
            self._left = Text(
                "all files were saved, but {count} could not be removed from the source; {name}: {reason}",
                {"count": len(left), "name": name, "reason": reason},
            )

    async def _plan(self) -> None:
        spec = self._task.spec
        items = plan(spec, await self._source.resolve(spec))
        self._task = replace(self._task, title=planned_title(spec, items), items_total=len(items))
        total = sum(item.size or 0 for item in items)
        progress = Progress(total_bytes=total, total_files=len(items))
        told = await self._announce(self._task, items, "task.running")
        await self._claim.plan(self._task.title, items, progress, told)
        self._ledger.items = items

    async def _saved(self, unit: list[Item], tries: int) -> list[Item]:
        """The items, completed or skipped, or failed with the reason on them. Of an album each is saved, then
        all that could be are shown together; if that was what a worker died at, it is done first."""
        held = [item for item in unit if item.status is ItemStatus.FINISHING and self._gathers(item)]
        done = await self._attempted(partial(self._gather, held), held) if held else []
        known = {item.index for item in done}
        for item in unit:
            if item.index not in known:
                done += await self._attempted(partial(self._save, item.index), [item])
        held = [item for item in done if item.status is ItemStatus.FINISHING]
        if not held:
            return done
        done = [item for item in done if item not in held]
        if not tries:
            return done + [
                await self._failed(item, Text("the storage keeps losing what was uploaded")) for item in held
            ]
        return done + await self._saved(held, tries - 1)

    async def _attempted(self, step: Callable[[], Awaitable[list[Item]]], items: list[Item]) -> list[Item]:
        """What `step` makes of the items, or they, failed."""
        try:
            return await self._tried(step, items[0].index)
        except Retryable as e:
            if e.after > _LONG_WAIT:
                raise
            error = e.text
        except (TaskError, StorageError) as e:
            error = e.text
        return [await self._failed(item, error) for item in items]

    async def _failed(self, item: Item, error: Text) -> Item:
        log.info("a file failed", task=self._task.id, item=item.index, reason=str(error))
        await self._undo(self._ledger.items[item.index], keep=True)
        item = self._ledger.items[item.index]
        if item.status.done:  # after all
            return item
        failures = item.failures + 1
        return replace(item, status=ItemStatus.FAILED, error=str(error), error_text=error, failures=failures)

    async def _save(self, index: int) -> list[Item]:
        item = self._ledger.items[index]
        return [await self._transfer(item).save(item)]

    async def _gather(self, items: list[Item]) -> list[Item]:
        return await self._transfer(items[0]).gather(items)

    def _transfer(self, item: Item) -> Transfer:
        storage = self._storage(item)
        return Transfer(
            self._claim, self._ledger, self._source, storage, self._storage, self._meter, self._scratch
        )

    def _storage(self, item: Item) -> Storage:
        place = self._place(item)
        if item.storage and not place.here:  # for the task's own that was asked before
            raise StorageUnavailable(place.problem)
        return place.storage

    def _place(self, item: Item | None) -> StorageHandle:
        """Where an item goes; without one, the task's own storage."""
        name = self._storage_name(item)
        if name not in self._places:
            raise Permanent(f"a rule sends this file to storage {name!r}, which this worker does not have")
        return self._places[name]

    def _storage_name(self, item: Item | None) -> str:
        return (item and item.storage) or self._task.spec.storage

    async def _tried(self, step: Callable[[], Awaitable[T]], index: int | None = None) -> T:
        """`step`, for one item or the whole task, again while it fails in a way that may pass. A wait we are
        told to make is no failure, and a storage that has gone away is not the task's: the task waits until
        it is back."""
        failures = 0
        while True:
            try:
                return await step()
            except (Retryable, StorageError) as e:
                wait = e.after if isinstance(e, Retryable) else 0.0
                failures += not wait
                hopeless = isinstance(e, NoSpace | UnsafePath)
                for place in self._suspects(e, index):
                    if not await place.works():
                        raise _Away(e.text, place.storage.name) from e
                if isinstance(e, Offline):
                    raise Retryable(e.text, after=_STORAGE_WAIT) from e
                if hopeless or wait > _LONG_WAIT or failures >= self._tries:
                    raise
                log.info("trying again", task=self._task.id, reason=e.message, after=wait)
                self._meter.trouble = e.text
            await asyncio.sleep(wait or min(8.0, 0.5 * 2**failures))
            self._meter.trouble = None

    def _suspects(self, error: Exception, index: int | None) -> list[StorageHandle]:
        """Storages that may have gone away, as far as an error tells: whoever reads from one calls that
        passing."""
        target = self._place(None if index is None else self._ledger.items[index])
        places = [target] if isinstance(error, StorageUnavailable) else []
        origin = self._places.get(self._task.spec.source_storage)
        return [*places, origin] if origin and not isinstance(error, NoSpace | UnsafePath) else places

    async def _finish(self, last: list[Item]) -> None:
        """The last items and the end of the task in one step: a cancel comes before both or after both."""
        items = list(self._ledger.items)
        for item in last:
            items[item.index] = item
        error = _error(items) or self._left
        status = Status.FAILED if error else Status.COMPLETED
        told = await self._told_of(last)
        told += await self._announce(self._ended(status, error), items, f"task.{status}")
        done = [item for item in items if item.status.done]
        got = sum(item.size or 0 for item in done)
        progress = Progress(
            total_bytes=sum(item.size or 0 for item in items),
            downloaded_bytes=got,
            uploaded_bytes=got,
            total_files=len(items),
            done_files=len(done),
        )
        await self._end(status, error, items=last, progress=progress, deliveries=told)

    async def _end(self, status: Status, error: Text | None = None, **more: Any) -> None:
        await self._claim.finish(status, error or "", **more)
        self._over = True

    async def _fail(self, error: Text) -> None:
        try:
            await self._undo(*self._ledger.begun)
            told = await self._announce(self._ended(Status.FAILED, error), self._ledger.items, "task.failed")
            await self._end(Status.FAILED, error, deliveries=told)
        except CancelRequested:
            await self.cancel()
        except Fenced as e:
            log.warning("stopping: the task is not ours any more", task=self._task.id, reason=e.message)

    async def _wait_or_fail(self, error: Retryable) -> None:
        if error.after > _LONG_WAIT:
            log.info("waiting", task=self._task.id, seconds=error.after, reason=error.message)
            await self._give_back(error)
        else:
            await self._fail(error.text)

    async def _give_back(self, wait: Retryable | None = None) -> None:
        storage = wait.storage if isinstance(wait, _Away) else ""
        try:
            if wait:
                await self._claim.release(round(wait.after * 1000), wait.text, storage)
            else:
                await self._claim.release()
        except CancelRequested:
            await self.cancel()
        except Fenced:
            log.info("the task has ended or is not ours any more", task=self._task.id)

    async def _undo(self, *items: Item, keep: bool = False) -> None:
        """Leave nothing half done (`Transfer.undo`). What of a canceled task cannot be removed now is removed
        later: the store remembers it."""
        for item in items:
            try:
                await self._transfer(item).undo(item, keep=keep)
            except (Permanent, StorageError) as e:
                log.warning("could not clean up", task=self._task.id, item=item.index, reason=e.message)

    async def _told_of(self, items: list[Item]) -> list[Delivery]:
        told = []
        for item in items:
            if item.status is ItemStatus.COMPLETED:
                told += await self._announce(self._task, [item], "file_uploaded")
        return told

    def _ended(self, status: Status, error: Text | None = None) -> Task:
        return replace(self._task, status=status, error=str(error or ""), error_text=error)


def _error(items: list[Item]) -> Text | None:
    """Why a task failed, None if it did not: the reason itself for one file, else the count and the first."""
    failed = [item for item in items if item.status is ItemStatus.FAILED]
    if not failed:
        return None
    first = failed[0].error_text or Text(failed[0].error)
    if len(items) == 1:
        return first
    return Text(
        "{failed} of {count} files failed; {name}: {reason}",
        {"failed": len(failed), "count": len(items), "name": failed[0].name, "reason": first},
    )
