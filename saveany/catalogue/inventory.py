"""The copies in one storage: those that a scan adds to the catalogue, and those that a check looks for."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Sequence

import msgspec
from sqlalchemy import insert, select, tuple_, update

from saveany.catalogue import rows
from saveany.catalogue.database import Database
from saveany.catalogue.folders import folder_at
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.search import fold
from saveany.catalogue.tables import catalogue, clean, files
from saveany.ids import new_id

#: Number of copies that are read at a time.
_BATCH = 1_000


class FoundCopy(msgspec.Struct, frozen=True):
    """A file in a storage."""

    path: str
    size: int
    modified_at: int  # ms


class SavedCopy(msgspec.Struct, frozen=True):
    """The copy of a saved file, as the catalogue knows it."""

    id: str
    path: str
    size: int
    sha256: str


class Inventory:
    """What the catalogue knows of the copies in each storage."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def add(self, storage: str, found: Sequence[FoundCopy], user_id: int) -> int:
        """Add saved files for those copies that the catalogue does not know. Returns their number.

        If one is that of a running task, the recorder replaces it by the record of the task."""
        await self._recorder.catch_up()
        paths = files.c.path.in_([each.path for each in found])
        same = files.c.storage == storage, paths, files.c.removed_at.is_(None)
        async with self._database.write() as connection:
            # The recorder changes this row in each of its transactions, so it waits, or we do.
            await connection.execute(select(catalogue.c.id).with_for_update())
            known = set(await connection.scalars(select(files.c.path).where(*same)))
            new = [each for each in found if clean(each.path) not in known]
            folders = {
                path: await folder_at(connection, user_id, clean(path))
                for path in dict.fromkeys(posixpath.dirname(each.path) for each in new)
            }
            if new:
                added = [
                    file_row(storage, each, user_id, folders[posixpath.dirname(each.path)]) for each in new
                ]
                await connection.execute(insert(files), added)
        return len(new)

    async def copies(
        self, storage: str, below: str = "", last: tuple[str, str] = ("", "")
    ) -> AsyncIterator[SavedCopy]:
        """The copies in a storage, or below one of its folders, by path, after the path and id `last`; files
        in the trash have none."""
        columns = [files.c[name] for name in SavedCopy.__struct_fields__]
        where = [files.c.storage == storage, files.c.deleted_at.is_(None)]
        if below:
            where.append(files.c.path.startswith(f"{below}/", autoescape=True))
        while True:
            after = tuple_(files.c.path, files.c.id) > last
            query = select(*columns).where(*where, after).order_by(files.c.path, files.c.id).limit(_BATCH)
            async with self._database.read() as connection:
                found = [SavedCopy(*row) for row in await connection.execute(query)]
            for each in found:
                yield each
            if len(found) < _BATCH:
                return
            last = found[-1].path, found[-1].id

    async def set_sha256(self, file_id: str, sha256: str) -> None:
        """Note the SHA-256 of a copy."""
        async with self._database.write() as connection:
            await connection.execute(update(files).where(files.c.id == file_id).values(sha256=sha256))


def file_row(storage: str, copy: FoundCopy, user_id: int, folder_id: int) -> rows.Row:
    """The row of a file that no task has saved."""
    name = clean(posixpath.basename(copy.path))
    mime = rows.guess_mime(name)
    empty = dict.fromkeys(("caption", "sha256", "sha1", "url", "page", "thumbnail"), "")
    return {
        **empty,
        "id": new_id(),
        "user_id": user_id,
        "folder_id": folder_id,
        "name": name,
        "size": rows.number(copy.size),
        "mime": mime,
        "kind": rows.kind_of(mime),
        "storage": storage,
        "path": copy.path,
        "added_at": copy.modified_at,
        "downloads": 0,
        "bytes_sent": 0,
        "search": fold(name),
    }
