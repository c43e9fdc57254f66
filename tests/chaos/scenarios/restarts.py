"""Rolling restarts: a worker is asked to stop, another takes its place, again and again."""

from __future__ import annotations

import signal
import time

from saveany.sandbox.content import MIB
from tests.chaos.arena import Arena, Plan, strikes
from tests.chaos.tally import Tally

_DRAIN_SECONDS = 1
#: Longest a worker may take to stop.
_STOP_SECONDS = 25.0


async def run(plan: Plan) -> Tally:
    """The oldest goes first, as in a rolling update; what it cannot finish goes back, and costs nothing."""
    tally = Tally("restarts")
    slowest = 0.0
    async with Arena(plan, tables={"worker": {"drain_seconds": _DRAIN_SECONDS}}) as arena:
        await arena.open(2)
        arena.sandbox.faults.add(f"total_rate={plan.pick(4_000_000, 12_000_000)},method=upload.getFile")
        for size in arena.sizes(plan.pick(12, 60), plan.pick(8, 64) * MIB):
            await arena.send(arena.target(size))
        async for _ in strikes(arena, plan.pick(3, 20)):
            slowest = max(slowest, await _restart(arena, tally))
            tally.blows["restarts"] += 1
        await arena.all_ended(plan.pick(30, 120))
        await arena.nothing_spent(tally)
        tally.notes.append(f"stopped within {slowest:.1f} s")
        return await arena.audit(tally)


async def _restart(arena: Arena, tally: Tally) -> float:
    old = arena.roles.pop(0)
    since = time.monotonic()
    old.signal(signal.SIGTERM)
    code = await old.ended(_STOP_SECONDS)
    tally.check(code == 0, f"{old.name} ended with {code}")
    took = time.monotonic() - since
    await arena.add_worker()
    await arena.up(len(arena.roles))
    return took
