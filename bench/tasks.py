"""Measures the time until an idle worker starts a task."""

from __future__ import annotations

from statistics import quantiles

from bench import files
from bench.installation import Installation, installation
from bench.results import Measurement

_PICK_UPS = 100


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
