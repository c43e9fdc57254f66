"""A part of a multipart upload, as botocore and aiohttp read it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

#: Seconds in which nothing of a part could be sent: the library waits for ever.
STALL = 120.0


#: Fewer bytes are copied into a part; aiohttp is given so many at a time.
_COPIED, _AT_A_TIME = 64 << 10, 256 << 10


class UploadPart:
    """A part of an upload, sent from where its bytes lie: botocore reads it as a file, to know its length and
    to sign it, and aiohttp iterates over it."""

    def __init__(self) -> None:
        self._patience = asyncio.timeout(None)
        self._pieces: list[bytearray | memoryview] = []
        self._size = 0
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: memoryview) -> None:
        """Append bytes: copied if they are few, or may change."""
        self._size += len(data)
        last = self._pieces[-1] if self._pieces else None
        if len(data) >= _COPIED and isinstance(data.obj, bytes):
            self._pieces.append(data)
        elif isinstance(last, bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file does."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """As a file does."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As a file does."""
        start = self._at
        self._at = self._size if size < 0 else min(self._size, start + size)
        return b"".join(self._between(start, self._at))

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for piece in self._between(0, self._size):
            for offset in range(0, len(piece), _AT_A_TIME):
                with suppress(RuntimeError):  # the answer came before the end
                    self._patience.reschedule(asyncio.get_running_loop().time() + STALL)
                yield piece[offset : offset + _AT_A_TIME]

    def patience(self) -> asyncio.Timeout:
        """Ends what it holds if for `STALL` seconds no piece could be sent."""
        self._patience = asyncio.timeout(STALL)
        return self._patience

    def _between(self, start: int, end: int) -> Iterator[memoryview]:
        at = 0
        for piece in self._pieces:
            if wanted := memoryview(piece)[max(0, start - at) : max(0, end - at)]:
                yield wanted
            at += len(piece)
