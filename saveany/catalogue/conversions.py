"""Replaces the copy of a saved file by a converted one."""

from __future__ import annotations

import posixpath
from typing import Any, Final

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.search import fold
from saveany.catalogue.tables import files
from saveany.models import Task

#: The type of the tasks that convert files.
TYPE: Final = "convert"
#: The columns that describe a copy.
_COPY: Final = (
    *("size", "mime", "kind", "sha256", "sha1", "storage", "path", "reference", "page", "origin"),
    "missing_at",
)


async def replace_copy(connection: AsyncConnection, task: Task, converted: str) -> None:
    """Give the file that a task has converted the copy of the file `converted`, which gets the old copy and
    goes to the trash: until it leaves that, nothing is lost. If the file is gone, or has another copy by now,
    the converted one goes to the trash."""
    params = task.spec.params
    same = files.c.task_id == params.get("task"), files.c.item == params.get("item")
    old = (await connection.execute(select(files).where(*same))).one_or_none()
    new = (await connection.execute(select(files).where(files.c.id == converted))).one()
    place = (task.spec.storage, task.spec.links[0])
    if old is None or old.deleted_at is not None or (old.storage, old.path) != place:
        await _update(connection, converted, {"deleted_at": task.updated_at})
        return
    name = posixpath.splitext(old.name)[0] + posixpath.splitext(new.name)[1]
    await _update(
        connection,
        old.id,
        {**_copy(new), "name": name, "search": fold(name, old.caption), "converted_by": task.id},
    )
    kept = {"name": old.name, "search": fold(old.name, ""), "folder_id": old.folder_id}
    kept["converted_by"] = task.id  # so that recording the task again changes nothing
    await _update(connection, converted, {**_copy(old), **kept, "deleted_at": task.updated_at})


def _copy(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _COPY}


async def _update(connection: AsyncConnection, file_id: str, values: dict[str, Any]) -> None:
    await connection.execute(update(files).where(files.c.id == file_id).values(values))
