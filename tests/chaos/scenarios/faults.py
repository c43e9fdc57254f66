"""Each fault of the sandbox alone, then many together."""

from __future__ import annotations

from dataclasses import dataclass

from saveany.sandbox.content import MIB
from saveany.sandbox.samples import BOT, USER
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.launch import SHORT_TIMEOUTS
from tests.chaos.result import ScenarioResult

_SIZE = 6 * MIB + 17
_HALF = f"after={_SIZE // 2},count=1"


@dataclass(frozen=True)
class Case:
    """A fault that concerns one file, and the expected result."""

    fault: str
    error: str = ""  # part of the error with which the task fails; empty: it completes
    private: bool = False  # only the user account can read the message


#: In `edit`, `{other}` is replaced by the id of another file.
_SINGLE = (
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

#: Injected last, because they take an account out of service: that of the bot until it has logged in again.
_ACCOUNTS = (
    Case(f"revoke=AUTH_KEY_DUPLICATED,account={USER.id},{_HALF}", error="log in again", private=True),
    Case(f"revoke,account={BOT.id},{_HALF}"),
)

#: Injected together, while several files are downloaded.
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


async def run(plan: Plan) -> ScenarioResult:
    """A task that fails leaves nothing behind, and gives the reason."""
    result = ScenarioResult("faults")
    floods = [
        Case(f"flood_wait={seconds},every=4,count=1") for seconds in ([1, 30, 300] if plan.long else [1])
    ]
    patches = [] if plan.long else [SHORT_TIMEOUTS]
    async with ChaosInstallation(plan) as installation:
        await installation.launch(2, *patches)
        for case in [*floods, *_SINGLE]:
            await _inject_one(installation, result, case)
        await _inject_many(installation, result)
        for case in _ACCOUNTS:
            await _inject_one(installation, result, case)
        return await installation.audit(result)


async def _inject_one(installation: ChaosInstallation, result: ScenarioResult, case: Case) -> None:
    target = installation.target(_SIZE, private=case.private, error=case.error)
    fault = case.fault.replace("{other}", str(installation.target(_SIZE).id))
    added = installation.sandbox.faults.add(f"{fault},file={target.id}")
    await installation.send(target)
    await installation.ended(target.task, 400)
    installation.sandbox.faults.remove(added)
    result.check(added.fired > 0, f"{target.path}: {fault} never happened")
    result.injected["faults"] += 1


async def _inject_many(installation: ChaosInstallation, result: ScenarioResult) -> None:
    added = [installation.sandbox.faults.add(f"{each},method=upload.getFile") for each in _MIXED]
    targets = [await installation.send(installation.target(size)) for size in _sizes(installation)]
    for target in targets:
        await installation.ended(target.task, 120)
    for fault in added:
        installation.sandbox.faults.remove(fault)
        result.check(fault.fired > 0, f"{fault.kind} never happened together with the others")
    result.injected["faults"] += 1


def _sizes(installation: ChaosInstallation) -> list[int]:
    return installation.sizes(installation.plan.pick(10, 40), installation.plan.pick(8, 64) * MIB)
