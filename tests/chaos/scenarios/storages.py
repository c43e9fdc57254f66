"""kill -9 of random workers while they save to each type of storage, which is observed all the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from saveany.models import Status
from saveany.sandbox.content import MIB
from storages.parts import RESERVED
from tests.acceptance.promises.site import Role
from tests.chaos import observed_storages
from tests.chaos.installation import ChaosInstallation, Plan, Target, spread_over_transfer
from tests.chaos.observed_chat import ObservedChat
from tests.chaos.observed_storages import ObservedStorage
from tests.chaos.result import ScenarioResult
from tests.chaos.scenarios.kills import ByteBudget, kill
from tests.fixtures.stack import STORAGE
from tests.fixtures.waiting import until

_WORKERS = 3
_RATE = 12_000_000  # bytes per second from Telegram
_LIST_SECONDS = 0.1  # between two listings of a storage


async def run(plan: Plan) -> ScenarioResult:
    """In the long form one storage after the other, in the short form all at once."""
    result = ScenarioResult("storages")
    with observed_storages.open_servers(plan.folder) as (served, missing):
        result.notes += missing
        chat = ObservedChat()
        every = [observed_storages.local_storage(STORAGE, plan.folder / "files"), *served, chat]
        async with ChaosInstallation(
            plan, tables={"storages": [storage.table for storage in every]}
        ) as installation:
            installation.sandbox.world.add_chat(chat.chat)
            await installation.launch(_WORKERS)
            installation.sandbox.faults.add(f"total_rate={_RATE},method=upload.getFile")
            for group in [[storage] for storage in every] if plan.long else [every]:
                await _kill_workers(installation, group, result)
                installation.targets.clear()
    return result


async def _kill_workers(
    installation: ChaosInstallation, storages: Sequence[ObservedStorage], result: ScenarioResult
) -> None:
    """Kill workers while they save to these storages, then check the files."""
    plan = installation.plan
    targets = [
        installation.target(size, storage=storage.name)
        for size in installation.sizes(plan.pick(8, 40), plan.pick(20, 64) * MIB)
        for storage in storages
    ]
    async with AsyncExitStack() as stack:
        for storage in storages:
            await stack.enter_async_context(_observed(storage, targets, result))
        for target in targets:
            await installation.send(target)
        budget = ByteBudget(installation)
        async for _ in spread_over_transfer(installation, plan.pick(2, 30)):
            await kill(installation, budget, await _victim(installation, budget, storages))
            result.injected["worker kills"] += 1
        await installation.all_ended(plan.pick(60, 300))
    budget.check(result)
    await installation.check_no_attempts_used(result)
    for storage in storages:
        if plan.long and storage.resumes:
            result.check(
                budget.durable[storage.name] > 0, f"{storage.name}: no file was continued from a checkpoint"
            )
        result.notes.append(f"{storage.name}: {budget.summary(storage.name)}")
        await installation.audit(result, storage)


async def _victim(
    installation: ChaosInstallation, budget: ByteBudget, storages: Sequence[ObservedStorage]
) -> Role:
    """A random busy worker. In the long form, the first victim on a storage that can resume has a checkpoint
    there, so that some bytes of its file must be kept."""
    if not installation.plan.long or any(
        not storage.resumes or budget.durable[storage.name] for storage in storages
    ):
        return installation.plan.random.choice(await installation.busy_workers())
    found: list[str] = []

    async def has_checkpoint() -> bool:
        tasks = await installation.state.tasks.get_many([target.task for target in installation.targets])
        for task in tasks:
            checkpoint = (await installation.state.claims.take_over(task, []).checkpoints()).get(0)
            if task.status is Status.RUNNING and checkpoint and checkpoint.durable:
                found.append(task.worker)
        return bool(found)

    await until(has_checkpoint, within=60, what="a checkpoint")
    return next((role for role in installation.roles if role.worker_id in found), installation.roles[0])


@asynccontextmanager
async def _observed(
    storage: ObservedStorage, targets: Sequence[Target], result: ScenarioResult
) -> AsyncIterator[None]:
    """Check during the block that every visible file of a storage is complete."""
    sizes = {target.path: target.size for target in targets if target.storage == storage.name}
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            for path, size in (await asyncio.to_thread(storage.files_by_path)).items():
                violation = f"{storage.name}: {path} was visible with {size} bytes"
                if not _hidden(path) and sizes.get(path) != size and violation not in result.violations:
                    result.violations.append(violation)
            await asyncio.sleep(_LIST_SECONDS)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        try:
            yield
        finally:
            over.set()


def _hidden(path: str) -> bool:
    """Whether a file is unfinished, by its name."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and (name.endswith(".partial") or name.startswith(RESERVED))
