"""What a source does for the transfer: turn links into files, and fetch one of them.

A source finds files in `resolve`, learns in `prepare` what can be known only when a file's turn has come (its
real name, its size, which version of it there is), and hands its bytes over in `fetch`. Errors are
`Retryable`, `Permanent` and `NeedsLogin`; a file is retried outside, from `prepare` on.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from saveany.config import Config
from saveany.models import Item, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.planning.plan import ResolvedFile
from saveany.telegram.accounts import Accounts
from storages.base import Range, Storage

#: Takes bytes at an offset of the file. Parts may come in any order, each byte exactly once. The bytes may
#: be held for a while: they never change afterwards.
Write = Callable[[int, bytes | memoryview], Awaitable[None]]

#: Waits until a user's limit of speed leaves time for so many more bytes.
Take = Callable[[int, int], Awaitable[None]]

#: How many bytes per second a download of a user may have, as one among those of these users; 0: any number.
Rate = Callable[[int, Sequence[int]], float]

#: Told while something is fetched to this machine first: bytes so far, and how many there will be if known.
Report = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a worker lends to its sources."""

    config: Config
    #: A folder of this machine; a source uses `scratch / <task id>` and removes it in `forget`.
    scratch: Path
    guard: AddressGuard
    accounts: Accounts
    #: The storage of that name; raises `StorageUnavailable` if this worker has none, or it does not work now.
    storage: Callable[[str], Storage]
    #: Told the seconds of each flood wait that is slept.
    on_wait: Callable[[float], None]
    #: For what does not come through `fetch`: programs download by themselves.
    take: Take
    rate: Rate


class Source(abc.ABC):
    """A kind of link. Made once per worker process, as `XSource(tools)`; starts nothing before its use."""

    @property
    def ahead(self) -> int:
        """How many bytes before their turn `fetch` may write, where a storage takes a file in order only:
        they are held in memory, and so are those of its writes that wait."""
        return 4 << 20  # parts of Telegram have 1 MiB, and two dozen writes may wait

    @property
    def problem(self) -> str:
        """Why this worker can do nothing for such links now, in words for a user; "" if it can."""
        return ""

    @abc.abstractmethod
    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """All files behind the links of a task, in order; never empty (that is a `Permanent` error)."""

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item with what is known only now. Called before each try, and again after a restart.

        May change `name`, `size` and `source`. Bytes that an earlier try has saved are used again only if
        `source` and `size` are as they were then: both must change when the file does.
        """
        return item

    @abc.abstractmethod
    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Write every byte of the item's file but those in `have`, which are there already (ascending, apart
        from each other). Returns only when all have been written. A part that lies in `have` only in part
        may be written whole.

        Parts are begun in ascending order, and a part that failed is tried again by whoever began it: `write`
        may wait until the earlier ones have come.
        """

    @property
    def is_local(self) -> bool:
        """Whether `fetch` only copies what came in `prepare`, and kept to the limits of speed there."""
        return False

    def origin(self, item: Item) -> tuple[Storage, str] | None:
        """The storage that the file lies in, and its path there, if it lies in one: a storage that can reach
        it copies it by itself then, and nothing is fetched."""
        return None

    def address(self, item: Item) -> str:
        """A URL where anybody can fetch the file as it is, "" if there is none: a service that can do that
        fetches it by itself then."""
        return ""

    def moves(self, spec: TaskSpec) -> bool:
        """Whether what is saved is to be removed where it came from."""
        return False

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """Remove the file of an item that is completed for good, as `moves` says; one that is gone is fine.
        Raises `Permanent` rather than remove what is not known to be saved."""
        raise NotImplementedError(f"{type(self).__name__} does not move files")

    async def close(self) -> None:
        """The worker ends: release what is held."""
        return  # most sources hold nothing

    async def kept(self) -> list[str]:
        """Names of what is kept on this machine, among them the ids of all tasks of which something is."""
        return []  # most sources keep nothing

    async def rest(self, task_id: str) -> None:
        """The task stops here, to go on later or elsewhere: end what runs for it. What is on the disk may be
        of use then; `forget` comes when the task has ended."""
        return  # of most sources nothing runs on

    async def forget(self, task_id: str) -> None:
        """The task has ended: remove what is kept of it on this machine."""
        return  # most sources keep nothing
