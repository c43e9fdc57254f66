"""A folder as one zip file, made while it is sent; uncompressed, so its size is known before."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from zipstream import ZIP_STORED, ZipStream

from saveany.delivery.content import Content, Piece
from saveany.errors import Permanent, RequestError, StorageError, StorageUnavailable, WrongState

#: Sent pieces are joined up to this size: a zip has several small pieces for each file.
_PIECE: Final = 256 << 10
#: Maximum length in bytes of the path of a member; the format has no room for more.
_MAX_PATH: Final = (1 << 16) - 1


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a zip. `open` is called when its turn has come."""

    path: str  # with `/`; unique within the zip
    size: int  # bytes
    open: Callable[[], Awaitable[Content]]
    tag: str = ""  # identifies its bytes


class ZipContent(Content):
    """A zip file of saved files. It cannot be read from a position within, because checksums are known only
    after the bytes."""

    ranges = False

    def __init__(self, name: str, members: Sequence[Member], modified: int = 0) -> None:
        """Raises `WrongState` for a path that a zip cannot have."""
        if any(len(member.path.encode()) > _MAX_PATH for member in members):
            raise WrongState("the folders in this folder are nested too deeply for a zip")
        sized = ZipStream(compress_type=ZIP_STORED, sized=True)
        for member in members:
            sized.add(iter(()), member.path, size=member.size)
        names = "\n".join(f"{each.path}\0{each.size}\0{each.tag}" for each in members)
        tag = f'"zip-{hashlib.sha256(names.encode()).hexdigest()[:32]}"'
        super().__init__(name, len(sized), "application/zip", tag, modified)
        self._members = members

    async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """The whole zip. Raises `StorageError` if a file has another size than its member states or cannot be
        read at the moment, `Permanent` if it does not exist any more."""
        if (start, end) != (0, self.size):
            raise ValueError("a zip is read from its start to its end")
        loop = asyncio.get_running_loop()
        pieces = _Pieces(loop)
        # A thread of its own: it waits for storages, which may need the threads that all share to reply.
        thread = ThreadPoolExecutor(1, thread_name_prefix="zip")
        stream = ZipStream(compress_type=ZIP_STORED, sized=True)
        for member in self._members:
            stream.add(pieces.of(member), member.path, size=member.size)
        parts = iter(stream)
        joining: asyncio.Future[bytes] | None = None
        try:
            while True:
                joining = loop.run_in_executor(thread, _joined, parts)
                if not (piece := await asyncio.shield(joining)):
                    return
                yield piece
        finally:
            pieces.stop()
            if joining is not None:
                await asyncio.wait([joining])
            await pieces.close()
            thread.shutdown(wait=False)


class _Pieces:
    """The bytes of the members, for the thread that makes the zip."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: AsyncGenerator[Piece, None] | None = None
        self._next: Future[Piece] | None = None
        self._reading: asyncio.Task[object] | None = None
        self._stopped = False

    def of(self, member: Member) -> Iterator[bytes]:
        """The bytes of a member. Runs in the thread."""
        self._open = _bytes_of(member)
        while piece := self._wait_for_next(self._open):
            yield bytes(piece)

    def _wait_for_next(self, pieces: AsyncGenerator[Piece, None]) -> Piece:
        self._next = asyncio.run_coroutine_threadsafe(self._read(pieces), self._loop)
        if self._stopped:
            self._next.cancel()
        return self._next.result()

    async def _read(self, pieces: AsyncGenerator[Piece, None]) -> Piece:
        self._reading = asyncio.current_task()
        return await anext(pieces, b"")

    def stop(self) -> None:
        """Let the thread end with an error."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()

    async def close(self) -> None:
        """Close the current member; call it after the thread has ended."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        if self._open is not None:
            await self._open.aclose()


async def _bytes_of(member: Member) -> AsyncGenerator[Piece, None]:
    try:
        content = await member.open()
    except RequestError as error:  # such as a file that does not exist any more
        kind = StorageUnavailable if error.retryable else Permanent
        raise kind(error.text) from error
    try:
        if content.size != member.size:
            raise StorageError("{path!r} has changed", path=member.path)
        async with aclosing(content.read(0, content.size)) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        await content.close()


def _joined(parts: Iterator[bytes]) -> bytes:
    """The next pieces, together; empty at the end."""
    found, size = [], 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size >= _PIECE:
            break
    return b"".join(found)
