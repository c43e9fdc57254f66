"""A whole SaveAny on loopback: real processes, Valkey and files; Telegram is in the process of the test."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import tomli_w

from saveany.embedded import EmbeddedRedis
from saveany.sandbox import Sandbox
from saveany.sandbox.samples import Sample
from saveany.store import Store, open_store
from saveany.supervisor import die_with_parent
from tests.unit.webhooks.receiver import Receiver, Request, receiving

ROOT = Path(__file__).resolve().parents[3]
LONG = bool(os.environ.get("SAVEANY_LONG"))
TOKEN = "token-of-the-tests"
USER = 123456789
ENDS = ("completed", "failed", "canceled")

# Links of the sandbox's samples.
PDF = "https://t.me/channel/123"
ONE_BYTE = "https://t.me/channel/124"
ONE_MIB = "https://t.me/channel/125"
BIG = "https://t.me/channel/127"  # 64 MiB
SLOW = "https://t.me/channel/128"  # the same at 8 MB/s
BIG_FILE = 1005  # the id faults know BIG by


@dataclass(frozen=True)
class Role:
    """A process of SaveAny that a test started; the group is its own."""

    name: str
    worker_id: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, signum: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    async def kill(self) -> None:
        """`kill -9`, and everything it started of its own group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.process.wait()

    async def ended(self, seconds: float) -> int:
        return await asyncio.wait_for(self.process.wait(), seconds)


class Site:
    """`async with Site(folder) as site`: a sandbox and a configuration; `spawn` the roles a test needs.

    With `own_redis` the embedded Valkey belongs to the test and outlives every role.
    """

    def __init__(self, folder: Path, *, own_redis: bool = True, tables: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.storage = folder / "files"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._own_redis = own_redis
        self._tables = tables or {}
        self._roles: list[Role] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        stack = self._stack
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sandbox = await stack.enter_async_context(Sandbox(state=self.folder / "telegram"))
        self.receiver: Receiver = await stack.enter_async_context(receiving())
        self.config = self.folder / "config.toml"
        self.config.write_text(tomli_w.dumps(self._settings()))
        self.redis = EmbeddedRedis(self.folder / "data")
        stack.callback(self.redis.stop)
        if self._own_redis:
            self.redis.start()
            stack.callback(asyncio.create_task(self.redis.keep()).cancel)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        client = httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=30)
        self.client = await stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(role.kill() for role in self._roles))
        await self._stack.aclose()
        if kind is not None:
            self._show_logs()

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "data_dir": "data",
            "workers": 3,
            "api": {
                "host": "127.0.0.1",
                "port": int(self.url.rpartition(":")[2]),
                "token": TOKEN,
                "webhook_url": self.receiver.url,
            },
            "telegram": {
                "token": self.sandbox.bot_token,
                "dc_id": self.sandbox.dc_id,
                "dc_address": self.sandbox.address,
                "dc_public_key": str(self.sandbox.public_key_file),
                "accounts": [{"name": "user", "session": self.sandbox.user_session}],
            },
            "users": [{"id": USER}],
            "storages": [{"name": "local1", "type": "local", "base_path": str(self.storage)}],
        }
        for key, value in self._tables.items():
            settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
        return settings

    def _show_logs(self) -> None:
        for role in self._roles:
            print(f"--- {role.name} ({role.pid}), exit code {role.process.returncode}")
            print(role.log.read_text(errors="replace")[-6000:])

    # Processes.

    async def spawn(
        self, command: str, *options: str, via: Sequence[str] = ("-m", "saveany"), **env: str
    ) -> Role:
        """Start a command of SaveAny. `via` puts another program in front of the command line."""
        name = f"{command}{len(self._roles)}"
        log = self.folder / f"{name}.log"
        worker_id = f"{name}-{os.getpid()}"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *via,
                "--config",
                str(self.config),
                command,
                *options,
                cwd=ROOT,
                env={**os.environ, "SAVEANY_WORKER_ID": worker_id, **env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        role = Role(name, worker_id, process, log)
        self._roles.append(role)
        return role

    async def start(self, workers: int = 2) -> list[Role]:
        """An API and so many workers, each a process of its own; returns the workers when all are ready."""
        await self.spawn("api")
        started = [await self.spawn("worker") for _ in range(workers)]
        await self.ready(workers)
        return started

    async def ready(self, workers: int) -> None:
        """Wait until the API is ready and lists so many workers."""

        async def there() -> bool:
            with suppress(httpx.TransportError):
                if (await self.client.get("/readyz")).status_code == 200:
                    return len(await self.workers()) >= workers
            return False

        await until(there, 60, f"{workers} ready workers")

    async def workers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.client.get("/api/v1/workers")).json()["workers"]
        return listed

    async def worker_of(self, task_id: str) -> dict[str, Any]:
        """The worker process that says it is working on a task."""
        found: list[dict[str, Any]] = []

        async def look() -> bool:
            found[:] = [each for each in await self.workers() if task_id in each["tasks"]]
            return bool(found)

        await until(look, 20, f"a worker with {task_id}")
        return found[0]

    async def store(self) -> Store:
        """The store itself, for what the API does not show; closed with the site."""
        store = await open_store(self.redis.start())
        self._stack.push_async_callback(store.db.close)
        return store

    # Tasks.

    async def post(self, link: str, folder: str = "in", **more: Any) -> str:
        body = {"telegram_url": link, "user_id": USER, "storage_name": "local1", "dir_path": folder, **more}
        reply = await self.client.post("/api/v1/tasks", json=body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["task_id"])

    async def task(self, task_id: str) -> dict[str, Any]:
        reply = await self.client.get(f"/api/v1/tasks/{task_id}")
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def cancel(self, task_id: str) -> httpx.Response:
        return await self.client.delete(f"/api/v1/tasks/{task_id}")

    async def ended(self, task_id: str, seconds: float = 60) -> dict[str, Any]:
        """The task, once it has ended."""

        async def over() -> bool:
            with suppress(httpx.TransportError):
                return (await self.task(task_id))["status"] in ENDS
            return False

        await until(over, seconds, lambda: f"the end of task {task_id}")
        return await self.task(task_id)

    async def downloading(self, task_id: str, least: int = 8 << 20) -> None:
        """Wait until a task has fetched so many bytes."""

        async def far_enough() -> bool:
            task = await self.task(task_id)
            assert task["status"] not in ENDS, f"it ended before it could be disturbed: {task}"
            return int(task["progress"]["downloaded_bytes"]) >= least

        await until(far_enough, 60, f"{least} bytes of {task_id}")

    # What came of it.

    def sample(self, link: str) -> Sample:
        return next(each for each in self.sandbox.samples if each.link == link)

    def files(self) -> list[str]:
        """Everything below the storage's folder that is not a folder, also hidden files and parts."""
        found = (path for path in self.storage.rglob("*") if not path.is_dir() or path.is_symlink())
        return sorted(
            str(path.relative_to(self.storage)) for path in found if path.name != ".saveany-storage"
        )

    def holds(self, path: str, link: str) -> None:
        """The file at `path` is what `link` leads to."""
        assert sha256(self.storage / path) == self.sample(link).files[0].sha256, path

    def webhooks(self, task_id: str) -> list[Request]:
        return [each for each in self.receiver.requests if json.loads(each.body)["task_id"] == task_id]

    async def told_once(self, task_id: str) -> Request:
        """Its end was told; if more than once, then under one id."""

        async def told() -> bool:
            return bool(self.webhooks(task_id))

        await until(told, 30, f"a webhook about {task_id}")
        assert len({each.headers["webhook-id"] for each in self.webhooks(task_id)}) == 1
        return self.webhooks(task_id)[0]

    async def one_good_file(self, task_id: str, path: str, link: str) -> None:
        """The task is completed; there is its file, whole and alone, and its end was told under one id."""
        task = await self.task(task_id)
        assert (task["status"], task["error"]) == ("completed", "")
        assert [item["path"] for item in task["items"]] == [path]
        assert task["items"][0]["sha256"] == self.sample(link).files[0].sha256
        assert self.files() == [path]
        self.holds(path, link)
        hook = json.loads((await self.told_once(task_id)).body)
        assert (hook["status"], hook["error"]) == ("completed", "")


async def until(
    condition: Callable[[], Awaitable[bool]], seconds: float, what: str | Callable[[], str]
) -> float:
    """Wait for a condition; returns after how many seconds it held, fails if that takes too long."""
    begun = time.monotonic()
    while not await condition():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"after {seconds} s still no {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.03)
    return time.monotonic() - begun


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_port() -> int:
    """A free port below those that the system gives out by itself: nobody gets it before we use it."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def descendants(pid: int) -> list[int]:
    """The process and everything below it, by /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(
                int(stat.parent.name)
            )
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found
