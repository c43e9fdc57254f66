"""Reading tasks, wherever they are: live ones are in the store, ended ones soon only in the catalogue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saveany.errors import NotFound
from saveany.models import Item, Task
from saveany.service.principal import Principal
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

#: Seconds between the first two checks whether a task has ended, and between the last ones.
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.02, 0.5


class TaskReader:
    """Tasks and their items by id."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    async def get(self, task_id: str) -> Task | None:
        """The task, or None if it does not exist or cannot be read."""
        if task := await self._store.tasks.get(task_id):
            return task
        found = await self._catalogue.history.get_many([task_id])
        return found[0] if found else None

    async def visible(self, principal: Principal, task_id: str) -> Task:
        """The task. Raises `NotFound` if it does not exist, or belongs to a user whose tasks the principal
        may not see."""
        task = await self.get(task_id)
        if task is None or not principal.may_access(task.spec.user_id):
            raise unknown_task(task_id)
        return task

    async def get_many(self, task_ids: Sequence[str]) -> list[Task]:
        """The tasks with these ids that exist and can be read, in the order of `task_ids`."""
        found = {task.id: task for task in await self._store.tasks.get_many(list(task_ids))}
        if missing := [task_id for task_id in task_ids if task_id not in found]:
            found |= {task.id: task for task in await self._catalogue.history.get_many(missing)}
        return [found[task_id] for task_id in task_ids if task_id in found]

    async def bring_back(self, task_id: str) -> None:
        """Write an ended task to Redis again, if it has left it, so that it can be retried."""
        if not await self._store.tasks.exists(task_id):
            await self._catalogue.history.restore(task_id)

    async def ended(self, principal: Principal, task_id: str, seconds: float) -> Task:
        """The task once it has ended, or as it is after so many seconds."""
        until, pause = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS
        while not (task := await self.visible(principal, task_id)).status.ended and time.monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _MAX_PAUSE_SECONDS)
        return task

    async def items(self, task_id: str, start: int = 0, limit: int = 100) -> list[Item]:
        """Up to `limit` items of a task from index `start` on."""
        if found := await self._store.tasks.items(task_id, start, limit):
            return found
        if await self._store.tasks.exists(task_id):
            return []
        return await self._catalogue.history.items(task_id, start, limit)

    async def all_items(self, task_id: str) -> list[Item]:
        """Every item of a task, by index."""
        if await self._store.tasks.exists(task_id):
            return await self._store.tasks.all_items(task_id)
        return await self._catalogue.history.items(task_id)


def unknown_task(task_id: str) -> NotFound:
    """The error for a task that does not exist."""
    return NotFound("there is no task {task}", task=task_id)
