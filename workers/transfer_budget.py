"""Limits the files that a worker saves at the same time, by the memory they need and by their storages."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from storages.base import Storage
from workers.slots import TaskSlot

#: Bytes that all files in flight of a process may hold in memory. The downloader may hold as many
#: (`PoolLimits.max_memory`), so a slow storage cannot take so many that others get none.
MAX_BYTES = 24 << 20
#: Minimum and maximum bytes that one file counts for: of the smallest files 64 are in flight, and of the
#: largest ones, which share what the connections carry, 4.
_LEAST, _MOST = MAX_BYTES // 64, MAX_BYTES // 4


@dataclass(slots=True, eq=False)
class _Waiter:
    share: BudgetShare
    storage: Storage | None
    size: int
    admitted: asyncio.Future[None]


class TransferBudget:
    """Admits files as long as there is memory for them and their storages take another upload. A task whose
    files in flight need less memory goes first, so one whose storage is slow does not keep the memory from
    others.

    A task that has a slot, and no file in flight, is always admitted, so it waits for no other task. The
    files of tasks without a slot are so small that only their storages limit them; each storage takes one of
    these even if it is busy, so they do not wait for large ones.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._limit = max_bytes
        self._used = 0
        self._uploads: Counter[str] = Counter()  # in flight, by storage
        self._small: Counter[str] = Counter()  # those of them that belong to tasks without a slot
        self._waiting: list[_Waiter] = []

    def limit(self, max_bytes: int) -> None:
        """Lower the maximum number of bytes from now on; 0 restores it."""
        self._limit = min(max_bytes or self._max_bytes, self._max_bytes)
        self._admit()

    def share(self, *, concurrent: bool, slot: TaskSlot | None = None) -> BudgetShare:
        """The share of one task. Without `concurrent` its files are admitted one by one. Without `slot` it
        counts as a task that has one."""
        return BudgetShare(self, concurrent=concurrent, slot=slot)

    async def _acquire(self, share: BudgetShare, storage: Storage | None, size: int) -> None:
        waiter = _Waiter(share, storage, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._admit()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self._release(share, storage, size)  # it was admitted at the moment of the cancellation
            else:
                self._waiting.remove(waiter)
                self._admit()  # the next one may need less
            raise

    def _release(self, share: BudgetShare, storage: Storage | None, size: int) -> None:
        self._count(share, storage, size, -1)
        self._admit()

    def _admit(self) -> None:
        """Admit every file that can be admitted now. One that needs memory is not overtaken by smaller ones;
        one that waits for its storage is."""
        has_memory = True
        for waiter in sorted(self._waiting, key=lambda waiter: waiter.share.used):
            share = waiter.share
            if waiter.admitted.done():
                continue
            if share.in_flight and not share.concurrent:
                continue
            if not self._may_upload(waiter):
                continue
            if share.in_flight and share.has_slot:
                has_memory = has_memory and self._used + waiter.size <= self._limit
                if not has_memory:
                    continue
            self._waiting.remove(waiter)
            self._count(share, waiter.storage, waiter.size, +1)
            waiter.admitted.set_result(None)

    def _count(self, share: BudgetShare, storage: Storage | None, size: int, files: int) -> None:
        share.in_flight += files
        share.used += files * size
        self._used += files * size
        if storage is not None:
            self._uploads[storage.name] += files
            self._small[storage.name] += files * (not size)

    def _may_upload(self, waiter: _Waiter) -> bool:
        storage, share = waiter.storage, waiter.share
        if storage is None or self._uploads[storage.name] < storage.uploads_at_once:
            return True
        return not (share.in_flight if share.has_slot else self._small[storage.name])


class BudgetShare:
    """The files of one task in flight."""

    def __init__(self, budget: TransferBudget, *, concurrent: bool, slot: TaskSlot | None) -> None:
        self.in_flight = 0
        self.used = 0  # bytes that these count for
        self.concurrent = concurrent
        self._budget = budget
        self._slot = slot

    @property
    def has_slot(self) -> bool:
        """Whether the task has a slot."""
        return self._slot is None or self._slot.held

    async def acquire(self, storage: Storage | None, size: int | None) -> Place:
        """Wait until a file of `size` bytes (None: unknown) may be saved to `storage`."""
        counted = _MOST if size is None else max(_LEAST, min(size, _MOST))
        if not self.has_slot:
            counted = 0
        await self._budget._acquire(self, storage, counted)
        return Place(self, storage, counted)


class Place:
    """The place of one file in the budget."""

    def __init__(self, share: BudgetShare, storage: Storage | None, size: int) -> None:
        self._share, self._storage, self._size = share, storage, size
        self._released = False

    def release(self) -> None:
        """Leave the place to another file. Harmless when repeated."""
        if not self._released:
            self._released = True
            self._share._budget._release(self._share, self._storage, self._size)
