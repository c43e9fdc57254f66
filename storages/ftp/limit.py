"""The number of connections that a server allows, which is found out from its refusals."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aioftp

from storages.limit import AllInUse, ServerLimit, Turns

#: Connections that are opened if the server allows as many.
_MAX = 8
#: Parts of replies about too many connections, which have the code for a wrong login.
BUSY = re.compile("too many|maximum", re.IGNORECASE)
#: Parts of replies with the code for too many connections that have another reason. Servers word the reason
#: itself in many ways, and in many languages.
_DOWN = re.compile("shut|down|restart|reboot|maintenance|time.?out|timed out", re.IGNORECASE)


class ConnectionLimit:
    """Counts connections. Transfers leave one of them to short requests, if the server allows several.

    The limit grows when the server has accepted more connections than that, not when they may be tried:
    otherwise transfers would take the last connection.
    """

    def __init__(self, on_change: Callable[[int], None]) -> None:
        """`on_change` is called with the number of transfers at a time when that changes."""
        self._limit = ServerLimit(_MAX, lambda value: on_change(_transfers(value)))
        self._accepted = 0
        self._transfers = 0
        self._for_connection, self._for_transfer = Turns(), Turns()

    @property
    def value(self) -> int:
        """Maximum number of connections."""
        return self._limit.value

    @property
    def has_room(self) -> bool:
        """Whether a connection may be opened, if only to try whether the server allows one more."""
        return self._limit.in_use < self.value + self._limit.may_try_more

    @property
    def should_try_more(self) -> bool:
        """Whether it is time to try one more connection, and another transfer would use it."""
        return self._limit.may_try_more and self._transfers + 1 >= _transfers(self.value) and self.has_room

    @asynccontextmanager
    async def transfer(self) -> AsyncIterator[None]:
        """Count a transfer until the block ends, which begins when there is room. Raises `AllInUse`."""
        await self._for_transfer.wait(lambda: self._transfers < _transfers(self.value), give_up=True)
        self._transfers += 1
        try:
            yield
        finally:
            self._transfers -= 1
            self.changed()

    async def wait(self, has_idle: Callable[[], bool], *, wait: bool) -> None:
        """Wait until a connection is idle or may be opened; the caller must do so at once. Raises
        `AllInUse` after a while, or immediately if `wait` is false."""

        def possible() -> bool:
            return has_idle() or self.has_room

        if wait:
            await self._for_connection.wait(possible, give_up=True)
        elif not self._for_connection.is_next(possible):
            raise AllInUse

    def changed(self) -> None:
        """A connection or a transfer may be possible again."""
        self._for_connection.changed()
        self._for_transfer.changed()

    def opening(self) -> None:
        """Count a connection that is about to be opened."""
        self._limit.in_use += 1

    def opened(self) -> None:
        """It was accepted."""
        self._accepted += 1
        self._limit.raise_to(self._accepted)
        self.changed()

    def failed(self, error: BaseException) -> bool:
        """It was not. Returns whether that was because of too many others, which are the limit now."""
        reached = isinstance(error, aioftp.StatusCodeError) and _is_too_many(error) and self._limit.refused()
        self._limit.in_use -= 1
        if not reached:
            self.changed()
        return reached

    def closed(self) -> None:
        """A connection was closed."""
        self._accepted -= 1
        self._limit.in_use -= 1
        self.changed()


def _transfers(connections: int) -> int:
    return max(1, connections - 1)


def _is_too_many(error: aioftp.StatusCodeError) -> bool:
    code, text = error.received_codes[-1], str(error.info)
    if code in ("421", "530") and BUSY.search(text):
        return True
    return code == "421" and not _DOWN.search(text)
