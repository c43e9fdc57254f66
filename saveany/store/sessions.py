"""Sessions of browsers, and the news that keys and sessions were revoked."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder


class BrowserSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was begun with the token of the API, or with a key; or a code that begins one."""

    key_id: str  # "": the token
    proof: str  # shows that this token or key has not been replaced
    expires_at: int  # ms since the epoch


_session = decoder(BrowserSession)


class Sessions:
    """Sessions by their ids, which only the browsers know: Redis has a hash of each.

    The generation is a number that changes whenever a key or a session is revoked. What was read from the
    catalogue about keys is valid as long as it is the same.
    """

    def __init__(self, db: Db) -> None:
        self._db = db

    async def begin(self, session_id: str, key_id: str, proof: str, seconds: int) -> int:
        """Store a session for some seconds; returns when it ends."""
        return await self._keep(_key(session_id), key_id, proof, seconds)

    async def read(self, session_id: str) -> tuple[BrowserSession | None, int]:
        """A session, unless it does not exist any more, and the generation."""
        return await self._read("GET", _key(session_id))

    async def offer(self, code: str, key_id: str, proof: str, seconds: int) -> int:
        """Store for some seconds a code that begins a session once; returns when it ends."""
        return await self._keep(_code(code), key_id, proof, seconds)

    async def take(self, code: str) -> tuple[BrowserSession | None, int]:
        """What was stored with a code, unless it was taken before, and the generation."""
        return await self._read("GETDEL", _code(code))

    async def _keep(self, name: str, key_id: str, proof: str, seconds: int) -> int:
        expires_at = await self._db.time_ms() + seconds * 1000
        session = BrowserSession(key_id=key_id, proof=proof, expires_at=expires_at)
        await self._db.do("SET", name, codec.encode(session), "EX", seconds)
        return expires_at

    async def _read(self, command: str, name: str) -> tuple[BrowserSession | None, int]:
        raw, generation = await self._db.many([(command, name), ("GET", keys.KEY_GENERATION())])
        session = self._db.records.one("session", "session", raw, _session) if raw else None
        return session, _number(generation)

    async def generation(self) -> int:
        """The present generation."""
        return _number(await self._db.do("GET", keys.KEY_GENERATION()))

    async def end(self, session_id: str) -> None:
        """End a session."""
        await self._db.do("DEL", _key(session_id))
        await self.announce()

    async def announce(self) -> None:
        """Make all API processes forget what they know about keys, and check their event streams."""
        await self._db.do("SET", keys.KEY_GENERATION(), secrets.randbits(52))
        await self._db.do("PUBLISH", keys.PREFIX + keys.REVOKED, "")

    async def announcements(self) -> AsyncIterator[bytes]:
        """Yields once at the start, and for each call of `announce` from then on. Raises `StoreUnavailable`
        when the connection breaks."""
        async for message in self._db.listen(keys.REVOKED):
            yield message


def _key(session_id: str) -> str:
    return keys.SESSION(hashlib.sha256(session_id.encode()).hexdigest())


def _code(code: str) -> str:
    return keys.LOGIN_CODE(hashlib.sha256(code.encode()).hexdigest())


def _number(raw: bytes | None) -> int:
    return int(raw) if raw and raw.isdigit() else 0
