"""The recorder: copies ended tasks and saved files from Redis to the catalogue.

Recording is at least once: a batch is committed here, then removed from the stream. It copies the present
state of each task, so repeating it does no harm. One process at a time does it, by a lock in Redis; because a
lock may expire unnoticed, each recorder also takes a turn in the database, which ends the previous turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue import conversions, rows
from saveany.catalogue.database import Database
from saveany.catalogue.folders import ROOT, folder_at, has_folder
from saveany.catalogue.outcomes import write_outcomes
from saveany.catalogue.tables import catalogue, files, links, task_items, task_records, tasks
from saveany.errors import SaveAnyError, StoreUnavailable
from saveany.logs import get_logger
from saveany.loops import Signal, repeat
from saveany.models import Item, Task
from saveany.store import Store, codec
from saveany.store.recording import ItemRecords, RecordEntry, TaskRecord

#: Maximum number of entries, and of items of their tasks, in one transaction.
MAX_ENTRIES, _MAX_ITEMS = 500, 5_000
#: Seconds that a reader waits for what ended before its request.
_CATCH_UP_SECONDS = 1.0
#: Seconds between two checks whether another process has recorded something.
_CHECK_SECONDS = 0.02
#: Seconds after which the stream is read without a wake-up, and between two expiries of recorded tasks.
_UNASKED_SECONDS, _EXPIRE_SECONDS = 10.0, 10.0
#: Seconds between two batches that nobody has asked for: each costs about as much as the tasks of that time.
_BATCH_SECONDS = 0.1
#: Seconds before another attempt during an outage.
_RETRY_SECONDS = 2.0
_DAY_MS = 24 * 3600 * 1000
#: A file whose copy was not replaced by a converted one.
_OWN_COPY = files.c.converted_by.is_(None)

log = get_logger("saveany.catalogue")


class TurnEnded(Exception):
    """Another recorder has taken over, or tasks were removed: what was read from Redis may be outdated."""


@dataclass(slots=True)
class _Ended:
    """An ended task: its records, as they are in Redis."""

    task: Task
    record: TaskRecord
    items: ItemRecords


@dataclass(slots=True)
class _Batch:
    """What is written in one transaction."""

    entries: Sequence[RecordEntry]
    ended: list[_Ended] = field(default_factory=list)
    live: list[str] = field(default_factory=list)  # ids of tasks that have not ended
    saved: list[tuple[Task, Item]] = field(default_factory=list)
    unsaved: list[tuple[str, int]] = field(default_factory=list)  # (task, item index)
    archived: list[tuple[Task, list[Item]]] = field(default_factory=list)  # what was read of archives' tasks

    def last_entries(self) -> dict[str, str]:
        """The last entry of each ended task."""
        last = {entry.task_id: entry.id for entry in self.entries}
        return {each.task.id: last[each.task.id] for each in self.ended}

    def of_archives(self) -> set[str]:
        """The ids of tasks that nobody needs in Redis once they have ended."""
        return {task.id for task, _ in self.archived}


class Recorder:
    """Records what waits in Redis."""

    def __init__(self, database: Database, store: Store, *, link_days: int = 0) -> None:
        """Links that webhooks name work for `link_days`; 0 is for ever."""
        self._database = database
        self._link_ms = link_days * _DAY_MS
        self._store = store
        self._stream = store.recording
        self._holder = uuid4().hex
        self._recording = asyncio.Lock()
        self._wake_up = Signal()
        #: Called with files after they were recorded, at least once for each. It may not read the catalogue,
        #: which waits for the recorder.
        self.on_saved: Callable[[Sequence[tuple[Task, Item]]], Awaitable[None]] | None = None
        self._turn: int | None = None
        self._expire_at = 0.0
        self._background: set[asyncio.Task[bool]] = set()

    async def run(self) -> None:
        """Record until canceled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat("recorder_wake_ups", self._listen))
            group.create_task(repeat("recorder", self._step, retry=_RETRY_SECONDS))

    async def catch_up(self) -> None:
        """Record what ended before this call, or wait until another process has done so, for at most a
        second."""
        await self._database.open()
        last = await self._stream.last_id()
        until = time.monotonic() + _CATCH_UP_SECONDS
        while last and await self._stream.waits(last) and time.monotonic() < until:
            recording = asyncio.create_task(self.record())  # not canceled halfway when the time is up
            self._background.add(recording)
            recording.add_done_callback(self._ended)
            done, _ = await asyncio.wait([recording], timeout=until - time.monotonic())
            if done and not recording.result():
                await asyncio.sleep(_CHECK_SECONDS)

    async def catch_up_completely(self) -> bool:
        """As `catch_up`; returns whether all that ended before this call is recorded."""
        last = await self._stream.last_id()
        await self.catch_up()
        return not last or not await self._stream.waits(last)

    async def time_ms(self) -> int:
        """The time by the clock of Redis, as for all times here."""
        return await self._store.db.time_ms()

    async def record(self) -> bool:
        """Record all that waits. False if another process is doing so."""
        async with self._recording:
            if not await self._stream.last_id():
                return True
            if not await self._stream.lock(self._holder):
                return False
            try:
                return await self._record_all()
            finally:
                with suppress(StoreUnavailable):  # then it expires
                    await self._stream.unlock(self._holder)

    async def close(self) -> None:
        """Stop recording for readers that no longer wait."""
        for recording in self._background:
            recording.cancel()
        if self._background:
            await asyncio.wait(self._background)

    def _ended(self, recording: asyncio.Task[bool]) -> None:
        """Drop a failure for which no reader waits any more: it is repeated, and then logged."""
        self._background.discard(recording)
        if not recording.cancelled():
            recording.exception()

    async def _listen(self) -> None:
        async for _ in self._stream.wake_ups():
            self._wake_up.send()

    async def _step(self) -> None:
        seen = self._wake_up.count
        await self.record()
        if time.monotonic() >= self._expire_at:
            await self._stream.expire()
            self._expire_at = time.monotonic() + _EXPIRE_SECONDS
        await asyncio.sleep(_BATCH_SECONDS)
        await self._wake_up.wait(_UNASKED_SECONDS, since=seen)

    async def _record_all(self) -> bool:
        while entries := await self._stream.entries(MAX_ENTRIES):
            try:
                still_recorder = await self._record(entries)
            except SaveAnyError:  # an outage
                raise
            except Exception:
                still_recorder = await self._record_each(entries)
            if not still_recorder:
                return False
        return True

    async def _record_each(self, entries: Sequence[RecordEntry]) -> bool:
        """Record the entries one by one, so that one that cannot be written stops no other."""
        for entry in entries:
            try:
                still_recorder = await self._record([entry])
            except SaveAnyError:
                raise
            except Exception:
                log.exception("task_not_recorded", task=entry.task_id)
                still_recorder = await self._stream.done(self._holder, [entry], {})
            if not still_recorder:
                return False
        return True

    async def _record(self, entries: Sequence[RecordEntry]) -> bool:
        """Record some of the entries, from the first one on. Returns whether this still is the recorder."""
        if self._turn is None:
            async with self._database.write() as connection:
                self._turn = await take_turn(connection)
        batch = await self._read(entries)
        try:
            async with self._database.write() as connection:
                await _check_turn(connection, self._turn)
                await _write(self._database, connection, batch, self._link_ms)
        except TurnEnded:
            self._turn = None
            return True  # and once more, if the lock is still ours
        if self.on_saved and batch.saved:
            await self.on_saved(batch.saved)
        done = await self._stream.done(self._holder, batch.entries, batch.last_entries(), batch.of_archives())
        if batch.archived:
            await self._stream.expire()
        return done

    async def _read(self, entries: Sequence[RecordEntry]) -> _Batch:
        records = await self._stream.records(list(dict.fromkeys(entry.task_id for entry in entries)))
        decode = self._store.db.records.one
        found = {i: decode("task", i, raw, partial(codec.decode_task, i)) for i, raw in records.items()}
        known = {i: task for i, task in found.items() if task}
        entries = _first(entries, known)
        wanted = _wanted_items(entries, known)
        items = await self._stream.items(wanted)
        batch = _Batch(entries)
        for task_id in wanted:
            self._add(batch, known[task_id], records[task_id], items[task_id])
        return batch

    def _add(self, batch: _Batch, task: Task, record: TaskRecord, raw: ItemRecords) -> None:
        if task.status.ended:
            batch.ended.append(_Ended(task, record, raw))
        else:
            batch.live.append(task.id)
        named = ((f"{task.id}-{index.decode('utf-8', 'replace')}", value) for index, value in raw.items())
        items = self._store.db.records.all("item", named, codec.decode_item)
        if task.spec.archive_id:
            batch.archived.append((task, items))
        for item in items:
            if rows.is_saved(item):
                batch.saved += ((task, each) for each in rows.stored_files(item))
            else:
                batch.unsaved.append((task.id, item.index))


def _first(entries: Sequence[RecordEntry], known: Mapping[str, Task]) -> Sequence[RecordEntry]:
    """As many of the entries as fit into one transaction, at least one."""
    items, counted = 0, set()
    for position, entry in enumerate(entries):
        if entry.task_id in known and entry.task_id not in counted:
            counted.add(entry.task_id)
            items += known[entry.task_id].items_total
            if position and items > _MAX_ITEMS:
                return entries[:position]
    return entries


def _wanted_items(entries: Sequence[RecordEntry], known: Mapping[str, Task]) -> dict[str, list[str] | None]:
    """The indexes of the items to read, by task; None for all of its items."""
    wanted: dict[str, list[str] | None] = {}
    for entry in entries:
        if entry.task_id not in known:
            continue  # it was removed
        before = wanted.get(entry.task_id, [])
        if entry.items == "*" or known[entry.task_id].status.ended or before is None:
            wanted[entry.task_id] = None
        else:
            wanted[entry.task_id] = [*before, *entry.items.split(",")]
    return wanted


async def take_turn(connection: AsyncConnection) -> int:
    """End the turn of the recorder that has read from Redis before; returns the number of the new turn."""
    query = update(catalogue).values(turn=catalogue.c.turn + 1).returning(catalogue.c.turn)
    return int(await connection.scalar(query) or 0)


async def _check_turn(connection: AsyncConnection, turn: int) -> None:
    """Raise `TurnEnded` unless it is still this turn. It is then until the transaction ends."""
    query = update(catalogue).values(turn=turn).where(catalogue.c.turn == turn).returning(catalogue.c.turn)
    if await connection.scalar(query) is None:
        raise TurnEnded


async def _write(database: Database, connection: AsyncConnection, batch: _Batch, link_ms: int) -> None:
    if batch.live:
        await connection.execute(delete(tasks).where(tasks.c.id.in_(batch.live)))
    await _write_ended(database, connection, batch.ended)
    await _write_files(database, connection, batch, link_ms)
    await write_outcomes(connection, batch.archived)


async def _write_ended(database: Database, connection: AsyncConnection, ended: Sequence[_Ended]) -> None:
    if not ended:
        return
    await connection.execute(database.upsert(tasks, "id"), [rows.task_row(each.task) for each in ended])
    records = [{"task_id": each.task.id, "record": rows.encode_record(each.record)} for each in ended]
    await connection.execute(database.upsert(task_records, "task_id"), records)
    items = [
        {"task_id": each.task.id, "item": int(index), "record": value}
        for each in ended
        for index, value in each.items.items()
        if index.isdigit() and len(index) < 10
    ]
    if items:
        await connection.execute(database.upsert(task_items, "task_id", "item"), items)


async def _write_files(database: Database, connection: AsyncConnection, batch: _Batch, link_ms: int) -> None:
    if batch.unsaved:
        removed = [{"of_task": task_id, "of_item": item} for task_id, item in batch.unsaved]
        same = (files.c.task_id == bindparam("of_task"), files.c.item == bindparam("of_item"))
        await connection.execute(delete(files).where(*same), removed)
        further = (files.c.task_id == bindparam("of_task"), files.c.item >= rows.FURTHER_PART)
        part = files.c.item % rows.FURTHER_PART == bindparam("of_item")
        await connection.execute(delete(files).where(*further, part), removed)
    known: dict[tuple[int, tuple[int, str]], int] = {}
    saved, made = [], []
    recorded = await _recorded(connection, batch.saved)
    converted = []
    for task, item in batch.saved:
        if task.spec.type == conversions.TYPE:
            if (task.id, item.index) in recorded:
                continue  # the row has the old copy now
            converted.append(task)
        place = (rows.number(task.spec.user_id), rows.folder_below(task, item))
        if place not in known:
            known[place] = await _folder_of(connection, task, item)
        saved.append(rows.file_row(task, item, known[place]))
        if item.link and (task.id, item.index) not in recorded:
            made.append(rows.link_row(item.link, saved[-1], link_ms))
    if saved:
        await _forget_scanned(connection, saved)
        upsert = database.upsert(files, "task_id", "item", only=rows.COPY_COLUMNS, where=_OWN_COPY)
        await connection.execute(upsert, saved)
    if made:
        await connection.execute(insert(links), made)
    ids = {row["task_id"]: row["id"] for row in saved}
    for task in converted:
        await conversions.replace_copy(connection, task, ids[task.id])


async def _folder_of(connection: AsyncConnection, task: Task, item: Item) -> int:
    """The id of the folder of a saved file, which is created if necessary; that of its path if the folder
    that was requested has been deleted."""
    user_id = rows.number(task.spec.user_id)
    folder_id, path = rows.folder_below(task, item)
    if folder_id and not await has_folder(connection, user_id, folder_id):
        folder_id, path = ROOT, rows.folder_path(task, item)
    return await folder_at(connection, user_id, path, folder_id)


async def _forget_scanned(connection: AsyncConnection, saved: Sequence[rows.Row]) -> None:
    """Delete what a scan of the storage has added for these copies before they were recorded."""
    places = [{"of_storage": row["storage"], "of_path": row["path"]} for row in saved]
    same = (files.c.storage == bindparam("of_storage"), files.c.path == bindparam("of_path"))
    scanned = (files.c.task_id.is_(None), files.c.deleted_at.is_(None))
    await connection.execute(delete(files).where(*same, *scanned), places)


async def _recorded(connection: AsyncConnection, saved: Sequence[tuple[Task, Item]]) -> set[tuple[str, int]]:
    """The files with a link, and converted ones, that are recorded already: a link that its user has removed
    must not return, and a copy is replaced once."""
    linked = {task.id for task, item in saved if item.link or task.spec.type == conversions.TYPE}
    if not linked:
        return set()
    query = select(files.c.task_id, files.c.item).where(files.c.task_id.in_(linked))
    return {(row.task_id, row.item) for row in await connection.execute(query)}
