"""Measures how soon the catalogue shows what has ended, and what an ended task leaves in Redis
(CA3)."""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace

from bench.filled import FEW, Filled, filled, p95
from bench.history import started, tasks_and_records
from bench.results import Measurement
from saveany.models import Item, ItemStatus, Status
from saveany.store import Store, recording

#: Tasks per second, and their number.
_RATE, _RECORDED = 80, 800
#: Tasks after which Redis holds as many events as it keeps, and tasks that are measured.
_WARM_UP, _EXPIRED = 8_000, 2_000


async def record_lag() -> list[Measurement]:
    """Milliseconds from the end of a task until it is in the catalogue, at 80 tasks per second."""
    async with filled("sqlite", FEW, tasks_and_records) as made, made.catalogue.running():
        pause, lags = 1 / _RATE, []
        for _ in range(_RECORDED):
            began = time.perf_counter()
            task_id = await _end_a_task(made.store)
            lags.append(asyncio.create_task(_lag(made, task_id)))
            await asyncio.sleep(max(0.0, pause - (time.perf_counter() - began)))
        spent = await asyncio.gather(*lags)
    return [Measurement("record_lag_p95_ms", p95(spent), "ms", note=f"{_RATE} tasks per second")]


async def _end_a_task(store: Store) -> str:
    item = Item(index=0, name="file.pdf", path="file.pdf", size=7)
    claim = await started(store, item)
    await claim.finish(Status.COMPLETED, items=[replace(item, status=ItemStatus.COMPLETED)])
    return claim.task.id


async def _lag(made: Filled, task_id: str) -> float:
    began = time.perf_counter()
    while not await made.catalogue.history.get_many([task_id]):  # noqa: ASYNC110  what is measured
        await asyncio.sleep(0.01)
    return (time.perf_counter() - began) * 1000


async def redis_per_ended_task() -> list[Measurement]:
    """Bytes of Redis per task that has ended, was recorded and has left Redis."""
    vars(recording)["_KEPT_MS"] = -1  # they leave at once
    async with filled("sqlite", FEW, tasks_and_records) as made:
        await _end_and_expire(made, _WARM_UP)
        before = await _used(made.store)
        await _end_and_expire(made, _EXPIRED)
        per_task = (await _used(made.store) - before) / _EXPIRED
    return [Measurement("redis_per_ended_task", per_task, "B", note=f"{_EXPIRED:,} tasks")]


async def _end_and_expire(made: Filled, count: int) -> None:
    for _ in range(count):
        await _end_a_task(made.store)
    await made.catalogue.recorder.catch_up()
    while await made.store.recording.last_id():
        await made.catalogue.recorder.record()
    await made.store.recording.expire()


async def _used(store: Store) -> int:
    """Bytes of all keys; what the server needs for itself varies."""
    return int((await store.db.info("memory"))["used_memory_dataset"])
