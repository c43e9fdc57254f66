"""Tasks without a claim: accept, read, list, cancel, pause, retry."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

from saveany.ids import created_ms
from saveany.models import Delivery, Item, ItemStatus, Task, TaskSpec
from saveany.store import codec, keys
from saveany.store.cursors import BATCH, MAX_EXAMINED, Position, make_cursor, parse_cursor
from saveany.store.db import Arg, Db
from saveany.store.inboxes import TakenFile
from saveany.store.records import text
from saveany.store.results import (
    AcceptResult,
    CancelResult,
    PauseResult,
    PrioritizeResult,
    ResumeResult,
    RetryResult,
    StopResult,
)
from saveany.texts import Text

IDEMPOTENCY_TTL_MS = 24 * 3600 * 1000
#: Keys of tasks that have not ended; each task is in one of them.
_LIVE = {"queued": keys.QUEUED(), "paused": keys.PAUSED(), "running": keys.RUNNING()}


class Accepted(msgspec.Struct, frozen=True):
    """An accepted task: created now, or (`replayed`) by an earlier request with the same idempotency key."""

    id: str
    type: str
    created_at: int
    replayed: bool = False


class TaskPage(msgspec.Struct, frozen=True):
    """A page of tasks that have not ended. `cursor` leads to the next page; it is empty on the last one."""

    tasks: list[Task]
    cursor: str


def delivery_args(deliveries: list[Delivery]) -> list[Arg]:
    """Script arguments for deliveries: id, task and JSON of each."""
    args: list[Arg] = []
    for delivery in deliveries:
        args += [delivery.id, delivery.task_id, codec.encode(delivery)]
    return args


def read_items(db: Db, task_id: str, record: dict[bytes, bytes]) -> list[Item]:
    """The readable items of an `items:<id>` hash, by index."""
    named = ((f"{task_id}-{text(index)}", value) for index, value in record.items())
    return sorted(db.records.all("item", named, codec.decode_item), key=attrgetter("index"))


class Tasks:
    """Operations on tasks that need no claim."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def accept(
        self,
        spec: TaskSpec,
        title: str,
        *,
        subject: Text | None = None,
        key: str = "",
        body_hash: str = "",
        taken: TakenFile | None = None,
    ) -> Accepted | None:
        """Record a new task. When this returns the task is durable.

        For an idempotency `key` that was used within 24 hours, returns the first task if `body_hash` is the
        same, otherwise None. A file of a watched folder is recorded as `taken` in the same step.
        """
        reply = await self._db.script(
            "accept",
            spec.id,
            codec.encode(spec),
            spec.type,
            spec.storage,
            spec.user_id,
            spec.lane,
            title,
            spec.priority,
            key,
            body_hash,
            IDEMPOTENCY_TTL_MS,
            codec.encode(subject or Text(title)),
            *(taken.args if taken else ()),
        )
        result = AcceptResult(text(reply[0]))
        if result is AcceptResult.REUSED:
            return None
        if result is AcceptResult.ACCEPTED:
            return Accepted(spec.id, spec.type, int(reply[2]))
        first = text(reply[1])
        task = await self.get(first)
        at = task.created_at if task else self._db.records.one("idempotency key", key, first, created_ms)
        return Accepted(first, spec.type, at or 0, replayed=True)

    async def get(self, task_id: str) -> Task | None:
        """The task, or None if it does not exist or cannot be read."""
        record = await self._db.do("HGETALL", self._key(task_id))
        return self._decoded(task_id, record) if record else None

    def _decoded(self, task_id: str, record: dict[bytes, bytes]) -> Task | None:
        return self._db.records.one("task", task_id, record, partial(codec.decode_task, task_id))

    async def items(self, task_id: str, start: int = 0, limit: int = 100) -> list[Item]:
        """Up to `limit` items of a task from index `start` on."""
        values = await self._db.do("HMGET", keys.ITEMS(task_id), *range(start, start + limit))
        named = ((f"{task_id}-{n}", value) for n, value in enumerate(values, start) if value)
        return self._db.records.all("item", named, codec.decode_item)

    async def all_items(self, task_id: str) -> list[Item]:
        """Every item of a task, by index."""
        return read_items(self._db, task_id, await self._db.do("HGETALL", keys.ITEMS(task_id)))

    async def live(self, user_id: int | None = None) -> list[Task]:
        """All queued, paused and running tasks, oldest first; only those of `user_id` if given."""
        members = await self._db.many([("ZRANGE", key, 0, -1) for key in _LIVE.values()])
        # A task whose state changes between these reads may be in two results.
        ids = dict.fromkeys(text(member) for part in members for member in part)
        tasks = await self.get_many(list(ids))
        selected = (t for t in tasks if not t.status.ended and user_id in (None, t.spec.user_id))
        return sorted(selected, key=lambda task: (task.created_at, task.id))

    async def page(self, user_id: int | None, limit: int, cursor: str) -> TaskPage:
        """At most `limit` tasks that have not ended, after `cursor`, oldest first.

        Reads at most `MAX_EXAMINED` records, so a page of one user may be short although more pages follow.
        Raises `InvalidInput` for an invalid cursor.
        """
        at = parse_cursor(cursor)
        found: list[Task] = []
        for _ in range(MAX_EXAMINED // BATCH):
            size = limit + 1 - len(found) if user_id is None else BATCH
            ids = await self._live_after(at, size)
            for task in await self.get_many([task_id for _, task_id in ids]):
                if task.status.ended or user_id not in (None, task.spec.user_id):
                    continue
                if len(found) == limit:
                    return TaskPage(found, make_cursor(at))
                found.append(task)
                at = (task.created_at, task.id)
            if len(ids) < size:
                return TaskPage(found, "")
            at = ids[-1] if len(found) < limit else at
        return TaskPage(found, make_cursor(at))

    async def _live_after(self, at: Position | None, size: int) -> list[Position]:
        """The next `size` pairs (created at, id) after `at`, oldest first."""
        low, skip = ("-inf", 0) if at is None else (at[0], 0)
        while True:
            # Tasks created in the millisecond of the cursor are read again, and skipped.
            reach = skip + size
            wanted = [
                ("ZRANGEBYSCORE", key, low, "+inf", "WITHSCORES", "LIMIT", 0, reach) for key in _LIVE.values()
            ]
            parts = [
                [(int(float(score)), text(i)) for i, score in zip(flat[::2], flat[1::2], strict=True)]
                for flat in await self._db.many(wanted)
            ]
            known = min((part[-1] for part in parts if len(part) == reach), default=None)  # all up to here
            rows = sorted(
                {
                    row
                    for part in parts
                    for row in part
                    if (at is None or row > at) and (known is None or row <= known)
                }
            )
            if known is None or len(rows) >= size:
                return rows[:size]
            skip = 2 * reach

    async def get_many(self, ids: list[str]) -> list[Task]:
        """The tasks with these ids that exist and can be read, in the order of `ids`."""
        records: list[Any] = await self._db.many([("HGETALL", self._key(i)) for i in ids]) if ids else []
        found = (self._decoded(i, record) for i, record in zip(ids, records, strict=True) if record)
        return [task for task in found if task]

    async def cancel(self, task_id: str, deliveries: list[Delivery]) -> CancelResult:
        """Cancel a task. `deliveries` are written only if it was queued, and so ends here."""
        return CancelResult(text(await self._db.script("cancel", task_id, *delivery_args(deliveries))))

    async def pause(self, task_id: str) -> PauseResult:
        """Keep a task in the queue until it is resumed."""
        return PauseResult(text(await self._db.script("pause", task_id)))

    async def stop(self, task_id: str) -> StopResult:
        """End a task with the files that are saved."""
        return StopResult(text(await self._db.script("stop", task_id)))

    async def resume(self, task_id: str) -> ResumeResult:
        """Undo a pause."""
        return ResumeResult(text(await self._db.script("resume", task_id)))

    async def prioritize(self, task: Task, priority: int) -> PrioritizeResult:
        """Change the priority of a task that has not ended."""
        spec = msgspec.structs.replace(task.spec, priority=priority)
        reply = await self._db.script("prioritize", task.id, codec.encode(spec), priority)
        return PrioritizeResult(text(reply))

    async def retry(self, task: Task) -> bool:
        """Queue a failed or canceled task again; items that are finished stay finished.

        False if the task changed since it was read, or is in another state.
        """
        unfinished = [item for item in await self.all_items(task.id) if not item.status.done]
        reset = [
            item
            if item.status is ItemStatus.FINISHING
            else msgspec.structs.replace(
                item, status=ItemStatus.QUEUED, error="", error_text=None, failures=0
            )
            for item in unfinished
        ]
        reply = await self._db.script("retry", task.id, task.run, *codec.item_args(reset))
        return RetryResult(text(reply)) is RetryResult.OK

    async def exists(self, task_id: str) -> bool:
        """Whether Redis has the task, even if it cannot be read. Ended tasks leave Redis when the catalogue
        contains them."""
        return bool(await self._db.do("EXISTS", self._key(task_id)))

    async def counts(self) -> dict[str, int]:
        """Numbers of queued, paused and running tasks. A paused task does not count as queued."""
        sizes = await self._db.many([("ZCARD", key) for key in _LIVE.values()])
        return dict(zip(_LIVE, sizes, strict=True))

    async def running(self, users: Iterable[int]) -> dict[int, int]:
        """Numbers of running tasks of these users without recordings, by user id."""
        wanted = list(users)
        counts = await self._db.many(
            [("SCARD", key(user)) for key in (keys.RUNNING_OF, keys.RECORDINGS_OF) for user in wanted]
        )
        running, recordings = counts[: len(wanted)], counts[len(wanted) :]
        return {user: n - live for user, n, live in zip(wanted, running, recordings, strict=True)}

    async def queued_since(self) -> int | None:
        """Creation time (ms) of the oldest queued task; None if the queue is empty."""
        first = await self._db.do("ZRANGE", keys.QUEUED(), 0, 0, "WITHSCORES")
        return int(float(first[1])) if first else None

    @staticmethod
    def _key(task_id: str) -> str:
        return keys.TASK(task_id)
