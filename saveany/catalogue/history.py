"""Ended tasks: pages of the history, single tasks, and forgetting them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from operator import attrgetter

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue import rows
from saveany.catalogue.cursors import Key
from saveany.catalogue.database import Database
from saveany.catalogue.listing import Listing
from saveany.catalogue.models import HistoryFilter, HistoryPage
from saveany.catalogue.recorder import Recorder, take_turn
from saveany.catalogue.tables import task_items, task_records, tasks
from saveany.models import ENDED, Item, Status, Task
from saveany.store import Store, codec
from saveany.store.cursors import make_cursor, parse_cursor
from saveany.store.recording import ItemRecords, TaskRecord
from saveany.store.results import EraseResult

#: Number of tasks that are forgotten at a time.
_BATCH = 500

_newest_first = Listing(tasks, "ended_at", descending=True)
_oldest_first = Listing(tasks, "ended_at", descending=False)


class History:
    """Reading and forgetting ended tasks. Ids that are not those of tasks are unknown."""

    def __init__(self, database: Database, store: Store, recorder: Recorder) -> None:
        self._database = database
        self._store = store
        self._recorder = recorder

    async def page(self, wanted: HistoryFilter, limit: int = 50, cursor: str = "") -> HistoryPage:
        """At most `limit` tasks after `cursor`, newest first. A page of a search may have
        fewer, even none, and still a cursor.

        They include all tasks that ended before this call. Raises `InvalidInput` for an invalid cursor.
        """
        start = parse_cursor(cursor)
        await self._recorder.catch_up()
        async with self._database.read() as connection:
            page = await _newest_first.page(connection, _conditions(wanted), wanted.q, start, limit)
            found = await self._read(connection, [task_id for _, task_id in page.keys])
        last = page.last
        return HistoryPage(found, make_cursor((int(last[0]), last[1])) if last else "")

    async def get_many(self, task_ids: Sequence[str]) -> list[Task]:
        """The tasks with these ids that are in the history and can be read, in the order of `task_ids`."""
        async with self._database.read() as connection:
            return await self._read(connection, [each for each in task_ids if _is_id(each)])

    async def items(self, task_id: str, start: int = 0, limit: int | None = None) -> list[Item]:
        """Up to `limit` items of a task from index `start` on, or all of them."""
        return self._decoded_items(task_id, await self._raw_items(task_id, start, limit))

    async def restore(self, task_id: str) -> None:
        """Write a task back to Redis, unless it is there, so that it can be retried."""
        async with self._database.read() as connection:
            record = (await _records(connection, [task_id])).get(task_id)
        if record is not None:
            await self._store.recording.restore(task_id, record, await self._raw_items(task_id))

    async def remove(self, task_id: str) -> EraseResult:
        """Remove a task, here and in Redis."""
        results = await self._erase([task_id])
        return results[task_id]

    async def clear(self, user_id: int | None = None) -> int:
        """Remove all ended tasks, or those of a user, as `forget` does. Returns the number of removed
        tasks."""
        return await self.forget(await self._store.db.time_ms() + 1, user_id)

    async def forget(self, before_ms: int, user_id: int | None = None) -> int:
        """Remove the tasks that ended before `before_ms`, of all users or of one, except those with leftovers
        on a storage. Returns the number of removed tasks."""
        where = [tasks.c.ended_at < before_ms]
        if user_id is not None:
            where.append(tasks.c.user_id == user_id)
        await self._recorder.catch_up()
        removed = 0
        start: Key | None = None
        while keys := await self._oldest(where, start):
            results = await self._erase([task_id for _, task_id in keys])
            removed += sum(result is EraseResult.OK for result in results.values())
            start = keys[-1]
        return removed

    async def counts(self) -> dict[Status, int]:
        """Numbers of ended tasks, by status."""
        await self._recorder.catch_up()
        query = select(tasks.c.status, func.count()).group_by(tasks.c.status)
        async with self._database.read() as connection:
            found = {row[0]: row[1] for row in await connection.execute(query)}
        return {status: found.get(status.value, 0) for status in sorted(ENDED)}

    async def _oldest(self, where: list[ColumnElement[bool]], start: Key | None) -> list[Key]:
        async with self._database.read() as connection:
            return (await _oldest_first.page(connection, where, "", start, _BATCH)).keys

    async def _erase(self, task_ids: Sequence[str]) -> dict[str, EraseResult]:
        """Remove tasks from Redis, then from here. A recorder that has read one of them drops it."""
        results = await self._store.recording.erase(task_ids)
        gone = [i for i, result in results.items() if result in (EraseResult.OK, EraseResult.UNKNOWN)]
        known = [i for i in gone if _is_id(i)]
        async with self._database.write() as connection:
            await take_turn(connection)
            deleted = await connection.scalars(
                delete(tasks).where(tasks.c.id.in_(known)).returning(tasks.c.id)
            )
            return results | dict.fromkeys(deleted, EraseResult.OK)

    async def _read(self, connection: AsyncConnection, task_ids: Sequence[str]) -> list[Task]:
        found = await _records(connection, task_ids)
        decoded = (
            self._store.db.records.one("task", i, found[i], partial(codec.decode_task, i))
            for i in task_ids
            if i in found
        )
        return [task for task in decoded if task]

    async def _raw_items(self, task_id: str, start: int = 0, limit: int | None = None) -> ItemRecords:
        if not _is_id(task_id):
            return {}
        query = select(task_items.c.item, task_items.c.record).where(
            task_items.c.task_id == task_id, task_items.c.item >= start
        )
        if limit is not None:
            query = query.where(task_items.c.item < start + limit)
        async with self._database.read() as connection:
            return {str(item).encode(): record for item, record in await connection.execute(query)}

    def _decoded_items(self, task_id: str, raw: ItemRecords) -> list[Item]:
        named = ((f"{task_id}-{index.decode()}", value) for index, value in raw.items())
        return sorted(self._store.db.records.all("item", named, codec.decode_item), key=attrgetter("index"))


async def _records(connection: AsyncConnection, task_ids: Iterable[str]) -> dict[str, TaskRecord]:
    query = select(task_records.c.task_id, task_records.c.record).where(task_records.c.task_id.in_(task_ids))
    return {task_id: rows.decode_record(raw) for task_id, raw in await connection.execute(query)}


def _conditions(wanted: HistoryFilter) -> list[ColumnElement[bool]]:
    equal = {
        "status": wanted.status,
        "type": wanted.type,
        "storage": wanted.storage,
        "user_id": wanted.user_id,
    }
    found = [tasks.c[name] == value for name, value in equal.items() if value not in ("", None)]
    if wanted.since is not None:
        found.append(tasks.c.ended_at >= wanted.since)
    if wanted.until is not None:
        found.append(tasks.c.ended_at < wanted.until)
    return found


def _is_id(task_id: str) -> bool:
    return task_id.isascii() and task_id.isalnum()
