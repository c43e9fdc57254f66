"""Makes a backup while the installation works."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from saveany import __version__
from saveany.backup import archive
from saveany.backup.archive import Manifest
from saveany.catalogue import copies
from saveany.config import Config
from saveany.errors import SaveAnyError
from saveany.store import Store, snapshot
from saveany.store.db import SCHEMA
from saveany.telegram.session import SessionFolder
from saveany.timefmt import rfc3339

#: In the place of a login that is not in the backup; it must not be empty.
_NO_LOGIN = "not-in-this-backup"
#: Seconds between two attempts to hold the lock of the recorder, which lasts for a few seconds.
_LOCK_SECONDS = 0.5


async def make_backup(
    config: Config, store: Store, file: Path, *, logins: bool = False, overwrite: bool = False
) -> Manifest:
    """Write a backup of the installation to `file`. With `logins` it contains the logins of the Telegram
    accounts. Raises `SaveAnyError` if that fails; then there is no new file."""
    archive.check_free(file, overwrite=overwrite)
    with _folder_beside(file) as folder:
        schema, parts = await _copy_state(config, store, folder)
        parts |= _configuration(config, folder, logins=logins)
        if logins:
            parts |= _logins(config)
        manifest = Manifest(
            saveany=__version__,
            made_at=rfc3339(await store.db.time_ms()),
            schema=schema,
            layout=SCHEMA,
            redis_db=snapshot.number(store.db),
            members={},
        )
        return await asyncio.to_thread(archive.write, file, parts, manifest)


@contextmanager
def _folder_beside(file: Path) -> Iterator[Path]:
    """A private folder on the same disk, for what becomes part of the archive."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.absolute().parent) as name:
            yield Path(name)
    except OSError as error:
        raise SaveAnyError(
            "cannot write {file}: {reason}", file=str(file), reason=error.strerror or str(error)
        ) from error


async def _copy_state(config: Config, store: Store, folder: Path) -> tuple[str, dict[str, Path]]:
    """Copy the catalogue and Redis as they are at one moment: nothing leaves Redis for the catalogue between
    the two snapshots, because the recorder waits. Returns the schema of the catalogue, and the copies."""
    url, parts = config.catalogue.url, {archive.REDIS: folder / archive.REDIS}
    opened = copies.postgresql_snapshot(url) if url else copies.sqlite_snapshot(config.data_dir)
    both = asyncio.Event()
    async with _paused_recorder(store, both), opened as catalogue:
        if catalogue is None:
            raise SaveAnyError("there is no catalogue yet, so there is nothing to back up")
        await snapshot.download(store.db, parts[archive.REDIS], both.set)
        name = archive.POSTGRESQL if url else archive.SQLITE
        parts[name] = folder / name
        await catalogue.save(parts[name])
        return catalogue.schema, parts


@asynccontextmanager
async def _paused_recorder(store: Store, end: asyncio.Event) -> AsyncIterator[None]:
    """Nothing is recorded from the beginning of the block until `end` is set, or the block ends."""
    holder = uuid4().hex
    while not await store.recording.lock(holder):  # noqa: ASYNC110  only Redis knows when it is free
        await asyncio.sleep(_LOCK_SECONDS)
    holding = asyncio.create_task(_hold(store, holder, end))
    try:
        yield
    finally:
        end.set()
        await holding


async def _hold(store: Store, holder: str, end: asyncio.Event) -> None:
    """Renew the lock of the recorder until `end` is set, then release it."""
    while not end.is_set():
        if not await store.recording.done(holder, [], {}):
            raise SaveAnyError("this machine was too slow to pause the recorder; try again")
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOCK_SECONDS):
                await end.wait()
    await store.recording.unlock(holder)


def _configuration(config: Config, folder: Path, *, logins: bool) -> dict[str, Path]:
    """The configuration file, without the logins in it unless they are wanted."""
    if config.file is None:
        return {}
    text = config.file.read_text("utf-8-sig")
    for account in () if logins else config.telegram.user_accounts:
        if secret := account.session.get_secret_value():
            text = text.replace(secret, _NO_LOGIN)
    copy = folder / archive.CONFIG
    copy.write_text(text, "utf-8")
    return {archive.CONFIG: copy}


def _logins(config: Config) -> dict[str, Path]:
    return {f"{archive.LOGINS}/{file.name}": file for file in SessionFolder(config.data_dir).files()}
