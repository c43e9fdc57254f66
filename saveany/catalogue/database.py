"""The connection to the database of the catalogue: SQLite or PostgreSQL.

Its methods raise `CatalogueUnavailable` while the database cannot be reached, is locked or refuses changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import URL, ColumnElement, Table, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio.engine import AsyncConnection, create_async_engine

from saveany.errors import CatalogueUnavailable
from saveany.single_flight import SingleFlight

#: Name of the SQLite database in `data_dir`.
FILE_NAME = "catalogue.db"
#: Settings of SQLite. A record leaves Redis only when it is durable here.
_SETTINGS: Sequence[str] = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")
#: Seconds to wait for a connection, for a server that does not reply, and for a change by another process.
_CONNECT_SECONDS, _REPLY_SECONDS, _LOCKED_SECONDS = 5, 60, 10
#: Seconds that the end of a process waits for a statement.
_QUIET_SECONDS = 3
#: Maximum number of connections of a process. Each connection to SQLite is a thread.
_CONNECTIONS = 4

#: Classes of error codes of PostgreSQL: wrong values, violated constraints, wrong statements.
_WRONG_STATES = ("22", "23", "42")


class Database:
    """A database, connected with the first statement."""

    def __init__(self, url: str, data_dir: Path) -> None:
        """`url` is that of a PostgreSQL server; if it is empty, the database is a file in `data_dir`."""
        #: The file of an SQLite database; None for PostgreSQL.
        self.file = None if url else data_dir / FILE_NAME
        self._engine = create_async_engine(
            _sqlite(self.file) if self.file else postgresql_url(url),
            hide_parameters=True,  # an error that is logged must contain neither tokens nor secrets
            pool_use_lifo=True,  # a connection that was just used has the pages of the next use in memory
            **_OPTIONS[bool(url)],
        )
        self._writing = asyncio.Lock()
        self._opening = SingleFlight()
        self._is_open = False
        self._uses = 0  # of connections, at this moment
        self._unused = asyncio.Event()
        #: Called once before the first `read` or `write`; again after it has failed.
        self.on_open: Callable[[], Awaitable[None]] | None = None
        if self.file:
            event.listen(self._engine.sync_engine, "do_connect", _connect_to_file)
            event.listen(self._engine.sync_engine, "connect", _set_up)
            event.listen(self._engine.sync_engine, "begin", _begin)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite; else it is PostgreSQL."""
        return self.file is not None

    async def open(self) -> None:
        """Call `on_open`, unless that has been done. Those who wait for it share its error, too: during an
        outage they would wait for each other's attempts."""
        if not self._is_open:
            await self._opening.run("open", self._open)

    async def _open(self) -> None:
        if self.on_open:
            await self.on_open()
        self._is_open = True

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to the open database. If that is SQLite, it sees one state of it."""
        await self.open()
        async with self.connection() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of the open database, committed at the end of the block. The writes of this process
        follow each other."""
        await self.open()
        async with self.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """As `read`, while the database is being opened."""
        with _mapped_errors(), self._use():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """As `write`, while the database is being opened."""
        with _mapped_errors(), self._use():
            async with self._turn(), self._engine.connect() as connection:
                await connection.execution_options(write=True)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The turn of a writer of this process, who waits as long as for one of another process."""
        async with asyncio.timeout(_LOCKED_SECONDS):
            await self._writing.acquire()
        try:
            yield
        finally:
            self._writing.release()

    def upsert(
        self,
        table: Table,
        *key: str,
        only: tuple[str, ...] | None = None,
        where: ColumnElement[bool] | None = None,
    ) -> Any:
        """An INSERT that changes the row with the same `key` instead if there is one, and `where` holds for
        it: all other columns, or `only` these. The statement is made once for each `where`, a constant."""
        return _upsert(self._insert, table, key, only, where)

    def insert_new(self, table: Table) -> Any:
        """An INSERT that does nothing if there is a row with the same key."""
        return self._insert(table).on_conflict_do_nothing()

    @cached_property
    def _insert(self) -> Callable[[Table], Any]:
        if self.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        return insert

    @contextmanager
    def _use(self) -> Iterator[None]:
        self._uses += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._uses -= 1
            if not self._uses:
                self._unused.set()

    async def quiet(self) -> None:
        """Wait, for at most some seconds, until nothing uses the database. What is canceled then leaves no
        thread of SQLite behind, which would reply to an event loop that has ended."""
        if self._uses:
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_SECONDS):
                    await self._unused.wait()

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


@cache
def _upsert(
    insert: Callable[[Table], Any],
    table: Table,
    key: tuple[str, ...],
    only: tuple[str, ...] | None,
    where: ColumnElement[bool] | None,
) -> Any:
    statement = insert(table)
    changed = only or [column.name for column in table.columns if column.name not in (*key, "number")]
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={name: statement.excluded[name] for name in changed},
        where=where,
    )


_OPTIONS: dict[bool, dict[str, Any]] = {
    False: {"pool_size": _CONNECTIONS, "max_overflow": 0, "pool_timeout": _REPLY_SECONDS},
    True: {
        "pool_size": _CONNECTIONS,
        "max_overflow": 0,
        "pool_timeout": _REPLY_SECONDS,
        "pool_pre_ping": True,
        "connect_args": {
            "timeout": _CONNECT_SECONDS,
            "command_timeout": _REPLY_SECONDS,
            "server_settings": {"application_name": "saveany"},
        },
    },
}


def _sqlite(file: Path) -> URL:
    return URL.create("sqlite+aiosqlite", database=str(file), query={"timeout": str(_LOCKED_SECONDS)})


def postgresql_url(url: str) -> URL:
    """The address of a PostgreSQL database, for SQLAlchemy."""
    return make_url(url).set(drivername="postgresql+asyncpg")


def _connect_to_file(dialect: object, record: object, args: object, options: dict[str, Any]) -> None:
    """Have the driver use connections that can be canceled."""
    from saveany.catalogue import sqlite_file  # not needed for PostgreSQL

    options["async_creator_fn"] = sqlite_file.connect


def _set_up(connection: Any, record: object) -> None:
    """Settings of a new connection to SQLite. A change is on the disk when it is confirmed."""
    connection.isolation_level = None  # `_begin` begins all transactions
    cursor = connection.cursor()
    for setting in _SETTINGS:
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: Any) -> None:
    """Begin a transaction that cannot fail at its first write because another process has written."""
    write = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Raise `CatalogueUnavailable` in place of what drivers raise in this block during an outage."""
    try:
        yield
    except DBAPIError as error:
        if _is_wrong_statement(error):
            raise
        raise _outage(error.orig or error) from error
    except (OSError, TimeoutError, PoolTimeoutError) as error:
        raise _outage(error) from error


def _is_wrong_statement(error: DBAPIError) -> bool:
    """Whether a statement or its values are wrong, not the server."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, DataError | IntegrityError | ProgrammingError) or state[:2] in _WRONG_STATES


def _outage(error: BaseException) -> CatalogueUnavailable:
    reason = (str(error) or type(error).__name__).partition("\n")[0]
    return CatalogueUnavailable(
        "The catalogue (history and saved files) cannot be used: {reason}", reason=reason
    )
