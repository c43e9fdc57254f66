"""What the catalogue does not contain yet, and ended tasks that it contains."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import msgspec

from saveany.store import keys
from saveany.store.db import Arg, Db
from saveany.store.records import text
from saveany.store.repair import scan
from saveany.store.results import EraseResult

#: Milliseconds that the lock of the recorder lasts unless it is renewed.
_LOCK_MS = 5_000
#: Milliseconds after its last sign of life until a process no longer counts as running the catalogue.
_SERVED_MS = 15_000
#: Milliseconds that an ended task stays after it was recorded, and the maximum number of such tasks.
_KEPT_MS, _MAX_KEPT = 3_600_000, 10_000
#: Number of tasks that one script expires or adopts.
_BATCH = 200

#: The form of the id of a catalogue.
_ID = re.compile("[0-9a-f]{32}")

#: The hash of a task, as it is in Redis.
TaskRecord = dict[bytes, bytes]
#: Item index -> JSON, as they are in Redis.
ItemRecords = dict[bytes, bytes]


class RecordEntry(msgspec.Struct, frozen=True):
    """A task has ended or was retried, or some of its files were saved or removed."""

    id: str
    task_id: str
    items: str  # "*" for all of them, or indexes such as "1,2"


class Waiting(msgspec.Struct, frozen=True):
    """The entries that are not recorded yet."""

    count: int
    since: int | None  # time of the oldest one in ms


class Recording:
    """The stream of the recorder, and the tasks to which its entries refer."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def lock(self, holder: str) -> bool:
        """Become the recorder for the next seconds. False if another process is the recorder."""
        key = keys.LOCK("recorder")
        return bool(await self._db.do("SET", key, holder, "NX", "PX", _LOCK_MS))

    async def unlock(self, holder: str) -> None:
        """Stop being the recorder."""
        key = keys.LOCK("recorder")
        if await self._db.do("GET", key) == holder.encode():
            await self._db.do("DEL", key)

    async def serve(self) -> None:
        """Let other processes know that this one runs the catalogue."""
        await self._db.do("SET", keys.LOCK("catalogue"), 1, "PX", _SERVED_MS)

    async def is_served(self) -> bool:
        """Whether a process runs the catalogue."""
        return bool(await self._db.do("EXISTS", keys.LOCK("catalogue")))

    async def entries(self, limit: int) -> list[RecordEntry]:
        """The oldest entries."""
        found = await self._db.do("XRANGE", keys.RECORD(), "-", "+", "COUNT", limit)
        return [_entry(text(entry_id), fields or {}) for entry_id, fields in found]

    async def last_id(self) -> str:
        """The id of the newest entry; "" if there is none."""
        found = await self._db.do("XREVRANGE", keys.RECORD(), "+", "-", "COUNT", 1)
        return text(found[0][0]) if found else ""

    async def waits(self, entry_id: str) -> bool:
        """Whether this entry, or an earlier one, is not recorded yet."""
        return bool(await self._db.do("XRANGE", keys.RECORD(), "-", entry_id, "COUNT", 1))

    async def waiting(self) -> Waiting:
        """How many entries are not recorded yet."""
        count, first = await self._db.many(
            [("XLEN", keys.RECORD()), ("XRANGE", keys.RECORD(), "-", "+", "COUNT", 1)]
        )
        return Waiting(count, int(text(first[0][0]).partition("-")[0]) if first else None)

    async def records(self, task_ids: Sequence[str]) -> dict[str, TaskRecord]:
        """The hashes of those of these tasks that exist."""
        found = await self._db.many([("HGETALL", keys.TASK(each)) for each in task_ids])
        return {task_id: record for task_id, record in zip(task_ids, found, strict=True) if record}

    async def items(self, wanted: Mapping[str, Sequence[str] | None]) -> dict[str, ItemRecords]:
        """The items with these indexes, or all of them for None, by task."""
        commands = [_read_items(task_id, indexes) for task_id, indexes in wanted.items()]
        replies = await self._db.many(commands) if commands else []
        return {
            task_id: reply if indexes is None else _present(indexes, reply)
            for (task_id, indexes), reply in zip(wanted.items(), replies, strict=True)
        }

    async def done(
        self,
        holder: str,
        entries: Sequence[RecordEntry],
        ended: Mapping[str, str],
        unneeded: Collection[str] = (),
    ) -> bool:
        """The catalogue contains what these entries announce, and all of the `ended` tasks as of their last
        entry. `expire` deletes the `unneeded` ones of them at once. Returns whether the caller still is the
        recorder, for the next seconds."""
        args: list[Arg] = [holder, _LOCK_MS, len(entries), *(entry.id for entry in entries)]
        for task_id, entry_id in ended.items():
            args += [task_id, entry_id, "0" if task_id in unneeded else "1"]
        return bool(await self._db.script("recorded", *args))

    async def restore(self, task_id: str, record: TaskRecord, items: ItemRecords) -> None:
        """Write an ended task back, so that it can be retried."""
        fields = [part for pair in record.items() for part in pair]
        rest = [part for pair in items.items() for part in pair]
        await self._db.script("restore", task_id, len(record), *fields, *rest)

    async def erase(self, task_ids: Sequence[str]) -> dict[str, EraseResult]:
        """Delete ended tasks and their webhooks, except those with leftovers on a storage."""
        results = await self._db.script("erase", *task_ids)
        return {i: EraseResult(text(result)) for i, result in zip(task_ids, results, strict=True)}

    async def expire(self) -> None:
        """Delete recorded tasks after an hour, and the oldest ones at once if there are more than 10,000.
        Those with unsent webhooks stay; each task is looked at once, however many of them there are."""
        count = await self._db.do("ZCARD", keys.RECORDED())
        for _ in range(0, count, _BATCH):
            if await self._db.script("expire", _KEPT_MS, _MAX_KEPT, _BATCH) < _BATCH:
                return

    async def catalogue_id(self) -> str:
        """The id of the catalogue of this installation; "" if none is known, or if it is damaged."""
        known = text(await self._db.do("HGET", keys.META(), "catalogue") or b"")
        return known if _ID.fullmatch(known) else ""

    async def establish_catalogue(self, identity: str) -> None:
        """Set the id of the catalogue of this installation."""
        await self._db.do("HSET", keys.META(), "catalogue", identity)

    async def adopt(self) -> int:
        """Have the ended tasks recorded that a version without a catalogue has left. Returns their number."""
        if not await self._db.do("EXISTS", keys.HISTORY()):
            return 0
        count, batch = 0, _BATCH
        while batch == _BATCH:
            batch = await self._db.script("adopt", _BATCH)
            count += batch
        async for old_indexes in scan(self._db, f"{keys.HISTORY()}:*"):
            await self._db.do("DEL", *old_indexes)
        return count

    async def wake_ups(self) -> AsyncIterator[None]:
        """Yields when the subscription is active, and for each new entry. Raises `StoreUnavailable` when the
        connection breaks."""
        async for _ in self._db.listen(keys.RECORDING):
            yield


def _entry(entry_id: str, fields: dict[bytes, Any]) -> RecordEntry:
    return RecordEntry(entry_id, text(fields.get(b"task", b"")), text(fields.get(b"items", b"*")))


def _read_items(task_id: str, indexes: Sequence[str] | None) -> tuple[Arg, ...]:
    if indexes is None:
        return ("HGETALL", keys.ITEMS(task_id))
    return ("HMGET", keys.ITEMS(task_id), *indexes)


def _present(indexes: Sequence[str], values: Sequence[bytes | None]) -> ItemRecords:
    return {index.encode(): value for index, value in zip(indexes, values, strict=True) if value}
