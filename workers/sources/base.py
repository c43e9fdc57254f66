"""What a source does for the transfer: turn links into files, and fetch one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from saveany.models import Item, TaskSpec
from saveany.planning.plan import Found
from storages.base import Range

#: Takes bytes at an offset of the file. Parts may come in any order, each byte exactly once. The bytes may
#: be held for a while: they never change afterwards.
Write = Callable[[int, bytes | memoryview], Awaitable[None]]


class Source(Protocol):
    """A kind of link. Errors are `Retryable`, `Permanent` and `NeedsLogin`; a file is retried outside."""

    async def resolve(self, spec: TaskSpec) -> list[Found]:
        """All files behind the links of a task, in order; never empty (that is a `Permanent` error)."""

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Write every byte of the item's file but those in `have`, which are there already (ascending, apart
        from each other). Returns only when all have been written. A part that lies in `have` only in part
        may be written whole."""
