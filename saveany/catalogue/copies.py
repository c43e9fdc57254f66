"""Copies of the whole database, for backups: by the online backup of SQLite, by pg_dump and pg_restore."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio.engine import create_async_engine

from saveany.catalogue import tables
from saveany.catalogue.database import FILE_NAME, postgresql_url
from saveany.errors import SaveAnyError
from saveany.programs import find_program

#: Where Debian keeps the programs of PostgreSQL, besides the PATH; the newest version is preferred, because
#: an older pg_dump refuses a newer server.
_PROGRAMS = "/usr/lib/postgresql"
_SCHEMA = "SELECT version_num FROM alembic_version"


class Snapshot(Protocol):
    """One state of the database."""

    #: The number of its newest migration.
    schema: str

    async def save(self, file: Path) -> None:
        """Write this state to a new file."""


# SQLite.


class _SqliteSnapshot:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (self.schema,) = connection.execute(_SCHEMA).fetchone()  # fixes the state

    async def save(self, file: Path) -> None:
        await asyncio.to_thread(self._save, file)

    def _save(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file


@asynccontextmanager
async def sqlite_snapshot(data_dir: Path) -> AsyncIterator[Snapshot | None]:
    """The present state of the SQLite database; None if there is none. Raises `SaveAnyError`."""
    file = data_dir / FILE_NAME
    if not file.exists():
        yield None
        return
    with (
        _sqlite_errors(file),
        closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=60)) as database,
    ):
        database.execute("BEGIN")
        yield _SqliteSnapshot(database)


def sqlite_exists(data_dir: Path) -> bool:
    """Whether there is an SQLite database."""
    return (data_dir / FILE_NAME).exists()


def restore_sqlite(copy: Path, data_dir: Path) -> None:
    """Put a copy, on the same disk, in the place of the database, which no process may use."""
    file = data_dir / FILE_NAME
    with _sqlite_errors(copy), closing(sqlite3.connect(copy)) as database:
        if (result := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(result)
    copy.chmod(0o600)
    for name in ("-wal", "-shm"):  # they belong to the old database
        file.with_name(file.name + name).unlink(missing_ok=True)
    copy.replace(file)


@contextmanager
def _sqlite_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SaveAnyError("{file} cannot be read: {reason}", file=str(file), reason=str(error)) from error


# PostgreSQL.


class _PostgresSnapshot:
    def __init__(self, url: str, name: str, schema: str) -> None:
        self._url = url
        self._name = name
        self.schema = schema

    async def save(self, file: Path) -> None:
        await _run(
            self._url,
            "pg_dump",
            f"--snapshot={self._name}",
            "--format=custom",
            "--no-owner",
            f"--file={file}",
        )


@asynccontextmanager
async def postgresql_snapshot(url: str) -> AsyncIterator[Snapshot | None]:
    """The present state of the PostgreSQL database; None if it is empty. Raises `SaveAnyError`."""
    engine = create_async_engine(postgresql_url(url))
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            if not await connection.scalar(text("SELECT to_regclass('alembic_version')::text")):
                yield None
                return
            schema = await connection.scalar(text(_SCHEMA))
            name = await connection.scalar(text("SELECT pg_export_snapshot()"))
            yield _PostgresSnapshot(url, str(name), str(schema))
    except (DBAPIError, OSError) as error:
        raise _unusable(error) from error
    finally:
        await engine.dispose()


async def postgresql_exists(url: str) -> bool:
    """Whether the PostgreSQL database contains a catalogue."""
    async with postgresql_snapshot(url) as found:
        return found is not None


async def restore_postgresql(copy: Path, url: str) -> None:
    """Replace the catalogue in a PostgreSQL database by a copy. Raises `SaveAnyError`; if the catalogue was
    removed by then, this can be repeated."""
    names = ", ".join([*(table.name for table in tables.metadata.sorted_tables), "alembic_version"])
    engine = create_async_engine(postgresql_url(url))
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP TABLE IF EXISTS {names} CASCADE"))
    except (DBAPIError, OSError) as error:
        raise _unusable(error) from error
    finally:
        await engine.dispose()
    options = ("--single-transaction", "--no-owner", "--no-privileges", "--no-comments")
    await _run(url, "pg_restore", *options, f"--dbname={make_url(url).database}", str(copy))


def _unusable(error: BaseException) -> SaveAnyError:
    reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
    return SaveAnyError("catalogue.url: the database cannot be used: {reason}", reason=reason)


async def _run(url: str, program: str, *options: str) -> None:
    """Run a program of PostgreSQL for the database at `url`. The password is not in its command line, which
    all users of this machine can see."""
    path = _find(program)
    if path is None:
        raise SaveAnyError(
            "{program} is not installed; install the client programs of PostgreSQL (package "
            "postgresql-client), of the version of the server or a newer one",
            program=program,
        )
    process = await asyncio.create_subprocess_exec(
        path,
        *options,
        env={**os.environ, **_environment(url)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode:
        reason = errors.decode(errors="replace").strip()[-1000:]
        raise SaveAnyError("{program} failed: {reason}", program=program, reason=reason)


def _find(program: str) -> str | None:
    """The newest installed version of a program."""
    newest = sorted(Path(_PROGRAMS).glob(f"*/bin/{program}"), key=lambda path: path.parts[-3].zfill(3))
    return str(newest[-1]) if newest else find_program(program)


def _environment(url: str) -> dict[str, str]:
    """`url` in the variables of libpq."""
    parts = make_url(url)
    values = {
        "PGHOST": parts.host or parts.query.get("host"),
        "PGPORT": parts.port,
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.database,
        "PGSSLMODE": parts.query.get("ssl") or parts.query.get("sslmode"),
        "PGCONNECT_TIMEOUT": 10,
    }
    return {name: str(value) for name, value in values.items() if value}
