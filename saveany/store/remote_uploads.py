"""Tasks that were created over the API of another host. Its clients know them by small numbers."""

from __future__ import annotations

from typing import Final

from saveany.errors import StoreDamaged
from saveany.store import keys
from saveany.store.db import Db
from saveany.store.records import text

#: Number of tasks that are listed for a user.
MAX_LISTED: Final = 1000


class RemoteUploads:
    """The newest of these tasks of each user. A number is never used twice."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def add(self, user_id: int, task_id: str) -> int:
        """List a task; returns its number."""
        number = await self._next_number()
        listed = keys.REMOTE_UPLOADS(user_id)
        await self._db.many(
            [("ZADD", listed, number, task_id), ("ZREMRANGEBYRANK", listed, 0, -MAX_LISTED - 1)]
        )
        return number

    async def _next_number(self) -> int:
        counter = keys.REMOTE_NUMBER()
        try:
            return int(await self._db.do("INCR", counter))
        except StoreDamaged:  # the time is greater than all numbers so far
            await self._db.do("SET", counter, await self._db.time_ms() // 1000)
            return int(await self._db.do("INCR", counter))

    async def newest(self, user_id: int, limit: int) -> dict[int, str]:
        """Numbers and ids of at most `limit` tasks, newest first; 0: of all."""
        found = await self._db.do("ZREVRANGE", keys.REMOTE_UPLOADS(user_id), 0, limit - 1, "WITHSCORES")
        return {int(float(number)): text(task_id) for task_id, number in _pairs(found)}

    async def find(self, user_id: int, number: int) -> str | None:
        """The id of the task with this number; None if it is not listed."""
        found = await self._db.do("ZRANGEBYSCORE", keys.REMOTE_UPLOADS(user_id), number, number)
        return text(found[0]) if found else None

    async def remove(self, user_id: int, number: int) -> None:
        """List a task no more."""
        await self._db.do("ZREMRANGEBYSCORE", keys.REMOTE_UPLOADS(user_id), number, number)


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
