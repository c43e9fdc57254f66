"""kill -9 of a random worker, again and again, while four of them download."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from saveany.sandbox.content import MIB
from tests.acceptance.promises.site import Role
from tests.chaos.installation import ChaosInstallation, Plan, Target, spread_over_transfer
from tests.chaos.result import ScenarioResult
from tests.fixtures.stack import STORAGE
from tests.fixtures.waiting import until

_WORKERS = 4


@dataclass
class ByteBudget:
    """The bytes of each file that Telegram may serve: its size, plus the bytes lost with dead workers."""

    installation: ChaosInstallation
    allowed: dict[str, int] = field(default_factory=dict)  # by task
    #: storage -> files that a worker was saving when it died
    interrupted: Counter[str] = field(default_factory=Counter)
    #: storage -> durable bytes of these files
    durable: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.allowed = {target.task: target.size for target in self.installation.targets}

    def check(self, result: ScenarioResult) -> None:
        """Check that no file exceeds its budget."""
        for target in self.installation.targets:
            served, allowed = self.installation.served(target), self.allowed[target.task]
            result.check(
                served <= allowed, f"{target.path}: {served} bytes were served, {allowed} were allowed"
            )

    def summary(self, storage: str) -> str:
        """The cost of the deaths for a storage, in one line."""
        targets = self.installation.saved_in(storage)
        again = sum(self.installation.served(target) - target.size for target in targets)
        allowed = sum(self.allowed[target.task] - target.size for target in targets)
        return (
            f"{self.interrupted[storage]} interrupted files, {self.durable[storage] / 1e6:.1f} MB of them "
            f"durable, {again / 1e6:.1f} MB downloaded again, {allowed / 1e6:.1f} MB allowed"
        )

    async def worker_died(self, role: Role) -> None:
        """A worker has died: the bytes of its files that are not in a checkpoint may be served again."""
        tasks = await self.installation.state.tasks.get_many(
            [target.task for target in self.installation.targets]
        )
        interrupted = {task.id: task for task in tasks if task.worker == role.worker_id}
        targets = [target for target in self.installation.targets if target.task in interrupted]
        await self._wait_until_quiet(targets)
        for target in targets:
            claim = self.installation.state.claims.take_over(interrupted[target.task], [])
            checkpoint = (await claim.checkpoints()).get(0)
            size = sum(end - start for start, end in checkpoint.durable) if checkpoint else 0
            self.interrupted[target.storage] += 1
            self.durable[target.storage] += size
            self.allowed[target.task] = self.installation.served(target) + target.size - size

    async def _wait_until_quiet(self, targets: list[Target]) -> None:
        """Wait until Telegram has served what the dead worker had requested."""
        seen = -1

        async def still() -> bool:
            nonlocal seen
            before, seen = seen, sum(map(self.installation.served, targets))
            return before == seen

        await until(still, within=10, what="end of the replies to a dead worker")


async def run(plan: Plan) -> ScenarioResult:
    """About half of the dead workers are reported, as a supervisor does; the leases of the others must
    expire."""
    result = ScenarioResult("kills")
    async with ChaosInstallation(plan) as installation:
        await installation.launch(_WORKERS)
        installation.sandbox.faults.add(
            f"total_rate={plan.pick(2_500_000, 12_000_000)},method=upload.getFile"
        )
        for size in installation.sizes(plan.pick(24, 200), plan.pick(8, 256) * MIB):
            await installation.send(installation.target(size))
        budget = ByteBudget(installation)
        async for _ in spread_over_transfer(installation, plan.pick(6, 100)):
            await kill(installation, budget, plan.random.choice(installation.roles))
            result.injected["worker kills"] += 1
        await installation.all_ended(plan.pick(60, 300))
        budget.check(result)
        await installation.check_no_attempts_used(result)
        result.notes.append(budget.summary(STORAGE))
        return await installation.audit(result)


async def kill(installation: ChaosInstallation, budget: ByteBudget, victim: Role) -> None:
    """Kill a worker, and start a new one."""
    installation.roles.remove(victim)
    await victim.kill()
    await budget.worker_died(victim)
    if installation.plan.random.random() < 0.5:
        await installation.state.claims.expire_leases(victim.worker_id)
    await installation.add_worker()
