"""Reads SQLite files of other programs, also while these use them, and changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from saveany.moving_in.found import UnreadableSource

#: How such a file begins.
MAGIC = b"SQLite format 3\x00"
#: Seconds to wait for a program that is writing, and the largest value that is read.
_BUSY_SECONDS, _MAX_VALUE = 5.0, 1 << 24
#: What belongs to a file that is in use: the log of its changes, and the state before a change.
_COMPANIONS = ("-wal", "-journal")


class SqliteFile:
    """An open file, as it is at one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raise `UnreadableSource` if the file is damaged anywhere."""
        if self._rows("PRAGMA quick_check(1)") != [("ok",)]:
            raise UnreadableSource("the database is damaged")

    def tables(self) -> dict[str, list[str]]:
        """The tables with their columns. Views are none."""
        names = [row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [row[1] for row in self._rows(f"PRAGMA table_info({_quoted(name)})")] for name in names}

    def rows(self, table: str, columns: Sequence[str], *, at_most: int) -> list[dict[str, Any]]:
        """The rows of a table, by their ids. Raises `UnreadableSource` if there are more than `at_most`."""
        wanted = ", ".join(map(_quoted, columns))
        query = f"SELECT {wanted} FROM {_quoted(table)} ORDER BY rowid LIMIT ?"  # noqa: S608  they are quoted
        found = self._rows(query, at_most + 1)
        if len(found) > at_most:
            raise UnreadableSource("its table {table} has more than {count} rows", table=table, count=at_most)
        return [dict(zip(columns, row, strict=True)) for row in found]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()


@contextmanager
def opened(file: Path) -> Iterator[SqliteFile]:
    """The file, for reading. Raises `UnreadableSource` if it is damaged or locked, also while it is open."""
    try:
        with _connected(file) as connection:
            yield SqliteFile(connection)
    except sqlite3.OperationalError as error:
        if _name_of(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise UnreadableSource(
                "another program is writing to the database; stop it and try again"
            ) from error
        raise UnreadableSource(
            "the database cannot be read ({reason})", reason=_name_of(error)
        ) from None  # the message of an error may have the value that could not be read
    except sqlite3.Error as error:  # DatabaseError: malformed, not a database; DataError: a value too large
        raise UnreadableSource("the database is damaged") from error
    except OSError as error:
        raise UnreadableSource("it cannot be read: {reason}", reason=error.strerror or "") from error


@contextmanager
def _connected(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection in a transaction, so that a program that writes meanwhile changes nothing of what is
    read."""
    try:
        connection = _begin(file, "ro")
    except sqlite3.OperationalError as error:
        if not _name_of(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise
        # The program was killed in the middle of a change, or nothing can be written beside the file. SQLite
        # then needs a copy to which it may write.
        with (
            TemporaryDirectory(prefix="saveany-import-") as folder,
            closing(_begin(_copy(file, Path(folder)), "rw")) as copy,
        ):
            yield copy
        return
    with closing(connection):
        yield connection


def _name_of(error: sqlite3.Error) -> str:
    """SQLite's name of an error. Python's own errors have none: it could not decode a text."""
    return getattr(error, "sqlite_errorname", "SQLITE_MISMATCH")


def _begin(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _copy(file: Path, folder: Path) -> Path:
    for companion in _COMPANIONS:
        beside = file.with_name(file.name + companion)
        if beside.is_file():
            shutil.copyfile(beside, folder / f"copy{companion}")
    return Path(shutil.copyfile(file, folder / "copy"))


def has(tables: Mapping[str, Sequence[str]], table: str, *columns: str) -> bool:
    """Whether there is such a table with these columns."""
    return set(columns) <= set(tables.get(table, ()))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
