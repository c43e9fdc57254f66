"""What users like: their language, where their files go, and how they are called."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import msgspec

from saveany.errors import Unavailable
from saveany.models import Rule
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import Unreadable, check_version, decoder

_KEY = keys.PREFERENCES()
_KNOWN_MS = 24 * 3600 * 1000
#: What was read lately is good for so long, for so many users.
_FRESH_SECONDS, _MOST_FRESH = 1.0, 1000


class Shortcut(msgspec.Struct, frozen=True):
    """A folder that is offered where one is chosen."""

    storage: str
    folder: str  # as `planning.paths.folder` returns it


class Preferences(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The preferences of one user. A storage may be gone, or not be the user's any more."""

    language: str = ""  # a tag such as `zh-Hans`; "": as the user's app has it
    silent: bool = False  # save at once, without a question
    storage: str = ""  # for tasks that name none; "": the first that the user may use
    folder: str = ""  # in that storage
    on_conflict: Literal["", "rename", "overwrite", "skip", "ask"] = ""
    template: str = ""  # for names, see `planning.templates`; "" keeps those that the files have
    rules_on: bool = True
    rules: tuple[Rule, ...] = ()  # see `planning.rules`
    shortcuts: tuple[Shortcut, ...] = ()


_prefs = decoder(Preferences)
_NONE = Preferences()


class PreferencesStore:
    """The preferences of everybody, by user id."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._fresh: dict[int, tuple[float, Preferences]] = {}  # until when, by the monotonic clock

    async def recent(self, user_id: int) -> Preferences:
        """As `get`, but as they were a second ago at most: for who asks all the time."""
        until, prefs = self._fresh.get(user_id, (0.0, _NONE))
        if until > time.monotonic():
            return prefs
        if len(self._fresh) >= _MOST_FRESH:
            self._fresh.clear()
        prefs = await self.get(user_id)
        self._fresh[user_id] = time.monotonic() + _FRESH_SECONDS, prefs
        return prefs

    async def get(self, user_id: int) -> Preferences:
        """What the user has set; the defaults for who never did."""
        return self._decoded(user_id, await self._read(user_id))

    async def change(
        self, user_id: int, how: Callable[[Preferences], Preferences], *, once: str = ""
    ) -> Preferences:
        """Keep `how(prefs)`. It is called again with newer ones if somebody else changed them meanwhile, so
        no change is lost; one with a name `once` is made once in a day. Returns what is kept now; what `how`
        raises comes out, and nothing is changed."""
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
        """Whether the change of that name was made."""
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
        raise Unavailable(f"your preferences cannot be changed here: {error}; upgrade SaveAny") from error
