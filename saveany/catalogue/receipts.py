"""The receipts of archives: what became of every message that was read.

A page is written before its tasks are created, with the ids that they will have. So a page that is read again
after a crash names the same tasks, and those that exist are not created again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.archive_models import (
    ArchivedCopy,
    ArchivedMessage,
    ArchiveReceipt,
    MessageOutcome,
    MessagesPage,
    ReadPage,
)
from saveany.catalogue.archive_texts import text_rows
from saveany.catalogue.database import Database
from saveany.catalogue.outcomes import decode_reason, encode_reason
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.rows import number
from saveany.catalogue.tables import (
    archive_chats,
    archive_found,
    archive_messages,
    archive_runs,
    archive_texts,
    archive_versions,
    files,
)
from saveany.errors import InvalidInput
from saveany.texts import Text

_TABLES = (
    archive_messages,
    archive_versions,
    archive_runs,
    archive_chats,
    archive_found,
    archive_texts,
)
#: Outcomes of messages whose files are in a storage.
_KEPT = (MessageOutcome.SAVED.value, MessageOutcome.DUPLICATE.value)
#: Number of messages that are changed at a time.
_BATCH = 500

_cursor = msgspec.json.Decoder(tuple[int, int]).decode
_m = archive_messages.c


class Receipts:
    """Writing and reading receipts."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def known(self, archive_id: str, chat: int, first: int, last: int) -> dict[int, ArchivedMessage]:
        """The messages `first` … `last` of a chat that the receipt contains already, by id."""
        query = select(archive_messages).where(
            _m.archive_id == archive_id, _m.chat == chat, _m.message.between(first, last)
        )
        async with self._database.read() as connection:
            return {row.message: _message(row) for row in await connection.execute(query)}

    async def named(
        self, archive_id: str, chat: int, messages: Collection[int]
    ) -> dict[int, ArchivedMessage]:
        """The messages of a chat with these ids that the receipt contains, by id, after all tasks that have
        ended were recorded."""
        await self._recorder.catch_up()
        query = select(archive_messages).where(
            _m.archive_id == archive_id, _m.chat == chat, _m.message.in_(messages)
        )
        async with self._database.read() as connection:
            return {row.message: _message(row) for row in await connection.execute(query)}

    async def write(self, archive_id: str, page: ReadPage) -> None:
        """Add a page that was read, whether or not it was added before."""
        key = {"archive_id": archive_id, "chat": page.chat}
        async with self._database.write() as connection:
            position = await connection.scalar(
                select(archive_chats.c.position).where(*_same(archive_chats, key))
            )
            if page.with_media:
                rows = [{"archive_id": archive_id, **_row(each)} for each in page.with_media]
                await connection.execute(self._database.insert_new(archive_messages), rows)
            if new := [each for each in page.without_media if each > (position or 0)]:
                await _add_runs(connection, key, _runs(new, [each.message for each in page.with_media]))
            if texts := [record for id_, record in page.texts.items() if id_ > (position or 0)]:
                rows = text_rows(archive_id, page.text_chat, texts)
                await connection.execute(self._database.insert_new(archive_texts), rows)
            at = {**key, "position": max(position or 0, page.last), "total": page.total}
            await connection.execute(self._database.upsert(archive_chats, "archive_id", "chat"), at)

    async def positions(self, archive_id: str, chats: Collection[int]) -> dict[int, int]:
        """The id of the last message that was noted for each of these chats, or of these comments."""
        of_chats = archive_chats.c.archive_id == archive_id, archive_chats.c.chat.in_(chats)
        query = select(archive_chats.c.chat, archive_chats.c.position).where(*of_chats)
        async with self._database.read() as connection:
            return {row.chat: row.position for row in await connection.execute(query)}

    async def get(self, archive_id: str) -> ArchiveReceipt:
        """The numbers of a receipt, with all tasks that ended before this call."""
        return (await self.get_many([archive_id]))[archive_id]

    async def get_many(self, archive_ids: Collection[str]) -> dict[str, ArchiveReceipt]:
        """The same for several archives, by id."""
        await self._recorder.catch_up()
        totals = _sums(archive_chats, archive_ids, func.sum(archive_chats.c.total))
        plain = _sums(archive_runs, archive_ids, func.sum(archive_runs.c.messages))
        outcomes = (
            select(_m.archive_id, _m.outcome, func.count(), func.sum(_m.size))
            .where(_m.archive_id.in_(archive_ids))
            .group_by(_m.archive_id, _m.outcome)
        )
        async with self._database.read() as connection:
            total = {row[0]: int(row[1]) for row in await connection.execute(totals)}
            without = {row[0]: int(row[1]) for row in await connection.execute(plain)}
            found: dict[str, dict[MessageOutcome, tuple[int, int]]] = {each: {} for each in archive_ids}
            for archive_id, outcome, count, size in await connection.execute(outcomes):
                found[archive_id][MessageOutcome(outcome)] = count, int(size or 0)
        return {
            each: ArchiveReceipt(
                telegram_total=total.get(each, 0),
                without_media=without.get(each, 0),
                outcomes={outcome: count for outcome, (count, _) in found[each].items()},
                bytes=found[each].get(MessageOutcome.SAVED, (0, 0))[1],
            )
            for each in archive_ids
        }

    async def messages(
        self, archive_id: str, outcomes: Collection[MessageOutcome] = (), limit: int = 100, cursor: str = ""
    ) -> MessagesPage:
        """At most `limit` messages with these outcomes (all if empty), after `cursor`, by chat and id. Raises
        `InvalidInput` for an invalid cursor."""
        await self._recorder.catch_up()
        query = select(archive_messages).where(_m.archive_id == archive_id)
        if outcomes:
            query = query.where(_m.outcome.in_([each.value for each in outcomes]))
        if start := _parsed(cursor):
            query = query.where(tuple_(_m.chat, _m.message) > start)
        async with self._database.read() as connection:
            rows = list(await connection.execute(query.order_by(_m.chat, _m.message).limit(limit + 1)))
        found = [_message(row) for row in rows[:limit]]
        more = len(rows) > limit
        return MessagesPage(found, _made(found[-1]) if more else "")

    async def unassigned(self, archive_id: str, limit: int = 100) -> list[ArchivedMessage]:
        """Pending messages without a task."""
        query = select(archive_messages).where(
            _m.archive_id == archive_id, _m.outcome == MessageOutcome.PENDING.value, _m.task_id.is_(None)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(_m.chat, _m.message).limit(limit))
            return [_message(row) for row in rows]

    async def pending_tasks(self, archive_id: str, chat: int, last: int) -> list[str]:
        """The tasks of pending messages, after all that have ended were recorded; without the messages of
        `chat` after `last`, whose tasks may not be created yet."""
        await self._recorder.catch_up()
        query = select(_m.task_id).where(
            _m.archive_id == archive_id,
            _m.outcome == MessageOutcome.PENDING.value,
            _m.task_id.is_not(None),
            or_(_m.chat != chat, _m.message <= last),
        )
        async with self._database.read() as connection:
            return list(await connection.scalars(query.distinct()))

    async def assign(self, archive_id: str, messages: Iterable[ArchivedMessage]) -> list[ArchivedMessage]:
        """Note which task saves each of these pending messages. Returns those that had no task."""
        assigned = []
        async with self._database.write() as connection:
            for each in messages:
                of_message = _same(archive_messages, _key(archive_id, each))
                query = update(archive_messages).where(*of_message, _m.task_id.is_(None))
                if (await connection.execute(query.values(task_id=each.task_id))).rowcount:
                    assigned.append(each)
        return assigned

    async def reopen(
        self, archive_id: str, messages: Sequence[ArchivedMessage], *, keep_versions: bool = False
    ) -> None:
        """Have these messages saved again by new tasks, and note what was saved before as older versions if
        wanted."""
        async with self._database.write() as connection:
            for each in messages:
                of_message = _same(archive_messages, _key(archive_id, each))
                if keep_versions:
                    names = ["archive_id", "chat", "message", "file_id", "task_id"]
                    saved = select(*(_m[name] for name in names)).where(*of_message, _m.outcome.in_(_KEPT))
                    await connection.execute(insert(archive_versions).from_select(names, saved))
                query = update(archive_messages).where(*of_message)
                again = {
                    "outcome": MessageOutcome.PENDING.value,
                    "reason": None,
                    "task_id": None,
                    "file_id": None,
                    "edited_at": each.edited_at or None,
                    "size": each.size,
                }
                await connection.execute(query.values(**again))

    async def drop_tasks(self, archive_id: str, task_ids: Sequence[str]) -> None:
        """Have the pending messages of these tasks saved by new ones."""
        async with self._database.write() as connection:
            for start in range(0, len(task_ids), _BATCH):
                query = update(archive_messages).where(
                    _m.archive_id == archive_id,
                    _m.outcome == MessageOutcome.PENDING.value,
                    _m.task_id.in_(task_ids[start : start + _BATCH]),
                )
                await connection.execute(query.values(task_id=None))

    async def runs(self, archive_id: str, chat: int) -> list[tuple[int, int, int]]:
        """First id, last id and number of each run of messages without files, in order."""
        runs = archive_runs.c
        query = select(runs.first, runs.last, runs.messages).where(
            runs.archive_id == archive_id, runs.chat == chat
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(runs.first))
            return [(row.first, row.last, row.messages) for row in rows]

    async def copies(self, message: ArchivedMessage) -> list[ArchivedCopy]:
        """The copies of the files of a message that are not deleted."""
        columns = [files.c[name] for name in ("id", "storage", "path", "size", "sha256")]
        query = select(*columns).where(_files_of(message), files.c.deleted_at.is_(None))
        async with self._database.read() as connection:
            return [ArchivedCopy(*row) for row in await connection.execute(query)]

    async def versions(
        self, archive_id: str, messages: Collection[ArchivedMessage]
    ) -> dict[tuple[int, int], list[ArchivedMessage]]:
        """What was saved of these messages before edits replaced their files, by chat and message, oldest
        first."""
        versions = archive_versions.c
        query = select(archive_versions).where(
            versions.archive_id == archive_id, versions.message.in_([each.message for each in messages])
        )
        found: dict[tuple[int, int], list[ArchivedMessage]] = {}
        async with self._database.read() as connection:
            for row in await connection.execute(query.order_by(versions.number)):
                version = ArchivedMessage(
                    chat=row.chat,
                    message=row.message,
                    outcome=MessageOutcome.SAVED,
                    task_id=row.task_id or "",
                    file_id=row.file_id or "",
                )
                found.setdefault((row.chat, row.message), []).append(version)
        return found

    async def documents(self, message: ArchivedMessage) -> set[int]:
        """Telegram's ids of the files of a message that were saved, also of those that were deleted since."""
        async with self._database.read() as connection:
            return set(await connection.scalars(select(files.c.document).where(_files_of(message))))

    async def remove(self, archive_id: str) -> None:
        """Delete a receipt. The files stay."""
        async with self._database.write() as connection:
            for table in _TABLES:
                await connection.execute(delete(table).where(table.c.archive_id == archive_id))


def _files_of(message: ArchivedMessage) -> Any:
    """The condition for the saved files of a message."""
    if not message.task_id:
        return files.c.id == message.file_id
    of_task = and_(files.c.task_id == message.task_id, files.c.message == message.message)
    return or_(files.c.id == message.file_id, and_(of_task, files.c.chat == message.chat))


def _sums(table: Any, archive_ids: Collection[str], value: Any) -> Any:
    archive_id = table.c.archive_id
    return select(archive_id, value).where(archive_id.in_(archive_ids)).group_by(archive_id)


def _same(table: Any, key: Mapping[str, Any]) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]


def _key(archive_id: str, message: ArchivedMessage) -> dict[str, Any]:
    return {"archive_id": archive_id, "chat": message.chat, "message": message.message}


def _runs(plain: Sequence[int], with_media: Iterable[int]) -> list[tuple[int, int, int]]:
    """First id, last id and number of the messages of each run that no message with media interrupts."""
    runs: list[tuple[int, int, int]] = []
    breaks = sorted(with_media, reverse=True)
    for each in plain:
        interrupted = not runs
        while breaks and breaks[-1] < each:
            breaks.pop()
            interrupted = True
        first, _, count = (each, 0, 0) if interrupted else runs.pop()
        runs.append((first, each, count + 1))
    return runs


async def _add_runs(
    connection: AsyncConnection, key: Mapping[str, Any], runs: Sequence[tuple[int, int, int]]
) -> None:
    """Add runs that follow the existing ones; the first of them may continue the last of those."""
    query = select(archive_runs).where(*_same(archive_runs, key))
    before = (await connection.execute(query.order_by(archive_runs.c.first.desc()).limit(1))).first()
    if before is not None:
        first, last, count = runs[0]
        between = _m.message.between(before.last, first)
        of_chat = _same(archive_messages, key)
        if not await connection.scalar(select(_m.message).where(*of_chat, between).limit(1)):
            same = update(archive_runs).where(*_same(archive_runs, {**key, "first": before.first}))
            await connection.execute(same.values(last=last, messages=before.messages + count))
            runs = runs[1:]
    rows = [{**key, "first": first, "last": last, "messages": count} for first, last, count in runs]
    if rows:
        await connection.execute(insert(archive_runs), rows)


def _row(message: ArchivedMessage) -> dict[str, Any]:
    return {
        "chat": message.chat,
        "message": message.message,
        "outcome": message.outcome.value,
        "reason": encode_reason(message.reason) if message.reason else None,
        "file_id": message.file_id or None,
        "task_id": message.task_id or None,
        "edited_at": message.edited_at or None,
        "topic": message.topic or None,
        "size": number(message.size),
    }


def _message(row: Any) -> ArchivedMessage:
    return ArchivedMessage(
        chat=row.chat,
        message=row.message,
        outcome=MessageOutcome(row.outcome),
        reason=_reason(row.reason),
        task_id=row.task_id or "",
        file_id=row.file_id or "",
        edited_at=row.edited_at or 0,
        topic=row.topic or 0,
        size=row.size,
    )


def _reason(raw: bytes | None) -> Text | None:
    return decode_reason(raw) if raw else None


def _made(last: ArchivedMessage) -> str:
    key = msgspec.json.encode((last.chat, last.message))
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def _parsed(cursor: str) -> tuple[int, int] | None:
    if not cursor:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        chat, message = _cursor(raw)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        chat, message = 2**63, 0
    if max(abs(chat), abs(message)) >= 2**63:
        raise InvalidInput("this cursor is not valid; leave it out to start from the beginning", "cursor")
    return chat, message
