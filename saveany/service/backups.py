"""Backups that are downloaded."""

from __future__ import annotations

import asyncio
from typing import BinaryIO
from uuid import uuid4

from saveany.config import Config
from saveany.errors import RequestError, SaveAnyError, Unavailable
from saveany.service.principal import Principal
from saveany.store import Store


class BackupService:
    """Makes backups of this installation, one at a time."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._turn = asyncio.Lock()

    async def make(self, principal: Principal, *, logins: bool = False) -> BinaryIO:
        """A backup, as `saveany backup` writes it. It is a file without a name, so nothing is left of it once
        it is closed. With `logins` it contains the logins of the Telegram accounts. Raises `Forbidden` unless
        the operator asks, and `Unavailable` with the reason if it cannot be made."""
        principal.require_operator()
        try:
            async with self._turn:
                return await self._made(logins)
        except RequestError:
            raise
        except SaveAnyError as error:
            raise Unavailable(error.text) from error

    async def _made(self, logins: bool) -> BinaryIO:
        from saveany.backup.make import make_backup  # imports the database library

        file = self._config.data_dir / f".backup-{uuid4().hex}.tar"
        try:
            await make_backup(self._config, self._store, file, logins=logins)
            return file.open("rb")
        finally:
            file.unlink(missing_ok=True)
