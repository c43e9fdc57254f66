"""`python -m saveany.cli.health [api] [worker] [bot]`: the health check of a container.

The exit code is 0 if each named role (default: api and worker) is alive on this host, else 1 with the reason
on stderr. The API is alive if it replies at `/health`, a worker if its heartbeat in Redis is fresh, the bot
if its lock in Redis is held and it has started to receive messages. All three depend on the event loop of the
process, so a process that hangs is not alive.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx

from saveany import first_run
from saveany.cli.role import redis_server
from saveany.config import Config, load
from saveany.config.values import local_address
from saveany.errors import SaveAnyError, Unavailable
from saveany.store import connect, keys
from saveany.store.db import Db
from saveany.store.workers import Workers

T = TypeVar("T")


async def api_alive(config: Config) -> None:
    """Raise `Unavailable` unless the API of this host replies."""
    url = httpx.URL(scheme="http", host=local_address(config.api.host), port=config.api.port, path="/health")
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            reply = await client.get(url)
    except httpx.TransportError as error:
        raise Unavailable("the API does not reply at {url}", url=str(url)) from error
    if not reply.is_success:
        raise Unavailable(
            "the API replies with HTTP {status} at {url}", status=reply.status_code, url=str(url)
        )


async def worker_alive(config: Config) -> None:
    """Raise `Unavailable` unless a worker of this host has sent a heartbeat in the last 15 seconds."""
    host = socket.gethostname()
    living = await _query(config, lambda db: Workers(db).living())
    if not any(worker.host == host for worker in living):
        raise Unavailable("no worker of {host} has sent a heartbeat in the last 15 seconds", host=host)


async def bot_alive(config: Config) -> None:
    """Raise `Unavailable` unless a bot is active and receives messages. It may be on another host: the bot of
    this host is healthy while it waits to take over."""
    lock, position = keys.BOT_LOCK(), keys.BOT_POSITION()
    is_active, receives = await _query(config, lambda db: db.many([("EXISTS", lock), ("EXISTS", position)]))
    if not is_active:
        raise Unavailable("no bot has been active in the last 15 seconds")
    if not receives:
        raise Unavailable("the bot has not received anything from Telegram yet; see its log")


async def _query(config: Config, query: Callable[[Db], Awaitable[T]]) -> T:
    """The result of a query to Redis."""
    with redis_server(config) as (url, _):
        db = connect(url)
        try:
            return await query(db)
        finally:
            await db.close()


CHECKS: Mapping[str, Callable[[Config], Awaitable[None]]] = {
    "api": api_alive,
    "worker": worker_alive,
    "bot": bot_alive,
}
_DEFAULT_ROLES = ["api", "worker"]


async def check(roles: list[str]) -> None:
    """Raise a `SaveAnyError` with the reason unless every role is alive."""
    if first_run.is_needed(None):  # the others wait for the API, which serves the setup
        if "api" in roles:
            await api_alive(load(None, first_run.without_host(os.environ)))
        return
    config = load()
    for role in roles:
        await CHECKS[role](config)


def main(arguments: list[str]) -> int:
    """Check the roles in `arguments` and return the exit code."""
    if unknown := set(arguments) - CHECKS.keys():
        sys.stderr.write(
            f"error: there is no role {', '.join(sorted(unknown))}; known roles: {', '.join(CHECKS)}\n"
        )
        return 2
    try:
        asyncio.run(check(arguments or _DEFAULT_ROLES))
    except SaveAnyError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
