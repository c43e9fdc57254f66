"""Ended tasks, newest first. A one-filter page costs the same at a million tasks as at a thousand."""

from __future__ import annotations

from dataclasses import dataclass

from saveany.models import ENDED, Status, Task
from saveany.store import keys
from saveany.store.cursors import BATCH, MAX_EXAMINED, make_cursor, parse_cursor
from saveany.store.db import Db
from saveany.store.records import text
from saveany.store.results import EraseResult
from saveany.store.tasks import Tasks


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which ended tasks; empty fields match all. Times are ms, `since` inclusive, `until` exclusive."""

    status: str = ""
    type: str = ""
    user_id: int | None = None
    storage: str = ""
    q: str = ""  # part of title or error, any case
    since: int | None = None
    until: int | None = None

    def matches(self, task: Task) -> bool:
        """Whether a record passes every filter but the times."""
        return (
            self.status in ("", task.status)
            and self.type in ("", task.spec.type)
            and self.user_id in (None, task.spec.user_id)
            and self.storage in ("", task.spec.storage)
            and (not self.q or self.q.lower() in f"{task.title}\n{task.error}".lower())
        )

    def indexes(self) -> list[str]:
        """The index keys that hold all matching tasks (and maybe others)."""
        named = {"status": self.status, "type": self.type, "user": self.user_id, "storage": self.storage}
        picked = [keys.HISTORY_BY(name, value) for name, value in named.items() if value not in ("", None)]
        return picked or [keys.HISTORY()]


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some ended tasks, and where to go on: `cursor` is empty only if nothing more can follow."""

    tasks: list[Task]
    cursor: str


class History:
    """Reading and pruning what has ended."""

    def __init__(self, db: Db, tasks: Tasks) -> None:
        self._db = db
        self._tasks = tasks

    async def page(self, wanted: HistoryFilter, limit: int = 50, cursor: str = "") -> HistoryPage:
        """At most `limit` tasks after `cursor`. Examines at most `MAX_EXAMINED` records, so a page of a rare
        match may be short and still have a cursor. A bad cursor raises `InvalidInput`."""
        index = await self._smallest(wanted)
        found: list[Task] = []
        examined, at = 0, parse_cursor(cursor)
        exact = len(wanted.indexes()) == 1 and not wanted.q
        batch_size = limit + 1 if exact else BATCH
        while examined < MAX_EXAMINED:
            batch = await self._batch(index, wanted, at, batch_size)
            for task_id, task in zip(batch, await self._tasks_or_none([i for i, _ in batch]), strict=True):
                if len(found) == limit:
                    return HistoryPage(found, make_cursor(at))
                at = (task_id[1], task_id[0])
                examined += 1
                if task and wanted.matches(task):
                    found.append(task)
            if len(batch) < batch_size:
                return HistoryPage(found, "")
        return HistoryPage(found, make_cursor(at))

    async def _tasks_or_none(self, ids: list[str]) -> list[Task | None]:
        known = {task.id: task for task in await self._tasks.get_many(ids)}
        return [known.get(task_id) for task_id in ids]

    async def _smallest(self, wanted: HistoryFilter) -> str:
        keys = wanted.indexes()
        if len(keys) == 1:
            return keys[0]
        sizes = await self._db.many([("ZCARD", key) for key in keys])
        return min(zip(sizes, keys, strict=True))[1]

    async def _batch(
        self, index: str, wanted: HistoryFilter, at: tuple[int, str] | None, size: int
    ) -> list[tuple[str, int]]:
        """The next `size` (id, ended at) of `index` after `at`, newest first."""
        low: str | int = "-inf" if wanted.since is None else wanted.since
        high: str | int = "+inf" if wanted.until is None else f"({wanted.until}"
        if at is not None and (wanted.until is None or at[0] < wanted.until):
            high = at[0]
        out: list[tuple[str, int]] = []
        offset = 0
        while (
            len(out) < size
        ):  # ids that ended in the very millisecond of the cursor are read again: skip them
            flat = await self._db.do(
                "ZREVRANGEBYSCORE", index, high, low, "WITHSCORES", "LIMIT", offset, size
            )
            rows = [(text(i), int(float(s))) for i, s in zip(flat[::2], flat[1::2], strict=True)]
            out += [row for row in rows if at is None or (row[1], row[0]) < at]
            offset += size
            if len(rows) < size:
                break
        return out[:size]

    async def forget(self, before_ms: int) -> int:
        """Remove all tasks that ended before `before_ms`; returns how many. Those that a worker still cleans
        up after stay."""
        batch, removed, kept = (BATCH, 0), 0, 0
        while sum(batch) == BATCH:
            batch = await self._db.script("forget", before_ms, BATCH, kept)
            removed, kept = removed + batch[0], kept + batch[1]
        return removed

    async def clear(self) -> int:
        """Remove all tasks that have ended until now; returns how many, as `forget` does."""
        return await self.forget(await self._db.time_ms() + 1)

    async def remove(self, task_id: str) -> EraseResult:
        """Remove an ended task."""
        return EraseResult(text(await self._db.script("erase", task_id)))

    async def counts(self) -> dict[Status, int]:
        """How many ended tasks there are, by status."""
        ended = sorted(ENDED)
        sizes = await self._db.many([("ZCARD", keys.HISTORY_BY("status", status.value)) for status in ended])
        return dict(zip(ended, sizes, strict=True))
