"""Checkpoints record which bytes of a file are durable, so that a transfer can be continued after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from saveany.models import Checkpoint, Item
from storages.base import Range, Storage, Upload
from workers.item_records import ItemRecords

#: Seconds between two checkpoints of a file. A file that takes less time has none.
_INTERVAL = 2.0


class Checkpoints:
    """The checkpoints of one item in flight."""

    def __init__(self, records: ItemRecords, item: Item, upload: Upload, storage: Storage) -> None:
        self._records = records
        self._item = item
        self._upload = upload
        self._enabled = storage.capabilities.resumes and item.size is not None
        self._due_at = time.monotonic() + _INTERVAL
        self._busy = False

    async def save_if_due(self, written: Callable[[], Sequence[Range]]) -> None:
        """Save a checkpoint if one is due. `written` returns the ranges written so far.

        The storage makes the bytes durable before the store records them, so that a record never promises
        bytes that a power cut has removed.
        """
        if not self._enabled or self._busy or time.monotonic() < self._due_at:
            return
        self._busy = True
        try:
            durable = tuple(await self._upload.sync(written()))
            checkpoint = Checkpoint(source=self._item.source, size=self._item.size or 0, durable=durable)
            await self._records.checkpoint(self._item.index, checkpoint)
        finally:
            self._due_at = time.monotonic() + _INTERVAL
            self._busy = False
