"""Sessions of the API of StreamAPI, and the ids of its requests."""

from __future__ import annotations

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder, text


class StreamSession(msgspec.Struct, frozen=True, kw_only=True):
    """A chat that a key wants recorded when it goes live."""

    public_id: str  # digits
    private_id: str  # known to the owner only
    key_id: str
    user_id: int
    chat: str  # its username, or its id; "" for none
    name: str = ""
    is_private: bool = False  # its recordings get no public links


_session = decoder(StreamSession)


class StreamSessions:
    """All sessions, by their ids."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def advance(self, key_id: str, request: int) -> bool:
        """Accept the id of a request if it is greater than all earlier ones of the key. Of several calls with
        the same id at most one is accepted, whatever process they are in."""
        return bool(await self._db.script("advance_request", key_id, str(request)))

    async def create(self, session: StreamSession) -> StreamSession | None:
        """Create a session; the existing one if its public id is taken, None if that is unreadable."""
        found = await self._db.script(
            "create_session", session.public_id, session.private_id, codec.encode(session)
        )
        return self._read(found)

    async def change(self, session: StreamSession) -> None:
        """Store a changed session."""
        await self._db.do("HSET", keys.STREAM_SESSIONS(), session.public_id, codec.encode(session))

    async def with_public_id(self, public_id: str) -> StreamSession | None:
        """The session with this public id."""
        return self._read(await self._db.do("HGET", keys.STREAM_SESSIONS(), public_id))

    async def with_private_id(self, private_id: str) -> StreamSession | None:
        """The session with this private id."""
        found = await self._db.do("HGET", keys.STREAM_OWNERS(), private_id)
        return await self.with_public_id(text(found)) if found else None

    async def of_key(self, key_id: str) -> list[StreamSession]:
        """The sessions of a key, by public id."""
        found = map(self._read, await self._db.do("HVALS", keys.STREAM_SESSIONS()))
        mine = [session for session in found if session and session.key_id == key_id]
        return sorted(mine, key=lambda session: (len(session.public_id), session.public_id))

    def _read(self, raw: bytes | None) -> StreamSession | None:
        return self._db.records.one("session", "session", raw, _session) if raw else None
