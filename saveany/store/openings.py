"""Which links are open at which addresses, and how many an address has opened lately."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from saveany.errors import StoreUnavailable
from saveany.store import keys
from saveany.store.db import Db
from saveany.store.records import text

#: Milliseconds for which a link stays open after its last use. A paused player continues for free.
_OPEN_MS: Final = 10 * 60 * 1000
#: The same while its download is being counted, so that a process which dies in between is not waited for.
_PENDING_MS: Final = 30 * 1000
_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Opening:
    """The result of opening a link."""

    is_new: bool  # counted; else the address had the link open
    is_refused: bool  # the address has opened too many links
    is_pending: bool  # another request of the address is counting its download
    remaining: int  # openings that the address has left
    reset: int  # seconds until it has one more
    changes: int = -1  # number of changes of links so far (`Openings.changed`); -1 if it is unknown


class Openings:
    """Counts openings of links."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def open(
        self, token: str, address: str, maximum: int, window: int, *, counted: bool = False
    ) -> Opening:
        """Open a link at an address, which may open `maximum` links in `window` seconds; 0 is no limit. If
        its downloads are `counted`, a new opening is pending until `confirm` or `close`."""
        pending = _PENDING_MS if counted else 0
        kind, remaining, reset, changes = await self._db.script(
            "open_link", token, address, _OPEN_MS, window * 1000, maximum, pending
        )
        kind, left = text(kind), -(-int(reset) // 1000)
        return Opening(kind == "new", kind == "wait", kind == "pending", int(remaining), left, int(changes))

    async def changed(self) -> None:
        """A link was changed, or a file or folder deleted: processes that know links have to read them
        again. If Redis is down, they do so after two seconds."""
        with suppress(StoreUnavailable):
            await self._db.do("INCR", keys.LINK_CHANGES())

    async def confirm(self, token: str, address: str) -> None:
        """The download of a new opening was counted."""
        await self._db.do("SET", keys.LINK_OPENED(token, address), 1, "PX", _OPEN_MS)

    async def is_open(self, token: str, address: str) -> bool:
        """Whether the address has the link open, or is about to."""
        return bool(await self._db.do("EXISTS", keys.LINK_OPENED(token, address)))

    async def count_made(self, user_id: int) -> tuple[int, int]:
        """Count a link that a user makes; returns how many within a day of the first, and the seconds until
        the count starts again."""
        count, left = await self._db.script("increase", keys.LINKS_MADE(str(user_id)), 1, _DAY_MS)
        return int(count), -(-int(left) // 1000)

    async def keep_open(self, token: str, address: str) -> None:
        """Let an address that still reads have the link open for longer."""
        await self._db.do("PEXPIRE", keys.LINK_OPENED(token, address), _OPEN_MS)

    async def count_try(self, token: str, address: str, seconds: int) -> int:
        """Count one more password that the address has tried for a link; returns how many in the last
        `seconds`."""
        count, _ = await self._db.script("increase", keys.LINK_TRIES(token, address), 1, seconds * 1000)
        return int(count)

    async def close(self, token: str, address: str) -> None:
        """Take an opening back: nothing could be read."""
        await self._db.many(
            [
                ("DEL", keys.LINK_OPENED(token, address)),
                ("ZREM", keys.LINK_OPENINGS(address), token),
            ]
        )
