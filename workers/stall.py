"""Giving up on who sends next to nothing: such a download holds a slot for ever, and is better begun anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from saveany.errors import Retryable

#: A source that brings fewer bytes than this in so many seconds is given up.
LEAST_BYTES_PER_SECOND = 1024
SECONDS = 300.0
#: A program that says nothing for so long is not downloading, but connecting or joining parts.
_BUSY_SECONDS = 30.0

_current: ContextVar[StallDetector | None] = ContextVar("pace", default=None)


class StallDetector:
    """Raises `Retryable` inside of `watching` when a source is too slow. The time in which it cannot send,
    because we have not taken yet what it sent, does not count."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._came = 0  # bytes since the time has begun anew
        self._left = seconds  # while the time stands still
        self._taking = 0

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """So many bytes came, and are taken until the block ends."""
        self._came += size
        if self._came >= LEAST_BYTES_PER_SECOND * self._seconds:
            self._came, self._left = 0, self._seconds
        elif not self._taking and self._timeout and (end := self._timeout.when()) is not None:
            self._left = max(0.0, end - asyncio.get_running_loop().time())
        self._taking += 1
        self._set(None)
        try:
            yield
        finally:
            self._taking -= 1
            if not self._taking:
                self._set(asyncio.get_running_loop().time() + self._left)

    def allow(self, seconds: float) -> None:
        """The source has to wait so long before it may go on."""
        if self._timeout and (end := self._timeout.when()) is not None:
            self._set(end + seconds)
        else:
            self._left += seconds

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """A source is at work until the block ends."""
        token = _current.set(self)
        try:
            async with asyncio.timeout(self._seconds) as self._timeout:
                try:
                    yield
                finally:
                    over, self._timeout = self._timeout, None
        except TimeoutError:
            if not over.expired():
                raise
            raise _too_slow(self._seconds) from None
        finally:
            _current.reset(token)

    def _set(self, end: float | None) -> None:
        if self._timeout and not self._timeout.expired():
            self._timeout.reschedule(end)


def note_wait(seconds: float) -> None:
    """Whoever fetches in this context has to wait before the source sends more."""
    if pace := _current.get():
        pace.allow(seconds)


class ProgramStallDetector:
    """The same for a program that tells how many bytes it has: `Retryable` comes out of `has`. While it tells
    nothing it does something else, and there is no hurry."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._since = self._at = 0.0
        self._before = 0

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """It is given nothing until the block ends: that time does not count."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - began

    def has(self, done: int) -> None:
        """It has so many bytes now."""
        now, earlier = time.monotonic(), self._at
        self._at = now
        enough = done - self._before >= LEAST_BYTES_PER_SECOND * self._seconds
        if enough or done < self._before or now - earlier > _BUSY_SECONDS:
            self._since, self._before = now, done
        elif now - self._since > self._seconds:
            raise _too_slow(self._seconds)


def _too_slow(seconds: float) -> Retryable:
    return Retryable(f"next to nothing came for {seconds / 60:.0f} minutes (less than 1 KiB per second)")
