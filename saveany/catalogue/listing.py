"""Pages of a table by keyset: as fast for the last page as for the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, func, select
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue import search
from saveany.catalogue.cursors import Key, after

#: Rows that are read in the order of the list before the index of the search is used: a word that is in many
#: rows fills a page from them.
_FIRST = 2_000
#: Maximum number of rows that are read for one page when the index does not help, because the text is too
#: short for it, or because it finds more than `_MAX_FOUND` rows, all of which would have to be sorted.
_MOST, _MAX_FOUND = 30_000, 10_000


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a page."""

    keys: list[Key]
    #: The row after which the next page begins; None if there is none.
    last: Key | None


class Listing:
    """A table, sorted by one of its columns, then by id, and searched in its column `search`."""

    def __init__(self, table: Table, column: str, *, descending: bool) -> None:
        self._table = table
        self._column: Column[int | str] = table.c[column]
        self._descending = descending

    async def page(
        self,
        connection: AsyncConnection,
        where: Sequence[ColumnElement[bool]],
        query: str,
        start: Key | None,
        limit: int,
        skip: int = 0,
    ) -> Rows:
        """At most `limit` rows after `start` that pass all conditions and contain `query`. A page of a search
        may have fewer rows, even none, although there are more. Without a query, `skip` rows are left out."""
        if not query:
            keys = await self._keys(connection, self._sorted(where, start).offset(skip).limit(limit + 1))
            return _cut(keys, limit, None)
        if found := await self._scan(connection, where, query, start, limit, _FIRST, must_fill=True):
            return found
        if search.is_indexed(query) and await self._finds_few(connection, query):
            return _cut(await self._by_index(connection, where, query, start, limit + 1), limit, None)
        found = await self._scan(connection, where, query, start, limit, _MOST)
        return found or Rows([], None)

    async def count(
        self, connection: AsyncConnection, where: Sequence[ColumnElement[bool]], start: Key | None
    ) -> int:
        """The number of rows after `start` that pass all conditions."""
        rows = self._sorted(where, start).order_by(None).subquery()
        return int(await connection.scalar(select(func.count()).select_from(rows)) or 0)

    def _columns(self) -> Select[Any]:
        return select(self._column, self._table.c.id)

    def _sorted(self, where: Sequence[ColumnElement[bool]], start: Key | None) -> Select[Any]:
        query = self._columns().where(*where)
        return after(query, self._column, self._table.c.id, start, descending=self._descending)

    async def _scan(
        self,
        connection: AsyncConnection,
        where: Sequence[ColumnElement[bool]],
        query: str,
        start: Key | None,
        limit: int,
        count: int,
        *,
        must_fill: bool = False,
    ) -> Rows | None:
        """A page from the next `count` rows. None if they do not fill it and there are more, if they must."""
        rows = self._sorted(where, start)
        first = rows.add_columns(self._table.c.search).limit(count).subquery()
        matches = select(first.c[0], first.c[1]).where(search.contains_text(first.c.search, query))
        ordered = after(matches, first.c[0], first.c[1], None, descending=self._descending)
        keys = await self._keys(connection, ordered.limit(limit + 1))
        if len(keys) > limit:
            return _cut(keys, limit, None)
        end = await self._keys(connection, rows.offset(count - 1).limit(1))
        return None if end and must_fill else _cut(keys, limit, end[0] if end else None)

    async def _finds_few(self, connection: AsyncConnection, query: str) -> bool:
        """Whether so few rows contain the query that all of them can be sorted."""
        if connection.dialect.name == "sqlite":
            found = search.rows_by_index(self._table, query)
        else:
            await connection.execute(sql("SET LOCAL enable_seqscan = off"))  # its planner is too optimistic
            found = select(self._table.c.number).where(search.contains(self._table, query))
        counted = select(func.count()).select_from(found.limit(_MAX_FOUND + 1).subquery())
        return int(await connection.scalar(counted) or 0) <= _MAX_FOUND

    async def _by_index(
        self,
        connection: AsyncConnection,
        where: Sequence[ColumnElement[bool]],
        query: str,
        start: Key | None,
        limit: int,
    ) -> list[Key]:
        """All matches first: the planners of both engines would rather read the whole table in the order of
        the list to find the first few."""
        match = search.contains(self._table, query)
        if connection.dialect.name == "sqlite":
            match = self._table.c.number.in_(search.rows_by_index(self._table, query))
        matches = self._columns().where(*where, match)
        found = matches.cte("found").prefix_with("MATERIALIZED")
        page = after(
            select(found.c[0], found.c.id), found.c[0], found.c.id, start, descending=self._descending
        )
        return await self._keys(connection, page.limit(limit))

    @staticmethod
    async def _keys(connection: AsyncConnection, query: Select[Any]) -> list[Key]:
        return [(row[0], row[1]) for row in await connection.execute(query)]


def _cut(keys: list[Key], limit: int, end: Key | None) -> Rows:
    """A page of `limit` rows, of which `keys` has one more if there is a next page; else that begins after
    `end`."""
    return Rows(keys[:limit], keys[limit - 1] if len(keys) > limit else end)
