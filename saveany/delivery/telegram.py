"""Files in Telegram for the process that delivers links. Its accounts connect, and Telethon is loaded, with
the first file."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from saveany.config import Config
from saveany.delivery.content import Piece
from saveany.single_flight import SingleFlight
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.telegram.accounts import Accounts
    from saveany.telegram.media import Media

#: Seconds for which a message that was looked up is not looked up again. Its file reference is renewed when
#: Telegram refuses it.
_KNOWN_SECONDS: Final = 600.0
_MAX_KNOWN: Final = 10_000

Key = tuple[Any, ...]


class TelegramFiles:
    """Finds and reads files in Telegram with all accounts of the installation."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._calls = SingleFlight()
        self._started: Accounts | None = None
        self._known: dict[Key, tuple[float, Media]] = {}  # when it was looked up, monotonic; the oldest first

    async def find(self, source: Mapping[str, Any]) -> Media:
        """The file of `Media.source`. Raises as `Accounts.find`."""
        key = (source["chat"], source["message"], source["document"], *source.get("only", ()))
        at, media = self._known.get(key, (0.0, None))
        if media is not None and time.monotonic() - at < _KNOWN_SECONDS:
            return media
        return await self._calls.run(key, lambda: self._look_up(key, source))

    async def read(self, media: Media, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """The bytes of a file from `start` to `end`. Raises as `Accounts.read`."""
        accounts = await self._accounts()
        async with aclosing(accounts.read(media, start, end - start)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close all connections."""
        if self._started is not None:
            await self._started.close()

    async def _look_up(self, key: Key, source: Mapping[str, Any]) -> Media:
        media = await (await self._accounts()).find(source)
        self._known.pop(key, None)
        self._known[key] = time.monotonic(), media
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return media

    async def _accounts(self) -> Accounts:
        if self._started is not None:
            return self._started
        return await self._calls.run(("start",), self._start)

    async def _start(self) -> Accounts:
        from saveany.telegram.accounts import Accounts

        config = self._config
        accounts = Accounts(config.telegram, config.data_dir, self._store.telegram, proxy=config.proxy)
        await accounts.start()
        self._started = accounts
        return accounts
