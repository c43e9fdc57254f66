"""`Catalogue`: history and saved files in a SQL database, one attribute per subject."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from saveany.catalogue.adoption import Adoption
from saveany.catalogue.archive_texts import ArchiveTexts
from saveany.catalogue.database import Database
from saveany.catalogue.duplicates import Duplicates
from saveany.catalogue.files import Files
from saveany.catalogue.folders import Folders
from saveany.catalogue.history import History
from saveany.catalogue.inventory import Inventory
from saveany.catalogue.keys import ApiKeys
from saveany.catalogue.links import Links
from saveany.catalogue.receipts import Receipts
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.schema import identity, migrate
from saveany.catalogue.trash import Trash
from saveany.config import Config
from saveany.errors import CatalogueUnavailable, ConfigError
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.store import Store

#: Seconds between two searches for tasks and deleted files that can be forgotten.
_FORGET_SECONDS = 600.0
#: Seconds between two signs of life for processes that stand by.
_SERVE_SECONDS = 5.0
#: Seconds before another attempt to have copies removed, during an outage.
_TRASH_RETRY_SECONDS = 5.0

log = get_logger("saveany.catalogue")


class Catalogue:
    """The catalogue of the installation. It is opened with the first use, and every method raises
    `CatalogueUnavailable` during an outage of its database, and `StoreUnavailable` during one of Redis."""

    def __init__(
        self,
        url: str,
        data_dir: Path,
        store: Store,
        *,
        keep_days: int = 0,
        link_days: int = 0,
        trash_days: int = 0,
    ) -> None:
        """`url` is that of a PostgreSQL server; if it is empty, the database is a file in `data_dir`. Ended
        tasks are forgotten after `keep_days`; links that webhooks name work for `link_days`; deleted files
        leave the trash after `trash_days`. 0 is for ever."""
        self._database = Database(url, data_dir)
        self._database.on_open = self._prepare
        self._store = store
        self._keep_days = keep_days
        self.recorder = Recorder(self._database, store, link_days=link_days)
        self.history = History(self._database, store, self.recorder)
        self.files = Files(self._database, self.recorder)
        self.folders = Folders(self._database, store, self.recorder)
        self.inventory = Inventory(self._database, self.recorder)
        self.links = Links(self._database, store, self.recorder)
        self.duplicates = Duplicates(self._database, store, self.recorder, self.files)
        self.trash = Trash(self._database, store, self.recorder, trash_days)
        self.keys = ApiKeys(self._database, store)
        self.receipts = Receipts(self._database, self.recorder)
        self.adoption = Adoption(self._database, self.recorder)
        self.texts = ArchiveTexts(self._database, self.recorder)

    @classmethod
    def of(cls, config: Config, store: Store) -> Catalogue:
        """The catalogue that is configured."""
        return cls(
            config.catalogue.url,
            config.data_dir,
            store,
            keep_days=config.history.keep_days,
            link_days=config.links.ttl_days,
            trash_days=config.catalogue.trash_days,
        )

    async def open(self) -> None:
        """Open the database, unless it cannot be reached: then it is opened with the first use.

        Raises `ConfigError` if the database is that of a newer SaveAny, or not that of this installation.
        """
        try:
            await self._database.open()
        except CatalogueUnavailable as error:
            log.warning("catalogue_unavailable", reason=error.message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Record what happens, and forget old tasks, until the block ends."""
        loops = [
            self.recorder.run(),
            repeat("served", self._store.recording.serve, _SERVE_SECONDS),
            repeat("duplicates", self.duplicates.reply_forever),
            repeat("trash", self.trash.step, retry=_TRASH_RETRY_SECONDS),
            repeat("deleted_files", self.trash.forget, _FORGET_SECONDS),
        ]
        if self._keep_days:
            loops.append(repeat("history", self.forget_old, _FORGET_SECONDS))
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            await self._database.quiet()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def forget_old(self) -> None:
        """Forget tasks that ended more than `keep_days` ago."""
        age = self._keep_days * 24 * 3600 * 1000
        await self.history.forget(await self._store.db.time_ms() - age)

    async def close(self) -> None:
        """Close all connections."""
        await self.keys.close()
        await self._database.quiet()
        await self.recorder.close()
        await self._database.close()

    async def _prepare(self) -> None:
        """Create the database or bring it up to date."""
        registered = await self._store.recording.catalogue_id()
        file = self._database.file
        if file and not file.exists():
            if registered:
                raise _other_catalogue(file)
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        await migrate(self._database)
        own = await identity(self._database)
        if file and registered not in ("", own):
            raise _other_catalogue(file)
        if registered != own:
            await self._store.recording.establish_catalogue(own)
        await self._store.recording.adopt()


def _other_catalogue(file: Path) -> ConfigError:
    return ConfigError(
        "catalogue.url: another machine has the catalogue of this installation; set catalogue.url to the "
        "same PostgreSQL database on all machines. (If {file} was on this machine and is lost: `redis-cli "
        "HDEL sa:meta catalogue` starts a new one.)",
        file=str(file),
    )
