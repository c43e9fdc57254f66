"""Reading and forgetting ended tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from saveany.errors import WrongState
from saveany.service.principal import Principal
from saveany.service.reading import TaskReader, unknown_task
from saveany.store.results import EraseResult

if TYPE_CHECKING:
    from saveany.catalogue import HistoryFilter, HistoryPage
    from saveany.catalogue.catalogue import Catalogue


class TaskHistory:
    """The operations on ended tasks. They raise as those of `TaskService`."""

    def __init__(self, catalogue: Catalogue, reader: TaskReader) -> None:
        self._catalogue = catalogue
        self._reader = reader

    async def page(
        self, principal: Principal, wanted: HistoryFilter, limit: int = 50, cursor: str = ""
    ) -> HistoryPage:
        """At most `limit` ended tasks after `cursor`, newest first."""
        visible = replace(wanted, user_id=principal.visible_user(wanted.user_id))
        return await self._catalogue.history.page(visible, limit, cursor)

    async def remove(self, principal: Principal, task_id: str) -> None:
        """Remove an ended task from the history; its files stay. Raises `WrongState` if it has not ended, or
        if a worker has not removed its unfinished files yet."""
        if not principal.is_operator:  # to whom the result below tells that there is no such task
            await self._reader.visible(principal, task_id)
        result = await self._catalogue.history.remove(task_id)
        if result is EraseResult.LIVE:
            raise WrongState("task {task} has not ended; cancel it first", task=task_id)
        if result is EraseResult.CLEANING:
            raise WrongState(
                "a worker has to remove the unfinished files of task {task} first; try again in a moment",
                task=task_id,
            )
        if result is EraseResult.UNKNOWN:
            raise unknown_task(task_id)

    async def clear(self, principal: Principal, user_id: int | None = None) -> int:
        """Remove all ended tasks that the principal may see, or those of a user, as `remove` does; returns
        how many. Raises `NotFound` for a user for whom the principal may not act."""
        return await self._catalogue.history.clear(principal.visible_user(user_id))
