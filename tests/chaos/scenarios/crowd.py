"""A crowd without a token fills the API's connections: its owner has answers, and its memory is bounded."""

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
from tests.chaos.arena import Arena, Plan
from tests.chaos.tally import Tally

#: Connections that send nothing, that send slowly, and that send what costs most.
_IDLE, _SLOW, _HOSTILE = 1000, 500, 100
#: Seconds within which the owner has an answer. Those in which the API, Valkey or this process had no
#: processor, because the crowd and other tests had it, do not count.
_PATIENCE = 1.0
#: MiB that the crowd may cost.
_MOST_MEMORY = 200


async def run(plan: Plan) -> Tally:
    """Each of the owner's requests comes over a connection of its own, as if it had just arrived."""
    tally = Tally("crowd")
    slowest = 0.0
    async with Arena(plan) as arena:
        await arena.open(1)
        pids = arena.api_role.pid, arena.redis_pid(), os.getpid()
        before = _memory(arena)
        async with _crowd(arena.port):
            for _ in range(plan.pick(20, 60)):
                slowest = max(slowest, await _timed(pids, _is_alive(arena)))
                slowest = max(slowest, await _timed(pids, _send(arena)))
                await asyncio.sleep(0.2)
            grown = _memory(arena) - before
        await arena.all_ended(60)
        tally.check(slowest <= _PATIENCE, f"an answer took {slowest:.2f} s")
        tally.check(grown <= _MOST_MEMORY, f"the API needed {grown} MiB more")
        tally.notes.append(f"the slowest answer took {slowest:.2f} s")
        tally.notes.append(f"the API needed {grown} MiB more")
        return await arena.audit(tally)


async def _is_alive(arena: Arena) -> None:
    async with httpx.AsyncClient(base_url=arena.url, trust_env=False, timeout=60) as stranger:
        (await stranger.get("/health")).raise_for_status()


async def _send(arena: Arena) -> None:
    """A task of the owner."""
    kept = arena.client
    async with httpx.AsyncClient(
        base_url=arena.url, headers=kept.headers, trust_env=False, timeout=60
    ) as client:
        arena.client = client
        try:
            await arena.send(arena.target(70_001))
        finally:
            arena.client = kept


async def _timed(pids: Sequence[int], request: Awaitable[None]) -> float:
    waited, began = _waited(pids), time.monotonic()
    await request
    return time.monotonic() - began - (_waited(pids) - waited)


def _waited(pids: Sequence[int]) -> float:
    """Seconds for which these processes had something to do, and no processor."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e9


@asynccontextmanager
async def _crowd(port: int) -> AsyncIterator[Process]:
    """The crowd, from another process, once all of it has begun."""
    numbers = map(str, (port, _IDLE, _SLOW, _HOSTILE))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chaos.crowd",
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


def _memory(arena: Arena) -> int:
    """Most MiB that the API has had in memory."""
    api = arena.api_role
    lines = Path(f"/proc/{api.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
