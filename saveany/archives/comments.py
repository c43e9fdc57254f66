"""Reads the comments on the posts of a channel, which are part of its archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from saveany.archives.posts import posts_in
from saveany.archives.saving import PageOfChat, PostSaver
from saveany.catalogue.archive_models import comments_key
from saveany.catalogue.catalogue import Catalogue
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts
from saveany.telegram.history import ReadMessage

#: Queued tasks above which no more comments are read.
_MAX_QUEUED = 2000
#: Seconds between two checks of the latest posts of an archive for new comments, and the number of messages
#: that are checked.
_CHECK_SECONDS, _CHECKED = 300.0, 100


class CommentReader:
    """Turns comments with files into tasks. How far those on a post were read is noted in the receipt."""

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        catalogue: Catalogue,
        saver: PostSaver,
        access: Callable[[Archive, int], Mapping[str, Any]],
    ) -> None:
        """`access` is how a chat of an archive is found, and by which accounts."""
        self._access = access
        self._accounts = accounts
        self._store = store
        self._receipts = catalogue.receipts
        self._saver = saver
        self._next_check: dict[str, float] = {}  # id of an archive -> monotonic time

    async def read(self, archive: Archive, messages: Sequence[ReadMessage]) -> bool:
        """Save the new comments on these posts. False if the queue is full before that is done; then it is to
        be called again."""
        access = self._access(archive, archive.chat)
        last = {each.id: each.last_comment for each in messages if each.last_comment}
        keys = [comments_key(post) for post in last]
        seen = await self._receipts.positions(archive.id, keys)
        for post, newest in last.items():
            if not await self._read_post(archive, post, seen.get(comments_key(post), 0), newest, access):
                return False
        return True

    async def check(self, archive: Archive) -> None:
        """Read new comments on the latest posts of an archive whose posts were all read, unless that was done
        a short time ago."""
        if not archive.is_read:
            await self._store.archives.change(archive.id, lambda now: replace(now, is_read=True))
        now = time.monotonic()
        if self._next_check.get(archive.id, 0) > now:
            return
        first, access = max(0, archive.seen - _CHECKED), self._access(archive, archive.chat)
        page = await self._accounts.history.messages_after(archive.chat, first, **access)
        if await self.read(archive, [each for each in page.messages if each.id <= archive.seen]):
            self._next_check[archive.id] = now + _CHECK_SECONDS

    async def _read_post(
        self, archive: Archive, post: int, seen: int, newest: int, access: Mapping[str, Any]
    ) -> bool:
        while seen < newest:
            if (await self._store.tasks.counts())["queued"] >= _MAX_QUEUED:
                return False
            page = await self._accounts.history.comments_after(
                archive.chat, post, seen, extras=archive.extras, **access
            )
            if not page.messages:
                return True
            messages = _whole_albums(page.messages) if page.last < newest else page.messages
            seen = messages[-1].id
            of_page = PageOfChat(archive.discussion, messages, seen, page.total, page.reply, post)
            for task in await self._saver.plan(archive, of_page):
                await self._saver.submit(archive, task)
        return True


def _whole_albums(messages: Sequence[ReadMessage]) -> Sequence[ReadMessage]:
    """The messages of a page without an album at its end, which may go on in the next one."""
    posts = posts_in(messages)
    if not posts or not posts[-1].is_album or posts[-1].last != messages[-1].id:
        return messages
    return [each for each in messages if each.id < posts[-1].first] or messages
