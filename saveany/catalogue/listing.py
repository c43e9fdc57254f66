"""Pages of a table by keyset: as fast for the last page as for the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, select
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue import search
from saveany.catalogue.cursors import Key, after

#: Number of rows that are read in the order of the list before the index of the search is used. A word that
#: is in many rows fills a page from them; for one that is in few rows the index finds few.
_SCANNED = 3_000


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
    ) -> list[Key]:
        """At most `limit` rows after `start` that pass all conditions and contain `query`."""
        if not query:
            return await self._keys(connection, self._sorted(where, start).limit(limit))
        found = await self._scan(connection, where, query, start, limit)
        if found is not None:
            return found
        if connection.dialect.name != "sqlite":
            return await self._keys(connection, self._by_trigrams(where, query, start).limit(limit))
        by_index = search.is_indexed(query)
        match = (search.found_by_index if by_index else search.contains)(self._table, query)
        return await self._keys(connection, self._sorted([*where, match], start).limit(limit))

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
    ) -> list[Key] | None:
        """The page, if the first `_SCANNED` rows fill it or there are no more; else None."""
        first = self._sorted(where, start).add_columns(self._table.c.search).limit(_SCANNED + 1).subquery()
        found = select(first.c[0], first.c[1], search.contains_text(first.c.search, query))
        rows = (await connection.execute(found)).all()
        matching = [(row[0], row[1]) for row in rows[:_SCANNED] if row[2]]
        return matching[:limit] if len(matching) >= limit or len(rows) <= _SCANNED else None

    def _by_trigrams(
        self, where: Sequence[ColumnElement[bool]], query: str, start: Key | None
    ) -> Select[Any]:
        """For PostgreSQL: all matches first, because its planner would read the whole table in the order of
        the list to find the first few."""
        matches = self._columns().where(*where, search.contains(self._table, query))
        found = matches.cte("found").prefix_with("MATERIALIZED", dialect="postgresql")
        return after(
            select(found.c[0], found.c.id), found.c[0], found.c.id, start, descending=self._descending
        )

    @staticmethod
    async def _keys(connection: AsyncConnection, query: Select[Any]) -> list[Key]:
        return [(row[0], row[1]) for row in await connection.execute(query)]
