"""Messages of the bot that show the progress of a task."""

from __future__ import annotations

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder

_KEY = keys.PROGRESS_MESSAGES()


class ProgressMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that shows the progress of a task, until it shows its end."""

    chat: int
    message: int
    task_id: str
    user_id: int
    language: str
    name: str = ""  # shown until the names of the files are known
    shown: str = ""  # hash of the content that it shows now; empty if unknown


_message = decoder(ProgressMessage)


class ProgressMessages:
    """The messages, which survive restarts of the bot."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def keep(self, message: ProgressMessage) -> None:
        """Add or update a message."""
        await self._db.do("HSET", _KEY, _field(message), codec.encode(message))

    async def all(self) -> list[ProgressMessage]:
        """All messages, oldest task first."""
        found = await self._db.do("HGETALL", _KEY)
        messages = self._db.records.all("progress message", found.items(), _message)
        return sorted(messages, key=lambda message: message.task_id)

    async def remove(self, message: ProgressMessage) -> None:
        """Remove a message."""
        await self._db.do("HDEL", _KEY, _field(message))


def _field(message: ProgressMessage) -> str:
    return f"{message.chat}:{message.message}"
