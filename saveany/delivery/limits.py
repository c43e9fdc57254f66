"""What one address may do with links, and how much all links together may send."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from saveany.config.schema import LinksConfig
from saveany.delivery.errors import FileNotFound, RateLimited, TrafficUsedUp
from saveany.errors import StoreUnavailable
from saveany.store import Store
from saveany.store.openings import Opening
from saveany.texts import gettext_noop

#: Seconds of the window in which openings are counted.
_WINDOW: Final = 600
#: Number of unknown tokens that an address may try within so many seconds.
_MAX_UNKNOWN, _UNKNOWN_WINDOW = 20, 60
#: Maximum number of addresses that are remembered as blocked.
_MAX_BLOCKED: Final = 10_000
#: Seconds of an outage of Redis for which an address may continue to use a link.
_OUTAGE: Final = 60.0
_MAX_USED: Final = 10_000
#: Seconds after which a client that has too many connections may try again.
_RETRY_CONNECTION: Final = 5
#: Seconds between two checks whether another request has counted its download.
_PENDING_SECONDS: Final = 0.05
_GB: Final = 10**9
_MESSAGE: Final = gettext_noop("Too many requests, please try again later")


class DeliveryLimits:
    """The limits of links. Openings, unknown tokens and the traffic of the month are counted in Redis, for
    all processes; connections are those of this process."""

    def __init__(self, store: Store, config: LinksConfig) -> None:
        self._openings = store.openings
        self._traffic = store.traffic
        self._config = config
        self._by_address: Counter[str] = Counter()  # connections
        self._by_link: Counter[str] = Counter()
        #: When addresses used links, monotonic, the oldest first: during an outage of Redis they may go on.
        self._used: dict[tuple[str, str], float] = {}
        self._blocked: dict[str, float] = {}  # address -> until when, monotonic; the oldest first

    @contextmanager
    def connection(self, token: str, address: str) -> Iterator[None]:
        """A connection that reads a link. Raises `RateLimited` if there are too many."""
        for connections, key, maximum in (
            (self._by_address, address, self._config.connections_per_address),
            (self._by_link, token, self._config.connections_per_link),
        ):
            if maximum and connections[key] >= maximum:
                raise RateLimited(_MESSAGE, maximum, after=_RETRY_CONNECTION)
        self._by_address[address] += 1
        self._by_link[token] += 1
        try:
            yield
        finally:
            _decrease(self._by_address, address)
            _decrease(self._by_link, token)

    async def open(self, token: str, address: str, *, counted: bool = False) -> Opening:
        """Count an opening. If the downloads of the link are `counted`, a new opening needs `confirm`, and
        other requests of the address wait for that. Raises `RateLimited` if the address has opened too many
        links, and `TrafficUsedUp` if all links together have sent what they may.

        While Redis is down, only addresses that used the link a moment ago may go on."""
        try:
            opening = await self._count(token, address, counted=counted)
            while opening.is_pending:
                await asyncio.sleep(_PENDING_SECONDS)
                opening = await self._count(token, address, counted=counted)
        except StoreUnavailable:
            if time.monotonic() - self._used.get((token, address), -math.inf) >= _OUTAGE:
                raise
            return Opening(is_new=False, is_refused=False, is_pending=False, remaining=0, reset=0)
        self._note_use(token, address)
        return opening

    async def confirm(self, token: str, address: str) -> None:
        """The download of a new opening was counted."""
        with suppress(StoreUnavailable):  # then it is counted once more if the address comes back
            await self._openings.confirm(token, address)

    async def close(self, token: str, address: str) -> None:
        """Take an opening back: nothing could be read."""
        self._used.pop((token, address), None)
        await self._openings.close(token, address)

    async def keep_open(self, token: str, address: str) -> None:
        """Let an address that still reads have the link open for longer."""
        self._note_use(token, address)
        with suppress(StoreUnavailable):
            await self._openings.keep_open(token, address)

    def _note_use(self, token: str, address: str) -> None:
        self._used.pop((token, address), None)
        self._used[token, address] = time.monotonic()
        while len(self._used) > _MAX_USED:
            del self._used[next(iter(self._used))]

    async def check_traffic(self) -> None:
        """Raise `TrafficUsedUp` if all links together have sent what they may."""
        if cap := self._config.monthly_gb * _GB:
            traffic = await self._traffic.this_month()
            if traffic.sent >= cap:
                raise TrafficUsedUp(after=traffic.seconds_left)

    async def _count(self, token: str, address: str, *, counted: bool) -> Opening:
        await self.check_traffic()
        maximum = self._config.openings
        opening = await self._openings.open(token, address, maximum, _WINDOW, counted=counted)
        if opening.is_refused:
            raise RateLimited(_MESSAGE, maximum, after=max(1, opening.reset))
        return opening

    def check_address(self, address: str) -> None:
        """Raise `RateLimited` if the address has tried too many unknown tokens."""
        left = self._blocked.get(address, 0.0) - time.monotonic()
        if left > 0:
            raise RateLimited(_MESSAGE, _MAX_UNKNOWN, after=int(left) + 1)

    async def refuse_unknown(self, address: str) -> FileNotFound:
        """The error for an unknown token, which is counted. Raises `RateLimited` if there were too many."""
        tried = await self._openings.count_try("", address, _UNKNOWN_WINDOW)
        if tried > _MAX_UNKNOWN:
            self._blocked.pop(address, None)
            self._blocked[address] = time.monotonic() + _UNKNOWN_WINDOW
            while len(self._blocked) > _MAX_BLOCKED:
                del self._blocked[next(iter(self._blocked))]
            raise RateLimited(_MESSAGE, _MAX_UNKNOWN, after=_UNKNOWN_WINDOW)
        return FileNotFound()


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
