"""Everything on one machine, as `saveany run` starts it, with the default settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench import files
from bench.installation import (
    Service,
    Telegram,
    client,
    free_port,
    print_logs,
    telegram,
    write_config,
)
from bench.process import Child, child
from saveany.config import load
from saveany.embedded import EmbeddedRedis
from saveany.store import open_store

_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Site:
    """An installation that may not be running."""

    folder: Path
    telegram: Telegram
    port: int
    config: Path


@dataclass(frozen=True)
class Everything(Service):
    """A running `saveany run`."""

    site: Site
    process: Child
    workers: int  # number of worker processes

    async def warm_up(self) -> None:
        """Open the connections of all workers to Telegram. The saved files stay where they are."""

        async def save() -> None:
            since = await self.store.events.last_id()
            task_id = await self.post(files.WARM_UP)
            await self.ended(task_id, since)
            await self.completed(task_id, files.WARM_UP)

        await asyncio.gather(*(save() for _ in range(self.workers)))


@asynccontextmanager
async def site(*faults: str, storage: Mapping[str, Any] | None = None) -> AsyncIterator[Site]:
    """An installation that is not running, and its sandbox, which is."""
    with TemporaryDirectory(prefix="saveany-bench-") as name:
        folder = Path(name)
        async with telegram(folder, *faults) as sandbox:
            port = free_port()
            yield Site(folder, sandbox, port, write_config(folder, sandbox, port, storage=storage))


@asynccontextmanager
async def process(site: Site) -> AsyncIterator[Child]:
    """`saveany run`, just started."""
    async with child(site.folder / "run.log", "saveany", "--config", str(site.config), "run") as running:
        yield running


@asynccontextmanager
async def attached(site: Site, running: Child) -> AsyncIterator[Everything]:
    """The same process, once it is ready."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client(site.port))
        workers = load(site.config, {}).worker.processes
        try:
            await _ready(http, workers)
            url = EmbeddedRedis(site.folder / "data").start()  # it runs already
            store = await open_store(url)
            stack.push_async_callback(store.db.close)
            yield Everything(
                folder=site.folder,
                telegram=site.telegram,
                redis_url=url,
                store=store,
                http=http,
                site=site,
                process=running,
                workers=workers,
            )
        except Exception:
            print_logs(site.folder)
            raise


@asynccontextmanager
async def started(site: Site) -> AsyncIterator[Everything]:
    """`saveany run`, once it is ready."""
    async with process(site) as running, attached(site, running) as ready:
        yield ready


@asynccontextmanager
async def everything(*faults: str, storage: Mapping[str, Any] | None = None) -> AsyncIterator[Everything]:
    """`saveany run`, once it is ready, with a new installation."""
    async with site(*faults, storage=storage) as made, started(made) as running:
        yield running


async def _ready(http: httpx.AsyncClient, workers: int) -> None:
    """Wait until the API is ready and all workers are listed."""
    deadline = time.monotonic() + _READY_SECONDS
    while not await _is_ready(http, workers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"SaveAny was not ready after {_READY_SECONDS:.0f} s")
        await asyncio.sleep(0.1)


async def _is_ready(http: httpx.AsyncClient, workers: int) -> bool:
    try:
        if (await http.get("/readyz")).status_code != httpx.codes.OK:
            return False
        return len((await http.get("/api/v1/workers")).json()["workers"]) >= workers
    except httpx.TransportError:
        return False
