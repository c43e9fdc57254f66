"""The part of arq that SaveAny uses: slots, running jobs, the health record and the drain at shutdown.

Its queue in Redis is not used: it is polled, does not know which worker can run a job, and hides waiting jobs
behind running ones. Tasks wait in the store instead, and an idle worker waits there for a wake-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from arq.worker import Worker, func

from saveany.errors import StoreUnavailable
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.store import Store
from saveany.store.db import mapped_errors

#: Seconds that one wait for a free slot or a wake-up lasts. Then the health record and the lanes are updated.
_WAIT_SECONDS = 1.0
#: Seconds between two checks while this worker can run nothing.
_IDLE_SECONDS = 0.2
#: Seconds between two writes of the health record (`arq:queue:health-check`).
_HEALTH_SECONDS = 15

log = get_logger("saveany.worker")


async def _unused(ctx: dict[Any, Any]) -> None:
    """arq refuses to start without a function for the jobs of its queue."""


class ArqWorker(Worker):
    """Runs `work` in one of `slots` slots for each wake-up of a lane that this worker can run."""

    def __init__(
        self,
        store: Store,
        work: Callable[[str], Awaitable[None]],
        *,
        lanes: Callable[[], list[str]],
        slots: int,
    ) -> None:
        super().__init__(
            functions=[func(_unused, name="unused")],
            redis_pool=ArqRedis(store.db.redis.connection_pool),
            max_jobs=slots,
            health_check_interval=_HEALTH_SECONDS,
            handle_signals=False,
            job_serializer=msgspec.msgpack.encode,
            job_deserializer=msgspec.msgpack.decode,
        )
        self._store = store
        self._work = work
        self._lanes = lanes
        self._slot_is_free = asyncio.Event()
        self._slot_is_free.set()

    async def main(self) -> None:
        """Wait for wake-ups and respond to them until canceled; an outage of Redis only makes it wait."""
        await repeat("wake_ups", self._poll_iteration)

    async def _poll_iteration(self) -> None:
        """Wait for a free slot and for a wake-up. arq's own method reads its queue instead."""
        with mapped_errors():
            await self.heart_beat()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._slot_is_free.wait(), _WAIT_SECONDS)
        if not self._slot_is_free.is_set():
            return
        if not (lanes := self._lanes()) or not self.allow_pick_jobs:
            await asyncio.sleep(_IDLE_SECONDS)
        elif lane := await self._store.claims.next_wake_up(lanes, _WAIT_SECONDS):
            self.start(lane)

    def start(self, lane: str = "") -> None:
        """Run `work` in a free slot, if there is one: a busy slot looks for more tasks by itself."""
        if self.job_counter >= self.max_jobs or not self.allow_pick_jobs:
            return
        self.job_counter += 1
        if self.job_counter >= self.max_jobs:
            self._slot_is_free.clear()
        name = uuid4().hex
        task = asyncio.create_task(self._run_in_slot(name, lane), name="slot")
        self.tasks[name] = self.job_tasks[name] = task

    async def _run_in_slot(self, name: str, lane: str) -> None:
        try:
            await self._work(lane)
            self.jobs_complete += 1
        except StoreUnavailable as e:
            log.warning("slot_failed", reason=e.message)
            self.jobs_failed += 1
        except Exception:
            log.exception("slot_failed")
            self.jobs_failed += 1
        finally:
            del self.tasks[name], self.job_tasks[name]
            self.job_counter -= 1
            self._slot_is_free.set()

    async def drain(self, seconds: float) -> None:
        """Start nothing more, wait up to `seconds` for running jobs, then cancel those that still run."""
        self.allow_pick_jobs = False
        running = list(self.tasks.values())
        if running:
            await asyncio.wait(running, timeout=seconds)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
