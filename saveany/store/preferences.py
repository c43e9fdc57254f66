"""Preferences of users: language, destination and names of their files."""

from __future__ import annotations

import time
from collections.abc import Callable

from saveany.errors import Unavailable
from saveany.preferences import Preferences
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import Unreadable, check_version, decoder

_KEY = keys.PREFERENCES()
_KNOWN_MS = 24 * 3600 * 1000
#: Seconds for which preferences are cached, and the maximum number of cached users.
_FRESH_SECONDS, _MOST_FRESH = 1.0, 1000

_prefs = decoder(Preferences)
_NONE = Preferences()


class PreferencesStore:
    """The preferences of all users."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._fresh: dict[int, tuple[float, Preferences]] = {}  # until when, by the monotonic clock

    async def recent(self, user_id: int) -> Preferences:
        """As `get`, but up to one second old, for frequent callers."""
        until, prefs = self._fresh.get(user_id, (0.0, _NONE))
        if until > time.monotonic():
            return prefs
        if len(self._fresh) >= _MOST_FRESH:
            self._fresh.clear()
        prefs = await self.get(user_id)
        self._fresh[user_id] = time.monotonic() + _FRESH_SECONDS, prefs
        return prefs

    async def get(self, user_id: int) -> Preferences:
        """The preferences of a user; the defaults if the user has set none."""
        return self._decoded(user_id, await self._read(user_id))

    async def change(
        self, user_id: int, how: Callable[[Preferences], Preferences], *, once: str = ""
    ) -> Preferences:
        """Store `how(preferences)` and return the stored preferences.

        If another process changed them meanwhile, `how` is called again with the new ones, so no change is
        lost. A change named `once` is made once within a day. Exceptions of `how` propagate, and nothing is
        changed.
        """
        name = (_changed(once), _KNOWN_MS) if once else ()
        while True:
            before = await self._read(user_id)
            _must_be_known(before)
            after = how(self._decoded(user_id, before))
            done = await self._db.script("change", _KEY, user_id, before, codec.encode(after), *name)
            if done:
                self._fresh.pop(user_id, None)
                return after if done == 1 else await self.get(user_id)

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


def _must_be_known(record: bytes) -> None:
    try:
        check_version(record)
    except Unreadable as error:
        raise Unavailable(
            "your preferences cannot be changed here: {reason}; upgrade SaveAny", reason=str(error)
        ) from error
