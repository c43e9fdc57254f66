"""Setup shared by the commands that run a part of SaveAny: logging, event loop, Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from saveany import logs
from saveany.config import Config
from saveany.embedded import EmbeddedRedis
from saveany.restart import RestartRequests, begin_again, is_supervised

T = TypeVar("T")


def run_role(config: Config, serve: Callable[[str], Awaitable[None]]) -> None:
    """Run `serve(redis url)` until it returns, and again after a request for a restart. Starts the embedded
    Redis unless another process has."""
    prepare(config)
    requests = RestartRequests(config.data_dir)

    async def main() -> None:
        with redis_server(config) as (url, embedded):
            tasks = [asyncio.create_task(embedded.keep())] if embedded else []
            if not is_supervised():
                tasks.append(asyncio.create_task(requests.wait(_stop)))
            try:
                await serve(url)
            finally:
                for task in tasks:
                    task.cancel()

    run_async(main())
    if requests.is_requested:
        begin_again()


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def prepare(config: Config) -> None:
    """Set up logging as configured, and mask the secrets of the configuration in it."""
    logs.keep_tail()
    logs.setup(config.log.level, config.log.format)
    for secret in config.secrets():
        logs.register_secret(secret)


@contextlib.contextmanager
def redis_server(config: Config) -> Iterator[tuple[str, EmbeddedRedis | None]]:
    """The URL of the Redis to use, and the embedded server if it is used."""
    if config.redis.url != "embedded":
        yield config.redis.url, None
        return
    embedded = EmbeddedRedis(config.data_dir, config.redis.fsync)
    try:
        yield embedded.start(), embedded
    finally:
        embedded.stop()


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, on uvloop if it is installed."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes event loops: those of uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
