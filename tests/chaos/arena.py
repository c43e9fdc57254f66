"""A site with files of its own, and the count at the end."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from saveany.models import ItemStatus, Status
from saveany.sandbox import content
from saveany.sandbox.content import MIB, ContentStream
from saveany.sandbox.samples import USER
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.store import Store
from saveany.store.claims import LEASE_MS
from tests.acceptance.promises.site import Role, Site, descendants, until
from tests.chaos.launch import SHORT_LEASE, SHORT_LEASE_SECONDS
from tests.chaos.shelves import Shelf, local
from tests.chaos.tally import Tally
from tests.fixtures.stack import STORAGE

_FIRST_FILE = 20001


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    long: bool
    seed: int
    folder: Path  # for everything of this scenario

    @cached_property
    def random(self) -> random.Random:
        """The one source of chance."""
        return random.Random(self.seed)

    def pick(self, short: int, long: int) -> int:
        """The number for this form."""
        return long if self.long else short

    @property
    def lease(self) -> float:
        """Seconds a worker of this form may be silent."""
        return LEASE_MS / 1000 if self.long else SHORT_LEASE_SECONDS


@dataclass
class Target:
    """A file to be saved by a task of its own, into a folder of its own."""

    file: StoredFile
    link: str
    folder: str
    storage: str
    error: str = ""  # what its task must fail with; empty: it must be completed
    task: str = ""

    @property
    def id(self) -> int:
        return self.file.id

    @property
    def size(self) -> int:
        return self.file.content.size

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file.name}"


class Arena(Site):
    """A site whose Telegram has two more chats: a public one, and one that only the user account can read."""

    def __init__(self, plan: Plan, **options: Any) -> None:
        super().__init__(plan.folder, **options)
        self.plan = plan
        self.targets: list[Target] = []  # whose tasks were accepted
        self.roles: list[Role] = []  # workers that have not been killed
        self.env: dict[str, str] = {}  # for the roles that are started from now on
        self._numbers = itertools.count(1)
        self._public = Chat(id=1600000001, title="Chaos", username="chaos")
        self._private = Chat(id=1600000002, title="Private chaos", members={USER.id})
        self._store: Store
        self.api_role: Role

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for chat in (self._public, self._private):
            self.sandbox.world.add_chat(chat)
        self._store = await self.store()
        return self

    @property
    def state(self) -> Store:
        """The store itself."""
        return self._store

    # Roles.

    async def open(self, workers: int, *patches: str) -> None:
        """An API and so many workers, all ready if there are any; the leases are short in the short form."""
        self._patches = [*patches, *([] if self.plan.long else [SHORT_LEASE])]
        self.api_role = await self.spawn("api")
        for _ in range(workers):
            await self.add_worker()
        if workers:
            await self.up(workers)

    async def add_worker(self) -> Role:
        """One more worker."""
        via = ["-m", "tests.chaos.launch", ",".join(self._patches) or "-"]
        role = await self.spawn("worker", via=via)
        self.roles.append(role)
        return role

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        return super()._env({**self.env, **more})

    def redis_pid(self) -> int:
        """The process of the Valkey, known by its folder."""
        home = self.folder / "data" / "redis"
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                if Path(f"/proc/{pid}/cwd").resolve() == home.resolve():
                    return pid
        raise AssertionError("no Valkey runs")

    async def busy_with(self, target: Target) -> Role:
        """The worker that works on a file."""
        pid = await self.pid_of_worker(target.task)
        return next(role for role in self.roles if role.pid == pid)

    async def busy(self) -> list[Role]:
        """The workers that have a task, by the record; all of them if none has."""
        tasks = await self.state.tasks.get_many([target.task for target in self.targets])
        held = {task.worker for task in tasks if task.status is Status.RUNNING}
        return [role for role in self.roles if role.worker_id in held] or self.roles

    # Files.

    def target(self, size: int, *, private: bool = False, storage: str = STORAGE, error: str = "") -> Target:
        """A new file in a message of its own."""
        number = next(self._numbers)
        id_ = _FIRST_FILE + number
        file = StoredFile(id=id_, content=ContentStream(id_, size), name=f"{size}.bin", dc=self.sandbox.dc_id)
        self.sandbox.world.add_file(file)
        chat = self._private if private else self._public
        self.sandbox.world.post(chat, StoredMessage(id=number + 1, file=file))
        link = f"https://t.me/c/{chat.id}/{number + 1}" if private else f"https://t.me/chaos/{number + 1}"
        return Target(file, link, f"{number:04}", storage, error)

    async def send(self, target: Target) -> Target:
        """Post its task; once it is accepted the target counts."""
        target.task = await self.post(target.link, target.folder, storage_name=target.storage)
        self.targets.append(target)
        return target

    def sizes(self, count: int, largest: int) -> list[int]:
        """Sizes from 1 byte to `largest`, as many of each magnitude, and the edges of a part among them."""
        edges = [largest, largest - 7, 1, 2, MIB - 1, MIB, MIB + 1]
        chance = self.plan.random
        spread = [int(largest ** chance.random()) for _ in range(count - len(edges))]
        mixed = edges + spread
        chance.shuffle(mixed)
        return mixed

    def saved_in(self, storage: str) -> list[Target]:
        """Those that go into a storage."""
        return [target for target in self.targets if target.storage == storage]

    def served(self, target: Target) -> int:
        """Bytes of the file that Telegram was asked for."""
        return self.sandbox.counters.bytes(file=target.id)

    async def all_ended(self, seconds: float) -> None:
        """Wait for every task, each at most `seconds` after the one before; then for those not accepted."""
        for target in self.targets:
            await self.ended(target.task, seconds)

        async def idle() -> bool:
            return bool((await self.client.get("/api/v1/tasks")).json()["total"] == 0)

        await until(idle, seconds, "end of all tasks")

    # The count.

    async def audit(self, tally: Tally, shelf: Shelf | None = None) -> Tally:
        """Compare a storage and the records of all tasks with what they must be."""
        shelf = shelf or local(STORAGE, self.storage_dir)
        found: dict[str, list[str]] = {}
        for name in shelf.look():
            found.setdefault(name.partition("/")[0], []).append(name)
        for target in self.saved_in(shelf.name):
            await self._audit(tally, target, shelf, found.pop(target.folder, []))
        tally.parts += [name for names in found.values() for name in names if name.endswith(".partial")]
        tally.parts += shelf.unfinished()
        return tally

    async def nothing_spent(self, tally: Tally) -> None:
        """No task has used up an attempt: dying and stopping are no failures of theirs."""
        for target in self.targets:
            failures = [item.failures for item in await self.state.tasks.all_items(target.task)]
            tally.check(not any(failures), f"{target.path}: {failures} attempts were spent")

    async def _audit(self, tally: Tally, target: Target, shelf: Shelf, found: Sequence[str]) -> None:
        ended = await self._as_recorded(tally, target, shelf)
        tally.parts += [name for name in found if name.endswith(".partial")]
        whole = [name for name in found if not name.endswith(".partial")]
        if target.error:
            tally.duplicated += whole
            tally.done += ended
            return
        tally.duplicated += [name for name in whole if name != target.path]
        if not ended or target.path not in whole:
            tally.lost.append(f"{target.path}: task {target.task}, there is {', '.join(found) or 'nothing'}")
        elif shelf.sha256(target.path) != content.sha256(target.file.content):
            tally.corrupt.append(target.path)
        else:
            tally.done += 1

    async def _as_recorded(self, tally: Tally, target: Target, shelf: Shelf) -> bool:
        """Whether its task has ended as it must: with the right record, and told of once."""
        task = await self.state.tasks.get(target.task)
        if task is None:
            return False
        items = await self.state.tasks.all_items(target.task)
        told = [each.event for each in await self.state.outbox.of_task(target.task)]
        once = told[-1:] == [f"task.{task.status}"] and len(told) == task.run
        tally.check(once, f"{target.path}: webhooks of {task.run} runs were {told}")
        if target.error:
            right = task.status is Status.FAILED and target.error in task.error
            tally.check(right, f"{target.path}: {task.status} {task.error!r}, not failed: {target.error!r}")
            return right
        tally.check(not task.error, f"{target.path}: {task.error}")
        digests = [item.sha256 for item in items if item.status is ItemStatus.COMPLETED]
        right_ones = {content.sha256(target.file.content)} | (set() if shelf.rehashes else {""})
        if task.status is Status.COMPLETED and not (len(digests) == 1 and right_ones.issuperset(digests)):
            tally.corrupt.append(f"{target.path}: recorded as {digests}")
        return task.status is Status.COMPLETED


async def strikes(arena: Arena, count: int) -> AsyncIterator[int]:
    """Yields `count` times, spread over the transfer of all files: by bytes, so on any machine alike."""
    total = sum(target.size for target in arena.targets)
    for number in range(1, count + 1):
        goal = total * number / (count + 1)

        async def come(goal: float = goal) -> bool:
            return sum(min(arena.served(each), each.size) for each in arena.targets) >= goal

        await until(come, 120, f"{goal:.0f} of {total} bytes")
        yield number
