"""Converting saved videos to MP4 files that play before all of them is there: without loss, by tasks."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from saveany.config import Config
from saveany.errors import ConfigError, InvalidInput
from saveany.ids import new_id
from saveany.models import Item, Status, Task, TaskSpec, title
from saveany.service.files import FileService
from saveany.service.principal import Principal
from saveany.service.tasks import TaskService
from saveany.store import Store
from saveany.texts import Text
from storages import registry

if TYPE_CHECKING:
    from saveany.catalogue import SavedFile
    from saveany.catalogue.catalogue import Catalogue

#: The type of the tasks.
TYPE: Final = "convert"
#: They wait for other tasks.
_PRIORITY: Final = -50
#: Number of failed ones that are looked up.
_FAILED: Final = 100
#: Endings of videos that are converted. Browsers play WebM as it is.
_ENDINGS: Final = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".flv", ".ts", ".m2ts", ".mpg", ".mpeg", ".3gp", ".wmv")
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A task, and the file that it converts."""

    task: Task
    file: SavedFile


class ConversionService:
    """The operations on conversions, if the configuration enables them."""

    def __init__(
        self, config: Config, store: Store, catalogue: Catalogue, tasks: TaskService, files: FileService
    ) -> None:
        self.is_enabled = config.convert.enable
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._tasks = tasks
        self._files = files

    async def note_saved(self, saved: Sequence[tuple[Task, Item]]) -> None:
        """Convert videos among the files that were just saved. Repeated calls create no second task."""
        for task, item in saved:
            is_new = task.spec.type != TYPE and task.status is Status.COMPLETED and item.duplicate is None
            storage = item.storage or task.spec.storage
            if is_new and _is_video(item.copy_path) and self._is_readable(storage):
                await self._submit(task.spec.user_id, storage, item.copy_path, task.id, item.index)

    async def start(self, principal: Principal, file_id: str) -> None:
        """Convert a file. Raises `NotFound` for one of another user, and `InvalidInput` for one that cannot
        be converted."""
        file = await self._files.get(principal, file_id)
        if not self.is_enabled:
            raise InvalidInput("conversions are off; see [convert] in config.toml")
        is_possible = _is_video(file.path) and self._is_readable(file.storage)
        if not is_possible or file.task_id is None or file.item is None:
            raise InvalidInput("this file is no video that can be converted")
        await self._submit(file.user_id, file.storage, file.path, file.task_id, file.item)

    async def live(self, principal: Principal) -> list[Conversion]:
        """Those that have not ended, oldest first."""
        return await self._of([task for task in await self._tasks.list(principal) if task.spec.type == TYPE])

    async def failed(self, principal: Principal) -> list[Conversion]:
        """The newest ones that have failed."""
        from saveany.catalogue import HistoryFilter

        wanted = HistoryFilter(type=TYPE, status="failed")
        return await self._of((await self._tasks.history.page(principal, wanted, _FAILED)).tasks)

    def _is_readable(self, storage: str) -> bool:
        """Whether files can be read back from a storage."""
        options = self._config.storage(storage)
        try:
            return options is not None and registry.capabilities(options.type).reads
        except ConfigError:  # only workers have what this type needs
            return True

    async def _of(self, tasks: Sequence[Task]) -> list[Conversion]:
        """The tasks with their files, without those whose files are gone."""
        found = []
        for task in tasks:
            original, item = str(task.spec.params.get("task")), int(task.spec.params.get("item", 0))
            for file in await self._catalogue.files.of_task(original, item, 1):
                if file.item == item:
                    found.append(Conversion(task, file))
        return found

    async def _submit(self, user_id: int, storage: str, path: str, task_id: str, item: int) -> None:
        name = posixpath.basename(path)
        spec = TaskSpec(
            id=new_id(),
            type=TYPE,
            links=(path,),
            user_id=user_id,
            storage=storage,
            path=posixpath.dirname(path),
            priority=_PRIORITY,
            params={"task": task_id, "item": item},
        )
        subject = title(TYPE, name, storage, spec.path)
        key = f"{TYPE}:{task_id}-{item}"
        await self._store.tasks.accept(spec, subject, subject=Text(name), key=key)


def _is_video(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in _ENDINGS
