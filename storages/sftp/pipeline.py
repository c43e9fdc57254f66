"""Reads and writes of a file, several in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import asyncssh

from storages.chunks import Chunks

#: Seconds to connect, and for a reply.
CONNECT, SILENCE = 15, 60


SLOW_REPLY: Final = 600  # seconds for listing a big folder, or for flushing to a disk


_IN_FLIGHT: Final = 5 << 19  # bytes of concurrent reads or writes: more than the window of OpenSSH


T = TypeVar("T")


@asynccontextmanager
async def open_file(
    sftp: asyncssh.SFTPClient, path: str, mode: str
) -> AsyncIterator[asyncssh.SFTPClientFile]:
    """A file, open in this block."""
    # 0: the library must not split blocks, because it loses track of sent ones when it is canceled.
    file = await asyncio.wait_for(sftp.open(path, mode, block_size=0), SILENCE)
    try:
        yield file
    finally:
        await asyncio.wait_for(file.close(), SILENCE)


class FileWriter:
    """A file that is being written. Bytes that the server has not confirmed may be missing, even before the
    end of the file: some servers write in any order."""

    def __init__(self, file: asyncssh.SFTPClientFile, start: int, max_write: int) -> None:
        self._file = file
        self._max_write = max_write  # bytes
        self.confirmed = start  # bytes that the server has confirmed, without a gap

    async def write_all(self, chunks: Chunks) -> None:
        """Write all chunks."""
        async with aclosing(pipelined(self._writes(chunks), self._max_write)) as written:
            async for size in written:
                self.confirmed += size

    async def _writes(self, chunks: Chunks) -> AsyncGenerator[Coroutine[Any, Any, int], None]:
        at = self.confirmed
        async for chunk in chunks:
            view = memoryview(chunk)
            for start in range(0, len(view), self._max_write):
                piece = bytes(view[start : start + self._max_write])
                yield self._file.write(piece, at)
                at += len(piece)

    async def flush(self) -> int:
        """Flush to the server's disk, if the server can; returns the number of bytes that the server had
        confirmed before."""
        confirmed = self.confirmed
        with suppress(asyncssh.SFTPOpUnsupported):
            await asyncio.wait_for(self._file.fsync(), SLOW_REPLY)
        return confirmed


async def reads_of(
    file: asyncssh.SFTPClientFile, start: int, end: int, max_read: int
) -> AsyncGenerator[Coroutine[Any, Any, tuple[int, int, bytes]], None]:
    """Reads of the bytes from `start` to `end`, `max_read` bytes each."""
    for at in range(start, end, max_read):
        yield _read_piece(file, at, min(max_read, end - at))


async def _read_piece(file: asyncssh.SFTPClientFile, at: int, size: int) -> tuple[int, int, bytes]:
    piece: Any = await file.read(size, at)
    return at, size, piece


async def _in_time(task: asyncio.Task[T]) -> T:
    return task.result() if task.done() else await asyncio.wait_for(task, SILENCE)


async def pipelined(
    calls: AsyncGenerator[Coroutine[Any, Any, T], None], size: int
) -> AsyncGenerator[T, None]:
    """The results of calls, in order. Each call transfers `size` bytes; as many as `_IN_FLIGHT` bytes run at
    once, because each takes a round trip."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        async with aclosing(calls):
            async for call in calls:
                running.append(asyncio.create_task(call))
                if len(running) * size >= _IN_FLIGHT:
                    yield await _in_time(running.popleft())
        while running:
            yield await _in_time(running.popleft())
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
