"""kill -9 of a random worker, again and again, while four of them download."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from saveany.sandbox.content import MIB
from tests.acceptance.promises.site import Role, until
from tests.chaos.arena import Arena, Plan, Target, strikes
from tests.chaos.tally import Tally
from tests.fixtures.stack import STORAGE

_WORKERS = 4


@dataclass
class Ration:
    """How many bytes of each file may be served at most: all of it, and again what a death cost."""

    arena: Arena
    allowed: dict[str, int] = field(default_factory=dict)  # by task
    torn: Counter[str] = field(default_factory=Counter)  # files that a worker died over, by storage
    kept: Counter[str] = field(default_factory=Counter)  # bytes of them that were durable

    def __post_init__(self) -> None:
        self.allowed = {target.task: target.size for target in self.arena.targets}

    def eaten(self, tally: Tally) -> None:
        """Check all files."""
        for target in self.arena.targets:
            served, allowed = self.arena.served(target), self.allowed[target.task]
            tally.check(served <= allowed, f"{target.path}: {served} bytes were served, due were {allowed}")

    def told(self, storage: str) -> str:
        """What the deaths have cost there."""
        targets = self.arena.saved_in(storage)
        again = sum(self.arena.served(target) - target.size for target in targets)
        allowed = sum(self.allowed[target.task] - target.size for target in targets)
        return (
            f"{self.torn[storage]} files torn, {self.kept[storage] / 1e6:.1f} MB of them were durable, "
            f"fetched again {again / 1e6:.1f} MB, which may be {allowed / 1e6:.1f} MB"
        )

    async def after_death(self, role: Role) -> None:
        """The worker is dead: of its files all that is not in a checkpoint may be served again."""
        tasks = await self.arena.state.tasks.get_many([target.task for target in self.arena.targets])
        torn = {task.id: task for task in tasks if task.worker == role.worker_id}
        targets = [target for target in self.arena.targets if target.task in torn]
        await self._quiet(targets)
        for target in targets:
            claim = self.arena.state.claims.take_over(torn[target.task], [])
            known = await claim.last_checkpoint(0)
            durable = sum(end - start for start, end in known.durable) if known else 0
            self.torn[target.storage] += 1
            self.kept[target.storage] += durable
            self.allowed[target.task] = self.arena.served(target) + target.size - durable

    async def _quiet(self, targets: list[Target]) -> None:
        """Telegram has read what the dead worker had asked for."""
        seen = -1

        async def still() -> bool:
            nonlocal seen
            before, seen = seen, sum(map(self.arena.served, targets))
            return before == seen

        await until(still, 10, "end of what a dead worker asked for")


async def run(plan: Plan) -> Tally:
    """Half of the dead are reported, as a supervisor does; the leases of the others must run out."""
    tally = Tally("kills")
    async with Arena(plan) as arena:
        await arena.open(_WORKERS)
        arena.sandbox.faults.add(f"total_rate={plan.pick(2_500_000, 12_000_000)},method=upload.getFile")
        for size in arena.sizes(plan.pick(24, 200), plan.pick(8, 256) * MIB):
            await arena.send(arena.target(size))
        ration = Ration(arena)
        async for _ in strikes(arena, plan.pick(6, 100)):
            await kill(arena, ration, plan.random.choice(arena.roles))
            tally.blows["worker kills"] += 1
        await arena.all_ended(plan.pick(60, 300))
        ration.eaten(tally)
        await arena.nothing_spent(tally)
        tally.notes.append(ration.told(STORAGE))
        return await arena.audit(tally)


async def kill(arena: Arena, ration: Ration, victim: Role) -> None:
    """A worker dies, and a new one comes."""
    arena.roles.remove(victim)
    await victim.kill()
    await ration.after_death(victim)
    if arena.plan.random.random() < 0.5:
        await arena.state.claims.expire_leases(victim.worker_id)
    await arena.add_worker()
