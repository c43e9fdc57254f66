"""Chats that are recorded when they go live, and the streams that are going on."""

from __future__ import annotations

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder
from saveany.texts import StoredText, Text, stored

#: Milliseconds after which a stream that nobody has seen any more counts as ended.
_STALE_MS = 60_000


class LiveWatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat that is recorded for a user when it goes live."""

    id: str  # short and unique
    user_id: int
    chat: int  # marked id
    title: str
    username: str = ""
    account: str  # the user account that sees the chat
    storage: str = ""  # "": the user's default
    folder: str = ""  # "": the user's default
    created_at: int
    problem: StoredText = ""  # why it cannot be recorded now, shown to the user

    @property
    def name(self) -> str:
        """The chat as a user writes it: @name or an id."""
        return f"@{self.username}" if self.username else str(self.chat)


class Broadcast(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that goes on in a watched chat. Times are ms."""

    call: int  # Telegram's id of it
    started_at: int  # when it was noticed
    seen_at: int
    viewers: int
    most_viewers: int
    task_id: str  # of the recording


_watch, _broadcast = decoder(LiveWatch), decoder(Broadcast)


class LiveWatches:
    """All such chats, and their streams."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def add(self, watch: LiveWatch) -> None:
        """Add a watch, or store a changed one."""
        await self._db.do("HSET", keys.LIVE_WATCHES(), watch.id, codec.encode(watch))
        await self._db.do("PUBLISH", keys.PREFIX + keys.ARCHIVES_CHANGED, "")

    async def exist(self) -> bool:
        """Whether there is any watch."""
        return bool(await self._db.do("HLEN", keys.LIVE_WATCHES()))

    async def all(self) -> list[LiveWatch]:
        """All watches, oldest first."""
        found = await self._db.do("HGETALL", keys.LIVE_WATCHES())
        watches = self._db.records.all("live watch", found.items(), _watch)
        return sorted(watches, key=lambda watch: (watch.created_at, watch.id))

    async def get(self, watch_id: str) -> LiveWatch | None:
        """A watch, or None."""
        found = await self._db.do("HGET", keys.LIVE_WATCHES(), watch_id)
        return self._db.records.one("live watch", watch_id, found, _watch) if found else None

    async def remove(self, watch_id: str) -> None:
        """Stop watching. A recording goes on."""
        await self._db.do("HDEL", keys.LIVE_WATCHES(), watch_id)
        await self._db.do("HDEL", keys.BROADCASTS(), watch_id)

    async def set_problem(self, watch_id: str, problem: Text | None) -> None:
        """Record why a chat cannot be recorded; None records that it can."""
        watch = await self.get(watch_id)
        shown = stored(problem)
        if watch is None or watch.problem == shown:
            return
        changed = codec.encode(msgspec.structs.replace(watch, problem=shown))
        await self._db.script("change", keys.LIVE_WATCHES(), watch_id, codec.encode(watch), changed)

    async def note(self, watch_id: str, broadcast: Broadcast | None) -> None:
        """Record the stream that goes on in a chat; None if there is none."""
        if broadcast is None:
            await self._db.do("HDEL", keys.BROADCASTS(), watch_id)
        else:
            await self._db.do("HSET", keys.BROADCASTS(), watch_id, codec.encode(broadcast))

    async def broadcasts(self) -> dict[str, Broadcast]:
        """The streams that go on, by the id of their watch."""
        found = await self._db.do("HGETALL", keys.BROADCASTS())
        oldest = await self._db.time_ms() - _STALE_MS if found else 0
        named = ((watch_id.decode("utf-8", "replace"), raw) for watch_id, raw in found.items())
        read = {
            watch_id: self._db.records.one("broadcast", watch_id, raw, _broadcast) for watch_id, raw in named
        }
        return {watch_id: each for watch_id, each in read.items() if each and each.seen_at >= oldest}
