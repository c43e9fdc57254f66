"""Measures what a crash costs, and how soon a file is complete after its last byte."""

from __future__ import annotations

import time
from statistics import median

from bench import files
from bench.everything import Site, attached, everything, process, site, started
from bench.installation import Telegram
from bench.results import MB, Measurement
from saveany.models import ENDED
from tests.fixtures.waiting import until

_CRASHES, _ENDS = 3, 5  # repetitions
_RATE = 60 * MB  # bytes per second of all connections together
_KILL_AT = 135 * MB
_TIMEOUT_SECONDS = 120.0


async def crash() -> list[Measurement]:
    """All processes are killed at 135 MB of 256 MiB: the bytes that are requested twice, at worst; and the
    seconds from the restart until parts are requested again."""
    refetched, resumed = [], []
    async with site(f"total_rate={_RATE}") as made:
        for _ in range(_CRASHES):
            before = await _served(made.telegram)
            task_id = await _killed(made, before + _KILL_AT)
            resumed.append(await _finished(made, task_id))
            refetched.append(await _served(made.telegram) - before - files.size(files.MIB_256))
    return [
        Measurement("refetched_after_kill_mb", max(refetched) / MB, "MB"),
        Measurement("restart_to_resumed_s", median(resumed), "s"),
    ]


async def end_lag() -> list[Measurement]:
    """The time from the last part that the sandbox has served to the end of the task, on loopback."""
    lags = []
    async with everything() as running:
        await running.warm_up()
        for _ in range(_ENDS):
            at = await running.transfer(files.MIB_256)
            lags.append(at["task.completed"] - (await running.telegram.served()).last_at * 1000)
    return [Measurement("end_lag_ms", median(lags), "ms")]


async def _killed(made: Site, served: int) -> str:
    """Start everything, and kill it when the sandbox has served this many bytes. Returns the task."""
    async with started(made) as running:
        task_id = await running.post(files.MIB_256)
        await _until_served(made.telegram, served)
        await running.process.kill()
    return task_id


async def _finished(made: Site, task_id: str) -> float:
    """Start everything again, and wait until the task has ended. Returns the seconds until it went on."""
    before = await _served(made.telegram)
    began = time.monotonic()
    async with process(made) as again:
        await _until_served(made.telegram, before + 1)
        resumed = time.monotonic() - began
        async with attached(made, again) as running:

            async def has_ended() -> bool:
                task = await running.store.tasks.get(task_id)
                return task is None or task.status in ENDED

            await until(has_ended, within=_TIMEOUT_SECONDS)
            await running.verify(task_id, files.MIB_256)
    return resumed


async def _until_served(telegram: Telegram, count: int) -> None:
    async def is_served() -> bool:
        return await _served(telegram) >= count

    await until(is_served, within=_TIMEOUT_SECONDS)


async def _served(telegram: Telegram) -> int:
    return (await telegram.served()).bytes
