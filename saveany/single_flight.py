"""Calls that overlap share one execution."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Runs work at most once at a time for each key. Callers with a key that is in flight share its result,
    or its error."""

    def __init__(self) -> None:
        self._in_flight: dict[Hashable, asyncio.Task[Any]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, or of the call with the same key that is in flight. It runs to its end even
        if callers are canceled, because others may wait for it."""
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.ensure_future(_awaited(work))
            self._in_flight[key] = task
            task.add_done_callback(lambda done: self._remove(key, done))
        result: T = await asyncio.shield(task)
        return result

    def reset(self) -> None:
        """Share nothing that is in flight with later callers, because its result may be outdated."""
        self._in_flight.clear()

    async def close(self) -> None:
        """Cancel what is in flight."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _remove(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        if self._in_flight.get(key) is done:
            del self._in_flight[key]
        if not done.cancelled():
            done.exception()  # mark as retrieved: every caller may have been canceled


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
