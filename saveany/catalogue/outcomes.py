"""What became of the messages of an archive, as the items of its tasks show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.archive_models import MessageOutcome
from saveany.catalogue.rows import number
from saveany.catalogue.tables import archive_messages, files
from saveany.errors import InvalidInput
from saveany.models import Item, ItemStatus, Status, Task
from saveany.telegram import links
from saveany.telegram.reasons import (
    FILE_EXPIRED,
    FILE_PROTECTED,
    FILES_LOCKED,
    MESSAGE_GONE,
    PHOTO_GONE,
    STORY_EXPIRED,
)
from saveany.texts import Text

#: Template of an error -> the outcome that it means. Any other error is a failure.
_OUTCOMES = {
    MESSAGE_GONE: MessageOutcome.GONE,
    PHOTO_GONE: MessageOutcome.GONE,
    FILE_EXPIRED: MessageOutcome.EXPIRED,
    STORY_EXPIRED: MessageOutcome.EXPIRED,
    FILES_LOCKED: MessageOutcome.LOCKED,
    FILE_PROTECTED: MessageOutcome.PROTECTED,
}
#: A message with several files has the outcome of the last of them in this order.
_ORDER = [
    MessageOutcome(name)
    for name in ("saved", "duplicate", "gone", "expired", "locked", "protected", "failed")
]

encode_reason = msgspec.json.encode
decode_reason = msgspec.json.Decoder(Text).decode

_Row = dict[str, Any]


async def write_outcomes(
    connection: AsyncConnection, archived: Sequence[tuple[Task, Sequence[Item]]]
) -> None:
    """Write what became of the messages of these tasks of archives. The files must be recorded already."""
    live = [task.id for task, _ in archived if not task.status.ended]
    if live:  # perhaps they were retried
        done = (MessageOutcome.SAVED, MessageOutcome.DUPLICATE)
        table = archive_messages.c
        query = update(archive_messages).where(table.task_id.in_(live), table.outcome.not_in(done))
        await connection.execute(query.values(outcome=MessageOutcome.PENDING.value, reason=None))
    rows = [row for task, items in archived for row in _rows(task, items)]
    rows.sort(key=lambda row: _ORDER.index(row["new_outcome"]))
    if rows:
        await connection.execute(_UPDATE, rows)
    rest = [_rest(task, items) for task, items in archived if task.status.ended]
    if rest:
        await connection.execute(_UPDATE_REST, rest)


_file_id = (
    select(files.c.id)
    .where(files.c.task_id == bindparam("of_task"), files.c.item == bindparam("of_item"))
    .scalar_subquery()
)
_UPDATE = (
    update(archive_messages)
    .where(
        archive_messages.c.archive_id == bindparam("of_archive"),
        archive_messages.c.chat == bindparam("of_chat"),
        archive_messages.c.message == bindparam("of_message"),
        archive_messages.c.task_id == bindparam("of_task"),
    )
    .values(
        outcome=bindparam("new_outcome"),
        reason=bindparam("new_reason"),
        file_id=func.coalesce(_file_id, bindparam("existing_file")),
    )
)
_UPDATE_REST = (
    update(archive_messages)
    .where(
        archive_messages.c.task_id == bindparam("of_task"),
        archive_messages.c.outcome == MessageOutcome.PENDING.value,
    )
    .values(outcome=bindparam("new_outcome"), reason=bindparam("new_reason"))
)


def _rows(task: Task, items: Iterable[Item]) -> Iterator[_Row]:
    for item in items:
        outcome, reason = _outcome(task, item)
        if outcome is None:
            continue
        for chat, message in _messages(item):
            yield {
                "of_archive": task.spec.archive_id,
                "of_chat": chat,
                "of_message": message,
                "of_task": task.id,
                "of_item": item.index,
                "existing_file": item.duplicate.file_id if item.duplicate else None,
                "new_outcome": outcome.value,
                "new_reason": encode_reason(reason) if reason else None,
            }


def _outcome(task: Task, item: Item) -> tuple[MessageOutcome | None, Text | None]:
    """The outcome of an item; None if it is not known yet."""
    if item.status is ItemStatus.COMPLETED:
        return (MessageOutcome.DUPLICATE if item.duplicate else MessageOutcome.SAVED), None
    if item.status is ItemStatus.SKIPPED:
        return MessageOutcome.DUPLICATE, item.error_text
    if not task.status.ended:
        return None, None
    return _failure(item.error_text or task.error_text or Text(item.error or task.error))


def _rest(task: Task, items: Sequence[Item]) -> _Row:
    """The outcome of the messages of an ended task for which it has no item: they were deleted, unless none
    of the task's messages was read."""
    outcome, reason = MessageOutcome.GONE, None
    if task.status is not Status.COMPLETED and not items:
        outcome, reason = _failure(task.error_text or Text(task.error or "the task was canceled"))
    return {
        "of_task": task.id,
        "new_outcome": outcome.value,
        "new_reason": encode_reason(reason) if reason else None,
    }


def _failure(error: Text) -> tuple[MessageOutcome, Text]:
    return _OUTCOMES.get(error.template, MessageOutcome.FAILED), error


def _messages(item: Item) -> Iterator[tuple[int, int]]:
    """The chats and ids of the messages to which an item belongs: one, or several whose link failed."""
    source = item.source
    if isinstance(source.get("chat"), int) and isinstance(source.get("message"), int):
        yield number(source["chat"]), number(source["message"])
        return
    try:
        link = links.parse(str(source.get("link", "")))
    except InvalidInput:
        return
    if isinstance(link.chat, int):
        chat = link.bot_chat_id or links.marked_id(link.chat)
        if link.story or link.photo:
            yield chat, -link.message
            return
        for message in range(link.message, (link.last or link.message) + 1):
            yield chat, message
