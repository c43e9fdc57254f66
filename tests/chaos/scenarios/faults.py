"""Everything that the sandbox can do to a client: one after the other, then all together."""

from __future__ import annotations

from dataclasses import dataclass

from saveany.sandbox.content import MIB
from saveany.sandbox.samples import BOT, USER
from tests.chaos.arena import Arena, Plan
from tests.chaos.launch import SHORT_PATIENCE
from tests.chaos.tally import Tally

_SIZE = 6 * MIB + 17
_HALF = f"after={_SIZE // 2},count=1"


@dataclass(frozen=True)
class Case:
    """A fault that concerns one file, and what must come of it."""

    fault: str
    error: str = ""  # what the task fails with; empty: it completes
    private: bool = False  # only the user account can read the message


#: `edit` has the other file put in where it says `{other}`.
_ALONE = (
    Case("delay=0.2"),
    Case("rate=4000000"),
    Case("total_rate=4000000"),
    Case("premium_wait=1,every=4,count=1"),
    Case("error=500:RPC_CALL_FAIL,every=2,count=5"),
    Case("timeout,every=2,count=5"),
    Case(f"expire,{_HALF}"),
    Case("expire,every=2,count=4"),
    Case("short=100,every=2,count=4"),
    Case("corrupt,every=3,count=3"),
    Case("drop,every=3,count=3"),
    Case("silent,every=3,count=1"),
    Case("one_address"),
    Case(f"delete,{_HALF}", error="deleted"),
    Case(f"edit={{other}},{_HALF}", error="was edited"),
)

#: The last ones: they take an account out of service, the bot's for as long as it needs to log in again.
_ACCOUNTS = (
    Case(f"revoke=AUTH_KEY_DUPLICATED,account={USER.id},{_HALF}", error="log in again", private=True),
    Case(f"revoke,account={BOT.id},{_HALF}"),
)

#: Together, over several files at once.
_MIXED = (
    "delay=0.02,every=5",
    "flood_wait=1,every=23,count=2",
    "error=500:RPC_CALL_FAIL,every=11",
    "timeout,every=13",
    "expire,every=17",
    "short=4096,every=12",
    "corrupt,every=19",
    "drop,every=21",
)


async def run(plan: Plan) -> Tally:
    """A task that fails leaves nothing, and says why."""
    tally = Tally("faults")
    floods = [
        Case(f"flood_wait={seconds},every=4,count=1") for seconds in ([1, 30, 300] if plan.long else [1])
    ]
    patches = [] if plan.long else [SHORT_PATIENCE]
    async with Arena(plan) as arena:
        await arena.open(2, *patches)
        for case in [*floods, *_ALONE]:
            await _alone(arena, tally, case)
        await _mixed(arena, tally)
        for case in _ACCOUNTS:
            await _alone(arena, tally, case)
        return await arena.audit(tally)


async def _alone(arena: Arena, tally: Tally, case: Case) -> None:
    target = arena.target(_SIZE, private=case.private, error=case.error)
    fault = case.fault.replace("{other}", str(arena.target(_SIZE).id))
    put = arena.sandbox.faults.add(f"{fault},file={target.id}")
    await arena.send(target)
    await arena.ended(target.task, 400)
    arena.sandbox.faults.remove(put)
    tally.check(put.fired > 0, f"{target.path}: {fault} never happened")
    tally.blows["faults"] += 1


async def _mixed(arena: Arena, tally: Tally) -> None:
    put = [arena.sandbox.faults.add(f"{each},method=upload.getFile") for each in _MIXED]
    sent = [await arena.send(arena.target(size)) for size in _sizes(arena)]
    for target in sent:
        await arena.ended(target.task, 120)
    for fault in put:
        arena.sandbox.faults.remove(fault)
        tally.check(fault.fired > 0, f"{fault.kind} never happened among the others")
    tally.blows["faults"] += 1


def _sizes(arena: Arena) -> list[int]:
    return arena.sizes(arena.plan.pick(10, 40), arena.plan.pick(8, 64) * MIB)
