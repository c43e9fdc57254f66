"""The takeouts of archives: begun before reading, and always finished."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from saveany.errors import TaskError
from saveany.store.archives import Archive, Archives
from saveany.texts import Text, stored

if TYPE_CHECKING:
    from saveany.telegram.history import ChatHistory
    from saveany.telegram.takeout import TakeoutRefused

_DELAYED = Text(
    "Telegram wants you to allow the export of your data: open Telegram on your phone, and allow it in the "
    "message from Telegram, or wait for {hours} hours. Until then the archive continues without it."
)
_REFUSED = Text(
    "Telegram does not permit an export of this account's data. The archive continues without it."
)
_ENDED = Text("Another export of this account's data has begun. The archive continues without one.")


async def begin_takeout(history: ChatHistory, archives: Archives, archive: Archive) -> Archive:
    """The archive with an open takeout, if it wants one and Telegram permits it."""
    now = time.time_ns() // 1_000_000
    if not archive.takeout or archive.takeout_id or archive.takeout_after > now:
        return archive
    begun = await history.begin_takeout(archive.account)
    changed = await archives.change(archive.id, lambda old: _begun(old, begun, now))
    return changed or archive


def _begun(archive: Archive, begun: int | TakeoutRefused, now: int) -> Archive:
    if isinstance(begun, int):
        return replace(archive, takeout_id=begun, takeout_account=archive.account, notice="")
    if not begun.seconds:
        return replace(archive, takeout=False, notice=stored(_REFUSED))
    hours = -(-begun.seconds // 3600)
    notice = stored(Text(_DELAYED.template, {"hours": hours}))
    return replace(archive, takeout_after=now + begun.seconds * 1000, notice=notice)


async def end_takeout(
    history: ChatHistory, archives: Archives, archive: Archive, *, success: bool, again: bool = False
) -> None:
    """Finish the takeout of an archive. It begins `again` when messages are read next, or never."""
    with suppress(TaskError):  # it ends with the next one of the account
        await history.finish_takeout(archive.takeout_account, archive.takeout_id, success=success)
    await archives.change(archive.id, lambda old: replace(old, takeout_id=0, takeout=again))


async def note_ended(archives: Archives, archive: Archive) -> None:
    """Record that Telegram has ended the takeout of an archive."""
    await archives.change(
        archive.id, lambda old: replace(old, takeout_id=0, takeout=False, notice=stored(_ENDED))
    )
