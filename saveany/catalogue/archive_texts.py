"""Texts of archived messages that wait until they are written to the storage."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, delete, func, select, update

from saveany.catalogue.archive_models import MessageOutcome
from saveany.catalogue.database import Database
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.tables import archive_messages, archive_texts, files

_t, _m = archive_texts.c, archive_messages.c
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ArchiveTexts:
    """The parts of the texts of archives. Each message is in exactly one."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def begin_part(self, archive_id: str, number: int, size: int, *, flush: bool) -> int:
        """Make the oldest messages, at most `size`, part `number`, unless it exists. Fewer are taken only to
        `flush` them. None whose file still waits are taken, nor are messages after it. Returns how many the
        part has."""
        await self._recorder.catch_up()
        of_part = _t.archive_id == archive_id, _t.part == number
        async with self._database.write() as connection:
            if count := await connection.scalar(select(func.count()).where(*of_part)):
                return int(count)
            waiting = _t.archive_id == archive_id, _t.part.is_(None)
            same = and_(_m.archive_id == _t.archive_id, _m.chat == _t.chat, _m.message == _t.message)
            query = select(_t.number, _m.outcome).outerjoin_from(archive_texts, archive_messages, same)
            rows = (await connection.execute(query.where(*waiting).order_by(_t.number).limit(size))).all()
            pending = MessageOutcome.PENDING.value
            ready = next((n for n, row in enumerate(rows) if row.outcome == pending), len(rows))
            if not ready or (ready < size and not (flush and ready == len(rows))):
                return 0
            chosen = _t.number <= rows[ready - 1].number
            await connection.execute(update(archive_texts).where(*waiting, chosen).values(part=number))
            return ready

    async def lines(self, archive_id: str, number: int, folder: str) -> list[bytes]:
        """The records of a part as JSON. Paths of files are relative to `folder`."""
        of_message = and_(_m.archive_id == _t.archive_id, _m.chat == _t.chat, _m.message == _t.message)
        columns = _t.chat, _t.record, _m.outcome, files.c.path, files.c.size, files.c.sha256
        query = (
            select(*columns)
            .outerjoin_from(archive_texts, archive_messages, of_message)
            .outerjoin(files, files.c.id == _m.file_id)
            .where(_t.archive_id == archive_id, _t.part == number)
            .order_by(_t.number)
        )
        async with self._database.read() as connection:
            return [_line(row, folder) for row in await connection.execute(query)]

    async def end_part(self, archive_id: str, number: int) -> None:
        """Forget the messages of a part that was written, and of earlier ones."""
        async with self._database.write() as connection:
            written = _t.archive_id == archive_id, _t.part <= number
            await connection.execute(delete(archive_texts).where(*written))


def text_rows(archive_id: str, chat: int, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows for the records of messages of a chat."""
    return [
        {"archive_id": archive_id, "chat": chat, "message": each["id"], "record": msgspec.json.encode(each)}
        for each in records
    ]


def _line(row: Any, folder: str) -> bytes:
    record = {"chat_id": row.chat, **_decode(row.record)}
    if row.outcome:
        record["outcome"] = row.outcome
    if row.path is not None:
        name = "photo" if record.get("mime_type") == "image/jpeg" and "file_name" not in record else "file"
        record[name] = posixpath.relpath(f"/{row.path}", f"/{folder}")
        record["file_size"] = row.size
        if row.sha256:
            record["sha256"] = row.sha256
    return msgspec.json.encode(record)
