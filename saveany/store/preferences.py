"""Preferences of users: language, destination and names of their files."""

from __future__ import annotations

import time
from collections.abc import Callable

from saveany.errors import Unavailable
from saveany.preferences import Preferences
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import Unreadable, check_version, decoder, text

_KEY = keys.PREFERENCES()
_ONCE_MS = 24 * 3600 * 1000
#: Seconds for which preferences are cached, and the maximum number of cached users.
_CACHE_SECONDS, _MAX_CACHED = 1.0, 1000

_prefs = decoder(Preferences)
_NONE = Preferences()


class PreferencesStore:
    """The preferences of all users."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._cache: dict[int, tuple[float, Preferences]] = {}  # with the monotonic time of expiry

    async def recent(self, user_id: int) -> Preferences:
        """As `get`, but up to one second old, for frequent callers."""
        until, prefs = self._cache.get(user_id, (0.0, _NONE))
        if until > time.monotonic():
            return prefs
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        prefs = await self.get(user_id)
        self._cache[user_id] = time.monotonic() + _CACHE_SECONDS, prefs
        return prefs

    async def get(self, user_id: int) -> Preferences:
        """The preferences of a user; the defaults if the user has set none."""
        return self._decoded(user_id, await self._read(user_id))

    async def change(
        self, user_id: int, update: Callable[[Preferences], Preferences], *, once: str = ""
    ) -> Preferences:
        """Store `update(preferences)` and return the stored preferences.

        If another process changed them in the meantime, `update` is called again with the new ones, so no
        change is lost. A change named `once` is made once within a day. Exceptions of `update` propagate, and
        nothing is changed.
        """
        name = (_changed(once), _ONCE_MS) if once else ()
        while True:
            before = await self._read(user_id)
            _check_readable(before)
            after = update(self._decoded(user_id, before))
            done = await self._db.script("change", _KEY, user_id, before, codec.encode(after), *name)
            if done:
                self._cache.pop(user_id, None)
                return after if done == 1 else await self.get(user_id)

    async def users(self) -> list[int]:
        """The ids of all users who have preferences."""
        found = [text(key) for key in await self._db.do("HKEYS", _KEY)]
        return [int(each) for each in found if each.isdecimal()]

    async def changed(self, once: str) -> bool:
        """Whether the change named `once` was made."""
        return bool(await self._db.do("EXISTS", _changed(once)))

    def _decoded(self, user_id: int, record: bytes) -> Preferences:
        found = self._db.records.one("preferences", user_id, record, _prefs) if record else None
        return found or _NONE

    async def _read(self, user_id: int) -> bytes:
        return await self._db.do("HGET", _KEY, user_id) or b""


def _changed(once: str) -> str:
    return keys.PREFERENCE_CHANGE(once)


def _check_readable(record: bytes) -> None:
    try:
        check_version(record)
    except Unreadable as error:
        raise Unavailable(
            "your preferences cannot be changed here: {reason}; upgrade SaveAny", reason=str(error)
        ) from error
