"""Measures the throughput of small tasks, and the time until an idle worker starts a task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from statistics import quantiles

from bench import files
from bench.installation import Installation, installation
from bench.results import Measurement

_CLIENTS = 8  # concurrent requests
_PICK_UPS = 100
_TIMEOUT_SECONDS = 120.0


async def small_tasks() -> list[Measurement]:
    """1,000 small files, posted over HTTP, saved by two workers."""
    async with installation(workers=2) as running:
        await asyncio.gather(*(running.save(files.WARM_UP) for _ in running.workers))
        before = await _ended(running)
        began = time.monotonic()
        numbers = iter(files.SMALL)
        posting = asyncio.gather(*(_post_all(running, numbers) for _ in range(_CLIENTS)))
        while await _ended(running) < before + len(files.SMALL):
            if time.monotonic() > began + _TIMEOUT_SECONDS:
                raise TimeoutError(f"the tasks did not end within {_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - began
        ids = [task_id for each in await posting for task_id in each]
        for number, task_id in ids:
            await running.verify(task_id, number)
    return [Measurement("small_tasks", len(ids) / seconds, "tasks/s")]


async def _post_all(running: Installation, numbers: Iterator[int]) -> list[tuple[int, str]]:
    return [(number, await running.post(number)) for number in numbers]


async def _ended(running: Installation) -> int:
    return sum((await running.store.history.counts()).values())


async def pickup() -> list[Measurement]:
    """The time from "queued" to "running" on an idle worker, by the clock of Redis."""
    async with installation() as running:
        waits = [await _pick_up(running, number) for number in files.SMALL[:_PICK_UPS]]
    return [Measurement("pickup_p95_ms", quantiles(waits, n=20)[-1], "ms")]


async def _pick_up(running: Installation, number: int) -> int:
    since = await running.store.events.last_id()
    task_id = await running.post(number)
    at = await running.ended(task_id, since)
    await running.verify(task_id, number)
    return at["task.running"] - at["task.queued"]
