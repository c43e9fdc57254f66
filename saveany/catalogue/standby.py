"""The catalogue for the bot: an API process usually runs it, and then the bot needs no database library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from saveany.config import Config
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

#: Seconds between two checks that another process runs the catalogue. An API process that was started at the
#: same time runs it before the first one.
_CHECK_SECONDS = 10.0

log = get_logger("saveany.catalogue")


class StandbyCatalogue:
    """The same as `Catalogue`, which it loads with the first use of one of its attributes. It records only
    while no other process does."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def __getattr__(self, name: str) -> Any:
        """An attribute of the catalogue."""
        return getattr(self._catalogue, name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the catalogue if no other process does, until the block ends."""
        standing_by = asyncio.create_task(self._stand_by())
        try:
            yield
        finally:
            standing_by.cancel()
            await asyncio.wait([standing_by])

    async def close(self) -> None:
        """Close all connections."""
        if "_catalogue" in self.__dict__:
            await self._catalogue.close()

    async def _stand_by(self) -> None:
        await asyncio.sleep(_CHECK_SECONDS)
        await repeat("standby", self._run_if_needed, _CHECK_SECONDS)

    async def _run_if_needed(self) -> None:
        if not await self._store.recording.is_served():
            log.info("catalogue_taken_over")
            async with self._catalogue.running():
                await asyncio.Event().wait()

    @cached_property
    def _catalogue(self) -> Catalogue:
        from saveany.catalogue.catalogue import Catalogue

        return Catalogue.of(self._config, self._store)
