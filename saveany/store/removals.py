"""Removals of copies whose files were deleted: the catalogue decides, a worker that has the storage removes.

A copy must not be removed while another file needs it, also one that is being saved right now. So a removal
is proposed first, then the catalogue is asked for other files, then it becomes ready. A task that is about to
make a file visible at the same path calls it off, in the step that records the path; after that no removal is
proposed there until the file is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from saveany.store import keys
from saveany.store.db import Db
from saveany.store.records import text

#: Milliseconds after which a removal whose worker has died is open to others. A worker spends less on one.
LOCK_MS = 60_000
#: Maximum number of removed copies that are read at a time.
_BATCH = 500

_place = msgspec.json.Decoder(tuple[str, str]).decode


class Removal(msgspec.Struct, frozen=True):
    """A copy to be removed."""

    storage: str
    path: str
    size: int  # bytes, as recorded; a copy of another size was replaced, and is not removed
    reference: str = ""  # what identifies the copy in a storage without paths (`Receipt`), as JSON

    @property
    def copy(self) -> str:
        """Identifies the copy in its storage."""
        return f"{self.path}\0{self.reference}" if self.reference else self.path


def split_copy(copy: str) -> tuple[str, str]:
    """The path and the reference of `Removal.copy`."""
    path, _, reference = copy.partition("\0")  # no path contains this character
    return path, reference


class Removals:
    """Proposing, taking and ending removals."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def open(self, removals: Sequence[Removal]) -> list[Removal]:
        """Those of these removals that are not ready yet."""
        if not removals:
            return []
        known = await self._db.many([("HGET", keys.REMOVALS(each.storage), each.copy) for each in removals])
        return [
            each
            for each, value in zip(removals, known, strict=True)
            if not (value and value.endswith(b":ready"))
        ]

    async def propose(self, removal: Removal, nonce: str) -> bool:
        """Propose a removal. False if a task is about to make a file visible there."""
        args = (removal.storage, removal.copy, removal.size, nonce)
        return bool(await self._db.script("propose_removal", *args))

    async def decide(self, removal: Removal, nonce: str, *, needed: bool) -> None:
        """Withdraw a proposal because the copy is needed, or make it ready. Nothing happens if it was called
        off meanwhile."""
        args = (removal.storage, removal.copy, removal.size, nonce, "0" if needed else "1")
        await self._db.script("decide_removal", *args)

    async def ready(self, storage: str, limit: int = 20) -> list[Removal]:
        """Up to `limit` removals for a worker that has the storage. Several workers may get the same one."""
        flat = await self._db.do("HRANDFIELD", keys.REMOVALS(storage), limit, "WITHVALUES") or []
        found = [
            (split_copy(text(copy)), text(value)) for copy, value in zip(flat[::2], flat[1::2], strict=True)
        ]
        return [
            Removal(storage, path, int(size), reference)
            for (path, reference), (size, _, state) in ((copy, value.partition(":")) for copy, value in found)
            if state == "ready" and size.isdigit()
        ]

    async def take(self, removal: Removal) -> bool:
        """Whether the caller may remove the copy now, for somewhat less than `LOCK_MS`."""
        args = (removal.storage, removal.copy, removal.size, LOCK_MS)
        return bool(await self._db.script("take_removal", *args))

    async def end(self, removal: Removal, *, done: bool) -> None:
        """Tell the catalogue that a copy is gone, or leave its removal for later."""
        place = msgspec.json.encode((removal.storage, removal.copy))
        args = (removal.storage, removal.copy, removal.size, "1" if done else "0", place)
        await self._db.script("end_removal", *args)

    async def removed(self) -> list[tuple[str, str]]:
        """Storages and `Removal.copy` of copies that are gone, until `forget` is called for them."""
        members = await self._db.do("SRANDMEMBER", keys.REMOVED(), _BATCH)
        return self._db.records.all("removed copy", ((each, each) for each in members or []), _place)

    async def forget(self, places: Sequence[tuple[str, str]]) -> bool:
        """The catalogue knows that these copies are gone. Returns whether any of them was still listed."""
        return bool(
            await self._db.do("SREM", keys.REMOVED(), *(msgspec.json.encode(each) for each in places))
        )
