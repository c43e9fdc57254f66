"""Questions of workers whether a file was saved before: a process that has the catalogue replies."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import msgspec

from saveany.models import Duplicate
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder

#: Seconds that a worker waits for a reply, and for which it does not ask again after there was none.
REPLY_SECONDS, _SILENT_SECONDS = 15, 60.0
#: Seconds that a process with the catalogue waits for a question.
_WAIT_SECONDS = 30
#: Seconds that an item waits for another one that fetches the same document, and between two checks.
_TURN_SECONDS, _CHECK_SECONDS = 30.0, 0.1
#: Bytes per second that a download has at least, and the seconds that the shortest one may take.
_SLOWEST, _SHORTEST_SECONDS = 100_000, 120


class DuplicateQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the user has saved this file before, by Telegram's id of it or by its content."""

    id: str
    user_id: int
    task: str  # the item that asks, which is no duplicate of itself
    item: int
    size: int | None = None
    document: int | None = None
    sha256: str = ""
    until: int = 0  # ms by the clock of Redis, after which nobody waits for the reply


class DuplicateReply(msgspec.Struct, frozen=True):
    """The file that was saved first, if there is one."""

    found: Duplicate | None = None


_query, _reply = decoder(DuplicateQuery), decoder(DuplicateReply)


class DuplicateQueries:
    """Asking about duplicates, and replying."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._silent_until = 0.0  # monotonic

    async def find(
        self, user_id: int, task: str, item: int, size: int | None, document: int | None, sha256: str
    ) -> Duplicate | None:
        """The file of this user that was saved first and whose copy is there. None if there is none, and if
        no process with the catalogue replies: then the file is saved once more."""
        if time.monotonic() < self._silent_until:
            return None
        query = DuplicateQuery(
            id=uuid4().hex,
            user_id=user_id,
            task=task,
            item=item,
            size=size,
            document=document,
            sha256=sha256,
            until=await self._db.time_ms() + REPLY_SECONDS * 1000,
        )
        queue = keys.DUPLICATE_QUERIES()
        await self._db.many([("RPUSH", queue, codec.encode(query)), ("EXPIRE", queue, REPLY_SECONDS)])
        reply = await self._db.do("BLPOP", keys.QUERY_RESULT(query.id), REPLY_SECONDS)
        if reply is None:
            self._silent_until = time.monotonic() + _SILENT_SECONDS
            return None
        result = self._db.records.one("duplicate", query.id, reply[1], _reply)
        return result.found if result else None

    async def wait_for_turn(self, user_id: int, task: str, item: int, document: int, size: int) -> None:
        """Wait while another task of the user fetches the same document, so that it is found when it is
        saved. The wait is limited: two tasks might wait for each other."""
        until = time.monotonic() + _TURN_SECONDS
        lifetime = (_SHORTEST_SECONDS + size // _SLOWEST) * 1000
        while not await self._db.script("take_document", user_id, document, task, item, lifetime):
            if time.monotonic() > until:
                return
            await asyncio.sleep(_CHECK_SECONDS)

    async def next(self) -> DuplicateQuery | None:
        """The next question; None if none arrives in time."""
        reply = await self._db.do("BLPOP", keys.DUPLICATE_QUERIES(), _WAIT_SECONDS)
        query = self._db.records.one("duplicate query", reply[0], reply[1], _query) if reply else None
        return query if query and query.until > await self._db.time_ms() else None

    async def reply(self, query: DuplicateQuery, found: Duplicate | None) -> None:
        """Send the reply to the worker that has asked."""
        key = keys.QUERY_RESULT(query.id)
        message = codec.encode(DuplicateReply(found))
        await self._db.many([("RPUSH", key, message), ("EXPIRE", key, REPLY_SECONDS)])
