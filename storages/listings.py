"""Listings of folders: callers that wait at the same time share one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedListings(Generic[T]):
    """Reads folders, each once at a time. Who asks while a folder is being read waits for the next reading,
    because this one may have passed what is searched: a listing always begins after it was asked for."""

    def __init__(self, read: Callable[[str], Awaitable[T]]) -> None:
        self._read = read
        self._next: dict[str, asyncio.Task[T]] = {}  # by folder
        self._reading: dict[str, asyncio.Task[T]] = {}

    async def of(self, folder: str) -> T:
        """The listing of a folder, or the error of its reading, which others may share."""
        task = self._next.get(folder)
        if task is None:
            task = self._next[folder] = asyncio.create_task(self._run(folder))
            task.add_done_callback(lambda done: self._ended(folder, done))
        return await asyncio.shield(task)

    async def _run(self, folder: str) -> T:
        if before := self._reading.get(folder):
            await asyncio.wait([before])
        self._reading[folder] = self._next.pop(folder)
        return await self._read(folder)

    def _ended(self, folder: str, task: asyncio.Task[T]) -> None:
        for tasks in (self._next, self._reading):
            if tasks.get(folder) is task:
                del tasks[folder]
        if not task.cancelled():
            task.exception()  # mark as retrieved: every caller may have been canceled
