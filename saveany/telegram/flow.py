"""How fast an account may ask a data centre: waits it was told, and how many parts at once are worth it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

#: Seconds over which a speed is measured.
ROUND = 1.0
#: What a deeper window must gain to be kept.
_GAIN = 1.1
#: Seconds until a depth that was settled on is questioned again.
_REST = 30.0


class FloodClock:
    """When Telegram will hear this account at this data centre again."""

    def __init__(self) -> None:
        self.until = 0.0  # monotonic

    def hit(self, seconds: float) -> None:
        """Telegram asked to wait."""
        self.until = max(self.until, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds to wait from now, 0 if none."""
        return max(0.0, self.until - time.monotonic())


class Window:
    """How many parts each connection is asked for at once: one more while that makes it faster, half as many
    at once when Telegram objects or does not answer."""

    def __init__(self, first: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = first
        self._most = most
        self._clock = clock
        self._began = clock()  # the round that is being measured
        self._bytes = 0
        self._before: float | None = None  # the speed one step less deep, if this step is on trial
        self._rest_until = 0.0  # monotonic, as is …
        self._deaf_until = 0.0  # … the end of a trouble that has been counted

    def answered(self, size: int, *, idle: bool = False) -> None:
        """A part has come; `idle` if the connections have little to do, as whoever takes the parts is slower
        than they are."""
        now = self._clock()
        seconds = now - self._began
        if idle or now < self._rest_until or seconds > 2 * ROUND:  # that says nothing about their speed
            self._restart(now)
        elif seconds < ROUND:
            self._bytes += size
        else:
            self._judge((self._bytes + size) / seconds, now)

    def trouble(self) -> None:
        """A flood wait, or no answer in time. What several parts run into at the same time counts once."""
        now = self._clock()
        if now >= self._deaf_until:
            self.now = max(1, self.now // 2)
            self._deaf_until = now + ROUND
        self._rest(now)

    def _judge(self, speed: float, now: float) -> None:
        if self._before is not None and speed < self._before * _GAIN:
            self.now -= 1
            self._rest(now)
        elif self.now < self._most:
            self.now += 1
            self._before = speed
            self._restart(now)
        else:
            self._rest(now)

    def _rest(self, now: float) -> None:
        self._before = None
        self._rest_until = now + _REST
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._began, self._bytes = now, 0


class FairSemaphore:
    """Lets so many through at once as there is `room` for, in the order in which they came.

    Urgent ones go before the others, and find room for one of them beside what is under way: a small file
    waits for what was asked for already, not for a big file's whole queue.
    """

    def __init__(self, room: Callable[[], int]) -> None:
        self.wanted = 0  # turns that are taken or waited for
        self._room = room
        self._taken = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs."""
        self.wanted += 1
        try:
            await self._take(self._urgent if urgent else self._others)
            try:
                yield
            finally:
                self._give_back()
        finally:
            self.wanted -= 1

    async def _take(self, queue: deque[asyncio.Future[None]]) -> None:
        mine = asyncio.get_running_loop().create_future()
        queue.append(mine)
        self._give()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # it was given before this one noticed
                self._give_back()
            raise

    def _give_back(self) -> None:
        self._taken -= 1
        self._give()

    def _give(self) -> None:
        """Hand over turns as there is room now. They count as taken at once: one who comes later, or who
        comes again, does not overtake those that wait."""
        for queue, room in ((self._urgent, self._room() + 1), (self._others, self._room())):
            while queue and self._taken < room:
                turn = queue.popleft()
                if not turn.done():  # canceled
                    turn.set_result(None)
                    self._taken += 1
