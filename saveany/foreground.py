"""Keeps an event loop responsive that also decrypts files for many readers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Seconds for which a turn waits for short work at most, and after which work does not count as short.
_LONGEST_WAIT, _SHORT = 0.005, 0.05
#: Passes of the event loop between two turns, in which Telethon's loops pass a packet on and decrypt it.
_PASSES = 3


class Foreground:
    """Short work that somebody waits for, such as a request to the API. What keeps the event loop busy for
    about a millisecond at a time waits for it."""

    def __init__(self, longest_wait: float = _LONGEST_WAIT, short: float = _SHORT) -> None:
        """`longest_wait` is how long a turn waits at most, `short` how long work counts, both in seconds."""
        self._longest_wait = longest_wait
        self._short = short
        self._running: dict[object, float] = {}  # when each began, monotonic; the latest is the last
        self._ended = asyncio.Event()
        self._turns = asyncio.Lock()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do such work within this context. If it takes longer, it does not count any more."""
        this = object()
        self._running[this] = time.monotonic()
        try:
            yield
        finally:
            del self._running[this]
            if not self._is_busy:
                self._ended.set()

    async def turn(self) -> None:
        """Wait until there is no short work, but only for some milliseconds, and until it is the caller's
        turn. Between two turns runs what has become ready."""
        async with self._turns:
            for _ in range(_PASSES):
                await asyncio.sleep(0)
            if self._is_busy:
                self._ended.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._longest_wait):
                        await self._ended.wait()

    @property
    def _is_busy(self) -> bool:
        return bool(self._running) and time.monotonic() - next(reversed(self._running.values())) < self._short
