"""Which messages of the bot show which tasks.

sa:live   hash   <chat>:<message> -> JSON, until the end of the task is shown
"""

from __future__ import annotations

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder

_KEY = keys.PROGRESS_MESSAGES()


class ProgressMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that shows how far a task is."""

    chat: int
    message: int
    task_id: str
    user_id: int
    language: str
    name: str = ""  # what the task is called until its files have names
    shown: str = ""  # tells apart what it has shown; empty if that is not known


_message = decoder(ProgressMessage)


class ProgressMessages:
    """Keeping them over restarts of the bot."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def keep(self, message: ProgressMessage) -> None:
        """Add a message, or change what is known of it."""
        await self._db.do("HSET", _KEY, _field(message), codec.encode(message))

    async def all(self) -> list[ProgressMessage]:
        """All that are kept, oldest task first."""
        found = await self._db.do("HGETALL", _KEY)
        messages = self._db.records.all("live message", found.items(), _message)
        return sorted(messages, key=lambda message: message.task_id)

    async def remove(self, message: ProgressMessage) -> None:
        """Forget a message."""
        await self._db.do("HDEL", _KEY, _field(message))


def _field(message: ProgressMessage) -> str:
    return f"{message.chat}:{message.message}"
