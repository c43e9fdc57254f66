"""The part of arq that SaveAny uses: running jobs, the health record and the drain at shutdown.

Its queue in Redis is not used: it is polled, does not know which worker can run a job, and hides waiting jobs
behind running ones. Tasks wait in the store instead, and a worker with room for tasks waits there for a
wake-up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from arq.worker import Worker, func

from saveany.errors import StoreUnavailable
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.store import Claim, Store
from saveany.store.db import mapped_errors

#: Seconds that one wait lasts while tasks run, and there may be room for those of other lanes at any time.
_BUSY_SECONDS = 1.0
#: Seconds between two writes of the health record (`arq:queue:health-check`).
_HEALTH_SECONDS = 15

log = get_logger("saveany.worker")


async def _unused(ctx: dict[Any, Any]) -> None:
    """arq refuses to start without a function for the jobs of its queue."""


class Runner(Protocol):
    """Claims tasks and runs them (`workers.runner.TaskRunner`)."""

    on_room: Callable[[], None]

    def open_lanes(self) -> list[str]:
        """The lanes of the tasks that it can claim now."""

    async def claim(self, wake_up: str = "") -> list[Claim]:
        """Claim tasks for which there is room; `wake_up` is the lane of a wake-up that was received."""

    async def run(self, claim: Claim) -> None:
        """Work on a claimed task until that ends."""


class ArqWorker(Worker):
    """Claims tasks whenever there are some and there is room for them, and runs each in a job."""

    def __init__(self, store: Store, runner: Runner, *, max_jobs: int) -> None:
        super().__init__(
            functions=[func(_unused, name="unused")],
            redis_pool=ArqRedis(store.db.redis.connection_pool),
            max_jobs=max_jobs,
            health_check_interval=_HEALTH_SECONDS,
            handle_signals=False,
            job_serializer=msgspec.msgpack.encode,
            job_deserializer=msgspec.msgpack.decode,
        )
        self._store = store
        self._runner = runner
        self._has_room = asyncio.Event()  # tasks may wait for which there was no room before
        self._listening: asyncio.Task[str] | None = None
        self._listens_long = False
        self._claiming = asyncio.Lock()
        runner.on_room = self.claim_soon

    async def main(self) -> None:
        """Claim and run tasks until canceled; an outage of Redis only makes it wait."""
        try:
            await repeat("wake_ups", self._poll_iteration)
        finally:
            self._stop_listening()

    def lanes_changed(self) -> None:
        """Wait for wake-ups of the lanes that this worker can run now, and claim tasks that wait there."""
        self._stop_listening()
        self.claim_soon()

    def claim_soon(self) -> None:
        """Claim tasks without a wake-up: this worker may have missed some, or had no room for their tasks."""
        self._has_room.set()

    async def _poll_iteration(self) -> None:
        """Wait until there may be tasks to run, and start them. arq's own method reads its queue instead."""
        with mapped_errors():
            await self.record_health()
        lane = await self._wait(max(0.01, self._last_health_check + _HEALTH_SECONDS - time.time()))
        if lane is None:
            return
        async with self._claiming:
            if self.allow_pick_jobs:
                for claim in await self._runner.claim(lane):
                    self._start(claim)
        if self.tasks and self._listens_long:
            self._stop_listening()

    async def _wait(self, seconds: float) -> str | None:
        """Wait for room, or for a wake-up, up to `seconds`. Returns the lane of the wake-up, "" without one,
        None if there is nothing to do for now."""
        if self._listening is None and self.allow_pick_jobs and (lanes := self._runner.open_lanes()):
            self._listens_long = not self.tasks
            listen = self._store.claims.next_wake_up(lanes, _BUSY_SECONDS if self.tasks else seconds)
            self._listening = asyncio.create_task(listen)
        room = asyncio.create_task(self._has_room.wait())
        try:
            events = [room, self._listening] if self._listening else [room]
            await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            room.cancel()
        lane, listening = "", self._listening
        if listening is not None and listening.done():
            self._listening = None
            lane = listening.result()
        has_room = self._has_room.is_set()
        self._has_room.clear()
        return lane if lane or has_room else None

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._listening = None

    def _start(self, claim: Claim) -> None:
        self.job_counter += 1
        name = uuid4().hex
        task = asyncio.create_task(self._run_job(name, self._runner.run(claim)), name=claim.task.id)
        self.tasks[name] = self.job_tasks[name] = task

    async def _run_job(self, name: str, job: Awaitable[None]) -> None:
        try:
            await job
            self.jobs_complete += 1
        except StoreUnavailable as e:
            log.warning("job_failed", reason=e.message)
            self.jobs_failed += 1
        except Exception:
            log.exception("job_failed")
            self.jobs_failed += 1
        finally:
            del self.tasks[name], self.job_tasks[name]
            self.job_counter -= 1

    async def drain(self, seconds: float) -> None:
        """Start nothing more, wait up to `seconds` for running jobs, then cancel those that still run."""
        self.allow_pick_jobs = False
        self._stop_listening()
        async with self._claiming:  # tasks that are being claimed are among those that run
            pass
        running = list(self.tasks.values())
        if running:
            await asyncio.wait(running, timeout=seconds)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
