"""Restores a backup while nothing of the installation is running."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from saveany import embedded
from saveany.backup import archive, redis_snapshot
from saveany.backup.archive import Manifest
from saveany.catalogue import copies
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.schema import newest
from saveany.config import Config
from saveany.embedded import EmbeddedRedis
from saveany.errors import ConfigError, SaveAnyError
from saveany.store import Store, connect
from saveany.store.db import Db
from saveany.telegram.session import SessionFolder


@dataclass(frozen=True)
class _Backup:
    """An extracted backup."""

    file: Path
    folder: Path
    manifest: Manifest

    def part(self, name: str) -> Path | None:
        """The file of a member, None if the backup does not have it."""
        return self.folder / name if name in self.manifest.members else None


def configuration(file: Path) -> str | None:
    """The configuration file in a backup, None if there is none. Raises as `restore_backup`."""
    with tempfile.TemporaryDirectory(prefix="saveany-") as name:
        manifest = archive.extract(file, Path(name))
        found = Path(name) / archive.CONFIG
        return found.read_text("utf-8") if archive.CONFIG in manifest.members else None


async def restore_backup(config: Config, file: Path, *, overwrite: bool = False) -> Manifest:
    """Bring the catalogue, Redis and, if the backup contains them, the logins back to the state in the
    backup, and the catalogue up to the present schema.

    Raises `SaveAnyError`: before anything has changed if the backup is damaged, was made by a newer SaveAny
    or does not fit the configuration, if SaveAny is running, and without `overwrite` if anything would be
    replaced. After any other error the same call can be repeated.
    """
    with _extracted(file, config.data_dir) as backup:
        _check(backup, config)
        work = backup.folder / "server"
        part = backup.folder / archive.REDIS
        async with redis_snapshot.opened(part, work, backup.manifest.redis_db) as source:
            await _check_target(config, backup, overwrite=overwrite)
            await _restore_catalogue(config, backup)
            if config.redis.url != "embedded":
                target = connect(config.redis.url)
                try:
                    await redis_snapshot.replace(source, target)
                finally:
                    await target.close()
            elif backup.manifest.redis_db:
                await source.do("SWAPDB", 0, backup.manifest.redis_db)
        if config.redis.url == "embedded":
            _replace_embedded(work / embedded.FOLDER, config.data_dir / embedded.FOLDER)
        _restore_logins(config, backup)
        await _migrate(config)
        return backup.manifest


@contextmanager
def _extracted(file: Path, data_dir: Path) -> Iterator[_Backup]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=data_dir) as name:
            yield _Backup(file, Path(name), archive.extract(file, Path(name)))
    except OSError as error:
        raise SaveAnyError(
            "cannot write to {folder}: {reason}", folder=str(data_dir), reason=error.strerror or str(error)
        ) from error


def _check(backup: _Backup, config: Config) -> None:
    """Check that this version knows the backup, and that the configuration has the same kind of database."""
    manifest = backup.manifest
    if manifest.schema > newest():
        raise ConfigError(
            "{file} was made by SaveAny {version}, whose catalogue (schema {found}) this version (schema "
            "{known}) does not know; upgrade this installation",
            file=str(backup.file),
            version=manifest.saveany,
            found=manifest.schema,
            known=newest(),
        )
    if backup.part(archive.SQLITE) and config.catalogue.url:
        raise ConfigError(
            "{file} contains an SQLite catalogue; remove catalogue.url to restore it", file=str(backup.file)
        )
    if backup.part(archive.POSTGRESQL) and not config.catalogue.url:
        raise ConfigError(
            "{file} contains a PostgreSQL catalogue; set catalogue.url to an empty database to restore it",
            file=str(backup.file),
        )


async def _check_target(config: Config, backup: _Backup, *, overwrite: bool) -> None:
    """Check that nothing is running, and that nothing is there which the restore would replace."""
    found: list[str] = []
    if config.redis.url == "embedded":
        if embedded.is_running(config.data_dir):
            raise _running()
        found += ["redis"] if (config.data_dir / embedded.FOLDER / embedded.CONTENT).exists() else []
    else:
        found += await _in_use(config.redis.url)
    url = config.catalogue.url
    exists = await copies.postgresql_exists(url) if url else copies.sqlite_exists(config.data_dir)
    found += ["catalogue"] if exists else []
    logins = [name for name in backup.manifest.members if name.startswith(f"{archive.LOGINS}/")]
    if logins and SessionFolder(config.data_dir).names():
        found.append("logins")
    if found and not overwrite:
        raise SaveAnyError(
            "this installation is not empty ({found}); --overwrite replaces that by the backup",
            found=", ".join(found),
        )


async def _in_use(url: str) -> list[str]:
    target = connect(url)
    try:
        if await Store(target).workers.living():
            raise _running()
        return ["redis"] if await redis_snapshot.is_used(target) else []
    finally:
        await target.close()


def _running() -> SaveAnyError:
    return SaveAnyError("SaveAny is running; stop all of its processes before you restore a backup")


async def _restore_catalogue(config: Config, backup: _Backup) -> None:
    if copy := backup.part(archive.SQLITE):
        copies.restore_sqlite(copy, config.data_dir)
    elif copy := backup.part(archive.POSTGRESQL):
        await copies.restore_postgresql(copy, config.catalogue.url)


def _replace_embedded(new: Path, folder: Path) -> None:
    """Put the files of the temporary server in the place of those of the embedded one."""
    if folder.exists():
        old = new.with_name("old")
        folder.rename(old)
    new.rename(folder)


def _restore_logins(config: Config, backup: _Backup) -> None:
    for name in backup.manifest.members:
        if name.startswith(f"{archive.LOGINS}/"):
            SessionFolder(config.data_dir).put(backup.folder / name)


async def _migrate(config: Config) -> None:
    """Bring the catalogue up to date, which also proves that it can be used with this Redis."""
    server = EmbeddedRedis(config.data_dir, config.redis.fsync) if config.redis.url == "embedded" else None
    db: Db = connect(server.start() if server else config.redis.url)
    catalogue = Catalogue.of(config, Store(db))
    try:
        await db.check()
        await catalogue.history.get_many([])
    finally:
        await catalogue.close()
        await db.close()
        if server:
            server.stop()
