"""Submitting, canceling, pausing and retrying tasks: the store keeps the order, arq is the doorbell.

A bell is an arq job without content. Whoever answers it asks the store for the next task, so a bell that
rings twice, late or for nothing is harmless, and one that is lost is rung again by the reconciler.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job

from saveany.errors import KeyReused, NotFound, WrongState
from saveany.models import Delivery, Item, Status, Task, TaskSpec, title
from saveany.store import Accepted, Db, Store
from saveany.store.db import Arg

#: Name of the one arq job there is.
JOB = "work"
#: Pub/sub channel that wakes sleeping workers; arq alone would poll.
WAKE_CHANNEL = "wake"
#: When a bell may be answered, in ms: long ago, so that no worker whose clock is behind waits for it.
_AT_ONCE = 1
#: A bell that nobody answered for so long has been replaced by the reconciler many times.
_BELL_TTL_MS = 24 * 3600 * 1000
#: How long a cancel or a pause waits to see the worker stop before it answers anyway.
_PATIENCE = 3.0
#: At most this many bells are rung when many tasks may begin at once.
_BELLS = 32

#: Builds the webhooks for a task that ends canceled in the queue.
Announce = Callable[[Task, list[Item]], Awaitable[list[Delivery]]]


class WakeUp:
    """Rings for workers."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def ring(self) -> None:
        """Have some worker ask for a task."""
        await self._db.many(new_bell())

    async def unanswered(self) -> int:
        """How many bells wait for a worker."""
        return int(await self._db.do("ZCARD", default_queue_name))


def new_bell() -> list[tuple[Arg, ...]]:
    """The commands that ring a bell."""
    bell = uuid4().hex
    now = time.time_ns() // 1_000_000
    job = serialize_job(JOB, (), {}, None, now, serializer=msgspec.msgpack.encode)
    return [
        ("PSETEX", job_key_prefix + bell, _BELL_TTL_MS, job),
        ("ZADD", default_queue_name, _AT_ONCE, bell),
        ("PUBLISH", "sa:" + WAKE_CHANNEL, 1),
    ]


class Queue:
    """What the API, the bot and the command line do with tasks."""

    def __init__(self, store: Store, announce_canceled: Announce) -> None:
        self._store = store
        self._announce = announce_canceled
        self._bell = WakeUp(store.db)

    async def submit(self, spec: TaskSpec, *, key: str = "", body_hash: str = "") -> Accepted:
        """Accept a task. Raises `KeyReused` if the idempotency `key` came with another body before."""
        shown = title(spec.type, spec.links[0], spec.storage, spec.path)
        accepted = await self._store.tasks.accept(spec, shown, key=key, body_hash=body_hash, then=new_bell())
        if accepted is None:
            raise KeyReused(
                "this Idempotency-Key was used with another body in the last 24 hours; use a fresh key"
            )
        return accepted

    async def cancel(self, task_id: str) -> None:
        """Cancel a queued or running task; returns once it has ended, or its worker stays silent.

        Raises `NotFound`, or `WrongState` if it had ended before.
        """
        task = await self._store.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        deliveries = await self._announce(task, await self._store.tasks.all_items(task_id))
        verdict = await self._store.tasks.cancel(task_id, deliveries)
        if verdict == "unknown":
            raise NotFound(f"there is no task {task_id}")
        if verdict == "ended":
            raise WrongState(f"task {task_id} has ended already ({task.status})")
        if verdict == "requested":
            await self._until_stopped(task_id)

    async def pause(self, task_id: str) -> None:
        """Have a task wait until it is resumed; returns once it does, or its worker stays silent. Nothing
        happens to one that is paused already.

        Raises `NotFound`, or `WrongState` if it has ended, maybe just before its worker saw this.
        """
        verdict: str = await self._store.tasks.pause(task_id)
        if verdict == "requested":
            task = await self._until_stopped(task_id)
            verdict = "ended" if task and task.status.ended else "paused"
        _check(task_id, verdict)

    async def resume(self, task_id: str) -> None:
        """Let a paused task go on; nothing happens to one that is not paused. Raises as `pause` does."""
        _check(task_id, await self._store.tasks.resume(task_id))
        await self._bell.ring()

    async def prioritize(self, task_id: str, priority: int) -> None:
        """Change the priority of a task that has not ended. Raises as `pause` does, and `WrongState` for one
        whose record cannot be read: nothing of it may be written over."""
        task = await self._store.tasks.get(task_id)
        if task and task.unreadable:
            raise WrongState(f"the record of task {task_id} cannot be read: {task.unreadable}")
        _check(task_id, await self._store.tasks.prioritize(task, priority) if task else "unknown")

    async def pause_all(self) -> None:
        """Begin no more tasks until `resume_all`; running ones go on."""
        await self._store.settings.pause()

    async def resume_all(self) -> None:
        """Begin tasks again."""
        await self._store.settings.resume()
        await self._ring_for_waiting()

    async def limit(self, limits: Mapping[str, int | None]) -> None:
        """Change limits, by their names in `saveany.store.Limits`; None goes back to what is configured."""
        await self._store.settings.set(limits)
        await self._ring_for_waiting()

    async def _ring_for_waiting(self) -> None:
        waiting = (await self._store.tasks.counts())["queued"]
        for _ in range(min(_BELLS, waiting)):
            await self._bell.ring()

    async def _until_stopped(self, task_id: str) -> Task | None:
        """The task as it is when it runs no more, or after a while."""
        give_up = time.monotonic() + _PATIENCE
        while True:
            task = await self._store.tasks.get(task_id)
            if task is None or task.status is not Status.RUNNING or time.monotonic() > give_up:
                return task
            await asyncio.sleep(0.05)

    async def retry(self, task_id: str) -> Task:
        """Queue a failed or canceled task again. Raises `NotFound` or `WrongState`."""
        task = await self._store.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        if not await self._store.tasks.retry(task):
            raise WrongState(
                f"task {task_id} is {task.status}; only failed and canceled tasks can be retried"
            )
        await self._bell.ring()
        return await self._store.tasks.get(task_id) or task


def _check(task_id: str, verdict: str) -> None:
    """Raise what a verdict of the store means to a user, if it means no."""
    if verdict == "unknown":
        raise NotFound(f"there is no task {task_id}")
    if verdict == "ended":
        raise WrongState(f"task {task_id} has ended already")


def arq_pool(db: Db) -> ArqRedis:
    """arq's view of the same connections; jobs are msgpack, never pickle."""
    return ArqRedis(
        db.redis.connection_pool,
        job_serializer=msgspec.msgpack.encode,
        job_deserializer=msgspec.msgpack.decode,
        expires_extra_ms=_BELL_TTL_MS,
    )
