"""The slots of a worker: each is room for one task whose files are large.

A task that is looked up, whose files are small, or that only waits until its storage confirms them, needs
none. So slow lookups, replies and storages keep no large file waiting, and large files keep no small ones
waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from saveany.models import Item

#: Files of this many bytes together are small: they need no more than one part.
SMALL_BYTES = 1 << 20


#: Seconds for which a free slot is kept for a task that is looked up.
_KEEP_SECONDS = 1.0


class NoSlot(Exception):
    """A task needs a slot, and none is free."""


class Slots:
    """All slots of a worker.

    A slot that is free when a task is claimed is kept for it while the task is looked up, so that large files
    start in the order of the queue; but only for a short time, because other tasks may be ready before.
    """

    def __init__(self, count: int, on_free: Callable[[], None] = lambda: None) -> None:
        """`on_free` is called when a slot becomes free."""
        self.count = count
        self.holders: set[str] = set()  # ids of the tasks that have one
        self._kept: dict[str, asyncio.TimerHandle] = {}  # by task for which it is kept
        self._claiming = 0  # slots for tasks that are being claimed
        self._left: set[str] = set()  # ids of the tasks that have left theirs, and still run
        self._on_free = on_free

    @property
    def free(self) -> int:
        """Number of free slots that are not kept for a task."""
        return max(0, self.count - len(self.holders) - len(self._kept) - self._claiming)

    @contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Keep free slots for tasks that are being claimed."""
        self._claiming += count
        try:
            yield
        finally:
            self._claiming -= count

    def keep(self, task_id: str) -> None:
        """Keep a slot for a task that is looked up, if one is free."""
        if self.free:
            self._kept[task_id] = asyncio.get_running_loop().call_later(_KEEP_SECONDS, self.release, task_id)

    def take(self, task_id: str) -> bool:
        """Take a slot for a task that has none; returns whether it has one now."""
        if task_id not in self.holders:
            if task_id not in self._kept and not self.free:
                return False
            self._no_longer_keep(task_id)
            self._left.discard(task_id)
            self.holders.add(task_id)
        return True

    def leave(self, task_id: str) -> None:
        """Free the slot of a task that needs none until its end; but of no more tasks than there are slots,
        so that a storage that confirms nothing does not receive more and more files."""
        if task_id in self.holders and len(self._left) < self.count:
            self.release(task_id)
            self._left.add(task_id)

    def release(self, task_id: str) -> None:
        """Free the slot that a task has, or that is kept for it."""
        self._left.discard(task_id)
        if self._no_longer_keep(task_id) or task_id in self.holders:
            self.holders.discard(task_id)
            self._on_free()

    def _no_longer_keep(self, task_id: str) -> bool:
        kept = self._kept.pop(task_id, None)
        if kept is not None:
            kept.cancel()
        return kept is not None

    def of(self, task_id: str) -> TaskSlot:
        """The slot of a task, which it may take later."""
        return TaskSlot(self, task_id)


class TaskSlot:
    """The slot of one task."""

    def __init__(self, slots: Slots, task_id: str) -> None:
        self._slots = slots
        self._task_id = task_id

    @property
    def held(self) -> bool:
        """Whether the task has it."""
        return self._task_id in self._slots.holders

    def take(self) -> bool:
        """Take it, unless all are in use; returns whether the task has it now."""
        return self._slots.take(self._task_id)

    def release(self) -> None:
        """Leave it, or the one that is kept for the task, to others."""
        self._slots.release(self._task_id)

    def leave(self) -> None:
        """The task needs none until its end, except after a failure."""
        self._slots.leave(self._task_id)


class SlotUse:
    """Leaves the slot of a task to others when all of its files are saved or only wait for their storages."""

    def __init__(self, slot: TaskSlot | None) -> None:
        self._slot = slot
        self._unsaved = 0
        self._confirming = 0

    def begin(self, files: int) -> None:
        """`files` files, or albums, are to be saved."""
        self._unsaved = files

    def saved(self) -> None:
        """One of them is saved, or has failed."""
        self._unsaved -= 1
        self._leave_if_unused()

    @contextmanager
    def confirming(self) -> Iterator[None]:
        """The storage has all bytes of a file, and the block waits until it confirms that. If it does not,
        the file is sent again, even if no slot is free then: its memory is still counted."""
        self._confirming += 1
        self._leave_if_unused()
        try:
            yield
        except Exception:
            if self._slot:
                self._slot.take()
            raise
        finally:
            self._confirming -= 1

    def _leave_if_unused(self) -> None:
        if self._slot and self._confirming >= self._unsaved:
            self._slot.leave()


def needs_slot(items: Iterable[Item]) -> bool:
    """Whether files are large, or may be, so that saving them takes a slot."""
    size = 0
    for item in items:
        size += SMALL_BYTES + 1 if item.size is None else item.size
        if size > SMALL_BYTES:
            return True
    return False
