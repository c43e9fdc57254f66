"""An installation of SaveAny as users run it, with its Telegram: each part is a separate process on
loopback."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import tomli_w

from bench import files
from bench.process import Child, child
from bench.telegram import Served
from saveany.embedded import EmbeddedRedis
from saveany.models import ENDED, Item, Status
from saveany.store import Store, open_store

TOKEN = "token-of-the-benchmark"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
_USER = 123456789
STORAGE = "local1"
_READY_SECONDS = 60.0
_SAVE_SECONDS = 120.0
_LOG_TAIL = 2000


@dataclass(frozen=True)
class Saved:
    """One file, saved and verified."""

    seconds: float  # from the resolved message to the end of the task, by the clock of Redis
    cpu: float  # CPU seconds of the worker from the request to the end, including message and queue


@dataclass(frozen=True)
class Telegram:
    """A running sandbox."""

    process: Child
    facts: dict[str, Any]  # as returned by `saveany.sandbox.__main__.describe`

    async def served(self) -> Served:
        """What it has served so far."""
        self.process.signal(signal.SIGUSR1)
        return Served(**await self.process.read_json())

    async def toggle_streams(self) -> int:
        """Let the channels `files.LIVE` go live, or end their streams. Returns how many are live."""
        self.process.signal(signal.SIGUSR2)
        return int(await self.process.read_json())


@dataclass(frozen=True)
class Service:
    """A running SaveAny; `http` sends its token."""

    folder: Path
    telegram: Telegram
    redis_url: str
    store: Store
    http: httpx.AsyncClient

    @property
    def user(self) -> int:
        """The id of the configured user."""
        return _USER

    async def post(self, number: int) -> str:
        """Create a task for a file; returns its id."""
        reply = await self.http.post("/api/v1/tasks", json=new_task(files.link(number)))
        reply.raise_for_status()
        return str(reply.json()["task_id"])

    async def transfer(self, number: int) -> dict[str, int]:
        """Save a file, verify it, and remove it again. Returns the times of its events, as `ended` does."""
        since = await self.store.events.last_id()
        task_id = await self.post(number)
        at = await self.ended(task_id, since)
        await self.verify(task_id, number)
        return at

    async def ended(self, task_id: str, since: str) -> dict[str, int]:
        """Wait for the end of a task. Returns the time of the first event of each type, in ms by Redis'
        clock."""
        at: dict[str, int] = {}
        async with asyncio.timeout(_SAVE_SECONDS):
            async for event in self.store.events.follow(since):
                if event.task_id == task_id:
                    at.setdefault(event.type, event.at)
                    if event.status in ENDED:
                        break
        return at

    async def verify(self, task_id: str, number: int) -> None:
        """Check that a task that has ended saved the posted file, and remove the file."""
        saved = self.folder / "files" / (await self.completed(task_id, number)).final
        if saved.stat().st_size != files.size(number):
            raise RuntimeError(f"{saved} is not the file of {files.link(number)}")
        saved.unlink()

    async def completed(self, task_id: str, number: int) -> Item:
        """The file of a task that has ended. Raises if it is not the posted file."""
        task = await self.store.tasks.get(task_id)
        if task is None or task.status is not Status.COMPLETED:
            raise RuntimeError(f"{files.link(number)} was not saved: {task.error if task else 'no task'}")
        (item,) = await self.store.tasks.all_items(task_id)
        if item.sha256 != files.digest(number):
            raise RuntimeError(f"{item.final} is not the file of {files.link(number)}")
        return item


@dataclass(frozen=True)
class Installation(Service):
    """The same with each role as a child process of the benchmark."""

    api: Child
    workers: list[Child]

    async def save(self, number: int) -> Saved:
        """Save a file with the first worker, verify it, and remove it again."""
        since = await self.store.events.last_id()
        before = self.workers[0].cpu()
        task_id = await self.post(number)
        at = await self.ended(task_id, since)
        cpu = self.workers[0].cpu() - before
        await self.verify(task_id, number)
        # The first update of a task is its plan, which is made when its message has been resolved.
        return Saved((max(at.values()) - at["task.updated"]) / 1000, cpu)


def new_task(link: str, folder: str = "/") -> dict[str, Any]:
    """The body of a request that saves what a link stands for."""
    return {"telegram_url": link, "user_id": _USER, "storage_name": STORAGE, "dir_path": folder}


def task_of_links(links: Sequence[str], folder: str) -> dict[str, Any]:
    """The body of a request that saves several links in one task."""
    return {
        "type": "tgfiles",
        "user_id": _USER,
        "storage": STORAGE,
        "path": folder,
        "params": {"message_links": list(links)},
    }


@asynccontextmanager
async def telegram(folder: Path, *faults: str) -> AsyncIterator[Telegram]:
    """The sandbox with the files of the benchmark; see `saveany.sandbox.faults`."""
    async with child(folder / "telegram.log", "bench.telegram", *faults) as process:
        yield Telegram(process, await process.read_json())


@asynccontextmanager
async def installation(
    *faults: str, workers: int = 1, slots: int = 3, storage: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[Installation]:
    """A running installation with `workers` worker processes of `slots` tasks each. `storage` is the table of
    a storage to use instead of a local folder, `more` are further tables of the configuration."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="saveany-bench-")))
        sandbox = await stack.enter_async_context(telegram(folder, *faults))
        port = free_port()
        file = write_config(folder, sandbox, port, slots=slots, storage=storage, **more)
        redis = EmbeddedRedis(folder / "data")
        stack.callback(redis.stop)
        url = redis.start()
        store = await open_store(url)
        stack.push_async_callback(store.db.close)

        async def role(name: str, log: str) -> Child:
            env = {"SAVEANY_REDIS_URL": url}
            return await stack.enter_async_context(
                child(folder / log, "saveany", "--config", str(file), name, env=env)
            )

        running = Installation(
            folder,
            sandbox,
            url,
            store,
            await stack.enter_async_context(client(port)),
            await role("api", "api.log"),
            [await role("worker", f"worker{n}.log") for n in range(workers)],
        )
        try:
            await _ready(running)
            yield running
        except Exception:
            print_logs(folder)
            raise


def write_config(
    folder: Path,
    sandbox: Telegram,
    port: int,
    *,
    slots: int | None = None,
    storage: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a configuration that uses this sandbox, with `more` tables, to a file in `folder`; returns the
    file."""
    facts = sandbox.facts["telegram"]
    account = {"name": "user", "session": facts["user_session"]}
    local = {"type": "local", "base_path": str(folder / "files")}
    tables = {
        "data_dir": "data",
        **({"workers": slots} if slots else {}),
        "api": {"host": "127.0.0.1", "port": port, "token": TOKEN},
        "telegram": {
            "dc_id": facts["dc_id"],
            "dc_address": facts["address"],
            "dc_public_key": facts["public_key_file"],
            "accounts": [account],
        },
        "users": [{"id": _USER}],
        "links": {"openings": 0, "connections_per_address": 0, "connections_per_link": 0},
        **more,
        "storages": [dict(storage or local) | {"name": STORAGE}],
    }
    file = folder / "config.toml"
    file.write_text(tomli_w.dumps(tables))
    return file


def client(port: int) -> httpx.AsyncClient:
    """A client of the API at this port, with its token."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=AUTHORIZATION, trust_env=False, timeout=30
    )


async def _ready(running: Installation) -> None:
    """Wait until the API is ready and every worker is listed."""
    deadline = time.monotonic() + _READY_SECONDS
    wanted = {worker.pid for worker in running.workers}
    while not await _is_ready(running, wanted):
        if time.monotonic() > deadline:
            raise TimeoutError(f"SaveAny was not ready after {_READY_SECONDS:.0f} s")
        await asyncio.sleep(0.1)


async def _is_ready(running: Installation, wanted: set[int]) -> bool:
    try:
        if wanted and (await running.http.get("/readyz")).status_code != httpx.codes.OK:
            return False
        listed = (await running.http.get("/api/v1/workers")).json()["workers"]
    except httpx.TransportError:
        return False
    return wanted <= {worker["pid"] for worker in listed}


def print_logs(folder: Path) -> None:
    """Print the end of each log in `folder`, to explain a failure."""
    for log in sorted(folder.glob("*.log")):
        print(f"--- the end of {log.name}\n{log.read_text()[-_LOG_TAIL:]}", file=sys.stderr)


def free_port() -> int:
    """A port that no program listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
