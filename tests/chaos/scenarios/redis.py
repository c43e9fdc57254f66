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
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.result import ScenarioResult
from tests.fixtures.waiting import until

#: A program that writes and syncs in turn, until it is killed.
_DISK_WRITER = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.seek(0)
        file.write(os.urandom(4 << 20))
        os.fsync(file.fileno())
"""
#: Tasks accepted between two kills, and simultaneous submissions.
_BETWEEN, _CONCURRENCY = 8, 4


async def run(plan: Plan) -> ScenarioResult:
    """Each task that was accepted with 201 exists afterwards and completes, whenever the server died."""
    result = ScenarioResult("redis")
    async with ChaosInstallation(plan) as installation, _disk_writer(plan.folder / "disk-load"):
        await installation.launch(2)
        installation.sandbox.faults.add("delay=0.05,method=upload.getFile")
        load = Load(installation)
        posting = [asyncio.create_task(load.run()) for _ in range(_CONCURRENCY)]
        for _ in range(plan.pick(2, 20)):
            goal = len(installation.targets) + _BETWEEN
            await until(partial(load.reached, goal), within=60, what=f"{goal} accepted tasks")
            os.kill(installation.redis_pid(), signal.SIGKILL)
            result.injected["Redis kills"] += 1
        load.over = True
        await asyncio.gather(*posting)
        await installation.wait_until_ready(2)
        await installation.all_ended(60)
        await installation.check_no_attempts_used(result)
        result.notes.append(f"{load.refused} requests were not accepted")
        return await installation.audit(result)


@dataclass
class Load:
    """Submits tasks until `over` is set."""

    installation: ChaosInstallation
    refused: int = 0
    over: bool = False

    async def run(self) -> None:
        """Submit tasks one after the other. A request that does not get a 201 guarantees nothing; the next
        one is for another file."""
        while not self.over:
            size = self.installation.plan.random.choice([1, 70_001, MIB, 3 * MIB])
            try:
                await self.installation.send(self.installation.target(size))
            except (AssertionError, httpx.TransportError):
                self.refused += 1

    async def reached(self, goal: int) -> bool:
        """Whether `goal` tasks have been accepted."""
        return len(self.installation.targets) >= goal


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
