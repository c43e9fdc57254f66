"""Spooling: a file of unknown size, for a storage that needs the size before the first byte.

Such a file goes through this machine's disk. All others go straight from their source into their storage.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from saveany.errors import NoSpace, Retryable
from saveany.models import Item
from storages.base import Range, Storage
from workers.progress import FileProgress
from workers.sources.base import Source, Write

#: Bytes read from the disk at once.
_CHUNK = 1 << 20


class Spool:
    """A temporary file on this machine, if the item needs one; `async with` removes it."""

    def __init__(self, folder: Path, item: Item, storage: Storage) -> None:
        self.needed = item.size is None and storage.capabilities.needs_size
        self._folder = folder
        self._item = item
        self._fd = -1
        self._size = 0

    async def __aenter__(self) -> Spool:
        if self.needed:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Without a name, so that it disappears with this process even if that is killed.
            with TemporaryFile(dir=self._folder) as file:
                self._fd = os.dup(file.fileno())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    async def fill(self, source: Source, progress: FileProgress) -> int:
        """Fetch the whole file from its source; returns its size in bytes. Raises `NoSpace` if the disk is
        full."""

        async def write(offset: int, data: bytes | memoryview) -> None:
            try:
                await asyncio.to_thread(_write_all, self._fd, offset, data)
            except OSError as error:
                raise NoSpace(
                    "{name} needs room in {folder}: {reason}",
                    name=self._item.name,
                    folder=str(self._folder),
                    reason=str(error),
                ) from error
            self._size += len(data)
            progress.report(self._size, None)

        await source.fetch(self._item, write)
        if os.fstat(self._fd).st_size != self._size:
            raise Retryable("{name}: parts of the file did not arrive", name=self._item.name)
        return self._size

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Write the bytes of the file that the storage does not have yet, as `Source.fetch` does."""
        start = have[0][1] if have else 0
        for offset in range(start, self._size, _CHUNK):
            await write(offset, await asyncio.to_thread(os.pread, self._fd, _CHUNK, offset))


def _write_all(fd: int, offset: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        offset, rest = offset + written, rest[written:]
