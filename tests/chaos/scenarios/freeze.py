"""SIGSTOP for three leases, then SIGCONT: the worker that slept writes nothing."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from saveany.sandbox.content import MIB
from tests.acceptance.promises.site import until
from tests.chaos.arena import Arena, Plan, Target
from tests.chaos.tally import Tally

_SIZE = 12 * MIB


async def run(plan: Plan) -> Tally:
    """Frozen at different points of the first half, so it cannot have finished before it stands still."""
    tally = Tally("freeze")
    async with Arena(plan) as arena:
        await arena.open(2)
        for eighths in plan.random.sample(range(1, 5), plan.pick(1, 3)):
            await _freeze(arena, tally, eighths)
        return await arena.audit(tally)


async def _freeze(arena: Arena, tally: Tally, eighths: int) -> None:
    target = arena.target(_SIZE)
    slow = arena.sandbox.faults.add(f"total_rate=2000000,file={target.id}")
    await arena.send(target)
    await arena.downloading(target.task, _SIZE * eighths // 8)
    frozen = await arena.busy_with(target)
    frozen.signal(signal.SIGSTOP)
    thawing = asyncio.create_task(asyncio.sleep(3 * arena.plan.lease))
    end = await arena.ended(target.task, 3 * arena.plan.lease + 30)
    tally.check(end["attempts"] == 2, f"{target.path}: {end['attempts']} attempts, not 2")
    await thawing
    arena.sandbox.faults.remove(slow)
    before = await _traces(arena, target)
    said = frozen.log.stat().st_size
    frozen.signal(signal.SIGCONT)

    async def gave_up() -> bool:
        with frozen.log.open() as log:
            log.seek(said)
            return "claim_lost" in log.read()

    tally.blows[f"freezes of {3 * arena.plan.lease:.0f} s"] += 1
    await until(gave_up, 30, "word of the worker that slept that it has given up")
    await arena.up(2)
    tally.check(await _traces(arena, target) == before, f"{target.path}: the worker that slept has written")


async def _traces(arena: Arena, target: Target) -> tuple[Any, ...]:
    """All that a worker could have changed."""
    state, file = arena.state, arena.storage_dir / target.path
    return (
        await state.tasks.get(target.task),
        await state.tasks.all_items(target.task),
        [each.id for each in await state.outbox.of_task(target.task)],
        arena.files(),
        file.stat().st_ino,
    )
