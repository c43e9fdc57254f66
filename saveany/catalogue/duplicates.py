"""Finding files that were saved before, for workers, which do not open the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Never

from sqlalchemy import ColumnElement, and_, not_, select

from saveany.catalogue.database import Database
from saveany.catalogue.files import Files
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.tables import files
from saveany.errors import SaveAnyError
from saveany.logs import get_logger
from saveany.models import Duplicate
from saveany.store import Store
from saveany.store.duplicates import DuplicateQuery

#: Maximum number of files whose copies are looked for, the oldest first.
_MAX_TRIED = 5
_NONE: Mapping[int, Duplicate] = {}

log = get_logger("saveany.catalogue")


class Duplicates:
    """Finds saved files by Telegram's id of them, or by their content."""

    def __init__(self, database: Database, store: Store, recorder: Recorder, saved: Files) -> None:
        self._database = database
        self._store = store
        self._recorder = recorder
        self._files = saved

    async def reply_forever(self) -> Never:
        """Reply to workers until canceled, to several at a time."""
        async with asyncio.TaskGroup() as group:
            while True:
                if query := await self._store.duplicates.next():
                    group.create_task(self._reply(query))

    async def by_document(self, user_id: int, documents: Mapping[int, int | None]) -> Mapping[int, Duplicate]:
        """The first files of a user with these ids of Telegram, whether or not their copies are there. The
        values of `documents` are sizes, as far as they are known."""
        if not documents:
            return _NONE
        await self._recorder.catch_up()
        found: dict[int, Duplicate] = {}
        async with self._database.read() as connection:
            query = select(files.c.document, *_COLUMNS).where(*_of(user_id), files.c.document.in_(documents))
            for row in await connection.execute(query.order_by(*_OLDEST_FIRST)):
                if documents[row.document] in (None, row.size):
                    found.setdefault(row.document, _duplicate(row))
        return found

    async def find(self, query: DuplicateQuery) -> Duplicate | None:
        """The first file that is the same, and whose copy is there."""
        await self._recorder.catch_up()
        for found in await self._candidates(query):
            if await self._has_copy(found):
                return found
        return None

    async def _reply(self, query: DuplicateQuery) -> None:
        found = None
        try:
            found = await self.find(query)
        except SaveAnyError as error:  # then the file is saved
            log.info("duplicate_not_looked_for", task=query.task, reason=error.message)
        except Exception:
            log.exception("duplicate_not_looked_for", task=query.task)
        await self._store.duplicates.reply(query, found)

    async def _candidates(self, query: DuplicateQuery) -> Sequence[Duplicate]:
        itself = and_(files.c.task_id == query.task, files.c.item == query.item)
        where = [*_of(query.user_id), not_(itself)]
        where.append(files.c.sha256 == query.sha256 if query.sha256 else files.c.document == query.document)
        if query.size is not None:
            where.append(files.c.size == query.size)
        async with self._database.read() as connection:
            found = select(*_COLUMNS).where(*where).order_by(*_OLDEST_FIRST).limit(_MAX_TRIED)
            return [_duplicate(row) for row in await connection.execute(found)]

    async def _has_copy(self, found: Duplicate) -> bool:
        """Whether a worker finds the copy."""
        result = await self._store.queries.send(found.storage, "size", {"path": found.path})
        if result.error:
            return False
        if result.result != found.size:
            await self._files.note_copy(found.file_id, missing=True)
        return bool(result.result == found.size)


_COLUMNS = [files.c.id, *(files.c[name] for name in ("name", "storage", "path", "size", "sha256"))]
_OLDEST_FIRST = files.c.added_at, files.c.id


def _of(user_id: int) -> list[ColumnElement[bool]]:
    return [files.c.user_id == user_id, files.c.deleted_at.is_(None)]


def _duplicate(row: object) -> Duplicate:
    fields = {name: getattr(row, name) for name in ("name", "storage", "path", "size", "sha256")}
    return Duplicate(file_id=row.id, **fields)  # type: ignore[attr-defined]
