"""arq, as far as we use it: slots, and a doorbell that is heard at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
from arq.constants import in_progress_key_prefix
from arq.worker import Worker, func
from redis.exceptions import WatchError

from saveany.logs import get_logger
from saveany.queue import JOB, WAKE_CHANNEL, arq_pool
from saveany.store import Db
from saveany.store.db import TROUBLE
from saveany.store.loops import repeat

#: A worker that heard nothing looks for bells this often, in seconds.
_POLL = 1.0
#: Long enough for any download; arq runs a job twice when it has none.
_JOB_TIMEOUT = 30 * 24 * 3600

#: What arq's polling raises when Redis goes away; the last if that was between WATCH and EXEC.
_AWAY: tuple[type[Exception], ...] = (*TROUBLE, WatchError)

log = get_logger("saveany.worker")


class ArqWorker(Worker):
    """An arq worker that runs `answer` for each bell, `slots` at a time.

    It is woken by PUBLISH in place of polling, it takes a bell out of the queue when it starts on it (running
    jobs would hide waiting ones from other workers), and an outage of Redis does not end it.
    """

    def __init__(self, db: Db, answer: Callable[[], Awaitable[None]], slots: int) -> None:
        async def work(ctx: dict[Any, Any]) -> None:
            await answer()

        super().__init__(
            functions=[func(work, name=JOB, keep_result=0, max_tries=1_000_000)],
            redis_pool=arq_pool(db),
            max_jobs=slots,
            job_timeout=_JOB_TIMEOUT,
            keep_result=0,
            max_tries=1_000_000,
            health_check_interval=15,
            handle_signals=False,
            job_serializer=msgspec.msgpack.encode,
            job_deserializer=msgspec.msgpack.decode,
            log_results=False,
        )
        self.in_progress_timeout_s = 10
        self._db = db
        self._wake = asyncio.Event()

    async def main(self) -> None:
        """Answer bells until cancelled."""
        listener = asyncio.create_task(repeat("wake", self._listen, _POLL), name="wake")
        try:
            while True:
                self._wake.clear()
                try:
                    await self._poll_iteration()
                except _AWAY as e:
                    log.warning("waiting for redis", reason=str(e))
                    await asyncio.sleep(_POLL)
                except Exception:  # without bells no task would ever begin here
                    log.exception("looking for bells failed unexpectedly")
                    await asyncio.sleep(_POLL)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL)
        finally:
            listener.cancel()

    async def drain(self, seconds: float) -> None:
        """Take no more bells, wait up to `seconds` for running jobs, then cancel them and wait for that."""
        self.allow_pick_jobs = False
        running = list(self.tasks.values())
        if running:
            await asyncio.wait(running, timeout=seconds)
        for task in self.job_tasks.values():
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def answer_too(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` as if a bell had rung, if a slot is free."""
        if self.job_counter >= self.max_jobs or not self.allow_pick_jobs:
            return  # a slot that becomes free asks again by itself
        self.job_counter += 1
        name = uuid4().hex
        task = self.tasks[name] = self.job_tasks[name] = asyncio.create_task(self._in_slot(work))
        task.add_done_callback(lambda _: self.job_tasks.pop(name))

    async def _in_slot(self, work: Callable[[], Awaitable[None]]) -> None:
        await self.sem.acquire()
        try:
            await work()
        except TROUBLE as e:
            log.warning("redis went away behind a job", reason=str(e))
        finally:
            self._release_sem_dec_counter_on_complete()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """As arq's, which takes a slot for a bell before it asks Redis about it: an error gives that back."""
        try:
            await super().start_jobs(job_ids)
        except Exception:
            self._release_sem_dec_counter_on_complete()
            raise

    async def run_job(self, job_id: str, score: int) -> None:
        """Run one job; its bell is out of the queue from now on."""
        try:
            await self.pool.zrem(self.queue_name, job_id)
            await super().run_job(job_id, score)
            await self.pool.delete(in_progress_key_prefix + job_id)
        except TROUBLE as e:
            log.warning("redis went away behind a job", reason=str(e))

    async def _listen(self) -> None:
        async for _ in self._db.listen(WAKE_CHANNEL):
            self._wake.set()

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._wake.set()
