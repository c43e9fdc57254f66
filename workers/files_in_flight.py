"""Saves the files of one task at the same time, as far as the budget of the worker admits them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from saveany.errors import SaveAnyError, StorageBusy
from saveany.models import Item
from storages.base import Storage
from workers.progress import ProgressMeter
from workers.slots import SlotUse
from workers.task_files import TaskFiles
from workers.transfer_budget import BudgetShare, Place

#: Records the items of a unit.
Record = Callable[[list[Item]], Awaitable[None]]


class FilesInFlight:
    """The units of a task that are being saved. A unit that fails delays no other: it is retried and recorded
    by itself. If its storage is busy, no more units go there, and the task waits when the others have ended.
    An error that concerns the whole task stops all units, and is raised when they have ended."""

    def __init__(
        self, files: TaskFiles, record: Record, share: BudgetShare, meter: ProgressMeter, slot: SlotUse
    ) -> None:
        self._files = files
        self._record = record
        self._share = share
        self._meter = meter
        self._slot = slot
        self._stoppable: set[asyncio.Task[None]] = set()
        self._busy: dict[Storage | None, StorageBusy] = {}  # storages that take no more units for now
        self._remaining = 0  # units that are not saved yet
        self._last: list[Item] = []
        self._error: Exception | None = None

    async def save_all(
        self, units: Sequence[list[Item]], more: AsyncIterator[list[Item]] | None = None
    ) -> list[Item]:
        """Save and record these units, and those that `more` brings while that happens. Returns the items of
        the one that ended last: the caller records them, together with what follows."""
        self._remaining = len(units) + (more is not None)
        self._slot.begin(len(units))
        async with asyncio.TaskGroup() as group:
            self._stoppable.add(group.create_task(self._start_all(group, units, more)))
        if self._error is not None:
            raise self._error
        if self._busy:
            raise next(iter(self._busy.values()))
        if self._remaining:
            raise AssertionError("a file was canceled, but not its task")
        return self._last

    async def _start_all(
        self, group: asyncio.TaskGroup, units: Sequence[list[Item]], more: AsyncIterator[list[Item]] | None
    ) -> None:
        for unit in units:
            await self._start_when_admitted(group, unit)
        if more is None:
            return
        try:
            async for unit in more:
                self._remaining += 1
                await self._start_when_admitted(group, unit)
            self._remaining -= 1
        except Exception as error:
            self._fail(error)

    async def _start_when_admitted(self, group: asyncio.TaskGroup, unit: list[Item]) -> None:
        storage, size = self._files.needs(unit)
        if storage in self._busy:
            return
        place = await self._share.acquire(storage, size)
        if storage in self._busy:
            place.release()
        else:
            self._start(group, unit, place)

    def _start(self, group: asyncio.TaskGroup, unit: list[Item], place: Place) -> None:
        self._files.expect(unit)
        task = group.create_task(self._save(unit, place))
        self._stoppable.add(task)

        def ended(_: object) -> None:
            self._stoppable.discard(task)
            place.release()  # also if the task was canceled before it began

        task.add_done_callback(ended)

    async def _save(self, unit: list[Item], place: Place) -> None:
        try:
            with self._meter.file_in_flight():
                saved = await self._files.save(unit, self._share)
            place.release()
            self._stoppable.discard(_current_task())  # what is saved is recorded, whatever fails
            self._remaining -= 1
            self._slot.saved()
            if self._remaining:
                await self._record(saved)
            else:
                self._last = saved
        except StorageBusy as error:
            self._busy[self._files.needs(unit)[0]] = error
            self._slot.saved()  # nothing is done for it until the task is claimed again
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Stop all units. Of several errors the one that ends the claim counts, otherwise the first one."""
        if self._error is None or (_is_fatal(error) and not _is_fatal(self._error)):
            self._error = error
        for task in self._stoppable - {_current_task()}:
            task.cancel()


def _current_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # only tasks call this
    return task


def _is_fatal(error: Exception) -> bool:
    return isinstance(error, SaveAnyError) and error.fatal
