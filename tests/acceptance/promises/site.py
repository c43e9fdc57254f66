"""A `Stack` whose processes a test starts and kills one by one, with a receiver for webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from saveany.sandbox.samples import Sample
from saveany.store import Store, open_store
from saveany.supervisor import WORKER_ID_VARIABLE
from saveany.webhooks.deliver import LEASE_MS
from tests.fixtures.forks import Process
from tests.fixtures.servers import quiet_port
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.unit.webhooks.receiver import Receiver, Request, receiving

ROOT = Path(__file__).resolve().parents[3]
#: Whether some tests run in their slow form.
LONG = bool(os.environ.get("SAVEANY_LONG"))
ENDS = ("completed", "failed", "canceled")

# Links of the sandbox's samples, and the ids of their files in faults and counters.
PDF = "https://t.me/channel/123"
ONE_BYTE = "https://t.me/channel/124"
ONE_MIB = "https://t.me/channel/125"  # needs no slot
OVER_ONE_MIB = "https://t.me/channel/126"  # needs a slot
BIG = "https://t.me/channel/127"  # 64 MiB
SLOW = "https://t.me/channel/128"  # the same at 8 MB/s
ONE_MIB_FILE, BIG_FILE, SLOW_FILE = 1003, 1005, 1006


@dataclass(frozen=True)
class Role:
    """A process of SaveAny that a test has started, in a separate process group."""

    name: str
    worker_id: str
    process: Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    async def kill(self) -> None:
        """Send SIGKILL to the process and all processes in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.process.wait()

    async def ended(self, seconds: float) -> int:
        """Wait until it has ended, for at most `seconds`. Returns its exit code."""
        return await asyncio.wait_for(self.process.wait(), seconds)


class Site(Stack):
    """`async with Site(folder) as site` runs Telegram, a webhook receiver and, with `own_redis`, a Valkey
    that outlives all roles. A test starts everything else."""

    def __init__(
        self,
        folder: Path,
        *,
        own_redis: bool = True,
        tables: dict[str, Any] | None = None,
        forked: bool = True,
    ) -> None:
        super().__init__(folder, tables=tables, roles=False, forked=forked)
        self.port = quiet_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._own_redis = own_redis
        self._spawned: list[Role] = []
        self._around = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.receiver: Receiver = await self._around.enter_async_context(receiving())
        self._tables["api"] = self._tables.get("api", {}) | {"webhook_url": self.receiver.url}
        self._around.callback(self.redis.stop)
        if self._own_redis:
            self.redis.start()
            self._around.callback(asyncio.create_task(self.redis.keep()).cancel)
        await super().__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*(role.kill() for role in self._spawned))
        await super().__aexit__(*error)
        await self._around.aclose()

    # Processes.

    @property
    def spawned(self) -> Sequence[Role]:
        """All processes that were started, also those that have ended."""
        return self._spawned

    async def spawn(self, command: str, *options: str, via: Sequence[str] = ("-m", "saveany")) -> Role:
        """Start a command of SaveAny. `via` replaces `-m saveany` in the command line."""
        name = f"{command}-{len(self._spawned)}"
        log = self.logs / f"{name}.log"
        argv = [sys.executable, *via, "--config", str(self.config_file), command, *options]
        forked = self._forked and command != "run"  # it forks its roles itself
        process = await self._spawn_logged(argv, self._env({WORKER_ID_VARIABLE: name}), log, forked=forked)
        self._spawned.append(Role(name, name, process, log))
        return self._spawned[-1]

    async def start(self, workers: int) -> list[Role]:
        """Start an API and `workers` workers as separate processes, and wait until they are ready. Returns
        the workers."""
        await self.spawn("api")
        started = [await self.spawn("worker") for _ in range(workers)]
        await self.wait_until_ready(workers)
        return started

    async def wait_until_ready(self, workers: int) -> None:
        """Wait until the API is ready and lists at least `workers` workers."""

        async def there() -> bool:
            last = self._spawned[-1]
            assert last.process.returncode is None, f"{last.name} ended before it was ready"
            with suppress(httpx.TransportError):
                if (await self.client.get("/readyz")).status_code == httpx.codes.OK:
                    return len(await self.listed_workers()) >= workers
            return False

        await until(there, within=60, what=f"{workers} ready workers")

    async def listed_workers(self) -> list[dict[str, Any]]:
        """The workers as in the API."""
        found: list[dict[str, Any]] = (await self.client.get("/api/v1/workers")).json()["workers"]
        return found

    async def pid_of_worker(self, task_id: str) -> int:
        """The process id of the worker that reports to be running a task."""
        found: list[int] = []

        async def look() -> bool:
            found[:] = [each["pid"] for each in await self.listed_workers() if task_id in each["tasks"]]
            return bool(found)

        await until(look, within=20, what=f"a worker with {task_id}")
        return found[0]

    async def store(self) -> Store:
        """The store, for what the API does not show. It is closed with the site."""
        store = await open_store(self.redis.start())
        self._around.push_async_callback(store.db.close)
        return store

    # Tasks.

    async def post(self, link: str, folder: str = "in", **more: Any) -> str:
        """Create a task. Returns its id."""
        return str((await self.add(link, dir_path=folder, **more))["task_id"])

    async def cancel(self, task_id: str) -> httpx.Response:
        return await self.client.delete(f"/api/v1/tasks/{task_id}")

    async def wait_for_download(self, task_id: str, least: int = 8 << 20) -> None:
        """Wait until a task has downloaded `least` bytes."""
        task = await self.wait(
            task_id, lambda task: task["status"] in ENDS or task["progress"]["downloaded_bytes"] >= least
        )
        assert task["status"] not in ENDS, f"it ended before it could be disturbed: {task}"

    # Results.

    def sample(self, link: str) -> Sample:
        return next(each for each in self.sandbox.samples if each.link == link)

    def files(self) -> list[str]:
        """The paths of everything in the storage but folders, including unfinished files and links."""
        found = (path for path in self.storage_dir.rglob("*") if path.is_symlink() or not path.is_dir())
        return sorted(
            str(path.relative_to(self.storage_dir)) for path in found if path.name != ".saveany-storage"
        )

    def check_content(self, path: str, link: str) -> None:
        """Assert that the file at `path` is that of `link`."""
        assert sha256(self.storage_dir / path) == self.sample(link).files[0].sha256, path

    async def webhook_sent_once(self, task_id: str) -> Request:
        """The webhook about the end of a task. It may arrive more than once, but always with the same id."""

        def about_it() -> list[Request]:
            return [each for each in self.receiver.requests if json.loads(each.body)["task_id"] == task_id]

        async def told() -> bool:
            return bool(about_it())

        # A killed sender may have claimed the delivery: then it is due when the claim's lease ends.
        await until(told, within=LEASE_MS / 1000 + 30, what=f"webhook about {task_id}")
        assert len({each.headers["webhook-id"] for each in about_it()}) == 1
        return about_it()[0]

    async def check_only_file(self, task_id: str, path: str, link: str) -> None:
        """Assert that the task is completed, that its complete file is the only one, and that all webhooks
        about its end have the same id."""
        task = await self.task(task_id)
        assert (task["status"], task["error"]) == ("completed", "")
        assert [item["path"] for item in task["items"]] == [path]
        assert task["items"][0]["sha256"] == self.sample(link).files[0].sha256
        assert self.files() == [path]
        self.check_content(path, link)
        hook = json.loads((await self.webhook_sent_once(task_id)).body)
        assert (hook["status"], hook["error"]) == ("completed", "")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def descendants(pid: int) -> list[int]:
    """The ids of a process and all its descendants, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found
