"""Questions which files some links lead to: the API asks, and a worker that has the source replies."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import msgspec

from saveany.errors import Unavailable
from saveany.models import Item, TaskSpec
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder
from saveany.texts import StoredText, Text, loaded

#: Seconds that the API waits for a reply; a worker that cannot reply within this gives up.
REPLY_SECONDS = 25
#: Seconds that a worker waits for a question before it looks again which sources work.
_WAIT_SECONDS = 15


class LinkQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The files that this task would have."""

    id: str
    spec: TaskSpec
    until: int  # ms by the clock of Redis, after which nobody waits for the reply


class LinkReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first items, and the number of all; or the class name and text of an error."""

    items: list[Item] = []
    total: int = 0
    error: str = ""
    retryable: bool = False
    message: StoredText = ""

    @property
    def text(self) -> Text:
        """What is wrong, for a user."""
        return loaded(self.message) or Text(self.error)


_query, _reply = decoder(LinkQuery), decoder(LinkReply)


class LinkQueries:
    """Asking about links, and replying."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def send(self, spec: TaskSpec) -> LinkReply:
        """The reply of a worker. Raises `Unavailable` if none replies in time."""
        until = await self._db.time_ms() + REPLY_SECONDS * 1000
        query = LinkQuery(id=uuid4().hex, spec=spec, until=until)
        queue = keys.LINK_QUERIES(spec.reader)
        await self._db.many([("RPUSH", queue, codec.encode(query)), ("EXPIRE", queue, REPLY_SECONDS)])
        raw = await self._db.do("BLPOP", keys.QUERY_RESULT(query.id), REPLY_SECONDS)
        reply = self._db.records.one("link reply", query.id, raw[1], _reply) if raw else None
        if reply is None:
            raise Unavailable(
                "no worker could look the link up within {seconds} seconds", seconds=REPLY_SECONDS
            )
        return reply

    async def next(self, readers: Sequence[str]) -> LinkQuery | None:
        """The next question for one of these `TaskSpec.reader`; None if none arrives in time."""
        reply = await self._db.do("BLPOP", *(keys.LINK_QUERIES(each) for each in readers), _WAIT_SECONDS)
        query = self._db.records.one("link query", reply[0], reply[1], _query) if reply else None
        return query if query and query.until > await self._db.time_ms() else None

    async def reply(self, query: LinkQuery, reply: LinkReply) -> None:
        """Send the reply to the process that has asked."""
        key = keys.QUERY_RESULT(query.id)
        await self._db.many([("RPUSH", key, codec.encode(reply)), ("EXPIRE", key, REPLY_SECONDS)])
