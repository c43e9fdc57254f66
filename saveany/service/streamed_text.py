"""Text that arrives in the event loop, and is read by another thread."""

from __future__ import annotations

import asyncio
import codecs
import io
from collections.abc import AsyncIterator
from typing import TextIO

#: Number of bytes that are read at a time.
_PIECE = 1 << 20


def text_of(pieces: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> TextIO:
    """What `loop` receives, as a text for the calling thread: UTF-8, or UTF-16 if it begins with a mark that
    says so, as text that PowerShell writes. Lines end in `\\n`; bytes that are no text become U+FFFD."""
    file = io.BufferedReader(_Pieces(pieces, loop), _PIECE)
    is_utf_16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return io.TextIOWrapper(file, encoding="utf-16" if is_utf_16 else "utf-8-sig", errors="replace")


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._pieces = pieces
        self._loop = loop
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # called by BufferedReader only
        if not self._rest:
            self._rest = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    async def _next(self) -> bytes:
        return await anext(self._pieces, b"")
