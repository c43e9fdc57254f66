"""An installation for the scenarios, the files that it must save, and the check of all files at the end."""

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

import httpx

from saveany.models import ItemStatus, Status
from saveany.sandbox import content
from saveany.sandbox.content import MIB, ContentStream
from saveany.sandbox.samples import USER
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.store import Store
from saveany.store.claims import LEASE_MS
from tests.acceptance.promises.site import Role, Site, descendants
from tests.chaos.launch import SHORT_LEASE, SHORT_LEASE_SECONDS
from tests.chaos.observed_storages import ObservedStorage, local_storage
from tests.chaos.result import ScenarioResult
from tests.fixtures.stack import STORAGE
from tests.fixtures.waiting import until

_FIRST_FILE = 20001


@dataclass(frozen=True)
class Plan:
    """The size of a run, its random choices and its folder."""

    long: bool
    seed: int
    folder: Path  # for all files of the scenario

    @cached_property
    def random(self) -> random.Random:
        """The generator of all random choices."""
        return random.Random(self.seed)

    def pick(self, short: int, long: int) -> int:
        """The number for the short or the long form."""
        return long if self.long else short

    @property
    def lease(self) -> float:
        """The lease of a worker in seconds."""
        return LEASE_MS / 1000 if self.long else SHORT_LEASE_SECONDS


@dataclass
class Target:
    """Files, most often a single one, to be saved by a separate task into a separate folder."""

    files: Sequence[StoredFile]
    links: Sequence[str]
    folder: str
    storage: str = STORAGE
    error: str = ""  # part of the error with which its task must fail; empty: the task must complete
    task: str = ""

    @property
    def id(self) -> int:
        """The id of the first file."""
        return self.files[0].id

    @property
    def size(self) -> int:
        """The size of all files."""
        return sum(file.content.size for file in self.files)

    @property
    def path(self) -> str:
        """The path of the first file."""
        return self.path_of(self.files[0])

    def path_of(self, file: StoredFile) -> str:
        """The path under which a file must be saved."""
        return f"{self.folder}/{file.name}"


class ChaosInstallation(Site):
    """A site whose Telegram has two more chats: a public one, and one that only the user account can read.

    A scenario starts and kills its workers, and submits tasks for `targets`.
    """

    def __init__(self, plan: Plan, **options: Any) -> None:
        super().__init__(plan.folder, **{"forked": not plan.long, **options})
        self.plan = plan
        self.targets: list[Target] = []  # files whose tasks were accepted
        self.roles: list[Role] = []  # workers that have not been killed
        self.env: dict[str, str] = {}  # environment of the processes that are started from now on
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
        """The store, for what the API does not show."""
        return self._store

    # Roles.

    async def launch(self, workers: int, *patches: str) -> None:
        """Start an API and `workers` workers, and wait until they are ready. Leases are short in the short
        form.

        `patches` are names in `tests.chaos.launch`.
        """
        self._patches = [*patches, *([] if self.plan.long else [SHORT_LEASE])]
        self.api_role = await self.start_api_role()
        for _ in range(workers):
            await self.add_worker()
        if workers:
            await self.wait_until_ready(workers)

    async def start_api_role(self) -> Role:
        """Start an API. It has no patches."""
        return await self.spawn("api")

    async def add_worker(self) -> Role:
        """Start another worker."""
        role = await self.spawn("worker", via=self.patched)
        self.roles.append(role)
        return role

    @property
    def patched(self) -> list[str]:
        """The Python module that runs the `saveany` command with the patches, and its arguments."""
        return ["-m", "tests.chaos.launch", ",".join(self._patches) or "-"]

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        return super()._env({**self.env, **more})

    def redis_pid(self) -> int:
        """The process id of Valkey, which is recognized by its working directory."""
        home = self.folder / "data" / "redis"
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                if Path(f"/proc/{pid}/cwd").resolve() == home.resolve():
                    return pid
        raise AssertionError("Valkey is not running")

    async def worker_of(self, target: Target) -> Role:
        """The worker that is saving a file."""
        pid = await self.pid_of_worker(target.task)
        return next(role for role in self.roles if role.pid == pid)

    async def busy_workers(self) -> list[Role]:
        """The workers that are running a task, as recorded in the store; all workers if none is."""
        tasks = await self.state.tasks.get_many([target.task for target in self.targets])
        held = {task.worker for task in tasks if task.status is Status.RUNNING}
        return [role for role in self.roles if role.worker_id in held] or self.roles

    # Files.

    def target(self, size: int, *, private: bool = False, storage: str = STORAGE, error: str = "") -> Target:
        """A new file in a new message."""
        number, file = self._post(size, f"{size}.bin", private=private)
        return Target([file], [self._link(number, private=private)], f"{number - 1:04}", storage, error)

    def target_of_many(
        self,
        sizes: Sequence[int],
        *,
        as_range: bool = False,
        private: bool = False,
        storage: str = STORAGE,
        error: str = "",
    ) -> Target:
        """New files in new messages, for one task with a link to their range or a link to each of them."""
        posted = [self._post(size, f"{i:04}.bin", private=private) for i, size in enumerate(sizes)]
        numbers, files = [number for number, _ in posted], [file for _, file in posted]
        ends = [f"{numbers[0]}-{numbers[-1]}"] if as_range else numbers
        links = [self._link(each, private=private) for each in ends]
        return Target(files, links, f"{numbers[0] - 1:04}", storage, error)

    def _link(self, message: int | str, *, private: bool) -> str:
        return f"https://t.me/c/{self._private.id}/{message}" if private else f"https://t.me/chaos/{message}"

    def _post(self, size: int, name: str, *, private: bool) -> tuple[int, StoredFile]:
        """A new file in a new message, and the number of the message."""
        number = next(self._numbers)
        chat = self._private if private else self._public
        id_ = _FIRST_FILE + number
        file = StoredFile(id=id_, content=ContentStream(id_, size), name=name, dc=self.sandbox.dc_id)
        self.sandbox.world.add_file(file)
        self.sandbox.world.post(chat, StoredMessage(id=number + 1, file=file))
        return number + 1, file

    async def send(self, target: Target) -> Target:
        """Submit the task of a target, and add it to `targets` once it is accepted."""
        target.task = await self.post_links(target.links, target.folder, target.storage)
        self.targets.append(target)
        return target

    async def post_links(self, links: Sequence[str], folder: str, storage: str) -> str:
        """Create a task. Returns its id."""
        if len(links) == 1:
            return await self.post(links[0], folder, storage_name=storage)
        body = {"type": "tgfiles", "storage": storage, "path": folder, "params": {"message_links": [*links]}}
        reply = await self.client.post("/api/v1/tasks", json=body)
        assert reply.status_code == httpx.codes.CREATED, reply.text
        return str(reply.json()["task_id"])

    def sizes(self, count: int, largest: int) -> list[int]:
        """Random sizes from 1 byte to `largest`, evenly spread over the orders of magnitude. They include
        sizes around the size of a part."""
        edges = [largest, largest - 7, 1, 2, MIB - 1, MIB, MIB + 1]
        generator = self.plan.random
        spread = [int(largest ** generator.random()) for _ in range(count - len(edges))]
        mixed = edges + spread
        generator.shuffle(mixed)
        return mixed

    def saved_in(self, storage: str) -> list[Target]:
        """The targets that are saved to a storage."""
        return [target for target in self.targets if target.storage == storage]

    def served(self, target: Target) -> int:
        """Bytes of the target's files that Telegram has served so far."""
        if len(target.files) == 1:
            return self.sandbox.counters.bytes(file=target.id)
        served = self.sandbox.counters.bytes_by("file")
        return sum(served.get(file.id, 0) for file in target.files)

    async def all_ended(self, seconds: float) -> None:
        """Wait for the task of each target, at most `seconds` after the previous one, then for tasks whose
        acceptance was not confirmed."""
        for target in self.targets:
            await self.ended(target.task, seconds)

        async def idle() -> bool:
            return bool((await self.client.get("/api/v1/tasks")).json()["total"] == 0)

        await until(idle, within=seconds, what="end of all tasks")

    # The check at the end.

    async def audit(self, result: ScenarioResult, storage: ObservedStorage | None = None) -> ScenarioResult:
        """Compare the files in a storage, and the records of their tasks, with the targets."""
        storage = storage or local_storage(STORAGE, self.storage_dir)
        found: dict[str, list[str]] = {}
        for name in storage.files_by_path():
            found.setdefault(name.partition("/")[0], []).append(name)
        for target in self.saved_in(storage.name):
            await self._audit(result, target, storage, found.pop(target.folder, []))
        result.leftovers += [name for names in found.values() for name in names if name.endswith(".partial")]
        result.leftovers += storage.unfinished()
        return result

    async def check_no_attempts_used(self, result: ScenarioResult) -> None:
        """Check that no item has failures: when a worker dies or stops, this does not count as one."""
        for target in self.targets:
            failures = [item.failures for item in await self.state.tasks.all_items(target.task)]
            result.check(not any(failures), f"{target.path}: {failures} attempts were used")

    async def _audit(
        self, result: ScenarioResult, target: Target, storage: ObservedStorage, found: Sequence[str]
    ) -> None:
        ended = await self._check_record(result, target, storage)
        result.leftovers += [name for name in found if name.endswith(".partial")]
        whole = [name for name in found if not name.endswith(".partial")]
        if target.error:
            result.duplicated += whole
            result.done += ended
            return
        expected = {target.path_of(file): file for file in target.files}
        result.duplicated += [name for name in whole if name not in expected]
        for path, file in expected.items():
            if not ended or path not in whole:
                result.lost.append(f"{path}: task {target.task}, {len(whole)} files found")
            elif storage.sha256(path) != content.sha256(file.content):
                result.corrupt.append(path)
            else:
                result.done += 1

    async def _check_record(self, result: ScenarioResult, target: Target, storage: ObservedStorage) -> bool:
        """Whether the task of a target has ended as expected; also checks its record and its webhooks."""
        task = await self.state.tasks.get(target.task)
        if task is None:
            return False
        items = await self.state.tasks.all_items(target.task)
        events = [each.event for each in await self.state.outbox.of_task(target.task)]
        once = events[-1:] == [f"task.{task.status}"] and len(events) == task.run
        result.check(once, f"{target.path}: webhooks of {task.run} runs were {events}")
        if target.error:
            as_expected = task.status is Status.FAILED and target.error in task.error
            result.check(
                as_expected, f"{target.path}: {task.status} {task.error!r}, not failed: {target.error!r}"
            )
            return as_expected
        result.check(not task.error, f"{target.path}: {task.error}")
        if task.status is not Status.COMPLETED:
            return False
        recorded = {item.final: item.sha256 for item in items if item.status is ItemStatus.COMPLETED}
        unknown = [] if storage.hashes_resumed else [""]
        allowed = {target.path_of(file): [content.sha256(file.content), *unknown] for file in target.files}
        wrong = [
            path for path in recorded.keys() | allowed if recorded.get(path) not in allowed.get(path, [])
        ]
        if wrong or len(items) != len(target.files):
            result.corrupt.append(
                f"{target.path}: {len(items)} records, wrong for {', '.join(sorted(wrong))}"
            )
        return True


async def spread_over_transfer(installation: ChaosInstallation, count: int) -> AsyncIterator[int]:
    """Yields `count` times, at equal distances in bytes over the transfer of all files, so that the moments
    do not depend on the speed of the machine."""
    files = [file for target in installation.targets for file in target.files]
    total = sum(file.content.size for file in files)
    for number in range(1, count + 1):
        goal = total * number / (count + 1)

        async def reached(goal: float = goal) -> bool:
            served = installation.sandbox.counters.bytes_by("file")
            return sum(min(served.get(each.id, 0), each.content.size) for each in files) >= goal

        await until(reached, within=120, what=f"{goal:.0f} of {total} bytes")
        yield number
