"""The one place where steps of a task are retried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from saveany.errors import Offline, Retryable, SaveAnyError
from saveany.logs import get_logger
from saveany.storage_set import StorageHandle
from saveany.texts import Text
from workers.progress import ProgressMeter

#: A task that must wait for more seconds than this frees its slot for other tasks.
LONG_WAIT = 30.0
#: Seconds until a task whose storage or network is down is claimed again. A storage that works again ends the
#: wait sooner. Longer than `LONG_WAIT`, so that the slot is freed.
_OUTAGE_WAIT = 31.0

T = TypeVar("T")

log = get_logger("saveany.job")


class StorageOutage(Retryable):
    """A storage that the task needs does not work now."""

    def __init__(self, text: Text, storage: str) -> None:
        super().__init__(text, after=_OUTAGE_WAIT)
        self.storage = storage


class Retries:
    """Runs steps of one task until they succeed, as long as their errors may be temporary."""

    def __init__(self, task_id: str, meter: ProgressMeter, attempts: int) -> None:
        self._task_id = task_id
        self._meter = meter
        self.attempts = attempts

    async def run(
        self,
        step: Callable[[], Awaitable[T]],
        suspects: Callable[[SaveAnyError], list[StorageHandle]],
    ) -> T:
        """The result of `step`, which is called at most `attempts` times; a wait that the other side asked
        for does not count as a failed attempt.

        `suspects` returns the storages that may have caused an error by being unavailable. If one of them
        does not work, raises `StorageOutage`: that is no fault of the task, which waits until it works again.
        """
        failures = 0
        while True:
            try:
                return await step()
            except SaveAnyError as error:
                if not error.retryable:
                    raise
                await _check_outage(error, suspects(error))
                failures += not error.after
                if error.after > LONG_WAIT or failures >= self.attempts:
                    raise
                log.info("retry_scheduled", task=self._task_id, reason=error.message, after=error.after)
                reason, wait = error.text, error.after or min(8.0, 0.5 * 2**failures)
            with self._meter.waiting_for_retry(reason):
                await asyncio.sleep(wait)


async def _check_outage(error: SaveAnyError, suspects: list[StorageHandle]) -> None:
    """Raise an error that frees the slot, if a storage or the network is down."""
    for handle in suspects:
        if not await handle.probe():
            raise StorageOutage(error.text, handle.storage.name) from error
    if isinstance(error, Offline):
        raise Retryable(error.text, after=_OUTAGE_WAIT) from error
