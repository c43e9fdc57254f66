"""kill -9 of Valkey under load, beside a process that keeps the disk busy."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from saveany.programs import die_with_parent
from saveany.sandbox.content import MIB
from tests.acceptance.promises.site import until
from tests.chaos.arena import Arena, Plan
from tests.chaos.tally import Tally

#: Writes and syncs for ever, in turn, until it is killed.
_DISK_WRITER = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.seek(0)
        file.write(os.urandom(4 << 20))
        os.fsync(file.fileno())
"""
#: Tasks accepted between two kills, and tasks posted at once.
_BETWEEN, _AT_ONCE = 8, 4


async def run(plan: Plan) -> Tally:
    """What was answered with 201 is there afterwards and completes, whenever the server died."""
    tally = Tally("redis")
    async with Arena(plan) as arena, _disk_writer(plan.folder / "noise"):
        await arena.open(2)
        arena.sandbox.faults.add("delay=0.05,method=upload.getFile")
        load = Load(arena)
        posting = [asyncio.create_task(load.run()) for _ in range(_AT_ONCE)]
        for _ in range(plan.pick(2, 20)):
            goal = len(arena.targets) + _BETWEEN
            await until(partial(load.reached, goal), 60, f"{goal} accepted tasks")
            os.kill(arena.redis_pid(), signal.SIGKILL)
            tally.blows["Redis kills"] += 1
        load.over = True
        await asyncio.gather(*posting)
        await arena.up(2)
        await arena.all_ended(60)
        await arena.nothing_spent(tally)
        tally.notes.append(f"{load.refused} posts were not accepted")
        return await arena.audit(tally)


@dataclass
class Load:
    """Posts tasks until it is over."""

    arena: Arena
    refused: int = 0
    over: bool = False

    async def run(self) -> None:
        """A post that is not answered with 201 promises nothing, and is made again with another file."""
        while not self.over:
            size = self.arena.plan.random.choice([1, 70_001, MIB, 3 * MIB])
            try:
                await self.arena.send(self.arena.target(size))
            except (AssertionError, httpx.TransportError):
                self.refused += 1

    async def reached(self, goal: int) -> bool:
        """Whether so many have been accepted."""
        return len(self.arena.targets) >= goal


@asynccontextmanager
async def _disk_writer(file: Path) -> AsyncIterator[None]:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DISK_WRITER, str(file), preexec_fn=die_with_parent(signal.SIGKILL)
    )
    try:
        yield
    finally:
        writer.kill()
        await writer.wait()
