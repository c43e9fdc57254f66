"""How uploads to Telegram are retried."""

from __future__ import annotations

import asyncio

from telethon import errors as tg

from saveany.errors import Retryable
from saveany.telegram.errors import ErrorKind, flood_wait, kind_of, unknown_key
from saveany.telegram.file import OnWait
from saveany.telegram.pool import ConnectionPool, PoolLimits

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class UploadRetries:
    """Pauses between attempts, and waits for flood waits to end; reports each flood wait once."""

    def __init__(self, limits: PoolLimits, on_wait: OnWait | None) -> None:
        self._limits = limits
        self._on_wait = on_wait
        self._reported_until = 0.0  # end of the last flood wait that was reported to `on_wait`

    async def pause(self, error: Exception, tries: int) -> None:
        """Pause before another attempt; raises the error if another attempt cannot help."""
        if isinstance(error, tg.RandomIdDuplicateError) or unknown_key(error):
            raise error
        if kind_of(type(error)) is not ErrorKind.RETRY or tries == self._limits.max_tries:
            raise error
        await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries))

    async def wait_until_allowed(self, pool: ConnectionPool) -> None:
        """Wait until no flood wait of the connections is left."""
        while (seconds := pool.flood_clock.remaining) > 0:
            reported, until = self._reported_until, pool.flood_clock.until
            self._reported_until = max(reported, until)
            await self.flood_wait(seconds, reported=until <= reported)

    async def flood_wait(self, seconds: float, *, reported: bool = False) -> None:
        """Wait out a flood wait. Raises `Retryable` if it is longer than the limit."""
        if seconds > self._limits.max_flood_seconds:
            raise Retryable(flood_wait(seconds), after=seconds)
        if self._on_wait and not reported:
            self._on_wait(seconds)
        await asyncio.sleep(seconds)
