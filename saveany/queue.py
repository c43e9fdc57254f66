"""Submitting, canceling and retrying tasks: the store keeps the order, arq is the doorbell.

A bell is an arq job without content. Whoever answers it asks the store for the next task, so a bell that
rings twice, late or for nothing is harmless, and one that is lost is rung again by the reconciler.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job

from saveany.errors import KeyReused, NotFound, WrongState
from saveany.models import Delivery, Item, Task, TaskSpec, title
from saveany.store import Accepted, Db, Store

#: Name of the one arq job there is.
JOB = "work"
#: Pub/sub channel that wakes sleeping workers; arq alone would poll.
WAKE_CHANNEL = "wake"
#: A bell that nobody answered for so long has been replaced by the reconciler many times.
_BELL_TTL_MS = 24 * 3600 * 1000
#: How long a cancel waits to see the worker stop before it answers anyway.
_CANCEL_PATIENCE = 3.0

#: Builds the webhooks for a task that ends canceled in the queue.
Announce = Callable[[Task, list[Item]], Awaitable[list[Delivery]]]


class Bell:
    """Rings for workers."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def ring(self) -> None:
        """Have some worker ask for a task."""
        now = time.time_ns() // 1_000_000
        bell = uuid4().hex
        job = serialize_job(JOB, (), {}, None, now, serializer=msgspec.msgpack.encode)
        await self._db.many(
            [
                ("PSETEX", job_key_prefix + bell, _BELL_TTL_MS, job),
                ("ZADD", default_queue_name, now, bell),
                ("PUBLISH", "sa:" + WAKE_CHANNEL, 1),
            ]
        )

    async def unanswered(self) -> int:
        """How many bells wait for a worker."""
        return int(await self._db.do("ZCARD", default_queue_name))


class Queue:
    """What the API, the bot and the command line do with tasks."""

    def __init__(self, store: Store, announce_canceled: Announce) -> None:
        self._store = store
        self._announce = announce_canceled
        self._bell = Bell(store.db)

    async def submit(self, spec: TaskSpec, *, key: str = "", body_hash: str = "") -> Accepted:
        """Accept a task. Raises `KeyReused` if the idempotency `key` came with another body before."""
        shown = title(spec.type, spec.links[0], spec.storage, spec.path)
        accepted = await self._store.tasks.accept(spec, shown, key=key, body_hash=body_hash)
        if accepted is None:
            raise KeyReused(
                "this Idempotency-Key was used with another body in the last 24 hours; use a fresh key"
            )
        if not accepted.replayed:
            await self._bell.ring()
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
            await self._until_ended(task_id)

    async def _until_ended(self, task_id: str) -> None:
        give_up = time.monotonic() + _CANCEL_PATIENCE
        while time.monotonic() < give_up:
            task = await self._store.tasks.get(task_id)
            if task is None or task.status.ended:
                return
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


def arq_pool(db: Db) -> ArqRedis:
    """arq's view of the same connections; jobs are msgpack, never pickle."""
    return ArqRedis(
        db.redis.connection_pool,
        job_serializer=msgspec.msgpack.encode,
        job_deserializer=msgspec.msgpack.decode,
        expires_extra_ms=_BELL_TTL_MS,
    )
