"""Saves the new files of messages that were edited, beside the old ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as replaced
from functools import partial
from typing import Any

from msgspec.structs import replace

from saveany.catalogue.archive_models import ArchivedMessage, MessageOutcome
from saveany.catalogue.catalogue import Catalogue
from saveany.filters import Filter
from saveany.store.archives import Archive, Archives
from saveany.telegram.accounts import Accounts
from saveany.telegram.history import ReadMessage


class EditReader:
    """Reads the edits of archived channels and supergroups, from the last handled event of the chat on.
    Private chats have no events of their own."""

    def __init__(self, accounts: Accounts, catalogue: Catalogue, archives: Archives) -> None:
        self._history = accounts.history
        self._receipts = catalogue.receipts
        self._archives = archives

    async def check(self, archive: Archive, pts: int, access: Mapping[str, Any]) -> None:
        """Have new files of edited messages saved; if no edits were read before, only those after the event
        `pts`. Edits of messages that are not saved yet are left for the next check."""
        if not archive.pts:
            await self._archives.change(archive.id, partial(replace, pts=pts))
            return
        pts = archive.pts
        while pts > 0:
            page = await self._history.edits_after(archive.chat, pts, extras=archive.extras, **access)
            if not await self._handle(archive, page.messages):
                return
            pts = page.pts
            await self._archives.change(archive.id, partial(replace, pts=pts))
            if page.is_last:
                return

    async def _handle(self, archive: Archive, messages: Sequence[ReadMessage]) -> bool:
        """Have the new files of these messages saved. False if some of them are being saved now."""
        noted = await self._receipts.named(archive.id, archive.chat, [each.id for each in messages])
        changed = [
            replaced(row, edited_at=message.edited_ms, size=sum(each.size for each in message.media))
            for message in messages
            if (row := noted.get(message.id)) and await self._is_new(archive, message, row)
        ]
        if changed:
            await self._receipts.reopen(archive.id, changed, keep_versions=True)
            await self._archives.change(archive.id, lambda now: replace(now, has_unassigned=True))
        return all(row.outcome is not MessageOutcome.PENDING for row in noted.values())

    async def _is_new(self, archive: Archive, message: ReadMessage, row: ArchivedMessage) -> bool:
        """Whether a message has a file that it did not have when it was saved."""
        if row.outcome is MessageOutcome.PENDING:
            return False
        files = message.media
        if row.outcome is MessageOutcome.FILTERED:  # else the filter has accepted the post
            accepts = Filter.model_validate(archive.filter)
            files = [each for each in files if accepts.accepts(each)]
        return not {each.document_id for each in files} <= await self._receipts.documents(row)
