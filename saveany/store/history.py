"""Ended tasks, newest first. A one-filter page costs the same at a million tasks as at a thousand."""

from __future__ import annotations

from dataclasses import dataclass

from saveany.errors import InvalidInput
from saveany.models import ENDED, Status, Task
from saveany.store.db import PREFIX, Db
from saveany.store.tasks import Tasks

#: A request looks at no more records than this, and says with a cursor where to go on.
MAX_EXAMINED = 5_000
_BATCH = 500


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
        picked = [f"history:{name}:{value}" for name, value in named.items() if value not in ("", None)]
        return [PREFIX + key for key in picked or ["history"]]


@dataclass(frozen=True, slots=True)
class Page:
    """Some ended tasks, and where to go on: `cursor` is empty only if nothing more can follow."""

    tasks: list[Task]
    cursor: str


class History:
    """Reading and pruning what has ended."""

    def __init__(self, db: Db, tasks: Tasks) -> None:
        self._db = db
        self._tasks = tasks

    async def page(self, wanted: HistoryFilter, limit: int = 50, cursor: str = "") -> Page:
        """At most `limit` tasks after `cursor`. Examines at most `MAX_EXAMINED` records, so a page of a rare
        match may be short and still have a cursor. A bad cursor raises `InvalidInput`."""
        index = await self._smallest(wanted)
        found: list[Task] = []
        examined, at = 0, _parse_cursor(cursor)
        exact = len(wanted.indexes()) == 1 and not wanted.q
        batch_size = limit + 1 if exact else _BATCH
        while examined < MAX_EXAMINED:
            batch = await self._batch(index, wanted, at, batch_size)
            for task_id, task in zip(batch, await self._tasks_or_none([i for i, _ in batch]), strict=True):
                if len(found) == limit:
                    return Page(found, _cursor(at))
                at = (task_id[1], task_id[0])
                examined += 1
                if task and wanted.matches(task):
                    found.append(task)
            if len(batch) < batch_size:
                return Page(found, "")
        return Page(found, _cursor(at))

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
            rows = [(i.decode(), int(s)) for i, s in zip(flat[::2], flat[1::2], strict=True)]
            out += [row for row in rows if at is None or (row[1], row[0]) < at]
            offset += size
            if len(rows) < size:
                break
        return out[:size]

    async def forget(self, before_ms: int, limit: int = 500) -> int:
        """Remove up to `limit` tasks that ended before `before_ms`; returns how many."""
        return int(await self._db.script("forget", before_ms, limit))

    async def counts(self) -> dict[Status, int]:
        """How many ended tasks there are, by status."""
        ended = sorted(ENDED)
        sizes = await self._db.many([("ZCARD", f"{PREFIX}history:status:{status.value}") for status in ended])
        return dict(zip(ended, sizes, strict=True))


def _cursor(at: tuple[int, str] | None) -> str:
    return f"{at[0]}-{at[1]}" if at else ""


def _parse_cursor(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    ended, _, task_id = cursor.partition("-")
    if not ended.isascii() or not ended.isdigit() or len(ended) > 15 or not task_id.isalnum():
        raise InvalidInput("this is no cursor of a history page; leave it out to start again", "cursor")
    return int(ended), task_id
