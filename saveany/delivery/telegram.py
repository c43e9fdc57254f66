"""Files in Telegram for the process that delivers links. Its accounts connect, and Telethon is loaded, with
the first file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from saveany.config import Config
from saveany.delivery.content import Piece
from saveany.foreground import Foreground
from saveany.programs import reuse_memory
from saveany.single_flight import SingleFlight
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.telegram.accounts import Accounts
    from saveany.telegram.media import Media

#: Seconds for which a message that was looked up is not looked up again. Its file reference is renewed when
#: Telegram refuses it.
_KNOWN_SECONDS: Final = 600.0
_MAX_KNOWN: Final = 10_000

#: Longest flood wait in seconds for which a stream waits; then another account continues, or it breaks off.
_FLOOD_SECONDS: Final = 10.0

Key = tuple[Any, ...]


class TelegramFiles:
    """Finds and reads files in Telegram with all accounts of the installation."""

    def __init__(self, config: Config, store: Store, foreground: Foreground) -> None:
        self._config = config
        self._store = store
        self._foreground = foreground
        self._calls = SingleFlight()
        self._started: Accounts | None = None
        self._known: dict[Key, tuple[float, Media]] = {}  # when it was looked up, monotonic; the oldest first

    async def find(self, source: Mapping[str, Any]) -> Media:
        """The file of `Media.source`. Raises as `Accounts.find`."""
        key = _key(source)
        at, media = self._known.get(key, (0.0, None))
        if media is not None and time.monotonic() - at < _KNOWN_SECONDS:
            return media
        return await self._calls.run(key, lambda: self._look_up(key, source))

    async def resolve(self, url: str, only: Sequence[str] = ()) -> Media:
        """The one file of the message that a link leads to; see `file_of_message`."""
        from saveany.telegram.accounts import file_of_message

        found = await file_of_message(await self.accounts(), url, only)
        self._remember(_key(found.source()), found)
        return found

    async def read(self, media: Media, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """The bytes of a file from `start` to `end`. Raises as `Accounts.read`."""
        accounts = await self.accounts()
        async with aclosing(accounts.read(media, start, end - start)) as pieces:
            async for piece in pieces:
                yield piece

    async def thumbnail(self, source: Mapping[str, Any]) -> bytes | None:
        """Telegram's own JPEG picture of the file of `Media.source`; None if there is none. Raises as `find`
        and `read` do."""
        media = await self.find(source)
        return await (await self.accounts()).thumbnail(media)

    async def warm_up(self) -> None:
        """Start the accounts, which the first file would have to wait for."""
        await asyncio.to_thread(import_module, "saveany.telegram.accounts")  # takes a second
        await self.accounts()

    async def close(self) -> None:
        """Close all connections."""
        await self._calls.close()
        if self._started is not None:
            await self._started.close()

    async def _look_up(self, key: Key, source: Mapping[str, Any]) -> Media:
        media = await (await self.accounts()).find(source)
        self._remember(key, media)
        return media

    def _remember(self, key: Key, media: Media) -> None:
        self._known.pop(key, None)
        self._known[key] = time.monotonic(), media
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def accounts(self) -> Accounts:
        """All accounts; the first call connects them."""
        if self._started is not None:
            return self._started
        return await self._calls.run(("start",), self._start)

    async def _start(self) -> Accounts:
        from saveany.telegram.accounts import Accounts
        from saveany.telegram.pool import PoolLimits

        reuse_memory()
        config = self._config
        limits = PoolLimits(max_flood_seconds=_FLOOD_SECONDS, turn=self._foreground.turn)
        accounts = Accounts(
            config.telegram, config.data_dir, self._store.telegram, proxy=config.proxy, limits=limits
        )
        try:
            await accounts.start()
        except BaseException:
            await accounts.close()
            raise
        self._started = accounts
        return accounts


def _key(source: Mapping[str, Any]) -> Key:
    return (source["chat"], source["message"], source["document"], *source.get("only", ()))
