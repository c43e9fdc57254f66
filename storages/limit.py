"""How much a server takes at the same time, which is found out from its refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds after a refusal until one more is tried: others may have left their places. A caller that gives up
#: waits as long.
RETRY_SECONDS = 60.0


class AllInUse(Exception):
    """Nothing has become free in time."""


class ServerLimit:
    """The maximum number of connections, or uploads, at the same time. Who uses it counts those `in_use`."""

    def __init__(self, maximum: int, on_change: Callable[[int], None]) -> None:
        """`on_change` is called with the limit now, and when it changes."""
        self.value = maximum
        self.in_use = 0
        self._maximum = maximum
        self._on_change = on_change
        self._tried_at = 0.0
        on_change(maximum)

    @property
    def may_try_more(self) -> bool:
        """Whether it is time to find out whether the server takes one more than the limit."""
        return self.value < self._maximum and time.monotonic() - self._tried_at > RETRY_SECONDS

    def refused(self) -> bool:
        """One of those in use was refused: the others are the limit from now on. Returns whether there are
        others; if not, the refusal has another reason."""
        if self.in_use < 2:
            return False
        self._change(min(self.value, self.in_use - 1))
        return True

    def raise_to(self, value: int) -> None:
        """The server may take that many."""
        if value > self.value:
            self._change(value)

    def _change(self, value: int) -> None:
        self.value, self._tried_at = value, time.monotonic()
        self._on_change(value)


class Turns:
    """Callers that wait for the same thing get it in the order in which they came."""

    def __init__(self) -> None:
        self._first = asyncio.Lock()  # held by the caller whose turn it is; the next ones wait in order
        self._changed = asyncio.Event()
        self._changed_at = 0.0

    def changed(self) -> None:
        """What the callers wait for may be possible now."""
        self._changed_at = time.monotonic()
        self._changed.set()

    def is_next(self, possible: Callable[[], bool]) -> bool:
        """Whether `wait` would return at once."""
        return not self._first.locked() and possible()

    async def wait(self, possible: Callable[[], bool], *, give_up: bool = False) -> None:
        """Wait for this caller's turn, and until `possible()` is true; that is still so when this returns.
        With `give_up`, raises `AllInUse` if nothing changes for a minute: callers may be waiting for each
        other."""
        arrived = time.monotonic()
        async with self._first:
            while not possible():
                self._changed.clear()
                rest = max(arrived, self._changed_at) + RETRY_SECONDS - time.monotonic()
                try:
                    async with asyncio.timeout(rest if give_up else None):
                        await self._changed.wait()
                except TimeoutError:
                    raise AllInUse from None
