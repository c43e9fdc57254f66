"""kill -9 of a random worker while they save into each kind of storage, which is watched all the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from saveany.models import Status
from saveany.sandbox.content import MIB
from storages.parts import RESERVED
from tests.acceptance.promises.site import Role, until
from tests.chaos import shelves
from tests.chaos.arena import Arena, Plan, Target, strikes
from tests.chaos.room import Room
from tests.chaos.scenarios.kills import Ration, kill
from tests.chaos.shelves import Shelf
from tests.chaos.tally import Tally
from tests.fixtures.stack import STORAGE

_WORKERS = 3
_RATE = 12_000_000  # bytes per second from Telegram
_LOOK_SECONDS = 0.1


async def run(plan: Plan) -> Tally:
    """In the long form one storage after the other, in the short one all at once."""
    tally = Tally("storages")
    with shelves.served(plan.folder) as (served, missing):
        tally.notes += missing
        room = Room()
        all_ = [shelves.local(STORAGE, plan.folder / "files"), *served, room]
        async with Arena(plan, tables={"storages": [shelf.table for shelf in all_]}) as arena:
            arena.sandbox.world.add_chat(room.chat)
            await arena.open(_WORKERS)
            arena.sandbox.faults.add(f"total_rate={_RATE},method=upload.getFile")
            for some in [[shelf] for shelf in all_] if plan.long else [all_]:
                await _storm(arena, some, tally)
                arena.targets.clear()
    return tally


async def _storm(arena: Arena, some: Sequence[Shelf], tally: Tally) -> None:
    """A storm of kills over so many storages."""
    plan = arena.plan
    targets = [
        arena.target(size, storage=shelf.name)
        for size in arena.sizes(plan.pick(8, 40), plan.pick(20, 64) * MIB)
        for shelf in some
    ]
    async with AsyncExitStack() as stack:
        for shelf in some:
            await stack.enter_async_context(_watched(shelf, targets, tally))
        for target in targets:
            await arena.send(target)
        ration = Ration(arena)
        async for _ in strikes(arena, plan.pick(2, 30)):
            await kill(arena, ration, await _victim(arena, ration, some))
            tally.blows["worker kills"] += 1
        await arena.all_ended(plan.pick(60, 300))
    ration.eaten(tally)
    await arena.nothing_spent(tally)
    for shelf in some:
        if plan.long and shelf.resumes:
            tally.check(ration.kept[shelf.name] > 0, f"{shelf.name}: nothing was gone on with")
        tally.notes.append(f"{shelf.name}: {ration.told(shelf.name)}")
        await arena.audit(tally, shelf)


async def _victim(arena: Arena, ration: Ration, some: Sequence[Shelf]) -> Role:
    """A busy worker at random. In the long form the first victim on a storage that resumes has a checkpoint
    there, so that something of its file must be kept."""
    if not arena.plan.long or any(not shelf.resumes or ration.kept[shelf.name] for shelf in some):
        return arena.plan.random.choice(await arena.busy())
    found: list[str] = []

    async def has_checkpoint() -> bool:
        tasks = await arena.state.tasks.get_many([target.task for target in arena.targets])
        for task in tasks:
            known = await arena.state.claims.take_over(task, []).last_checkpoint(0)
            if task.status is Status.RUNNING and known and known.durable:
                found.append(task.worker)
        return bool(found)

    await until(has_checkpoint, 60, "a checkpoint")
    return next((role for role in arena.roles if role.worker_id in found), arena.roles[0])


@asynccontextmanager
async def _watched(shelf: Shelf, targets: Sequence[Target], tally: Tally) -> AsyncIterator[None]:
    """While the block runs, whatever can be seen there is whole, or a part."""
    sizes = {target.path: target.size for target in targets if target.storage == shelf.name}
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            for path, size in (await asyncio.to_thread(shelf.look)).items():
                told = f"{shelf.name}: {path} was seen with {size} bytes"
                if not _hidden(path) and sizes.get(path) != size and told not in tally.broken:
                    tally.broken.append(told)
            await asyncio.sleep(_LOOK_SECONDS)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        try:
            yield
        finally:
            over.set()


def _hidden(path: str) -> bool:
    """Whether nobody takes it for a file that was saved."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and (name.endswith(".partial") or name.startswith(RESERVED))
