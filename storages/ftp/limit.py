"""The number of connections that a server allows, which is found out from its refusals."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aioftp

#: Connections that are opened if the server allows as many.
_MAX = 8
#: Seconds after a refusal until one more connection is tried: others may have closed theirs. A caller waits
#: as long for a connection.
_RETRY_SECONDS = 60.0
#: Parts of replies about too many connections, which have the code for a wrong login.
BUSY = re.compile("too many|maximum", re.IGNORECASE)


class AllInUse(Exception):
    """No connection is free."""


class ConnectionLimit:
    """Counts connections. Transfers leave one of them to short requests, if the server allows several."""

    def __init__(self, on_change: Callable[[int], None]) -> None:
        """`on_change` is called with the number of transfers at a time when that changes."""
        self._on_change = on_change
        self._limit = _MAX
        self._refused_at = 0.0
        self._open = 0
        self._transfers = 0
        self._waiting: list[asyncio.Future[None]] = []
        on_change(self.transfers)

    @property
    def transfers(self) -> int:
        """Maximum number of transfers at a time."""
        return max(1, self._limit - 1)

    @contextmanager
    def transfer(self) -> Iterator[None]:
        """Count a transfer; `has_room_for_transfer` must be true."""
        self._transfers += 1
        try:
            yield
        finally:
            self._transfers -= 1
            self.changed()

    @property
    def has_room_for_transfer(self) -> bool:
        """Whether another transfer may begin."""
        return self._transfers < self.transfers

    def opening(self) -> bool:
        """Count a connection that is about to be opened; returns whether that is allowed."""
        if self._limit < _MAX and time.monotonic() - self._refused_at > _RETRY_SECONDS:
            self._refused_at = time.monotonic()
            self._set(self._limit + 1)
        if self._open >= self._limit:
            return False
        self._open += 1
        return True

    def closed(self) -> None:
        """A connection was closed, or could not be opened."""
        self._open -= 1
        self.changed()

    def is_reached(self, error: aioftp.StatusCodeError) -> bool:
        """Whether the refusal of a connection, which is still counted, means that the others are as many as
        the server allows. That is the limit from now on."""
        code, text = error.received_codes[-1], str(error.info)
        too_many = code == "421" or (code == "530" and BUSY.search(text) is not None)
        if not too_many or self._open < 2:
            return False
        self._refused_at = time.monotonic()
        self._set(min(self._limit, self._open - 1))
        return True

    def changed(self) -> None:
        """A connection or a transfer may be possible again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for a change. Raises `AllInUse` if there is none for a minute: callers that have connections
        may be waiting for each other."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait([waiter], timeout=_RETRY_SECONDS)
        finally:
            self._waiting.remove(waiter)
        if not waiter.done():
            raise AllInUse

    def _set(self, limit: int) -> None:
        before, self._limit = self.transfers, limit
        if self.transfers != before:
            self._on_change(self.transfers)
