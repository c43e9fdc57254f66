"""`python -m saveany.cli.health [api] [worker] [bot]`: the health check of a container.

Exit code 0 if each named role (default: api and worker) is alive on this host, else 1 and what is wrong on
stderr. The API is alive when it answers `/health`, a worker when its heartbeat in Redis is fresh, the bot
when its lock in Redis is held: all of that ends when an event loop does, so a process that hangs does not
count.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx

from saveany.cli.role import redis_server
from saveany.config import Config, load
from saveany.config.values import local_address
from saveany.errors import SaveAnyError, Unavailable
from saveany.store import connect
from saveany.store.db import PREFIX, Db
from saveany.store.workers import Workers

T = TypeVar("T")


async def api_alive(config: Config) -> None:
    """Return if the API of this host answers; raise `Unavailable` if not."""
    url = httpx.URL(scheme="http", host=local_address(config.api.host), port=config.api.port, path="/health")
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            reply = await client.get(url)
    except httpx.TransportError as error:
        raise Unavailable(f"the API does not answer at {url}: {error or type(error).__name__}") from error
    if not reply.is_success:
        raise Unavailable(f"the API answers {reply.status_code} at {url}")


async def worker_alive(config: Config) -> None:
    """Return if a worker of this host was heard of lately; raise `Unavailable` if not."""
    host = socket.gethostname()
    living = await _ask(config, lambda db: Workers(db).living())
    if not any(worker.host == host for worker in living):
        raise Unavailable(f"no worker of {host} was heard of in the last 15 seconds")


async def bot_alive(config: Config) -> None:
    """Return if some process is the bot; raise `Unavailable` if none is. It may be on another host: then the
    one of this host is well, too, and waits for it to go."""
    if not await _ask(config, lambda db: db.do("EXISTS", PREFIX + "bot:lock")):
        raise Unavailable("no process was the bot in the last 15 seconds")


async def _ask(config: Config, question: Callable[[Db], Awaitable[T]]) -> T:
    """What Redis knows."""
    with redis_server(config) as (url, _):
        db = connect(url)
        try:
            return await question(db)
        finally:
            await db.close()


CHECKS: Mapping[str, Callable[[Config], Awaitable[None]]] = {
    "api": api_alive,
    "worker": worker_alive,
    "bot": bot_alive,
}
_USUAL = ["api", "worker"]


async def check(roles: list[str]) -> None:
    """Return if every role is alive; raise a `SaveAnyError` that says what is not."""
    config = load()
    for role in roles:
        await CHECKS[role](config)


def main(arguments: list[str]) -> int:
    """The exit code for these roles."""
    if unknown := set(arguments) - CHECKS.keys():
        sys.stderr.write(f"error: no role {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}\n")
        return 2
    try:
        asyncio.run(check(arguments or _USUAL))
    except SaveAnyError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
