"""Rolling restarts: a worker gets SIGTERM and another is started in its place, repeatedly."""

from __future__ import annotations

import signal
import time

from saveany.sandbox.content import MIB
from tests.chaos.installation import ChaosInstallation, Plan, spread_over_transfer
from tests.chaos.result import ScenarioResult

_DRAIN_SECONDS = 1
#: Seconds within which a worker must stop.
_STOP_SECONDS = 25.0


async def run(plan: Plan) -> ScenarioResult:
    """The oldest worker stops first, as in a rolling update. Tasks that it cannot finish return to the
    queue, and do not use up an attempt."""
    result = ScenarioResult("restarts")
    slowest = 0.0
    async with ChaosInstallation(plan, tables={"worker": {"drain_seconds": _DRAIN_SECONDS}}) as installation:
        await installation.launch(2)
        installation.sandbox.faults.add(
            f"total_rate={plan.pick(4_000_000, 12_000_000)},method=upload.getFile"
        )
        for size in installation.sizes(plan.pick(12, 60), plan.pick(8, 64) * MIB):
            await installation.send(installation.target(size))
        async for _ in spread_over_transfer(installation, plan.pick(3, 20)):
            slowest = max(slowest, await _restart(installation, result))
            result.injected["restarts"] += 1
        await installation.all_ended(plan.pick(30, 120))
        await installation.check_no_attempts_used(result)
        result.notes.append(f"stopped within {slowest:.1f} s")
        return await installation.audit(result)


async def _restart(installation: ChaosInstallation, result: ScenarioResult) -> float:
    old = installation.roles.pop(0)
    since = time.monotonic()
    old.signal(signal.SIGTERM)
    code = await old.ended(_STOP_SECONDS)
    result.check(code == 0, f"{old.name} exited with code {code}")
    took = time.monotonic() - since
    await installation.add_worker()
    await installation.wait_until_ready(len(installation.roles))
    return took
