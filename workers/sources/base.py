"""The contract of a source: it turns links into files, and fetches one of them at a time.

`resolve` finds the files behind the links of a task. `prepare` completes one of them when its turn comes: its
real name, size and version. `fetch` delivers its bytes. Errors are `Retryable`, `Permanent` and `NeedsLogin`;
the worker retries a file from `prepare` on (`workers/retries.py`).
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from saveany.config import Config
from saveany.models import Item, Stage, Status, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.planning.plan import ResolvedFile
from saveany.telegram.accounts import Accounts
from saveany.texts import Text
from storages.base import Range, Storage

#: `await write(offset, data)` takes bytes at an offset of the file. Parts may arrive in any order, each byte
#: exactly once. `data` must not change afterwards, because it may be held in memory for a while.
Write = Callable[[int, bytes | memoryview], Awaitable[None]]

#: `await take(user, size)` waits until the speed limit of a user allows `size` more bytes.
Take = Callable[[int, int], Awaitable[None]]

#: `rate(user, users)` returns the bytes per second for one download of a user while the downloads of `users`
#: (one entry per download) share the limits; 0 for no limit.
Rate = Callable[[int, Sequence[int]], float]

#: `report(fetched, total)` shows the progress of a download to this machine's disk, in bytes. `total` is None
#: while it is unknown.
Report = Callable[[int, int | None], None]


class Growth(Protocol):
    """Shows what is done for a task that grows, beside its files."""

    #: Bytes that had come when this worker began, wherever they are.
    before: int

    def report(self, fetched: int, total: int | None) -> None:
        """So many bytes on this machine's disk are in no file yet."""

    def set_stage(self, stage: Stage) -> None:
        """Set the stage of what is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The resources that a worker provides to its sources."""

    config: Config
    #: Folder on this machine; a source uses `scratch / <task id>` and removes it in `forget`.
    scratch: Path
    guard: AddressGuard
    accounts: Accounts
    #: Returns the storage of a name; raises `StorageUnavailable` if this worker does not have it, or if it
    #: does not work now.
    storage: Callable[[str], Storage]
    #: Called with the seconds of each flood wait.
    on_wait: Callable[[float], None]
    #: For bytes that do not pass through `fetch`, because a program downloads them.
    take: Take
    rate: Rate


class Source(abc.ABC):
    """One type of task. Created once per worker process as `XSource(tools)`; starts nothing before it is
    used."""

    @property
    def read_ahead(self) -> int:
        """Maximum number of bytes by which `fetch` may be ahead of the part that is written next, if the
        storage needs parts in order. They are held in memory, together with the parts of waiting writes."""
        return 4 << 20  # Telegram's parts have 1 MiB, and two dozen writes may wait

    @property
    def is_concurrent(self) -> bool:
        """Whether several files of a task may be prepared and fetched at the same time."""
        return False

    @property
    def problem(self) -> Text | None:
        """Why this worker cannot run such tasks now, for a user; None if it can."""
        return None

    @property
    def drawback(self) -> Text | None:
        """What such tasks lack on this worker, for a user; None if nothing. They run here all the same if no
        other worker can run them without it."""
        return None

    def is_local(self, item: Item) -> bool:
        """Whether `fetch` only copies what `prepare` has downloaded, within the speed limits, to this
        machine's disk."""
        return False

    @abc.abstractmethod
    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """All files behind the links of a task, in order. Raises `Permanent` if there are none."""

    @property
    def grows(self) -> bool:
        """Whether a task gains files while it runs (`more`). Stopped, it ends with what it has then; failed,
        it keeps its files on this machine for a retry, because they cannot be had again."""
        return False

    def keeps_files_after(self, status: Status) -> bool:
        """Whether the files of a task with this status stay on this machine."""
        return not status.ended or (self.grows and status is Status.FAILED)

    def more(
        self, spec: TaskSpec, items: Sequence[Item], *, stopped: bool, growth: Growth
    ) -> AsyncGenerator[ResolvedFile, None]:
        """Files that come to a task that grows, beside `items`. Called again when these and those are saved
        or have failed, until none come. Once the user has `stopped` the task, only what is there already.
        `growth` is told what comes, and what is done with it."""
        raise NotImplementedError(f"tasks of {type(self).__name__} do not grow")

    def replaced(self, items: Sequence[Item]) -> list[Item]:
        """Saved files of a task that grows in whose place another one is saved now: they are removed."""
        return []

    def is_optional(self, item: Item) -> bool:
        """Whether the task is complete without this file."""
        return False

    async def look_up(self, items: Sequence[Item], spec: TaskSpec) -> None:  # noqa: B027  # most need nothing
        """Look up together what `prepare` will need for these items, the remaining ones of a task that was
        planned before. `prepare` raises the errors."""

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item with its real properties, read just before each attempt, also after a restart.

        May change `name`, `size` and `source`. Stored bytes of an earlier attempt are reused only if `source`
        and `size` are the same: one of them must change when the file changes.
        """
        return item

    @abc.abstractmethod
    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Write all bytes of the item's file except those in `have` (ascending, disjoint), which are stored
        already. A part that overlaps with `have` may be written as a whole.

        Parts must be begun in ascending order, and a part that fails must be retried by the same coroutine,
        because `write` may wait until the earlier parts have been written.
        """

    def origin(self, item: Item) -> tuple[Storage, str] | None:
        """The storage and the path of the file, if it lies in a storage. A target storage that can reach it
        copies it without `fetch`."""
        return None

    def message(self, item: Item) -> Mapping[str, Any] | None:
        """What finds the Telegram message that has the file (`Media.source`); None if there is none. A
        storage of Telegram can send it without `fetch`."""
        return None

    def public_url(self, item: Item) -> str:
        """A URL from which anybody can download exactly this file, "" if there is none. A target storage
        whose service can download from URLs does so without `fetch`."""
        return ""

    async def sha256(self, item: Item) -> str:
        """The SHA-256 of the file, for one that is saved without `fetch`; "" if it is not known."""
        return ""

    def moves(self, spec: TaskSpec) -> bool:
        """Whether the original of each saved file is to be removed."""
        return False

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """Remove the original of an item that is recorded as completed, if `moves`; a missing one is fine.
        Raises `Permanent` if it is not certain that the original was saved."""
        raise NotImplementedError(f"{type(self).__name__} does not move files")

    async def stop(self, task_id: str) -> None:
        """The task leaves this worker without having ended, or may be retried: end everything that runs for
        it. Files on the disk may be useful when the task continues."""
        return  # most sources leave nothing running

    async def forget(self, task_id: str) -> None:
        """The task has ended: end everything that runs for it, and remove its files from this machine."""
        return  # most sources keep nothing

    async def kept_tasks(self) -> list[str]:
        """The ids of all tasks that have files on this machine, possibly among other names."""
        return []  # most sources keep nothing

    async def close(self) -> None:
        """Release all resources, at the end of the worker."""
        return  # most sources hold nothing
