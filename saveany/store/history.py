"""Ended tasks, newest first.

A page with one filter costs the same with a million tasks as with a thousand.
"""

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
    """Filters for ended tasks; empty fields match all. Times are ms; `until` is exclusive."""

    status: str = ""
    type: str = ""
    user_id: int | None = None
    storage: str = ""
    q: str = ""  # substring of title or error, ignoring case
    since: int | None = None
    until: int | None = None

    def matches(self, task: Task) -> bool:
        """Whether a task passes all filters except the times."""
        return (
            self.status in ("", task.status)
            and self.type in ("", task.spec.type)
            and self.user_id in (None, task.spec.user_id)
            and self.storage in ("", task.spec.storage)
            and (not self.q or self.q.lower() in f"{task.title}\n{task.error}".lower())
        )

    def indexes(self) -> list[str]:
        """Index keys, each of which holds all matching tasks (and maybe others)."""
        named = {"status": self.status, "type": self.type, "user": self.user_id, "storage": self.storage}
        picked = [keys.HISTORY_BY(name, value) for name, value in named.items() if value not in ("", None)]
        return picked or [keys.HISTORY()]


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of ended tasks. `cursor` leads to the next page; it is empty on the last one."""

    tasks: list[Task]
    cursor: str


class History:
    """Reading and removing ended tasks."""

    def __init__(self, db: Db, tasks: Tasks) -> None:
        self._db = db
        self._tasks = tasks

    async def page(self, wanted: HistoryFilter, limit: int = 50, cursor: str = "") -> HistoryPage:
        """At most `limit` tasks after `cursor`.

        Reads at most `MAX_EXAMINED` records, so a page with few matches may be short although more pages
        follow. Raises `InvalidInput` for an invalid cursor.
        """
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
        """The next `size` pairs (id, ended at) of `index` after `at`, newest first."""
        low: str | int = "-inf" if wanted.since is None else wanted.since
        high: str | int = "+inf" if wanted.until is None else f"({wanted.until}"
        if at is not None and (wanted.until is None or at[0] < wanted.until):
            high = at[0]
        out: list[tuple[str, int]] = []
        offset = 0
        while len(out) < size:
            flat = await self._db.do(
                "ZREVRANGEBYSCORE", index, high, low, "WITHSCORES", "LIMIT", offset, size
            )
            rows = [(text(i), int(float(s))) for i, s in zip(flat[::2], flat[1::2], strict=True)]
            # Tasks that ended in the millisecond of the cursor are read again, and skipped.
            out += [row for row in rows if at is None or (row[1], row[0]) < at]
            offset += size
            if len(rows) < size:
                break
        return out[:size]

    async def forget(self, before_ms: int) -> int:
        """Remove the tasks that ended before `before_ms`, except those with leftovers on a storage. Returns
        the number of removed tasks."""
        batch, removed, kept = (BATCH, 0), 0, 0
        while sum(batch) == BATCH:
            batch = await self._db.script("forget", before_ms, BATCH, kept)
            removed, kept = removed + batch[0], kept + batch[1]
        return removed

    async def clear(self) -> int:
        """Remove all ended tasks, as `forget` does. Returns the number of removed tasks."""
        return await self.forget(await self._db.time_ms() + 1)

    async def remove(self, task_id: str) -> EraseResult:
        """Remove an ended task."""
        return EraseResult(text(await self._db.script("erase", task_id)))

    async def counts(self) -> dict[Status, int]:
        """Numbers of ended tasks, by status."""
        ended = sorted(ENDED)
        sizes = await self._db.many([("ZCARD", keys.HISTORY_BY("status", status.value)) for status in ended])
        return dict(zip(ended, sizes, strict=True))
