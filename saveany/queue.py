"""Waking workers: the store keeps the order of the tasks, arq is the doorbell.

A bell is an arq job without content. Whoever answers it asks the store for the next task, so a bell that
rings twice, late or for nothing is harmless, and one that is lost is rung again by the reconciler.
"""

from __future__ import annotations

import time
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job

from saveany.store import Db
from saveany.store.db import Arg

#: Name of the one arq job there is.
JOB = "work"
#: Pub/sub channel that wakes sleeping workers; arq alone would poll.
WAKE_CHANNEL = "wake"
#: When a bell may be answered, in ms: long ago, so that no worker whose clock is behind waits for it.
_AT_ONCE = 1
#: A bell that nobody answered for so long has been replaced by the reconciler many times.
_BELL_TTL_MS = 24 * 3600 * 1000


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


def arq_pool(db: Db) -> ArqRedis:
    """arq's view of the same connections; jobs are msgpack, never pickle."""
    return ArqRedis(
        db.redis.connection_pool,
        job_serializer=msgspec.msgpack.encode,
        job_deserializer=msgspec.msgpack.decode,
        expires_extra_ms=_BELL_TTL_MS,
    )
