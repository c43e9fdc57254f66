"""Many clients without a token fill the API's connections: the owner still gets replies, and the memory of
the API stays limited."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from saveany.programs import die_with_parent
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.result import ScenarioResult

#: Numbers of connections that send nothing, that send slowly, and that send the most expensive requests.
_IDLE, _SLOW, _HOSTILE = 1000, 500, 100
#: Seconds within which the owner must get a reply. Time for which the API, Valkey or this process waited for
#: a processor, because the crowd and other tests used it, does not count.
_MAX_REPLY_SECONDS = 2.0
#: MiB by which the memory of the API may grow.
_MAX_GROWTH_MIB = 200


async def run(plan: Plan) -> ScenarioResult:
    """The owner sends each request over a new connection."""
    result = ScenarioResult("crowd")
    slowest = 0.0
    async with ChaosInstallation(plan, forked=False) as installation:
        await installation.launch(1)
        pids = installation.api_role.pid, installation.redis_pid(), os.getpid()
        before = _memory(installation)
        async with _crowd(installation.port):
            for _ in range(plan.pick(20, 60)):
                slowest = max(slowest, await _timed(pids, _is_alive(installation)))
                slowest = max(slowest, await _timed(pids, _send(installation)))
                await asyncio.sleep(0.2)
            grown = _memory(installation) - before
        await installation.all_ended(60)
        result.check(slowest <= _MAX_REPLY_SECONDS, f"a reply took {slowest:.2f} s")
        result.check(grown <= _MAX_GROWTH_MIB, f"the API needed {grown} MiB more")
        result.notes.append(f"the slowest reply took {slowest:.2f} s")
        result.notes.append(f"the API needed {grown} MiB more")
        return await installation.audit(result)


async def _is_alive(installation: ChaosInstallation) -> None:
    async with httpx.AsyncClient(base_url=installation.url, trust_env=False, timeout=60) as client:
        (await client.get("/health")).raise_for_status()


async def _send(installation: ChaosInstallation) -> None:
    """Submit a task as the owner."""
    shared = installation.client
    async with httpx.AsyncClient(
        base_url=installation.url, headers=shared.headers, trust_env=False, timeout=60
    ) as client:
        installation.client = client
        try:
            await installation.send(installation.target(70_001))
        finally:
            installation.client = shared


async def _timed(pids: Sequence[int], request: Awaitable[None]) -> float:
    waited, began = _cpu_wait(pids), time.monotonic()
    await request
    return time.monotonic() - began - (_cpu_wait(pids) - waited)


def _cpu_wait(pids: Sequence[int]) -> float:
    """Seconds for which these processes were ready to run and waited for a processor."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e9


@asynccontextmanager
async def _crowd(port: int) -> AsyncIterator[Process]:
    """Run the crowd in another process; the block begins when all connections were started."""
    numbers = map(str, (port, _IDLE, _SLOW, _HOSTILE))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chaos.crowd_client",
        *numbers,
        stdout=PIPE,
        cwd=Path(__file__).parents[3],
        preexec_fn=die_with_parent(signal.SIGKILL),
    )
    assert process.stdout
    try:
        await process.stdout.readline()
        yield process
    finally:
        process.kill()
        await process.wait()


def _memory(installation: ChaosInstallation) -> int:
    """The peak memory of the API in MiB."""
    api = installation.api_role
    lines = Path(f"/proc/{api.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
