"""Checkpoints record which bytes of a file are durable, so that a transfer can be continued after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from saveany.models import Checkpoint, Item
from storages.base import Range, Storage, Upload
from workers.item_records import ItemRecords

#: Seconds, or bytes if these come first, between two checkpoints of a file. A smaller file has none.
_INTERVAL = 1.0
_BYTES = 32 << 20


class Checkpoints:
    """The checkpoints of one item in flight."""

    def __init__(self, records: ItemRecords, item: Item, upload: Upload, storage: Storage) -> None:
        self._records = records
        self._item = item
        self._upload = upload
        self._enabled = storage.capabilities.resumes and item.size is not None
        self._saved = sum(end - start for start, end in upload.kept)
        self._due_at = time.monotonic() + _INTERVAL
        self._busy = False

    async def save_if_due(self, size: int, written: Callable[[], Sequence[Range]]) -> None:
        """Save a checkpoint if one is due. `size` bytes have been written so far, and `written` returns their
        ranges.

        The storage makes the bytes durable before the store records them, so that a record never promises
        bytes that a power cut has removed.
        """
        if not self._enabled or self._busy or size == self._item.size:
            return
        if time.monotonic() < self._due_at and size - self._saved < _BYTES:
            return
        self._busy, self._saved = True, size
        try:
            durable = tuple(await self._upload.sync(written()))
            checkpoint = Checkpoint(source=self._item.source, size=self._item.size or 0, durable=durable)
            await self._records.checkpoint(self._item.index, checkpoint)
        finally:
            self._due_at = time.monotonic() + _INTERVAL
            self._busy = False
