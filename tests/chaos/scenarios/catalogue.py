"""kill -9 of a worker, the API, Valkey or the database at each step of finishing a task and recording it
(CA1)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from saveany.sandbox import content
from tests.acceptance.promises.site import Role
from tests.chaos.halts import RECORDER_STEPS, WORKER_STEPS, Halts
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.launch import HALTS, SHORT_HISTORY
from tests.chaos.result import ScenarioResult
from tests.chaos.scenarios.disk import mounted
from tests.fixtures.catalogue import Postgres, postgres_database, running_postgres
from tests.fixtures.waiting import until

_STEPS = [*WORKER_STEPS, *RECORDER_STEPS]
#: The moments of the short form, for each engine.
_SHORT = [("before-commit", "PostgreSQL"), ("after-commit", "halted"), ("after-finish", "Redis")]
_SHORT_SQLITE = [("before-commit", "halted"), ("after-commit", "Redis"), ("before-finish", "halted")]
#: Size of a disk for the catalogue, in bytes.
_DISK = 2 << 20


async def run(plan: Plan) -> ScenarioResult:
    """Afterwards each file is in the catalogue exactly once, and nothing that was ever listed there is
    missing. Ended tasks leave Redis at once, so the catalogue is the only place that knows them."""
    result = ScenarioResult("catalogue")
    with running_postgres() as server:
        async with postgres_database(server) as url, _installation(plan, "postgresql", url) as installation:
            for step, victim in _moments(plan, _SHORT, "halted", "Redis", "PostgreSQL"):
                await installation.disturb(result, step, victim, server)
            await _outage(installation, result, "PostgreSQL", server.kill, server.start)
            await installation.audit(result)
    async with _installation(plan, "sqlite", "") as installation:
        for step, victim in _moments(plan, _SHORT_SQLITE, "halted", "Redis"):
            await installation.disturb(result, step, victim)
        with closing(sqlite3.connect(installation.file, isolation_level=None)) as other:
            lock, unlock = (partial(other.execute, word) for word in ("BEGIN EXCLUSIVE", "ROLLBACK"))
            await _outage(installation, result, "locked database", lock, unlock)
        await installation.audit(result)
    await _full_disk(plan, result)
    return result


def _moments(plan: Plan, short: Sequence[tuple[str, str]], *victims: str) -> Sequence[tuple[str, str]]:
    """Each step, and who is killed there: the process that has halted, or a server."""
    return list(itertools.product(_STEPS, victims)) if plan.long else short


class CatalogueInstallation(ChaosInstallation):
    """An installation that halts at the steps, and an account of what its catalogue has shown."""

    def __init__(self, plan: Plan, url: str) -> None:
        super().__init__(plan, tables={"catalogue": {"url": url}} if url else None)
        self.halts = Halts(plan.folder / "halts")
        self.env = self.halts.env
        self.seen: set[tuple[str, str]] = set()  # what was listed: ("task" or "file", its id)

    async def start_api_role(self) -> Role:
        """Start an API that halts."""
        return await self.spawn("api", via=self.patched)

    @property
    def file(self) -> Path:
        """The SQLite database."""
        return self.data_dir / "catalogue.db"

    async def disturb(
        self, result: ScenarioResult, step: str, victim: str, server: Postgres | None = None
    ) -> None:
        """Kill something while a process halts at the step, in a task that saves three files."""
        target = self.target_of_many([1, 70_001, 300_000], as_range=True)
        is_frequent = step == "before-expiry"
        if not is_frequent:
            self.halts.arm(step)
        await self.send(target)
        if is_frequent:
            self.halts.arm(step)  # earlier, the API would halt before it accepts the task
        await self.halts.reached(step)
        if victim == "Redis":
            os.kill(self.redis_pid(), signal.SIGKILL)
        elif victim == "PostgreSQL" and server:
            server.kill()
            await asyncio.to_thread(server.start)
        elif step in WORKER_STEPS:
            victim = "worker"
            await self._replace_worker()
        else:
            victim = "API"
            await self.api_role.kill()
        result.injected[f"{victim} kills"] += 1
        self.halts.release(step)
        if victim == "API":
            self.api_role = await self.start_api_role()
        await self.all_recorded()
        await self.look()

    async def _replace_worker(self) -> None:
        (worker,) = self.roles
        self.roles.clear()
        await worker.kill()
        if self.plan.random.random() < 0.5:
            await self.state.claims.expire_leases(worker.worker_id)
        await self.add_worker()

    async def all_recorded(self) -> None:
        """Wait until all tasks have ended and are recorded."""

        async def recorded() -> bool:
            with suppress(httpx.TransportError):
                tasks = (await self.client.get("/api/v1/tasks")).json()
                return tasks.get("total") == 0 and not await self.state.recording.last_id()
            return False

        await until(recorded, within=60, what="the recording of all tasks")

    async def look(self) -> None:
        """Note everything that the catalogue lists."""
        self.seen |= {("file", each["file_id"]) for each in await self.listed("files")}
        self.seen |= {("task", each["task_id"]) for each in await self.listed("history")}

    async def listed(self, what: str) -> list[dict[str, Any]]:
        """All pages of `files` or `history`."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            reply = await self.client.get(f"/api/v1/{what}", params={"cursor": cursor} if cursor else {})
            assert reply.is_success, reply.text
            page = reply.json()
            found += page["tasks" if what == "history" else "files"]
            cursor = page["next_cursor"]
        return found

    async def audit(self, result: ScenarioResult, _: object = None) -> ScenarioResult:
        """Compare the catalogue, and the files in the storage, with the targets."""
        await self._left_redis()
        files, tasks = await self.listed("files"), await self.listed("history")
        missing = self.seen - {("file", each["file_id"]) for each in files}
        missing -= {("task", each["task_id"]) for each in tasks}
        result.lost += [f"{kind} {each}, which was listed before" for kind, each in sorted(missing)]
        count = Counter(each["path"] for each in files)
        of_task = Counter(each["task_id"] for each in tasks if each["status"] == "completed")
        hashes = {each["path"]: each.get("sha256") for each in files}
        for target in self.targets:
            result.check(of_task.pop(target.task, 0) == 1, f"task {target.task} is not listed once")
            for file in target.files:
                path = target.path_of(file)
                _compare(result, path, count.pop(path, 0), hashes.get(path), content.sha256(file.content))
                saved = self.storage_dir / path
                if not saved.is_file() or saved.stat().st_size != file.content.size:
                    result.lost.append(f"{path} in the storage")
        result.duplicated += [f"{path}, which nobody has sent" for path in count]
        result.check(not of_task, f"tasks that nobody has sent: {list(of_task)}")
        result.leftovers += [name for name in self.files() if name.endswith(".partial")]
        return result

    async def _left_redis(self) -> None:
        """Wait until no ended task is in Redis."""

        async def gone() -> bool:
            return not [key async for key in self.state.db.redis.scan_iter("sa:task:*")]

        await until(gone, within=30, what="the expiry of all tasks")


def _compare(result: ScenarioResult, path: str, count: int, found: str | None, wanted: str) -> None:
    if count > 1:
        result.duplicated.append(f"{path}: {count} times in the catalogue")
    elif not count:
        result.lost.append(f"{path} in the catalogue")
    elif found not in (wanted, None):
        result.corrupt.append(f"{path}: {found} in the catalogue")
    else:
        result.done += 1


@asynccontextmanager
async def _installation(plan: Plan, name: str, url: str) -> AsyncIterator[CatalogueInstallation]:
    folder = plan.folder / name
    folder.mkdir(exist_ok=True)
    async with CatalogueInstallation(replace(plan, folder=folder), url) as installation:
        await installation.launch(1, HALTS, SHORT_HISTORY)
        yield installation


async def _outage(
    installation: CatalogueInstallation,
    result: ScenarioResult,
    name: str,
    begin: Callable[[], object],
    end: Callable[[], object],
) -> None:
    """Tasks continue while the database is away; the history fails with a 503 that names the cause, and
    `/readyz` says how many changes wait."""
    begin()
    for _ in range(installation.plan.pick(2, 20)):
        target = await installation.send(installation.target(70_001))
        await installation.ended(target.task)

    async def reported() -> bool:
        reply = await installation.client.get("/readyz")
        return reply.status_code == httpx.codes.SERVICE_UNAVAILABLE and "to be recorded since" in reply.text

    await until(reported, within=60, what="a report of the outage")
    reply = await installation.client.get("/api/v1/history")
    refused = reply.status_code == httpx.codes.SERVICE_UNAVAILABLE and "catalogue" in reply.text
    result.check(
        refused or name == "locked database", f"history without a database: {reply.status_code} {reply.text}"
    )
    end()
    await installation.all_recorded()
    result.injected[f"{name} outages"] += 1


async def _full_disk(plan: Plan, result: ScenarioResult) -> None:
    """The disk of an SQLite catalogue is full, then has space again. That of Redis is another one."""
    folder = plan.folder / "full"
    data, redis = folder / "data", folder / "data" / "redis"
    data.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        if problem := stack.enter_context(mounted(data, _DISK)):
            result.notes.append(problem)
            return
        redis.mkdir(mode=0o700)
        stack.enter_context(mounted(redis, 64 << 20))
        async with _installation(plan, "full", "") as installation:
            filler = data / "filler"
            await installation.send(installation.target(1))
            await installation.all_recorded()
            await installation.look()
            await _outage(installation, result, "full disk", partial(_fill, filler), filler.unlink)
            await installation.audit(result)


def _fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
