"""Tells when tasks end, of which more may be added at any time.

Events tell at once. A look at the unfinished tasks from time to time finds those whose events were missed, or
all of them where event streams do not work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Final

from saveany.cli.client import ApiClient, Json
from saveany.cli.follow import follow_all
from saveany.errors import RequestError

#: Seconds between two looks.
_LOOK_SECONDS: Final = 2.0
#: Tasks whose ends are handled at the same time.
_AT_ONCE: Final = 6


class TaskEnds:
    """Waits for the tasks that are added."""

    def __init__(
        self,
        api: ApiClient,
        live: Callable[[], Awaitable[list[Json]]],
        ended: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`live` returns the unfinished tasks. `ended` is called for tasks that have ended or, rarely, have
        not: it returns whether they have."""
        self._api = api
        self._live = live
        self._ended = ended
        self._awaited: set[str] = set()
        self._seen_ended: set[str] = set()  # also tasks that are not awaited, or will be in a moment
        self._candidates: asyncio.Queue[str] = asyncio.Queue()

    def add(self, task_id: str, *, has_ended: bool = False) -> None:
        """Wait for the end of this task."""
        self._awaited.add(task_id)
        if has_ended or task_id in self._seen_ended:
            self._candidates.put_nowait(task_id)

    async def run(self) -> None:
        """Wait, until this is canceled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._look())
            for _ in range(_AT_ONCE):
                group.create_task(self._handle())

    async def _listen(self) -> None:
        with suppress(RequestError):  # without events, looks suffice
            async with aclosing(follow_all(self._api)) as events:
                async for event in events:
                    if event.ended:
                        self._seen_ended.add(event.task_id)
                        if event.task_id in self._awaited:
                            self._candidates.put_nowait(event.task_id)

    async def _look(self) -> None:
        pause = _LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            if not self._awaited:
                continue
            begun, awaited = time.monotonic(), set(self._awaited)
            for task_id in awaited.difference([task["task_id"] for task in await self._live()]):
                self._candidates.put_nowait(task_id)
            pause = max(_LOOK_SECONDS, 5 * (time.monotonic() - begun))

    async def _handle(self) -> None:
        while True:
            task_id = await self._candidates.get()
            if task_id in self._awaited:
                self._awaited.discard(task_id)  # so that it is handled once
                if not await self._ended(task_id):
                    self._awaited.add(task_id)
