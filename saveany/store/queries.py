"""Questions about a storage that only a worker can answer: one asks, a worker that has it replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from saveany.errors import Unavailable
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder

#: How long somebody waits for an answer, and how long it is worth beginning one, in seconds.
PATIENCE = 10
_LOOK_SECONDS = 1


class StorageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A question."""

    id: str
    storage: str
    kind: str  # "list" | "probe" | "stat" | "usage"
    args: dict[str, Any]
    until: int  # nobody waits for the answer any more from then on, by the clock of Redis


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker replied: a result, or an error by the name of its class and what it says."""

    result: Any = None
    error: str = ""
    message: str = ""


_ask, _answer = decoder(StorageQuery), decoder(QueryResult)


class StorageQueries:
    """Both ends of the conversation."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def ask(self, storage: str, kind: str, args: dict[str, Any]) -> QueryResult:
        """What some worker that has the storage replies. Raises `Unavailable` if none does in time."""
        until = await self._db.time_ms() + PATIENCE * 1000
        ask = StorageQuery(id=uuid4().hex, storage=storage, kind=kind, args=args, until=until)
        queue = keys.QUERIES(storage)
        await self._db.many(
            [("RPUSH", queue, codec.encode(ask)), ("EXPIRE", queue, PATIENCE)],
        )
        reply = await self._db.do("BLPOP", keys.QUERY_RESULT(ask.id), PATIENCE)
        if reply is None:
            raise Unavailable(f"no worker that has storage {storage!r} answered within {PATIENCE} seconds")
        answer = self._db.records.one("answer", ask.id, reply[1], _answer)
        if answer is None:
            raise Unavailable(f"the answer about storage {storage!r} cannot be read; try again")
        return answer

    async def next(self, storages: Sequence[str]) -> StorageQuery | None:
        """A question about one of these storages; None if nobody asks for a second."""
        queues = [keys.QUERIES(name) for name in storages]
        reply = await self._db.do("BLPOP", *queues, _LOOK_SECONDS)
        if reply is None:
            return None
        ask = self._db.records.one("ask", reply[0], reply[1], _ask)
        return ask if ask and ask.until > await self._db.time_ms() else None

    async def reply(self, ask: StorageQuery, answer: QueryResult) -> None:
        """Tell who has asked."""
        key = keys.QUERY_RESULT(ask.id)
        await self._db.many([("RPUSH", key, codec.encode(answer)), ("EXPIRE", key, PATIENCE)])
