"""`saveany run`: everything on one machine."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from saveany import first_run, restart
from saveany.api.server import bind
from saveany.cli import config_path, exit_code, load_config
from saveany.cli.role import loop_factory, prepare, redis_server, run_async
from saveany.config import Config
from saveany.config.follow import REDIS_VARIABLE
from saveany.errors import StoreUnavailable
from saveany.forking import ForkServer
from saveany.restart import RestartRequests, begin_again
from saveany.store import open_store
from saveany.store.claims import Claims
from saveany.supervisor import WORKER_ID_VARIABLE, Program, Supervisor
from storages import registry

#: Seconds a worker needs to stop after the time that its running tasks get.
_STOP_MARGIN = 10.0


def run(
    ctx: typer.Context,
    processes: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Number of worker processes. Default: worker.processes."),
    ] = None,
) -> None:
    """Run everything on this machine: Redis (unless redis.url names one), API, bot and workers."""
    if first_run.is_needed(config_path(ctx)):
        first_run.serve()
        begin_again()
    config = load_config(ctx)
    prepare(config)
    requests = RestartRequests(config.data_dir)
    count = config.worker.processes if processes is None else processes
    if config.api.enable:
        bind(config.api.host, config.api.port).close()  # fails before anything starts if the port is in use
    forks = ForkServer(_roles(config)) if ForkServer.is_available() else None

    async def main() -> int:
        with redis_server(config) as (url, embedded):
            tasks = [asyncio.create_task(embedded.keep())] if embedded else []
            async with roles(config, url, workers=count, forks=forks) as supervisor:
                tasks.append(asyncio.create_task(requests.wait(supervisor.stop)))
                code = await supervisor.run()
            for task in tasks:
                task.cancel()
            return code

    code = run_async(main())
    if requests.is_requested and not code:
        begin_again()
    raise typer.Exit(code)


def _roles(config: Config) -> dict[str, Callable[[], int]]:
    """What the processes of this configuration run. All that they need is imported here, so that they share
    it."""
    from workers.sources import source_classes

    source_classes(config)
    for storage in config.storages:
        registry.capabilities(storage.type)
    served = servers(api=config.api.enable, bot=bool(config.telegram.token.get_secret_value()))
    return {name: partial(run_forked, config, serve) for name, serve in served.items()}


#: The program of a role, which takes the configuration and the URL of Redis.
Serve = Callable[[Config, str], Coroutine[Any, Any, None]]


def servers(*, api: bool, bot: bool) -> dict[str, Serve]:
    """The programs of the roles, imported."""
    import workers.main

    loop_factory()
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the first one has OpenSSL allocate some megabytes
    serve: dict[str, Serve] = {"worker": workers.main.serve}
    if api:
        import saveany.api.server

        serve["api"] = saveany.api.server.serve
    if bot:
        import saveany.bot.app

        serve["bot"] = saveany.bot.app.serve
    return serve


def run_forked(config: Config, serve: Serve) -> int:
    """Run the program of a role in a process that was forked; returns its exit code."""
    return exit_code(lambda: run_async(serve(config, os.environ["SAVEANY_REDIS_URL"])))


@asynccontextmanager
async def roles(
    config: Config,
    url: str,
    *,
    workers: int,
    log_dir: Path | None = None,
    forks: ForkServer | None = None,
    restarts: bool = True,
) -> AsyncIterator[Supervisor]:
    """A supervisor of API, bot and workers that is not running yet.

    When a worker dies, its tasks return to the queue at once. With `log_dir`, each process logs to a file
    there. With `forks` the processes share memory. `restarts`: whether the caller restarts them on request.
    """
    store = await open_store(url)
    stem = os.environ.get("SAVEANY_WORKER_ID") or f"{socket.gethostname()}-{os.getpid()}"
    shared = {
        "SAVEANY_REDIS_URL": url,
        REDIS_VARIABLE: os.environ.get("SAVEANY_REDIS_URL", ""),
        restart.VARIABLE: "yes" if restarts else "no",
    }
    ids = {f"worker{n}": "" for n in range(1, workers + 1)}  # of the processes that were started last

    def identify(name: str) -> dict[str, str]:
        ids[name] = f"{stem}-{name.removeprefix('worker')}-{uuid4().hex[:6]}"
        return {WORKER_ID_VARIABLE: ids[name]}

    async def on_exit(name: str, pid: int) -> None:
        if name in ids:
            with suppress(StoreUnavailable):
                await Claims(store.db).expire_leases(ids[name])
                await store.workers.leave(ids[name])

    def program(name: str, role: str, new_env: Callable[[], dict[str, str]] = dict) -> Program:
        file = ["--config", str(config.file)] if config.file else []
        log_file = log_dir / f"{name}.log" if log_dir else None
        argv = [sys.executable, "-m", "saveany", *file, role]
        return Program(name, argv, shared, log_file, role, new_env)

    programs = [program("api", "api")] if config.api.enable else []
    programs += [program("bot", "bot")] if config.telegram.token.get_secret_value() else []
    programs += [program(name, "worker", partial(identify, name)) for name in ids]
    try:
        drain = config.worker.drain_seconds + _STOP_MARGIN
        yield Supervisor(programs, drain_s=drain, on_exit=on_exit, forks=forks)
    finally:
        if forks:
            forks.close()
        await store.db.close()
