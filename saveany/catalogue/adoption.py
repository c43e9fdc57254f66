"""Files that were in a storage before an archive began: candidates, and those that it has adopted."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, func, insert, or_, select, update

from saveany.catalogue.database import Database
from saveany.catalogue.folders import folder_at
from saveany.catalogue.inventory import FoundCopy, file_row
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.rows import encode_record, number
from saveany.catalogue.tables import archive_found, catalogue, clean, files

_f = archive_found.c


class FoundFile(msgspec.Struct, frozen=True):
    """A file that an archive may adopt."""

    path: str
    size: int
    message: int = 0  # the message that it belongs to, if that is known; negative in a migrated group


class Adoption:
    """Noting and adopting files."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def add(self, archive_id: str, found: Sequence[FoundFile]) -> None:
        """Note files that the archive may adopt, whether or not they were noted before."""
        rows = [
            {"archive_id": archive_id, "message": each.message, "path": each.path, "size": each.size}
            for each in found
        ]
        if rows:
            upsert = self._database.upsert(archive_found, "archive_id", "message", "path")
            async with self._database.write() as connection:
                await connection.execute(upsert, rows)

    async def count(self, archive_id: str) -> int:
        """The number of files that were noted."""
        query = select(func.count(_f.path.distinct())).where(_f.archive_id == archive_id)
        async with self._database.read() as connection:
            return int(await connection.scalar(query) or 0)

    async def candidates(
        self, archive_id: str, messages: Collection[int], sizes: Collection[int]
    ) -> list[FoundFile]:
        """The files that belong to one of these messages, and those of unknown messages that have one of
        these sizes."""
        by_message = _f.message.in_(messages)
        by_size = and_(_f.message == 0, _f.size.in_(sizes))
        query = select(_f.path, _f.size, _f.message).where(
            _f.archive_id == archive_id, or_(by_message, by_size)
        )
        async with self._database.read() as connection:
            return [FoundFile(*row) for row in await connection.execute(query.order_by(_f.path))]

    async def adopt(
        self,
        user_id: int,
        storage: str,
        found: FoundFile,
        source: Mapping[str, Any],
        caption: str,
        date_ms: int,
    ) -> tuple[str, bool]:
        """Have the catalogue list a file as a saved one. Returns its id, and whether it belongs to this
        message, not to an earlier one. `source` is that of a `telegram.media.Media`."""
        await self._recorder.catch_up()
        telegram = {
            "chat": number(source["chat"]),
            "message": number(source["message"]),
            "document": number(source["document"]),
            "dc": source["dc"],
            "origin": encode_record(dict(source)),
        }
        same = files.c.storage == storage, files.c.path == clean(found.path)
        async with self._database.write() as connection:
            await connection.execute(select(catalogue.c.id).with_for_update())  # as `Inventory.add`
            present = files.c.deleted_at.is_(None), files.c.user_id == user_id
            columns = files.c.id, files.c.document, files.c.chat, files.c.message
            known = (await connection.execute(select(*columns).where(*same, *present))).first()
            if known:
                if known.document is None:
                    await connection.execute(update(files).where(files.c.id == known.id).values(telegram))
                own = (known.chat, known.message) == (telegram["chat"], telegram["message"])
                return str(known.id), own or known.document is None
            folder = await folder_at(connection, user_id, clean(posixpath.dirname(found.path)))
            copy = FoundCopy(found.path, found.size, date_ms)
            row = {**file_row(storage, copy, user_id, folder), **telegram, "caption": caption}
            await connection.execute(insert(files), row)
            return str(row["id"]), True
