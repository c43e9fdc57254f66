"""Saves the files of one task in units, and records the files that failed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import msgspec

from saveany.errors import Permanent, SaveAnyError, StorageError, StorageUnavailable
from saveany.logs import get_logger
from saveany.models import Item, ItemStatus
from saveany.storage_set import StorageHandle
from saveany.texts import Text
from storages.base import Storage
from workers.albums import album_of, is_album_file, publish_album
from workers.recovery import completed, roll_back, take_back
from workers.retries import LONG_WAIT, Retries
from workers.task_storages import TaskStorages
from workers.transfer import save
from workers.transfer_budget import BudgetShare
from workers.transfer_context import TransferContext

replace = msgspec.structs.replace
log = get_logger("saveany.job")


class TaskFiles:
    """Saves single units of a task."""

    def __init__(self, context: TransferContext, storages: TaskStorages, retries: Retries) -> None:
        self._context = context
        self._records = context.records
        self._storages = storages
        self._retries = retries

    def units(self) -> list[list[Item]]:
        """The files that are not saved yet. Each is a unit of its own, except that the files of an album are
        one unit where their storage shows albums."""
        units: dict[object, list[Item]] = {}
        for item in self._records.pending:
            handle = self._storages.find(item)
            in_album = handle is not None and is_album_file(handle.storage, item)
            unit = album_of(handle.storage, item) if handle and in_album else item.index
            units.setdefault(unit, []).append(item)
        return list(units.values())

    def needs(self, unit: list[Item]) -> tuple[Storage | None, int | None]:
        """The storage of a unit, and the size of its largest file; None for what is unknown. With what a unit
        needs, its files can be saved one after the other."""
        handle = self._storages.find(unit[0])
        sizes = [item.size for item in unit if item.size is not None]
        return handle.storage if handle else None, max(sizes) if len(sizes) == len(unit) else None

    def expect(self, unit: list[Item]) -> None:
        """The unit is about to be saved: those that follow appear after it, where readers see the order."""
        handle = self._storages.find(unit[0])
        self._context.order.expect(unit[0].index, handle.storage if handle else None)

    async def save(self, unit: list[Item], share: BudgetShare) -> list[Item]:
        """The items of a unit: completed, skipped, or failed with the reason. They are not recorded yet.

        The files of an album are uploaded, several at the same time as far as `share` admits them, and
        published together; if a worker died in between, publishing comes first. A file that the storage has
        lost is uploaded again. Raises `Retryable` if the whole task must wait.
        """
        try:
            return await self._save(unit, share)
        finally:
            self._context.order.leave(unit[0].index)

    async def _save(self, unit: list[Item], share: BudgetShare) -> list[Item]:
        results: list[Item] = []
        first = unit[0].index
        for _ in range(self._retries.attempts + 1):
            finishing = [i for i in unit if i.status is ItemStatus.FINISHING and self._is_album_file(i)]
            publish = partial(self._publish, first, finishing)
            saved = await self._attempt(publish, finishing, first) if finishing else []
            published = {item.index for item in saved}
            saved += await self._save_files([i for i in unit if i.index not in published], first, share)
            results += [item for item in saved if item.status is not ItemStatus.FINISHING]
            unit = [item for item in saved if item.status is ItemStatus.FINISHING]
            if not unit:
                return results
            unit.sort(key=lambda item: item.index)
        reason = Text("the storage lost the uploaded file several times")
        return results + [await self._failed(item, reason) for item in unit]

    async def roll_back(self, *items: Item, keep: bool = False) -> None:
        """Remove what unfinished items have left in their storages (`recovery.roll_back`). What cannot be
        removed now is only logged; if the task ends as canceled, the store remembers it for later."""
        try:
            async with asyncio.TaskGroup() as group:
                for item in items:
                    group.create_task(self._roll_back(item, keep=keep))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def take_back(self, items: Iterable[Item], status: ItemStatus) -> None:
        """Remove files that are saved (`recovery.take_back`). What cannot be removed stays, and is logged."""
        for item in items:
            try:
                await take_back(self._context, item, status)
            except (Permanent, StorageError) as error:
                task_id = self._context.spec.id
                log.warning("file_not_removed", task=task_id, item=item.index, reason=error.message)

    async def _roll_back(self, item: Item, *, keep: bool) -> None:
        try:
            await roll_back(self._context, item, keep=keep)
        except (Permanent, StorageError) as error:
            log.warning("rollback_failed", task=self._context.spec.id, item=item.index, reason=error.message)

    def _is_album_file(self, item: Item) -> bool:
        handle = self._storages.find(item)
        return handle is not None and is_album_file(handle.storage, item)

    async def _save_files(self, items: list[Item], first: int, share: BudgetShare) -> list[Item]:
        """Save the files of a unit one after the other, and further ones at the same time as soon as `share`
        admits them."""
        left, saved = deque(items), list[Item]()
        waiting = set[asyncio.Task[None] | None]()

        async def save_next() -> None:
            item = left.popleft()
            saved.extend(await self._attempt(partial(self._save_file, item.index), [item], first))

        async def help_out() -> None:
            place = await share.acquire(*self.needs([left[-1]]))
            waiting.discard(asyncio.current_task())
            try:
                with self._context.meter.file_in_flight():
                    while left:
                        await save_next()
            finally:
                place.release()

        try:
            async with asyncio.TaskGroup() as group:
                waiting.update(group.create_task(help_out()) for _ in items[1:])
                while left:
                    await save_next()
                for helper in filter(None, waiting):
                    helper.cancel()
        except ExceptionGroup as errors:
            raise min(errors.exceptions, key=_is_not_fatal) from None
        return saved

    async def _save_file(self, index: int) -> list[Item]:
        return [await save(self._context, self._records.items[index])]

    async def _publish(self, first: int, items: list[Item]) -> list[Item]:
        """The items of an album whose first file has index `first`, completed; none if they must be uploaded
        again."""
        await self._context.order.wait(first, self._context.storage_of(items[0]))
        with self._context.slot.confirming():
            receipts = await publish_album(self._context, items)
        if receipts is None:
            return []
        return [completed(item, receipt) for item, receipt in zip(items, receipts, strict=True)]

    async def _attempt(
        self, step: Callable[[], Awaitable[list[Item]]], items: list[Item], first: int
    ) -> list[Item]:
        """The result of `step`, or the items as failed. `first` is the index of their unit's first file."""
        index = items[0].index

        async def attempt() -> list[Item]:
            try:
                return await step()
            except SaveAnyError as error:
                if not (error.after and isinstance(error, StorageUnavailable)):
                    self._context.order.leave(first)
                raise

        def suspects(error: SaveAnyError) -> list[StorageHandle]:
            return self._storages.suspects(error, self._records.items[index])

        try:
            return await self._retries.run(attempt, suspects)
        except SaveAnyError as error:
            if error.fatal or error.after > LONG_WAIT:
                raise
            reason = error.text
        return [await self._failed(item, reason) for item in items]

    async def _failed(self, item: Item, reason: Text) -> Item:
        log.info("file_failed", task=self._context.spec.id, item=item.index, reason=str(reason))
        if self._records.may_have_parts(item.index):
            await self.roll_back(self._records.items[item.index], keep=True)
        self._context.meter.forget(item.index)
        item = self._records.items[item.index]
        if item.status.done:  # it turned out to be saved
            return item
        return replace(
            item,
            status=ItemStatus.FAILED,
            error=str(reason),
            error_text=reason,
            failures=item.failures + 1,
        )


def _is_not_fatal(error: Exception) -> bool:
    return not (isinstance(error, SaveAnyError) and error.fatal)
