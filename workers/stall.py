"""Detects sources that send almost nothing; such a download would occupy a slot forever, so it is retried."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from saveany.errors import Retryable

#: A source that sends less than this for `SECONDS` has stalled.
LEAST_BYTES_PER_SECOND = 1024
SECONDS = 300.0
#: Seconds between two reports of a program after which it was busy with something other than downloading.
_BUSY_SECONDS = 30.0

_current: ContextVar[StallDetector | None] = ContextVar("stall_detector", default=None)


class StallDetector:
    """Raises `Retryable` inside of `watching` when a source has stalled.

    The clock stands still while the transfer has not taken a part yet, because the source cannot send then.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._received = 0  # bytes since the clock was restarted
        self._remaining = seconds  # of the time limit, while the clock stands still
        self._receiving = 0  # parts that the transfer is taking

    @contextmanager
    def receiving(self, size: int) -> Iterator[None]:
        """A part of `size` bytes has arrived; the transfer takes it until the block ends."""
        self._received += size
        if self._received >= LEAST_BYTES_PER_SECOND * self._seconds:
            self._received, self._remaining = 0, self._seconds
        elif not self._receiving and self._timeout and (deadline := self._timeout.when()) is not None:
            self._remaining = max(0.0, deadline - asyncio.get_running_loop().time())
        self._receiving += 1
        self._set_deadline(None)
        try:
            yield
        finally:
            self._receiving -= 1
            if not self._receiving:
                self._set_deadline(asyncio.get_running_loop().time() + self._remaining)

    def extend(self, seconds: float) -> None:
        """Allow `seconds` more: the source must wait before it may send."""
        if self._timeout and (deadline := self._timeout.when()) is not None:
            self._set_deadline(deadline + seconds)
        else:
            self._remaining += seconds

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The source sends until the block ends."""
        token = _current.set(self)
        try:
            async with asyncio.timeout(self._seconds) as self._timeout:
                try:
                    yield
                finally:
                    timeout, self._timeout = self._timeout, None
        except TimeoutError:
            if not timeout.expired():
                raise
            raise _stalled(self._seconds) from None
        finally:
            _current.reset(token)

    def _set_deadline(self, deadline: float | None) -> None:
        if self._timeout and not self._timeout.expired():
            self._timeout.reschedule(deadline)


def note_wait(seconds: float) -> None:
    """The current download must wait `seconds` before its source sends more; that is no stall."""
    if detector := _current.get():
        detector.extend(seconds)


class ProgramStallDetector:
    """Raises `Retryable` in `report` when a program that downloads a file has stalled.

    A program that does not report its progress is doing something else, such as connecting or joining parts.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._since = 0.0  # start of the period that is judged
        self._reported_at = 0.0
        self._done_before = 0  # bytes at the start of the period

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The program is paused until the block ends; that time does not count."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - started

    def report(self, done: int) -> None:
        """The program has `done` bytes of the file now."""
        now, reported_at = time.monotonic(), self._reported_at
        self._reported_at = now
        is_moving = done - self._done_before >= LEAST_BYTES_PER_SECOND * self._seconds
        if is_moving or done < self._done_before or now - reported_at > _BUSY_SECONDS:
            self._since, self._done_before = now, done
        elif now - self._since > self._seconds:
            raise _stalled(self._seconds)


def _stalled(seconds: float) -> Retryable:
    return Retryable(
        "almost no data has arrived for {minutes} minutes (less than 1 KiB per second)",
        minutes=f"{seconds / 60:.0f}",
    )
