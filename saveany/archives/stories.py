"""Reads the stories of a channel, which are part of its archive if that is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from saveany.archives.saving import PageOfChat, PostSaver
from saveany.catalogue.catalogue import Catalogue
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts

#: Seconds between two checks for new stories: they last for 6 hours at least.
_CHECK_SECONDS = 1800.0
#: Below the ids of all stories, which are negative.
_LOWEST = -(2**31)


class StoryReader:
    """Turns stories into tasks."""

    def __init__(
        self,
        accounts: Accounts,
        catalogue: Catalogue,
        saver: PostSaver,
        access: Callable[[Archive, int], Mapping[str, Any]],
    ) -> None:
        """`access` is how a chat of an archive is found, and by which accounts."""
        self._accounts = accounts
        self._receipts = catalogue.receipts
        self._saver = saver
        self._access = access
        self._next_check: dict[str, float] = {}  # id of an archive -> monotonic time

    async def check(self, archive: Archive) -> None:
        """Save the current and pinned stories that are new, unless that was checked a short time ago."""
        now = time.monotonic()
        if self._next_check.get(archive.id, 0) > now:
            return
        access = self._access(archive, archive.chat)
        found = await self._accounts.history.stories(archive.chat, **access)
        noted = await self._receipts.known(archive.id, archive.chat, _LOWEST, -1)
        total = len({each.id for each in found.messages} | set(noted))
        page = PageOfChat(archive.chat, found.messages, 0, total, found.reply, kind="stories")
        for task in await self._saver.plan(archive, page):
            await self._saver.submit(archive, task)
        self._next_check[archive.id] = now + _CHECK_SECONDS
