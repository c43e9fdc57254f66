"""Bytes on their way to a storage, as a stream of chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

Chunk = bytes | bytearray | memoryview
Chunks = AsyncIterator[Chunk]


class ChunkChannel(AsyncIterator[Chunk]):
    """Passes chunks from `Upload.write` to a running `_put`, which has used a chunk when it requests the
    next one."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Chunk | None] = asyncio.Queue(1)
        self._taken: asyncio.Future[None] | None = None

    def give(self, chunk: Chunk) -> asyncio.Future[None]:
        """Offer a chunk; the future is done when its buffer may be reused."""
        self._taken = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(chunk)
        return self._taken

    def end(self) -> None:
        """End the stream of chunks."""
        self._waiting.put_nowait(None)

    async def __anext__(self) -> Chunk:
        if self._taken and not self._taken.done() and self._waiting.empty():
            self._taken.set_result(None)
        chunk = await self._waiting.get()
        if chunk is None:
            raise StopAsyncIteration
        return chunk


async def single_chunk(chunk: Chunk) -> Chunks:
    """A stream of one chunk."""
    yield chunk
