"""The exception: a file whose length nobody knows, for a storage that must be told it first.

Such a file goes through this machine's disk. Everything else goes straight from its source into its storage.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from saveany.errors import NoSpace, Retryable
from saveany.models import Item
from storages.base import Range
from workers.progress import ProgressMeter
from workers.sources.base import Source, Write

_PIECE = 1 << 20


class Spool:
    """A file on its way through this machine; gone when the `async with` ends."""

    def __init__(self, folder: Path, item: Item, *, needed: bool) -> None:
        self.needed = needed
        self._folder = folder
        self._item = item
        self._fd = -1
        self._size = 0

    async def __aenter__(self) -> Spool:
        if self.needed:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Without a name: it is gone with us, even if we are killed.
            with TemporaryFile(dir=self._folder) as file:
                self._fd = os.dup(file.fileno())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    async def fill(self, source: Source, meter: ProgressMeter) -> int:
        """Fetch the whole file; returns its size."""

        async def write(offset: int, data: bytes | memoryview) -> None:
            try:
                await asyncio.to_thread(_write_all, self._fd, offset, data)
            except OSError as error:
                raise NoSpace(f"{self._item.name} needs room in {self._folder}: {error}") from error
            self._size += len(data)
            meter.report(self._size, None)

        await source.fetch(self._item, write)
        if os.fstat(self._fd).st_size != self._size:
            raise Retryable(f"{self._item.name}: it has a hole")
        return self._size

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As a source does, from the disk."""
        start = have[0][1] if have else 0
        for offset in range(start, self._size, _PIECE):
            await write(offset, await asyncio.to_thread(os.pread, self._fd, _PIECE, offset))


def _write_all(fd: int, offset: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, offset)
        offset, rest = offset + done, rest[done:]
