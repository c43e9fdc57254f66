"""The number of uploads that the service takes at the same time, which is found out from its refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from saveany.errors import StorageUnavailable

#: Uploads at the same time, if the service takes as many.
_MAX = 4
#: Seconds after a refusal until one more upload is tried.
_RETRY_SECONDS = 60.0


class UploadLimit:
    """Counts uploads. One that fails while others are in progress was one too many."""

    def __init__(self, on_change: Callable[[int], None]) -> None:
        """`on_change` is called with the limit when that changes."""
        self._on_change = on_change
        self._refused_at = 0.0
        self._running = 0
        self._ended = asyncio.Event()
        self._set(_MAX)

    @asynccontextmanager
    async def upload(self, *, wait: bool) -> AsyncIterator[None]:
        """Count an upload until the block ends; with `wait` it waits for others if there are too many."""
        while wait and self._running >= self._current():
            await self._ended.wait()
        self._running += 1
        try:
            yield
        except StorageUnavailable:
            if self._running > 1:
                self._refused_at = time.monotonic()
                self._set(min(self._limit, self._running - 1))
            raise
        finally:
            self._running -= 1
            self._ended.set()
            self._ended = asyncio.Event()

    def _current(self) -> int:
        if self._limit < _MAX and time.monotonic() - self._refused_at > _RETRY_SECONDS:
            self._refused_at = time.monotonic()
            self._set(self._limit + 1)
        return self._limit

    def _set(self, limit: int) -> None:
        self._limit = limit
        self._on_change(limit)
