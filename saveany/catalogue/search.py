"""Search by substring, ignoring case.

Both engines find substrings of at least three characters with an index of trigrams. A Chinese, Japanese or
Korean character is written three times in the searched text, so the index finds even one of them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, literal_column, select, table

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WIDE = re.compile(
    r"([\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")
#: Number of characters that the index needs.
_INDEXED = 3


def fold(*texts: str) -> str:
    """The searched form of some texts."""
    plain = unicodedata.normalize("NFC", _SURROGATES.sub("\ufffd", "\n".join(texts))).casefold()
    return _WIDE.sub(r"\1\1\1", _CONTROL.sub(" ", plain))


def contains(searched: Table, query: str) -> ColumnElement[bool]:
    """Whether a row contains the query, by its own text."""
    return contains_text(searched.c.search, query)


def contains_text(column: ColumnElement[str], query: str) -> ColumnElement[bool]:
    """Whether a column written by `fold` contains the query."""
    return column.contains(fold(query), autoescape=True)


def is_indexed(query: str) -> bool:
    """Whether the index of trigrams finds this query."""
    return len(fold(query)) >= _INDEXED


def rows_by_index(searched: Table, query: str) -> Select[Any]:
    """The numbers of the rows that contain the query, by SQLite's index."""
    phrase = '"{}"'.format(fold(query).replace('"', '""'))
    index = table(f"{searched.name}_search")
    return (
        select(literal_column("rowid"))
        .select_from(index)
        .where(literal_column(f"{searched.name}_search").op("MATCH")(phrase))
    )


def index_statements(name: str, *, is_sqlite: bool) -> list[str]:
    """The statements that create the index of the column `search` of a table."""
    if not is_sqlite:
        return [
            "CREATE EXTENSION IF NOT EXISTS pg_trgm",
            f"CREATE INDEX {name}_search ON {name} USING gin (search gin_trgm_ops)",
        ]
    index = f"{name}_search"
    remove = f"INSERT INTO {index} ({index}, rowid, search) VALUES ('delete', old.number, old.search);"  # noqa: S608  names of our tables
    add = f"INSERT INTO {index} (rowid, search) VALUES (new.number, new.search);"  # noqa: S608  names of our tables
    return [
        f"CREATE VIRTUAL TABLE {index} USING fts5 "
        f"(search, content='{name}', content_rowid='number', tokenize='trigram case_sensitive 1')",
        f"CREATE TRIGGER {index}_insert AFTER INSERT ON {name} BEGIN {add} END",
        f"CREATE TRIGGER {index}_delete AFTER DELETE ON {name} BEGIN {remove} END",
        f"CREATE TRIGGER {index}_update AFTER UPDATE OF search ON {name} BEGIN {remove} {add} END",
    ]
