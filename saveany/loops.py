"""Loops that no error ends: they wait out outages of Redis and log unexpected errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from saveany.errors import CatalogueUnavailable, ConfigError, SaveAnyError, StoreDamaged, Unavailable
from saveany.logs import get_logger

#: Seconds before a step that failed is tried again.
RETRY_SECONDS = 0.5
#: Seconds during which the same failure of a loop is not logged again.
_REPEATED_SECONDS = 60.0
#: Number of failures that a loop remembers.
_REMEMBERED = 100

T = TypeVar("T")

log = get_logger("saveany.loops")


class Signal:
    """Ends the waits of loops of this process at once, so that they need not check again and again."""

    def __init__(self, *others: Signal) -> None:
        """`others` are sent whenever this one is."""
        #: Number of times that it was sent.
        self.count = 0
        self._others = others
        self._waits: set[asyncio.Timeout] = set()

    def send(self) -> None:
        """End all current waits."""
        self.count += 1
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(asyncio.get_running_loop().time())
        for other in self._others:
            other.send()

    @asynccontextmanager
    async def interrupts(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Cancel what the block waits for, without an error, when the signal is sent or after `seconds`."""
        wait = asyncio.timeout(seconds)
        try:
            async with wait:
                self._waits.add(wait)
                yield
        except TimeoutError:
            if not wait.expired():
                raise
        finally:
            self._waits.discard(wait)

    async def wait(self, seconds: float | None = None, *, since: int | None = None) -> None:
        """Wait until the signal is sent, or for `seconds`. `since` is an earlier `count`: if the signal was
        sent after it, there is nothing to wait for."""
        if since in (None, self.count):
            async with self.interrupts(seconds):
                await asyncio.get_running_loop().create_future()


async def wait_out_outages(call: Callable[[], Awaitable[T]]) -> T:
    """The result of `call`, which is repeated until Redis is available. Waiting costs nothing: without Redis
    no other worker can take the task either. Raises `StoreDamaged`, because retries do not repair it."""
    while True:
        try:
            return await call()
        except StoreDamaged:
            raise
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)


async def wait_for_store(name: str, call: Callable[[], Awaitable[T]], pause: float) -> T:
    """The result of `call`, which is repeated every `pause` seconds while Redis is unavailable or has a
    damaged record that the call needs. The reason is logged, with `name`."""
    failures = _FailureLog(name)
    while True:
        try:
            return await call()
        except Unavailable as error:
            failures.write(error)
        await asyncio.sleep(pause)


async def repeat(
    name: str,
    step: Callable[[], Awaitable[None]],
    pause: float = 0.0,
    *,
    retry: float = RETRY_SECONDS,
    until: asyncio.Event | None = None,
) -> None:
    """Run `step` again and again, about `pause` seconds apart, until canceled or `until` is set.

    Pauses of a second or more end at a full second of the system's clock, so that the loops of all processes
    wake up at the same time: waking a processor costs more than most steps.

    No error ends the loop. After an error it waits `retry` seconds, or longer if the error asks for that. An
    expected error is logged in one line, an unexpected one with its traceback.
    """
    failures = _FailureLog(name)
    stop = until or asyncio.Event()
    while not stop.is_set():
        try:
            await step()
        except Exception as error:
            failures.write(error)
            after = error.after if isinstance(error, SaveAnyError) else 0.0
            wait = max(pause, retry, after)
        else:
            wait = to_full_second(pause)
        await _sleep(wait, stop)


def to_full_second(seconds: float) -> float:
    """A wait of about `seconds` that ends at a full second; unchanged below one second."""
    now = time.monotonic()
    return seconds if seconds < 1 else round(now + seconds) - now


async def until_done(
    name: str, step: Callable[[], Awaitable[T]], pause: float, *, max_pause: float = 0.0
) -> T:
    """The result of `step`, which is tried every `pause` seconds until it succeeds, or more and more rarely,
    up to every `max_pause` seconds. Failures are handled as in `repeat`, except for a wrong setting, which no
    retry corrects: `ConfigError` is raised."""
    failures = _FailureLog(name)
    while True:
        try:
            return await step()
        except Exception as error:
            if wrong_setting := _config_error(error):
                raise wrong_setting from None
            failures.write(error)
            after = error.after if isinstance(error, SaveAnyError) else 0.0
        await asyncio.sleep(max(pause, after))
        pause = max(pause, min(2 * pause, max_pause))


async def run_for_each(things: Iterable[T], step: Callable[[T], Awaitable[None]]) -> None:
    """Run `step` for each of `things`, even if it fails for some. Then raise all errors as a group."""
    errors: list[Exception] = []
    for thing in things:
        try:
            await step(thing)
        except Exception as error:
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"{type(errors[0]).__name__}: {errors[0]}", errors)


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Wait `seconds`, but not longer than until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


class _FailureLog:
    """Logs the failures of one loop, each at most once a minute."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._silent_until: dict[str, float] = {}

    def write(self, error: Exception) -> None:
        """Log why a step failed, unless the same was logged within the last minute."""
        outage = _outage(error)
        reason = str(outage) if outage else f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if self._silent_until.get(reason, 0.0) > now:
            return
        if len(self._silent_until) >= _REMEMBERED:
            self._silent_until.clear()
        self._silent_until[reason] = now + _REPEATED_SECONDS
        if outage:
            database = "catalogue" if isinstance(outage, CatalogueUnavailable) else "redis"
            log.warning(f"waiting_for_{database}", loop=self._loop, reason=reason)
        elif isinstance(error, SaveAnyError):
            log.warning("loop_step_failed", loop=self._loop, reason=error.message)
        else:
            log.error("loop_step_failed", loop=self._loop, exc_info=error)


def _config_error(error: Exception) -> ConfigError | None:
    """The `ConfigError` that an error is, or the first one in a group."""
    if isinstance(error, ExceptionGroup):
        return next((found for part in error.exceptions if (found := _config_error(part))), None)
    return error if isinstance(error, ConfigError) else None


def _outage(error: Exception) -> Exception | None:
    """The outage that an error is, or the first one of a group that consists of outages only."""
    if isinstance(error, ExceptionGroup):
        outages, others = error.split(Unavailable)
        return None if others or outages is None else _outage(outages.exceptions[0])
    return error if isinstance(error, Unavailable) else None
