"""Saved files: pages, single files and sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.cursors import after, make_cursor, parse_cursor
from saveany.catalogue.database import Database
from saveany.catalogue.folders import check_folder, check_free, checked_name
from saveany.catalogue.listing import Listing, Rows
from saveany.catalogue.models import FileFilter, FileOrder, FilePage, FileStats, ListedFile, SavedFile
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.search import fold
from saveany.catalogue.tables import clean, files
from saveany.errors import NotFound

_DAY_MS = 24 * 3600 * 1000
#: What a `SavedFile` needs.
COLUMNS = [files.c[name] for name in SavedFile.__struct_fields__]
_LISTED = [files.c[name] for name in ListedFile.__struct_fields__]
#: Column and direction of each order.
_ORDERS = {
    FileOrder.OLDEST: ("added_at", False),
    FileOrder.NEWEST: ("added_at", True),
    FileOrder.NAME: ("name", False),
    FileOrder.NAME_DESCENDING: ("name", True),
    FileOrder.SMALLEST: ("size", False),
    FileOrder.LARGEST: ("size", True),
}


class Files:
    """Reading and changing saved files. Files in the trash are left out."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def page(
        self, wanted: FileFilter, limit: int = 50, cursor: str = "", skip: int | None = None
    ) -> FilePage:
        """At most `limit` files after `cursor`. A page of a search may have fewer, even none, and still a
        cursor. With `skip`, which is not for searches, as many files are left out, and all are counted.

        They include all files that were saved before this call. Raises `InvalidInput` for an invalid cursor.
        """
        column, descending = _ORDERS[wanted.order]
        start = parse_cursor(cursor, str if column == "name" else int)
        if start is None and wanted.start and column == "name":
            start = wanted.start, ""
        await self._recorder.catch_up()
        listing = Listing(files, column, descending=descending)
        async with self._database.read() as connection:
            page = await listing.page(connection, _conditions(wanted), wanted.q, start, limit, skip or 0)
            found = await read_page(connection, page)
            if skip is None:
                return found
            return replace(found, total=await listing.count(connection, _conditions(wanted), start))

    async def listed(
        self, user_id: int, folder_id: int, start: tuple[str, str], limit: int
    ) -> list[ListedFile]:
        """At most `limit` files of a user in a folder, by name and id, after those of `start`. A folder with
        many files is read in half of the time that `page` takes."""
        where = _conditions(FileFilter(user_id=user_id, folder_id=folder_id))
        query = after(select(*_LISTED).where(*where), files.c.name, files.c.id, start, descending=False)
        await self._recorder.catch_up()
        async with self._database.read() as connection:
            return [ListedFile(**row._mapping) for row in await connection.execute(query.limit(limit))]

    async def note_copy(self, file_id: str, *, missing: bool) -> None:
        """Record that the copy of a file was deleted or changed from outside, or that it is there again."""
        now = await self._recorder.time_ms() if missing else None
        async with self._database.write() as connection:
            await connection.execute(update(files).where(files.c.id == file_id).values(missing_at=now))

    async def get(self, file_id: str) -> SavedFile | None:
        """The file with this id, None if there is none."""
        await self._recorder.catch_up()
        async with self._database.read() as connection:
            return await _found(connection, file_id)

    async def of_task(self, task_id: str, start: int, limit: int) -> list[SavedFile]:
        """At most `limit` files that a task has saved, by item, from item `start` on."""
        await self._recorder.catch_up()
        where = files.c.task_id == task_id, files.c.item >= start, files.c.deleted_at.is_(None)
        query = select(*COLUMNS).where(*where).order_by(files.c.item).limit(limit)
        async with self._database.read() as connection:
            return [SavedFile(**row._mapping) for row in await connection.execute(query)]

    async def change(
        self,
        file_id: str,
        *,
        name: str | None = None,
        folder_id: int | None = None,
        caption: str | None = None,
        same_name: bool = False,
    ) -> SavedFile:
        """Rename a file, move it to another folder of its user or change its caption; None leaves it as it
        is. The copy in the storage keeps its path. With `same_name` another file may have the name.

        Raises `NotFound` for a file or folder that does not exist, `WrongState` if the name is taken, and
        `InvalidInput` for a name that is not allowed."""
        async with self._database.write() as connection:
            now = await _file(connection, file_id)
            name = now.name if name is None or name == now.name else checked_name(name)
            folder_id = now.folder_id if folder_id is None else folder_id
            caption = now.caption if caption is None else clean(caption)
            if (name, folder_id) != (now.name, now.folder_id):
                await check_folder(connection, now.user_id, folder_id)
                if not same_name:
                    await check_free(connection, now.user_id, folder_id, name)
            query = update(files).where(files.c.id == file_id)
            query = query.values(name=name, folder_id=folder_id, caption=caption, search=fold(name, caption))
            await connection.execute(query)
            return await _file(connection, file_id)

    async def stats(self, user_id: int | None) -> dict[str, dict[str, FileStats]]:
        """Number and bytes of the files, by type, storage, user, and the day (UTC) they were added."""
        await self._recorder.catch_up()
        columns: dict[str, ColumnElement[object]] = {
            "type": files.c.kind,
            "storage": files.c.storage,
            "user": files.c.user_id,
            "day": files.c.added_at.op("/")(_DAY_MS),  # a whole number
        }
        where = _conditions(FileFilter(user_id=user_id))
        found: dict[str, dict[str, FileStats]] = {}
        async with self._database.read() as connection:
            for name, column in columns.items():
                query = select(column, func.count(), func.sum(files.c.size)).where(*where).group_by(column)
                rows = await connection.execute(query)
                found[name] = {_label(name, row[0]): FileStats(row[1], int(row[2])) for row in rows}
        return found


async def read_page(connection: AsyncConnection, page: Rows) -> FilePage:
    """The files of a page."""
    query = select(*COLUMNS).where(files.c.id.in_([file_id for _, file_id in page.keys]))
    found = {row.id: SavedFile(**row._mapping) for row in await connection.execute(query)}
    cursor = make_cursor(page.last) if page.last else ""
    return FilePage([found[file_id] for _, file_id in page.keys], cursor)


async def _found(connection: AsyncConnection, file_id: str) -> SavedFile | None:
    if not (file_id.isascii() and file_id.isalnum()):
        return None
    query = select(*COLUMNS).where(files.c.id == file_id, files.c.deleted_at.is_(None))
    row = (await connection.execute(query)).one_or_none()
    return SavedFile(**row._mapping) if row else None


async def _file(connection: AsyncConnection, file_id: str) -> SavedFile:
    found = await _found(connection, file_id)
    if found is None:
        raise unknown_file(file_id)
    return found


def unknown_file(file_id: str) -> NotFound:
    """The error for a file that does not exist."""
    return NotFound("there is no file {file}", file=file_id)


def _label(name: str, value: object) -> str:
    return str(date(1970, 1, 1) + timedelta(days=int(str(value)))) if name == "day" else str(value)


def _conditions(wanted: FileFilter) -> list[ColumnElement[bool]]:
    equal = {
        "user_id": wanted.user_id,
        "folder_id": wanted.folder_id,
        "kind": wanted.kind.value if wanted.kind else None,
        "storage": wanted.storage or None,
    }
    found = [files.c[name] == value for name, value in equal.items() if value is not None]
    return [files.c.deleted_at.is_(None), *found]
