"""Waiting for an operation that a server runs in the background."""

from __future__ import annotations

import asyncio
import time
from typing import Final

#: Seconds between the first two polls; the pauses double from then on.
FIRST_POLL_SECONDS: Final = 0.05
#: Seconds without progress after which an operation is given up.
_MAX_STALL_SECONDS: Final = 1800.0


class Polls:
    """The pauses between polls of one operation, and whether it makes progress."""

    def __init__(self, max_pause: float) -> None:
        """`max_pause`: maximum pause in seconds."""
        self._max_pause = max_pause
        self._pause = FIRST_POLL_SECONDS
        self._state: object = None
        self._since = time.monotonic()  # when `_state` was first seen

    async def wait(self, state: object) -> bool:
        """Wait until the next poll is due. Returns False at once if `state` has been the same for half an
        hour."""
        if state != self._state:
            self._state, self._since = state, time.monotonic()
        if time.monotonic() - self._since > _MAX_STALL_SECONDS:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, self._max_pause)
        return True
