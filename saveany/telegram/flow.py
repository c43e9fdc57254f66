"""Flow control: flood waits, the number of parts in flight, and a semaphore that is fair."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

#: Seconds over which a speed is measured.
ROUND = 1.0
#: Minimum ratio of the new speed to the old one for a larger window to be kept.
_MIN_GAIN = 1.1
#: Number of urgent waiters in a row that get a slot before a normal one.
_URGENT_IN_A_ROW = 4
#: Seconds after which a settled window size is tested again.
_REST = 30.0


class FloodClock:
    """The end of the flood wait of one account at one data center."""

    def __init__(self) -> None:
        self.until = 0.0  # monotonic

    def extend(self, seconds: float) -> None:
        """Record a flood wait of `seconds` from now. A longer one stays in force."""
        self.until = max(self.until, time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds to wait from now, 0 if none."""
        return max(0.0, self.until - time.monotonic())


class Window:
    """The number of parts in flight per connection.

    It grows by one as long as that increases the speed, and is halved after a flood wait or a timeout.
    """

    def __init__(self, initial: int, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = initial
        self._maximum = maximum
        self._clock = clock
        self._round_start = clock()
        self._round_bytes = 0
        self._previous_speed: float | None = None  # with a window smaller by one, while this size is on trial
        self._rest_until = 0.0  # monotonic
        self._failure_counted_until = 0.0  # monotonic

    def on_part(self, size: int, *, idle: bool = False) -> None:
        """Record a received part of `size` bytes. `idle`: most connections have nothing to do because the
        consumer is slower than they are."""
        now = self._clock()
        seconds = now - self._round_start
        if idle or now < self._rest_until or seconds > 2 * ROUND:  # does not measure the connections' speed
            self._restart_round(now)
        elif seconds < ROUND:
            self._round_bytes += size
        else:
            self._adjust((self._round_bytes + size) / seconds, now)

    def on_failure(self) -> None:
        """Record a flood wait or a timeout. Failures of several parts at the same time count as one."""
        now = self._clock()
        if now >= self._failure_counted_until:
            self.size = max(1, self.size // 2)
            self._failure_counted_until = now + ROUND
        self._rest(now)

    def _adjust(self, speed: float, now: float) -> None:
        if self._previous_speed is not None and speed < self._previous_speed * _MIN_GAIN:
            self.size -= 1
            self._rest(now)
        elif self.size < self._maximum:
            self.size += 1
            self._previous_speed = speed
            self._restart_round(now)
        else:
            self._rest(now)

    def _rest(self, now: float) -> None:
        self._previous_speed = None
        self._rest_until = now + _REST
        self._restart_round(now)

    def _restart_round(self, now: float) -> None:
        self._round_start, self._round_bytes = now, 0


class _Waiter(NamedTuple):
    admitted: asyncio.Future[None]
    size: int


class FairSemaphore:
    """A semaphore that serves waiters in order of arrival and whose `capacity` may change.

    Urgent waiters go first, and one of them may exceed the capacity. So a small file waits only for requests
    that are under way, not for the whole queue of a big file. A big file still gets its share while there are
    always small ones: after some urgent waiters in a row a normal one gets a slot.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self.demand = 0  # in use or waited for
        self._capacity = capacity
        self._in_use = 0
        self._urgent_in_a_row = 0
        self._urgent: deque[_Waiter] = deque()
        self._normal: deque[_Waiter] = deque()

    @asynccontextmanager
    async def slot(self, size: int = 1, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a slot and hold it for the duration of the block. It takes `size` of the capacity; what is
        left may be less, so the capacity may be exceeded by a part of one slot."""
        self.demand += size
        try:
            await self._acquire(self._urgent if urgent else self._normal, size)
            try:
                yield
            finally:
                self._release(size)
        finally:
            self.demand -= size

    async def _acquire(self, queue: deque[_Waiter], size: int) -> None:
        admitted = asyncio.get_running_loop().create_future()
        queue.append(_Waiter(admitted, size))
        self._wake_waiters()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():  # at the moment of the cancellation
                self._release(size)
            raise

    def _release(self, size: int) -> None:
        self._in_use -= size
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        """Give free slots to waiters. A slot counts as in use at once, before its waiter runs, so that a new
        request cannot overtake those that wait."""
        while (queue := self._next_queue()) is not None:
            waiter = queue.popleft()
            if waiter.admitted.done():  # canceled
                continue
            waiter.admitted.set_result(None)
            self._in_use += waiter.size
            self._urgent_in_a_row = self._urgent_in_a_row + 1 if queue is self._urgent else 0

    def _next_queue(self) -> deque[_Waiter] | None:
        """The queue whose first waiter may have a slot now; None if none may."""
        free = self._capacity() - self._in_use
        normal_is_due = self._normal and self._urgent_in_a_row >= _URGENT_IN_A_ROW
        if self._urgent and not normal_is_due and free >= 0:
            return self._urgent
        return self._normal if self._normal and free > 0 else None
