"""The state of the bot that survives restarts: unhandled updates, its position in the updates, and open
cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from saveany.store import keys
from saveany.store.db import Db
from saveany.store.records import text

#: Seconds for which the buttons of a card work.
CARD_SECONDS = 7 * 24 * 3600
#: Milliseconds after which the lock of a process that died is free.
LOCK_MS = 15_000

T = TypeVar("T")

_ID, _POSITION = keys.BOT_ID(), keys.BOT_POSITION()
_INBOX, _LOGINS = keys.BOT_INBOX(), keys.BOT_LOGINS()


class BotMemory:
    """The memory of the bot."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def use_for(self, bot: int) -> None:
        """Make this the memory of `bot`. Updates of a bot that was configured before are dropped."""
        before = await self._db.do("GET", _ID)
        if before is not None and before != str(bot).encode():
            await self._db.do("DEL", _POSITION, _INBOX)
        await self._db.do("SET", _ID, bot)  # last, so that a crash before repeats the whole step

    def readable(
        self, kind: str, kept: Mapping[str, bytes], decode: Callable[[tuple[str, bytes]], T]
    ) -> list[T]:
        """The results of `decode` for each pair of key and record, without unreadable ones."""
        return self._db.records.all(kind, ((key, (key, value)) for key, value in kept.items()), decode)

    async def position(self) -> bytes:
        """The position up to which updates were read; empty at first."""
        found: bytes | None = await self._db.do("GET", _POSITION)
        return found or b""

    async def receive(self, updates: Mapping[str, bytes], position: bytes) -> None:
        """Store updates and the position after them in one step."""
        kept = [("HSET", _INBOX, key, update) for key, update in updates.items()]
        await self._db.many([*kept, ("SET", _POSITION, position)], together=True)

    async def inbox(self) -> dict[str, bytes]:
        """The updates that are not handled yet, by key."""
        found = await self._db.do("HGETALL", _INBOX)
        return {text(key): value for key, value in found.items()}

    async def group(self, update_keys: Sequence[str], key: str, group: bytes) -> None:
        """Replace several updates with one, their group."""
        await self._db.many([("HDEL", _INBOX, *update_keys), ("HSET", _INBOX, key, group)], together=True)

    async def handled(self, key: str) -> None:
        """Remove an update."""
        await self._db.do("HDEL", _INBOX, key)

    async def keep_card(self, token: str, card: bytes) -> None:
        """Store a card, or its outcome."""
        await self._db.do("SET", keys.BOT_CARD(token), card, "EX", CARD_SECONDS)

    async def card(self, token: str) -> bytes | None:
        """A card; None if it has expired."""
        found: bytes | None = await self._db.do("GET", keys.BOT_CARD(token))
        return found

    async def drop_card(self, token: str) -> None:
        """Remove a card, so that its buttons do nothing."""
        await self._db.do("DEL", keys.BOT_CARD(token))

    async def first_time(self, name: str, seconds: int) -> bool:
        """True for the first call with this name within `seconds`."""
        return bool(await self._db.do("SET", keys.BOT_NOTICE(name), 1, "NX", "EX", seconds))

    async def login_begins(self, chat: int, user: int) -> None:
        """Record that a user is logging in, so that after a crash the secrets they send are deleted."""
        await self._db.do("HSET", _LOGINS, chat, user)

    async def login_ends(self, chat: int) -> None:
        """Record that the login in this chat has ended."""
        await self._db.do("HDEL", _LOGINS, chat)

    async def logins(self) -> dict[int, int]:
        """The users who were logging in when the process ended, by chat."""
        found = await self._db.do("HGETALL", _LOGINS)
        named = ((chat, (chat, user)) for chat, user in found.items())
        return dict(self._db.records.all("login", named, lambda pair: (int(pair[0]), int(pair[1]))))

    async def acquire_lock(self, holder: str) -> bool:
        """Acquire or renew the lock of the bot. False if another process has it."""
        return bool(await self._db.script("acquire_lock", holder, LOCK_MS))

    async def is_running(self) -> bool:
        """Whether a process is the bot now."""
        return bool(await self._db.do("EXISTS", keys.BOT_LOCK()))

    async def release_lock(self, holder: str) -> None:
        """Release the lock."""
        await self._db.script("acquire_lock", holder, 1)
