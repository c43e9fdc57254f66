"""What the bot must not forget: what it was told and has not handled, how far it has read, open cards.

sa:bot:id             string   which bot it belongs to
sa:bot:position       string   up to where updates are read; JSON of the reader
sa:bot:inbox          hash     key -> letter that is not handled yet; JSON of the bot
sa:bot:card:<token>   string   a question with buttons, for a week
sa:bot:lock           string   which process is the bot now
sa:bot:logins         hash     chat -> person who is logging an account in there, by questions
sa:bot:told:<what>    string   something was said that is not to be said again for a while
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from saveany.store import keys
from saveany.store.db import Db
from saveany.store.records import text

#: How long the buttons of a card work.
CARD_SECONDS = 7 * 24 * 3600
#: The lock of a process that died is free after so long.
LOCK_MS = 15_000

T = TypeVar("T")

_ID, _POSITION = keys.BOT_ID(), keys.BOT_POSITION()
_INBOX, _LOGINS = keys.BOT_INBOX(), keys.BOT_LOGINS()


class BotMemory:
    """Reading and writing it."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def belong_to(self, bot: int) -> None:
        """From now on it is the memory of this bot: what another one was told is forgotten."""
        before = await self._db.do("GET", _ID)
        if before is not None and before != str(bot).encode():
            await self._db.do("DEL", _POSITION, _INBOX)
        await self._db.do("SET", _ID, bot)  # last: whoever dies before begins anew

    def readable(
        self, kind: str, kept: Mapping[str, bytes], decode: Callable[[tuple[str, bytes]], T]
    ) -> list[T]:
        """What `decode` makes of each pair of key and record; without those that it cannot read."""
        return self._db.records.all(kind, ((key, (key, value)) for key, value in kept.items()), decode)

    async def position(self) -> bytes:
        """Up to where updates are read; empty at first."""
        found: bytes | None = await self._db.do("GET", _POSITION)
        return found or b""

    async def receive(self, letters: Mapping[str, bytes], position: bytes) -> None:
        """Take letters in and move the position behind them, both or neither."""
        kept = [("HSET", _INBOX, key, letter) for key, letter in letters.items()]
        await self._db.many([*kept, ("SET", _POSITION, position)], together=True)

    async def inbox(self) -> dict[str, bytes]:
        """All that is not handled yet."""
        found = await self._db.do("HGETALL", _INBOX)
        return {text(key): value for key, value in found.items()}

    async def bundle(self, keys: Sequence[str], key: str, bundle: bytes) -> None:
        """Have one letter stand for several."""
        await self._db.many([("HDEL", _INBOX, *keys), ("HSET", _INBOX, key, bundle)], together=True)

    async def handled(self, key: str) -> None:
        """Forget a letter."""
        await self._db.do("HDEL", _INBOX, key)

    async def keep_card(self, token: str, card: bytes) -> None:
        """Keep a card, or what became of it."""
        await self._db.do("SET", keys.BOT_CARD(token), card, "EX", CARD_SECONDS)

    async def card(self, token: str) -> bytes | None:
        """A card; None if it is too old."""
        found: bytes | None = await self._db.do("GET", keys.BOT_CARD(token))
        return found

    async def drop_card(self, token: str) -> None:
        """Its buttons do nothing any more."""
        await self._db.do("DEL", keys.BOT_CARD(token))

    async def first_time(self, what: str, seconds: int) -> bool:
        """Whether this is asked for the first time in so many seconds."""
        return bool(await self._db.do("SET", keys.BOT_NOTICE(what), 1, "NX", "EX", seconds))

    async def login_begins(self, chat: int, person: int) -> None:
        """Remember that somebody is asked for secrets, for the case that this process does not hear them."""
        await self._db.do("HSET", _LOGINS, chat, person)

    async def login_ends(self, chat: int) -> None:
        """Nobody is asked there any more."""
        await self._db.do("HDEL", _LOGINS, chat)

    async def logins(self) -> dict[int, int]:
        """Who was being asked when the process ended, by chat."""
        found = await self._db.do("HGETALL", _LOGINS)
        named = ((chat, (chat, person)) for chat, person in found.items())
        return dict(self._db.records.all("login", named, lambda pair: (int(pair[0]), int(pair[1]))))

    async def hold(self, holder: str) -> bool:
        """Take or renew the lock of the bot; False if another process has it."""
        return bool(await self._db.script("hold", holder, LOCK_MS))

    async def let_go(self, holder: str) -> None:
        """Give the lock back."""
        await self._db.script("hold", holder, 1)
