"""The slots of a worker: each is room for one task whose files are large.

A task that is looked up, whose files are small, or that only waits until its storage confirms them, needs
none. So slow lookups, replies and storages keep no large file waiting, and large files keep no small ones
waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
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
    start in the order of the queue; but only for a short time, because other tasks may be ready before. A
    task is known by its claim, because an earlier claim of the same task may still be about to end.
    """

    def __init__(self, count: int, on_free: Callable[[], None] = lambda: None) -> None:
        """`on_free` is called when a slot becomes free."""
        self.count = count
        self.holders: set[Hashable] = set()  # the tasks that have one
        self._kept: dict[Hashable, asyncio.TimerHandle] = {}  # by task for which it is kept
        self._claiming = 0  # slots for tasks that are being claimed
        self._left: set[Hashable] = set()  # tasks that have left theirs, and still run
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

    def keep(self, task: Hashable) -> None:
        """Keep a slot for a task that is looked up, if one is free."""
        if self.free:
            self._kept[task] = asyncio.get_running_loop().call_later(_KEEP_SECONDS, self.release, task)

    def take(self, task: Hashable) -> bool:
        """Take a slot for a task that has none; returns whether it has one now."""
        if task not in self.holders:
            if task not in self._kept and not self.free:
                return False
            self._no_longer_keep(task)
            self._left.discard(task)
            self.holders.add(task)
        return True

    def leave(self, task: Hashable) -> None:
        """Free the slot of a task that needs none until its end; but of no more tasks than there are slots,
        so that a storage that confirms nothing does not receive more and more files."""
        if task in self.holders and len(self._left) < self.count:
            self.release(task)
            self._left.add(task)

    def take_again(self, task: Hashable) -> None:
        """Take the slot again that a task has left, if one is free."""
        if task in self._left:
            self.take(task)

    def release(self, task: Hashable) -> None:
        """Free the slot that a task has, or that is kept for it."""
        self._left.discard(task)
        if self._no_longer_keep(task) or task in self.holders:
            self.holders.discard(task)
            self._on_free()

    def _no_longer_keep(self, task: Hashable) -> bool:
        kept = self._kept.pop(task, None)
        if kept is not None:
            kept.cancel()
        return kept is not None

    def of(self, task: Hashable) -> TaskSlot:
        """The slot of a task, which it may take later."""
        return TaskSlot(self, task)


class TaskSlot:
    """The slot of one task."""

    def __init__(self, slots: Slots, task: Hashable) -> None:
        self._slots = slots
        self._task = task

    @property
    def held(self) -> bool:
        """Whether the task has it."""
        return self._task in self._slots.holders

    def take(self) -> bool:
        """Take it, unless all are in use; returns whether the task has it now."""
        return self._slots.take(self._task)

    def release(self) -> None:
        """Leave it, or the one that is kept for the task, to others."""
        self._slots.release(self._task)

    def take_again(self) -> None:
        """Take it again if the task has left it, and one is free."""
        self._slots.take_again(self._task)

    def leave(self) -> None:
        """The task needs none until its end, except after a failure."""
        self._slots.leave(self._task)


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
                self._slot.take_again()
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
