"""Coordination, through the store, of the processes that transfer files with one account and data center.

Telegram counts connections and flood waits per account, whatever the number of processes. Each process that
transfers files announces itself and is counted until it leaves or stops renewing the announcement. The same
exchange spreads flood waits (`saveany.store.telegram`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from saveany.errors import StoreUnavailable
from saveany.logs import get_logger
from saveany.store.telegram import TelegramStore
from saveany.telegram.flow import FloodClock

#: Seconds between exchanges: renewals of the announcement, and updates about the other processes.
RENEW_SECONDS = 2.0
#: Seconds after which a process that has not renewed its announcement counts as dead.
EXPIRE_SECONDS = 10.0
#: Seconds after which an exchange is given up.
_EXCHANGE_SECONDS = 5.0
_LEAVE_SECONDS = 1.0
#: Maximum seconds for which a new connection waits for the first exchange.
_FIRST_EXCHANGE_SECONDS = 0.5
#: Flood waits that end within this many seconds of each other are the same one.
_SAME_WAIT_SECONDS = 0.5

_log = get_logger(__name__)


class SharedAccount:
    """The processes that use an account at a data center now, including this one while it transfers files.

    The store is not required: without it, or during an outage, the last known state stays in force.
    """

    def __init__(
        self,
        store: TelegramStore | None,
        account: int,
        dc_id: int,
        clock: FloodClock,
        on_exchange: Callable[[], Awaitable[None]],
    ) -> None:
        self.processes = 1
        self._store = store
        self._account = account
        self._dc_id = dc_id
        self._member = secrets.token_hex(8)
        self._clock = clock
        self._on_exchange = on_exchange  # called every few seconds, after `processes` was updated
        self._own_flood = FloodClock()  # flood waits that Telegram sent to this process; passed on to others
        self._transfers = 0
        self._wake = asyncio.Event()
        self._exchanged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def transfer_started(self) -> None:
        """Announce this process, in the background."""
        self._transfers += 1
        if self._store is not None and (self._task is None or self._task.done()):
            self._exchanged.clear()
            self._task = asyncio.get_running_loop().create_task(self._run(self._store))

    def transfer_ended(self) -> None:
        """Withdraw the announcement a little later, unless another transfer starts before."""
        self._transfers -= 1

    async def wait_for_first_exchange(self) -> None:
        """Wait until the state of the other processes is known, at most half a second."""
        if self._store is not None:
            await _wait(_FIRST_EXCHANGE_SECONDS, self._exchanged)

    def flood(self, seconds: float) -> None:
        """Record a flood wait, for all processes."""
        self._clock.extend(seconds)
        self._own_flood.extend(seconds)
        self._wake.set()

    async def close(self) -> None:
        """Withdraw the announcement now."""
        if self._store is not None and self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._leave(self._store)

    def _is_needed(self) -> bool:
        """A flood wait is passed on even if the transfer that met it has ended."""
        return self._transfers > 0 or self._wake.is_set()

    async def _run(self, store: TelegramStore) -> None:
        while self._is_needed():
            try:
                with suppress(StoreUnavailable, TimeoutError):
                    await self._exchange(store)
                self._exchanged.set()
                await self._on_exchange()
            except Exception:  # without this loop the other processes would no longer count this one
                _log.exception("account_exchange_failed")
            await _wait(RENEW_SECONDS, self._wake)
            if not self._is_needed():
                await self._leave(store)

    async def _exchange(self, store: TelegramStore) -> None:
        self._wake.clear()
        expire_ms, flood_ms = int(EXPIRE_SECONDS * 1000), int(self._own_flood.remaining * 1000)
        async with asyncio.timeout(_EXCHANGE_SECONDS):
            presence = await store.announce(self._account, self._dc_id, self._member, expire_ms, flood_ms)
        self.processes = presence.processes
        flood = presence.flood_ms / 1000
        if flood > self._clock.remaining + _SAME_WAIT_SECONDS:
            self._clock.extend(flood)

    async def _leave(self, store: TelegramStore) -> None:
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await store.leave(self._account, self._dc_id, self._member)


async def _wait(seconds: float, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
