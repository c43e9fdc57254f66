"""SIGSTOP for three leases, then SIGCONT: the frozen worker writes nothing."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from saveany.sandbox.content import MIB
from tests.chaos.installation import ChaosInstallation, Plan, Target
from tests.chaos.result import ScenarioResult
from tests.fixtures.waiting import until

_SIZE = 12 * MIB


async def run(plan: Plan) -> ScenarioResult:
    """Freeze a worker at different points of the first half of a file, so that it cannot finish the file
    first."""
    result = ScenarioResult("freeze")
    async with ChaosInstallation(plan) as installation:
        await installation.launch(2)
        for eighths in plan.random.sample(range(1, 5), plan.pick(1, 3)):
            await _freeze(installation, result, eighths)
        return await installation.audit(result)


async def _freeze(installation: ChaosInstallation, result: ScenarioResult, eighths: int) -> None:
    target = installation.target(_SIZE)
    slow = installation.sandbox.faults.add(f"total_rate=2000000,file={target.id}")
    await installation.send(target)
    await installation.wait_for_download(target.task, _SIZE * eighths // 8)
    frozen = await installation.worker_of(target)
    frozen.signal(signal.SIGSTOP)
    frozen_long_enough = asyncio.create_task(asyncio.sleep(3 * installation.plan.lease))
    end = await installation.ended(target.task, 3 * installation.plan.lease + 30)
    result.check(end["attempts"] == 2, f"{target.path}: {end['attempts']} attempts, not 2")
    await frozen_long_enough
    installation.sandbox.faults.remove(slow)
    before = await _observed_state(installation, target)
    log_size = frozen.log.stat().st_size
    frozen.signal(signal.SIGCONT)

    async def gave_up() -> bool:
        with frozen.log.open() as log:
            log.seek(log_size)
            return "claim_lost" in log.read()

    result.injected[f"freezes of {3 * installation.plan.lease:.0f} s"] += 1
    await until(gave_up, what="log line of the frozen worker about its lost claim")
    await installation.wait_until_ready(2)
    result.check(
        await _observed_state(installation, target) == before, f"{target.path}: the frozen worker has written"
    )


async def _observed_state(installation: ChaosInstallation, target: Target) -> tuple[Any, ...]:
    """Everything that a worker could have changed."""
    state, file = installation.state, installation.storage_dir / target.path
    return (
        await state.tasks.get(target.task),
        await state.tasks.all_items(target.task),
        [each.id for each in await state.outbox.of_task(target.task)],
        installation.files(),
        file.stat().st_ino,
    )
