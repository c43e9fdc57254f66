"""Thousands of small files: kill -9 of workers and of Valkey while Telegram fails in many ways."""

from __future__ import annotations

import os
import signal

from tests.chaos.installation import ChaosInstallation, Plan, spread_over_transfer
from tests.chaos.result import ScenarioResult
from tests.fixtures.waiting import until

_WORKERS = 4
#: Maximum size of a file.
_LARGEST = 200 << 10
#: For downloads of parts, and for lookups of up to 100 messages: each fault, and the number of requests after
#: which it happens again in the short and in the long form.
_FAULTS = {
    "upload.getFile": {"flood_wait=1": (199, 499), "timeout": (53, 101), "drop": (97, 211)},
    "channels.getMessages": {"flood_wait=1": (13, 29), "timeout": (3, 7), "drop": (5, 11)},
}


async def run(plan: Plan) -> ScenarioResult:
    """Tasks of 1 to 1,000 files. The kills are spread over their bytes, in random order."""
    result = ScenarioResult("small")
    async with ChaosInstallation(plan) as installation:
        await installation.launch(_WORKERS)
        rate = plan.pick(10_000_000, 20_000_000)
        installation.sandbox.faults.add(f"total_rate={rate},method=upload.getFile")
        faults = [
            installation.sandbox.faults.add(f"{kind},method={method},every={plan.pick(*every)}")
            for method, kinds in _FAULTS.items()
            for kind, every in kinds.items()
        ]
        await _submit(installation)
        kills = ["worker kills"] * plan.pick(4, 50) + ["Redis kills"] * plan.pick(1, 10)
        plan.random.shuffle(kills)
        async for number in spread_over_transfer(installation, len(kills)):
            await _kill(installation, kills[number - 1])
            result.injected[kills[number - 1]] += 1
        await _all_ended(installation)
        await installation.check_no_attempts_used(result)
        for fault in faults:
            result.check(fault.fired > 0, f"{fault.kind} of {fault.method} never happened")
            result.injected["faults"] += fault.fired
        result.notes.append(_cost(installation))
        return await installation.audit(result)


async def _submit(installation: ChaosInstallation) -> None:
    plan = installation.plan
    left, largest = plan.pick(500, 20_000), plan.pick(150, 1000)
    number = largest
    while left:
        sizes = [plan.random.randint(1 << 10, _LARGEST) for _ in range(min(number, left))]
        await installation.send(installation.target_of_many(sizes, as_range=plan.random.random() < 0.5))
        left -= len(sizes)
        number = int(largest ** plan.random.random())  # evenly spread over the orders of magnitude


async def _kill(installation: ChaosInstallation, what: str) -> None:
    """Kill Valkey, which is started again; or a worker, which is replaced. About half of the dead workers are
    reported, as a supervisor does; the leases of the others must expire."""
    if what == "Redis kills":
        os.kill(installation.redis_pid(), signal.SIGKILL)
        return
    victim = installation.plan.random.choice(installation.roles)
    installation.roles.remove(victim)
    await victim.kill()
    if installation.plan.random.random() < 0.5:
        await installation.state.claims.expire_leases(victim.worker_id)
    await installation.add_worker()


async def _all_ended(installation: ChaosInstallation) -> None:
    """Wait until all tasks have ended. The API would list thousands of files each time."""
    ids = [target.task for target in installation.targets]

    async def all_ended() -> bool:
        return all(task.status.ended for task in await installation.state.tasks.get_many(ids))

    await until(all_ended, within=installation.plan.pick(60, 600), what="end of all tasks")


def _cost(installation: ChaosInstallation) -> str:
    """The bytes that were downloaded again, in words."""
    total = sum(target.size for target in installation.targets)
    again = sum(installation.sandbox.counters.bytes_by("file").values()) - total
    return f"{total / 1e6:.1f} MB in {len(installation.targets)} tasks, {again / 1e6:.1f} MB downloaded again"
