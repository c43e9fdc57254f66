"""Reads the profile photos of an archived chat, which are part of its archive if that is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from saveany.archives.saving import PageOfChat, PostSaver
from saveany.catalogue.catalogue import Catalogue
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts
from saveany.telegram.profile_photos import PHOTOS_BELOW

#: Seconds between two checks if nothing says that there is a new photo.
_CHECK_SECONDS = 1800.0
#: Below the ids of all photos.
_LOWEST = -(2**63)


class ProfilePhotoReader:
    """Turns profile photos into tasks."""

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
        #: Id of an archive -> the current photo at the last check, and the monotonic time of the next one.
        self._checked: dict[str, tuple[int, float]] = {}

    def is_due(self, archive: Archive, current: int) -> bool:
        """Whether photos of the chat, whose `current` one has this id, may be new."""
        before, next_check = self._checked.get(archive.id, (0, 0.0))
        return archive.profile_photos and (current != before or time.monotonic() >= next_check)

    async def check(self, archive: Archive, current: int) -> None:
        """Save the photos that are new. `current` is the id of the current one; 0 if that is not known."""
        found = await self._accounts.history.profile_photos(
            archive.chat, **self._access(archive, archive.chat)
        )
        noted = await self._receipts.known(archive.id, archive.chat, _LOWEST, PHOTOS_BELOW - 1)
        total = len({each.id for each in found.messages} | set(noted))
        page = PageOfChat(archive.chat, found.messages, 0, total, found.reply, kind="profile_photos")
        for task in await self._saver.plan(archive, page):
            await self._saver.submit(archive, task)
        self._checked[archive.id] = current, time.monotonic() + _CHECK_SECONDS
