"""The number of uploads that the service takes at the same time, which is found out from its refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from saveany.errors import StorageUnavailable
from storages.limit import ServerLimit, Turns

#: Uploads at the same time, if the service takes as many.
_MAX = 4


class UploadLimit:
    """Counts uploads. One that fails while others are in progress was one too many."""

    def __init__(self, on_change: Callable[[int], None]) -> None:
        """`on_change` is called with the limit when that changes."""
        self._limit = ServerLimit(_MAX, on_change)
        self._turns = Turns()

    @asynccontextmanager
    async def upload(self, *, wait: bool) -> AsyncIterator[None]:
        """Count an upload until the block ends; with `wait` it waits for others if there are too many."""
        if wait:
            await self._turns.wait(self._has_room)
        self._limit.in_use += 1
        try:
            yield
        except StorageUnavailable:
            self._limit.refused()
            raise
        finally:
            self._limit.in_use -= 1
            self._turns.changed()

    def _has_room(self) -> bool:
        if self._limit.may_try_more:
            self._limit.raise_to(self._limit.value + 1)
        return self._limit.in_use < self._limit.value
