"""Remembering what is durable, so that a transfer goes on after any death instead of starting again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from saveany.models import Checkpoint, Item
from saveany.store import Claim
from storages.base import Range, Storage, Upload

#: Between two checkpoints of a file, in seconds. A file that takes less has none.
_EVERY = 2.0


class Checkpoints:
    """The checkpoints of one item in flight."""

    def __init__(self, claim: Claim, item: Item, upload: Upload, storage: Storage) -> None:
        self._claim = claim
        self._item = item
        self._upload = upload
        self._possible = storage.capabilities.resumes and item.size is not None
        self._next = time.monotonic() + _EVERY
        self._busy = False

    async def maybe(self, written: Callable[[], Sequence[Range]]) -> None:
        """Make one if it is time. `written` tells what has been written so far.

        The bytes are durable before the store hears of them: after a power cut it never knows too much.
        """
        if not self._possible or self._busy or time.monotonic() < self._next:
            return
        self._busy = True
        try:
            durable = tuple(await self._upload.sync(written()))
            known = Checkpoint(source=self._item.source, size=self._item.size or 0, durable=durable)
            await self._claim.checkpoint(self._item.index, known)
        finally:
            self._next = time.monotonic() + _EVERY
            self._busy = False
