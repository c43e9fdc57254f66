"""Storage queries: the API sends a query about a storage, and a worker that has the storage replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from saveany.errors import Unavailable
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder
from saveany.texts import StoredText, Text, loaded

#: Seconds that a caller waits for a reply; after that no worker starts on the query.
REPLY_SECONDS = 10
#: Seconds that a worker waits for a query before it checks its list of storages again.
_WAIT_SECONDS = 5


class StorageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query about a storage."""

    id: str
    storage: str
    kind: str  # "list" | "probe" | "sha256" | "size" | "stat" | "usage" | "write"
    args: dict[str, Any]
    until: int  # ms by the clock of Redis, after which nobody waits for the reply
    seconds: int = REPLY_SECONDS  # that the caller waits


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of a worker: a result, or the class name and text of an error."""

    result: Any = None
    error: str = ""
    message: StoredText = ""

    @property
    def text(self) -> Text:
        """What is wrong, for a user."""
        return loaded(self.message) or Text(self.error)


_query, _result = decoder(StorageQuery), decoder(QueryResult)


class StorageQueries:
    """Sending queries and replying to them."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def send(
        self, storage: str, kind: str, args: dict[str, Any], *, seconds: int = REPLY_SECONDS
    ) -> QueryResult:
        """The reply of a worker that has the storage. Raises `Unavailable` if none replies in time."""
        until = await self._db.time_ms() + seconds * 1000
        query = StorageQuery(
            id=uuid4().hex, storage=storage, kind=kind, args=args, until=until, seconds=seconds
        )
        queue = keys.QUERIES(storage)
        await self._db.many(
            [("RPUSH", queue, codec.encode(query)), ("EXPIRE", queue, seconds)],
        )
        reply = await self._db.do("BLPOP", keys.QUERY_RESULT(query.id), seconds)
        if reply is None:
            raise Unavailable(
                "no worker that has storage {storage} replied within {seconds} seconds",
                storage=repr(storage),
                seconds=seconds,
            )
        result = self._db.records.one("query result", query.id, reply[1], _result)
        if result is None:
            raise Unavailable(
                "the reply about storage {storage} cannot be read; try again", storage=repr(storage)
            )
        return result

    async def next(self, storages: Sequence[str]) -> StorageQuery | None:
        """The next query about one of these storages; None if none arrives in time."""
        queues = [keys.QUERIES(name) for name in storages]
        reply = await self._db.do("BLPOP", *queues, _WAIT_SECONDS)
        if reply is None:
            return None
        query = self._db.records.one("query", reply[0], reply[1], _query)
        return query if query and query.until > await self._db.time_ms() else None

    async def reply(self, query: StorageQuery, result: QueryResult) -> None:
        """Send the reply to the process that sent the query."""
        key = keys.QUERY_RESULT(query.id)
        await self._db.many([("RPUSH", key, codec.encode(result)), ("EXPIRE", key, REPLY_SECONDS)])
