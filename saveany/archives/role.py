"""Reads the archives in one of the processes that can: the bot if there is one, else an API process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from saveany.config import Config
from saveany.errors import Unavailable
from saveany.loops import Signal, repeat
from saveany.service import TaskService
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.archives.live import LiveWatcher
    from saveany.archives.reader import ArchiveReader
    from saveany.catalogue.catalogue import Catalogue
    from saveany.telegram.accounts import Accounts

#: Seconds between two attempts to get the turn, and between two renewals.
_POLL_SECONDS, _RENEW_SECONDS = 5.0, 5.0
#: Seconds between two checks of the archives.
_CHECK_SECONDS = 10.0
#: Milliseconds that a turn lasts unless it is renewed.
_TURN_MS = 15_000


class ArchiveRole:
    """Reads the archives whenever no other process does. Accounts and libraries are loaded for the first
    archive."""

    def __init__(
        self,
        config: Config,
        store: Store,
        catalogue: Catalogue,
        tasks: TaskService,
        accounts: Callable[[], Awaitable[Accounts]],
        *,
        stands_by: bool = False,
        check_seconds: float = _CHECK_SECONDS,
    ) -> None:
        """A process that `stands_by` leaves the turn to the bot while there is one. `accounts` are connected
        when there is an archive."""
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._tasks = tasks
        self._accounts = accounts
        self._check_seconds = check_seconds
        self._stands_by = stands_by
        self._wake_up = Signal()
        # The next bot need not wait until the turn of one that was killed expires.
        self._holder = uuid4().hex if stands_by else "bot"
        self._reader: ArchiveReader | None = None
        self._live: LiveWatcher | None = None
        self._opened = asyncio.Event()
        self._pushes = 0  # number of pushes that were handled

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check the archives until the block ends."""
        checking = asyncio.create_task(self.run())
        try:
            yield
        finally:
            checking.cancel()
            await asyncio.wait([checking])

    async def run(self) -> None:
        """Check the archives until canceled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(repeat("archive_wake_ups", self._listen))
                group.create_task(repeat("archives", self._step))
                group.create_task(repeat("archive_pushes", self._read_changed))
                group.create_task(repeat("live", self._watch_live))
        finally:
            with suppress(Unavailable):
                await self._store.archives.end_turn(self._holder)

    async def _listen(self) -> None:
        async for _ in self._store.archives.wake_ups():
            self._wake_up.send()

    async def _step(self) -> None:
        seen = self._wake_up.count
        pause = _POLL_SECONDS
        if await self._store.archives.exist() and await self._has_turn():
            pause = await self._check(await self._open())
        if pause:
            await self._wake_up.wait(pause, since=seen)

    async def _watch_live(self) -> None:
        """Notice chats that go live, while this process has the turn."""
        seen = self._wake_up.count
        if await self._store.live.exist() and await self._has_turn():
            if self._live is None:
                from saveany.archives.live import LiveWatcher  # imports Telethon

                self._live = LiveWatcher(await self._accounts(), self._store, self._tasks)
            await self._live.check()
        await self._wake_up.wait(self._check_seconds, since=seen)

    async def _read_changed(self) -> None:
        """Read what Telegram has pushed, while this process has the turn."""
        await self._opened.wait()
        reader = await self._open()
        await reader.changes.signal.wait(since=self._pushes)
        self._pushes = reader.changes.signal.count
        if await self._has_turn():
            await reader.read_changed()

    async def _check(self, reader: ArchiveReader) -> float:
        """Check the archives while this process has the turn. Returns the seconds until the next check."""
        checking = asyncio.create_task(reader.check())
        renewing = asyncio.create_task(repeat("archive_turn", partial(self._renew, checking), _RENEW_SECONDS))
        try:
            await asyncio.wait([checking])
            return _POLL_SECONDS if checking.cancelled() else checking.result()
        finally:
            for task in (checking, renewing):
                task.cancel()
            await asyncio.wait([checking, renewing])

    async def _renew(self, checking: asyncio.Task[float]) -> None:
        """Renew the turn, or stop checking if another process has it."""
        if not await self._has_turn():
            checking.cancel()

    async def _has_turn(self) -> bool:
        if self._stands_by and await self._store.bot.is_running():
            return False
        return await self._store.archives.take_turn(self._holder, _TURN_MS)

    async def _open(self) -> ArchiveReader:
        if self._reader is None:
            from saveany.archives.reader import ArchiveReader  # imports Telethon

            accounts = await self._accounts()
            self._reader = ArchiveReader(
                accounts,
                self._store,
                self._catalogue,
                self._tasks,
                self._config,
                check_seconds=self._check_seconds,
            )
            self._opened.set()
        return self._reader
