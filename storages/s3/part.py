"""A part of a multipart upload, as botocore and aiohttp read it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

#: Seconds without progress after which sending a part fails; the library would wait forever.
STALL = 120.0
#: Pieces with fewer bytes than this are copied.
_MIN_SHARED = 64 << 10
#: Bytes passed to aiohttp at a time.
_WRITE_SIZE = 256 << 10


class UploadPart:
    """A part of an upload, sent without copying its bytes. botocore reads it like a file, for its length and
    signature; aiohttp iterates over it."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._pieces: list[bytearray | memoryview] = []
        self._size = 0
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: memoryview) -> None:
        """Append bytes. They are copied if they are few, or if their buffer may change."""
        self._size += len(data)
        last = self._pieces[-1] if self._pieces else None
        if len(data) >= _MIN_SHARED and isinstance(data.obj, bytes):
            self._pieces.append(data)
        elif isinstance(last, bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As in a file."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """As in a file."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As in a file."""
        start = self._at
        self._at = self._size if size < 0 else min(self._size, start + size)
        return b"".join(self._between(start, self._at))

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for piece in self._between(0, self._size):
            for offset in range(0, len(piece), _WRITE_SIZE):
                with suppress(RuntimeError):  # the response came before the end of the part
                    self._timeout.reschedule(asyncio.get_running_loop().time() + STALL)
                yield piece[offset : offset + _WRITE_SIZE]

    def stall_timeout(self) -> asyncio.Timeout:
        """A timeout that expires if no bytes could be sent for `STALL` seconds."""
        self._timeout = asyncio.timeout(STALL)
        return self._timeout

    def _between(self, start: int, end: int) -> Iterator[memoryview]:
        at = 0
        for piece in self._pieces:
            if wanted := memoryview(piece)[max(0, start - at) : max(0, end - at)]:
                yield wanted
            at += len(piece)
