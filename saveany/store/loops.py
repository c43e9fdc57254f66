"""Going on: through outages of Redis, and through data that nobody can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Never, TypeVar

from saveany.errors import ConfigError, StoreDamaged
from saveany.logs import get_logger
from saveany.store.db import TROUBLE

_RETRY_SECONDS = 0.5
#: The same failure of a loop is logged once in so many seconds.
_SAID_SECONDS = 60.0

T = TypeVar("T")

log = get_logger("saveany.store")


async def wait_out_outages(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns. Without Redis nothing can be recorded, and nobody else can take a task either, so
    an outage is waited out."""
    while True:
        try:
            return await call()
        except StoreDamaged:
            raise  # that does not pass by itself
        except TROUBLE:
            await asyncio.sleep(_RETRY_SECONDS)


async def repeat(name: str, step: Callable[[], Awaitable[None]], pause: float) -> Never:
    """`step` again and again, with a pause after each. Nothing ends the loop: an outage makes it wait, and
    what nobody foresaw is logged, with a traceback."""
    said: dict[str, float] = {}
    while True:
        try:
            await step()
        except (Exception, ExceptionGroup) as error:
            _tell(name, error, said)
        await asyncio.sleep(pause)


async def until_done(name: str, step: Callable[[], Awaitable[T]], pause: float) -> T:
    """What `step` returns, tried again after a pause when it fails, as in `repeat`. Only a setting that
    cannot work gets out: `ConfigError`."""
    said: dict[str, float] = {}
    while True:
        try:
            return await step()
        except Exception as error:
            if setting := _setting(error):
                raise setting from None
            _tell(name, error, said)
        await asyncio.sleep(pause)


async def each(things: Iterable[T], step: Callable[[T], Awaitable[None]]) -> None:
    """`step` for each of several, also after one that fails; then raises what has failed, as a group."""
    failed: list[Exception] = []
    for thing in things:
        try:
            await step(thing)
        except Exception as error:
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{type(failed[0]).__name__}: {failed[0]}", failed)


def _tell(name: str, error: Exception, said: dict[str, float]) -> None:
    """Log why a step failed, unless that was said just now."""
    away = _trouble(error)
    words = str(away) if away else f"{type(error).__name__}: {error}"
    if said.get(words, 0.0) > time.monotonic():
        return
    if len(said) > 100:
        said.clear()
    said[words] = time.monotonic() + _SAID_SECONDS
    if away:
        log.warning("waiting for redis", loop=name, reason=words)
    else:
        log.error("a step of a loop failed; the loop goes on", loop=name, exc_info=error)


def _setting(error: Exception) -> ConfigError | None:
    """The setting that cannot work, if that is what an error or a part of a group is."""
    if isinstance(error, ExceptionGroup):
        return next((found for part in error.exceptions if (found := _setting(part))), None)
    return error if isinstance(error, ConfigError) else None


def _trouble(error: Exception) -> Exception | None:
    """The outage that an error is, or that a group consists of."""
    if isinstance(error, ExceptionGroup):
        away, rest = error.split(TROUBLE)
        return None if rest or away is None else _trouble(away.exceptions[0])
    return error if isinstance(error, TROUBLE) else None
