"""Tasks as "remote uploads" of another host, which has a list of them with small numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from saveany.errors import NotFound, WrongState
from saveany.models import Status, Task
from saveany.net.guard import is_refused_url
from saveany.planning.requests import TaskRequest
from saveany.service.principal import Principal
from saveany.service.reading import TaskReader
from saveany.service.tasks import TaskService
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.catalogue import SavedFile
    from saveany.catalogue.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """A task, and the first file that it has saved."""

    number: int
    task: Task
    file: SavedFile | None = None
    is_refused: bool = False  # it has failed because its URL leads to a private address


class RemoteUploadService:
    """The operations on the remote uploads of a user. Those of others do not exist for them (`NotFound`)."""

    def __init__(self, store: Store, catalogue: Catalogue, tasks: TaskService, reader: TaskReader) -> None:
        self._listed = store.remote_uploads
        self._catalogue = catalogue
        self._tasks = tasks
        self._reader = reader

    async def add(self, principal: Principal, request: TaskRequest) -> int:
        """Create a task; returns its number. Raises as `TaskService.submit`."""
        accepted = await self._tasks.submit(principal, request)
        return await self._listed.add(_user(principal), accepted.id)

    async def newest(self, principal: Principal, limit: int) -> list[RemoteTask]:
        """At most `limit` remote uploads, newest first."""
        numbers = await self._listed.newest(_user(principal), limit)
        tasks = {task.id: task for task in await self._reader.get_many(list(numbers.values()))}
        found = ((number, tasks[task_id]) for number, task_id in numbers.items() if task_id in tasks)
        return [await self._with_file(number, task) for number, task in found]

    async def get(self, principal: Principal, number: int) -> RemoteTask:
        """The remote upload with this number."""
        task = await self._reader.get(await self._id(principal, number))
        if task is None:
            raise _unknown(number)
        return await self._with_file(number, task)

    async def remove(self, principal: Principal, number: int) -> None:
        """Cancel a remote upload unless it has ended, and list it no more. Its file stays."""
        try:
            await self._tasks.cancel(principal, await self._id(principal, number))
        except WrongState:
            pass  # it has ended
        except NotFound:
            if await self._listed.find(_user(principal), number) is None:
                raise
        await self._listed.remove(_user(principal), number)

    async def remove_all(self, principal: Principal) -> None:
        """The same for all of the user's."""
        for number in await self._listed.newest(_user(principal), 0):
            await self.remove(principal, number)

    async def _id(self, principal: Principal, number: int) -> str:
        task_id = await self._listed.find(_user(principal), number)
        if task_id is None:
            raise _unknown(number)
        return task_id

    async def _with_file(self, number: int, task: Task) -> RemoteTask:
        if task.status is Status.FAILED:
            items = await self._reader.items(task.id, 0, 1)
            texts = [task.error_text, *(item.error_text for item in items)]
            return RemoteTask(number, task, is_refused=any(text and is_refused_url(text) for text in texts))
        if task.status is not Status.COMPLETED:
            return RemoteTask(number, task)
        files = await self._catalogue.files.of_task(task.id, 0, 1)
        return RemoteTask(number, task, next(iter(files), None))


def _user(principal: Principal) -> int:
    if principal.user_id is None:
        raise ValueError("remote uploads belong to a user")
    return principal.user_id


def _unknown(number: int) -> NotFound:
    return NotFound("there is no remote upload {number}", number=number)
