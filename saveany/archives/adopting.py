"""Adopts files that were in the storage before: only the others are fetched.

A file is adopted for a message if another tool has noted that it belongs there, and it has the size that
Telegram states; or else if it has the size and all of Telegram's hashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from saveany.archives.posts import Post
from saveany.catalogue.adoption import FoundFile
from saveany.catalogue.archive_models import ArchivedMessage, MessageOutcome
from saveany.catalogue.catalogue import Catalogue
from saveany.errors import Retryable, TaskError, Unavailable
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts
from saveany.telegram.media import Media

#: Telegram Desktop writes the messages from before a group was migrated with their ids less this number.
OLDER_OFFSET = 1_000_000_000
#: Number of messages that are compared at the same time.
_AT_ONCE = 8
#: Number of files of the right size whose contents are compared.
_MAX_COMPARED = 5
#: Bytes per second that reading a file in a storage takes at least, and seconds that it always has.
_BYTES_PER_SECOND, _MIN_SECONDS = 4 << 20, 10
#: Seconds until a storage that does not respond is tried again.
_RETRY_SECONDS = 30


class Adopter:
    """Finds the files of messages among those that were in the storage before."""

    def __init__(self, accounts: Accounts, store: Store, catalogue: Catalogue) -> None:
        self._accounts = accounts
        self._queries = store.queries
        self._adoption = catalogue.adoption

    async def adopt(
        self, archive: Archive, chat: int, posts: Sequence[Post], rows: Sequence[ArchivedMessage]
    ) -> list[ArchivedMessage]:
        """The rows of a page; those of messages whose file was found name it as saved. Raises `Retryable`
        while the storage does not respond."""
        media = {each.message_id: each for each in _single_files(posts)}
        wanted = [row for row in rows if row.outcome is MessageOutcome.PENDING and row.message in media]
        if not wanted:
            return list(rows)
        offset = 0 if chat == archive.chat else OLDER_OFFSET
        found = await self._adoption.candidates(
            archive.id,
            [row.message - offset for row in wanted],
            {media[row.message].size for row in wanted},
        )
        slots = asyncio.Semaphore(_AT_ONCE)

        async def adopted(row: ArchivedMessage) -> ArchivedMessage:
            async with slots:
                return await self._adopted(archive, row, media[row.message], row.message - offset, found)

        changed = {row.message: row for row in await asyncio.gather(*map(adopted, wanted))}
        return [changed.get(row.message, row) for row in rows]

    async def _adopted(
        self, archive: Archive, row: ArchivedMessage, media: Media, key: int, found: Sequence[FoundFile]
    ) -> ArchivedMessage:
        match = await self._match(archive.adopts, media, key, found)
        if match is None:
            return row
        file_id, is_first = await self._adoption.adopt(
            archive.user_id, archive.adopts, match, media.source(), media.caption, media.date_ms
        )
        outcome = MessageOutcome.SAVED if is_first else MessageOutcome.DUPLICATE
        return replace(row, outcome=outcome, file_id=file_id, task_id="")

    async def _match(
        self, storage: str, media: Media, key: int, found: Sequence[FoundFile]
    ) -> FoundFile | None:
        for each in found:
            if each.message == key and each.size == media.size and await self._is_there(storage, each):
                return each
        same_size = [each for each in found if not each.message and each.size == media.size]
        if not same_size or media.kind == "photo" or media.is_web:  # Telegram hashes documents only
            return None
        try:
            pieces = await self._accounts.hashes(media)
        except TaskError as error:
            if error.retryable:
                raise
            return None
        if not pieces:
            return None
        hashes = [piece.sha256.hex() for piece in pieces]
        lengths = [piece.length for piece in pieces]
        for each in same_size[:_MAX_COMPARED]:
            if await self._query(storage, "sha256", each, {"lengths": lengths}) == hashes:
                return each
        return None

    async def _is_there(self, storage: str, found: FoundFile) -> bool:
        return bool(await self._query(storage, "size", found, {}) == found.size)

    async def _query(
        self, storage: str, kind: str, found: FoundFile, args: Mapping[str, list[int]]
    ) -> object:
        seconds = _MIN_SECONDS + (found.size // _BYTES_PER_SECOND if args else 0)
        try:
            result = await self._queries.send(storage, kind, {"path": found.path, **args}, seconds=seconds)
        except Unavailable as error:
            raise Retryable(error.text, after=_RETRY_SECONDS) from error
        if result.error == "StorageUnavailable":
            raise Retryable(result.text, after=_RETRY_SECONDS)
        return None if result.error else result.result


def _single_files(posts: Sequence[Post]) -> list[Media]:
    """The files of messages that have one each, with the text of their album."""
    alone = {message.id for post in posts for message in post.messages if len(message.media) == 1}
    return [media for post in posts for media in post.files() if media.message_id in alone]
