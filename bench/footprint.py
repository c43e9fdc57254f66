"""Measures how quickly `saveany` starts, and what `saveany run` needs while it is idle and while it works."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from statistics import median
from typing import Any

import httpx

from bench import files
from bench.everything import Everything, Site, everything, process, site
from bench.installation import client, new_task
from bench.memory import require_space
from bench.process import run_timed
from bench.results import Measurement, compared
from tests.fixtures.waiting import until

_STARTS, _COMMANDS = 5, 9  # repetitions
_START_SECONDS = 60.0
_SETTLE_SECONDS = 10.0  # from readiness until nothing of the start is still running
_IDLE_SECONDS = 30.0
_SAMPLE_SECONDS = 0.1
_FILES = files.EIGHT[:4]


async def start_to_saved() -> list[Measurement]:
    """Seconds from the start of `saveany run` until the first file is saved, which is requested as soon as
    the API replies; compared with importing the main packages."""
    ours, theirs = [], []
    async with site() as made:
        for round_ in range(_STARTS):
            theirs.append(await _python("import telethon, fastapi, arq"))
            ours.append(await _first_file(made, f"/{round_}"))
    return [compared("start_to_saved", median(ours), "s", median(theirs))]


async def cli_start() -> list[Measurement]:
    """Seconds that `saveany ls` takes, compared with importing the HTTP client."""
    ours, theirs = [], []
    async with everything() as running:
        command = [sys.executable, "-m", "saveany", "--config", str(running.site.config), "ls"]
        for _ in range(_COMMANDS):
            theirs.append(await _python("import httpx"))
            ours.append((await run_timed(command))[0])
    return [compared("cli_start", median(ours), "s", median(theirs))]


async def idle() -> list[Measurement]:
    """The memory and the CPU time of all processes that wait for work."""
    async with everything() as running:
        await asyncio.sleep(_SETTLE_SECONDS)
        memory = running.process.family_pss_mb()
        began, before = time.monotonic(), running.process.family_cpu()
        await asyncio.sleep(_IDLE_SECONDS)
        cpu = (running.process.family_cpu() - before) / (time.monotonic() - began)
    note = f"{running.workers} workers"
    return [
        Measurement("run_idle_pss_mb", memory, "MB", note=note),
        Measurement("run_idle_cpu", cpu * 100, "% of a core", note=note),
    ]


async def peak() -> list[Measurement]:
    """The peak memory of all processes while four files of 256 MiB are saved."""
    require_space(sum(map(files.size, _FILES)))
    async with everything() as running:
        saving = asyncio.gather(*map(running.transfer, _FILES))
        peak = await _peak_pss_mb(running, saving)
    return [Measurement("run_peak_pss_mb", peak, "MB")]


async def _peak_pss_mb(running: Everything, work: Awaitable[Any]) -> float:
    """The peak until `work` is done."""
    task, peak = asyncio.ensure_future(work), 0.0
    while not task.done():
        peak = max(peak, running.process.family_pss_mb())
        await asyncio.wait([task], timeout=_SAMPLE_SECONDS)
    await task
    return peak


async def _first_file(made: Site, folder: str) -> float:
    number = files.SMALL[0]
    body = new_task(files.link(number), folder)
    file = made.folder / "files" / folder.strip("/") / f"{number}.bin"
    async with client(made.port) as http:
        began = time.monotonic()
        async with process(made):
            await until(lambda: _is_accepted(http, body), within=_START_SECONDS)
            await until(file.exists, within=_START_SECONDS)  # it is complete by then
            return time.monotonic() - began


async def _is_accepted(http: httpx.AsyncClient, body: dict[str, Any]) -> bool:
    try:
        return (await http.post("/api/v1/tasks", json=body)).is_success
    except httpx.TransportError:
        return False


async def _python(code: str) -> float:
    return (await run_timed([sys.executable, "-c", code]))[0]
