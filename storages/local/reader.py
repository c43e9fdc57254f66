"""Reading a file of a disk."""

from __future__ import annotations

import os
import select
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from saveany.descriptor import SharedDescriptor
from saveany.errors import StorageError
from storages.base import Lend, Reader
from storages.local.files import version
from storages.local.jail import (
    Disk,
    read_all,
)

T = TypeVar("T")
#: Bytes per piece that a reader returns.
PIECE = 1 << 20


class LocalReader(Reader):
    """A file of a disk, read in pieces of up to 1 MiB. `LocalStorage.open` makes it."""

    sends = hasattr(os, "sendfile")

    def __init__(self, disk: Disk, path: str) -> None:
        super().__init__(disk.name, path, 0)
        self._disk = disk
        self._file: SharedDescriptor | None = None  # None before `open` and after `close`

    def open(self) -> None:
        """Open the file. Blocks."""
        with ExitStack() as stack:
            fd = self._disk.open_file(self.path, stack)
            found = os.fstat(fd)
            self.size, self.modified_at = found.st_size, found.st_mtime_ns // 1_000_000
            self.version = version(found)
            self._file = SharedDescriptor(fd)
            stack.pop_all()

    async def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, end, PIECE):
            piece = await self._use(partial(read_all, offset=at, size=min(PIECE, end - at)))
            if not piece:
                return
            yield piece

    async def send(self, lend: Lend, start: int, end: int) -> int:
        """As in the contract."""

        def work(fd: int) -> int:
            return lend(lambda sock: _send(sock, fd, start, end))()

        sent = await self._use(work)
        if sent == _ENDED:
            raise self.changed()
        if sent == _CLOSED:
            raise ConnectionResetError
        return sent

    async def _check_unchanged(self) -> None:
        if version(await self._use(os.fstat)) != self.version:
            raise self.changed()

    async def _use(self, work: Callable[[int], T]) -> T:
        if self._file is None:
            raise StorageError(
                "storage {storage!r}: {path!r} is closed", storage=self._disk.name, path=self.path
            )
        return await self._disk.run(self.path, self._file.lend(work))

    async def close(self) -> None:
        """Close the file, once the last read has ended."""
        file, self._file = self._file, None
        if file:
            file.release()


#: Results of `_send` for a file that ends before `start`, and for a socket that is closed.
_ENDED, _CLOSED = -1, -2
#: Bytes of one call of the kernel: it may have to wait for the disk.
_CALL = 2 << 20
#: Seconds after which `_send` returns, so that others may use its thread.
_TURN = 0.05
#: Milliseconds for which `_send` waits for the socket. Waiting in the event loop instead costs more CPU time
#: than sending what a fast client has made room for.
_PATIENCE = 2


def _send(sock: int, fd: int, start: int, end: int) -> int:
    """Send until the socket takes no more, or the turn is over; returns the number of bytes."""
    room = select.poll()
    room.register(sock, select.POLLOUT)
    at, turn_ends = start, time.monotonic() + _TURN
    while at < end and time.monotonic() < turn_ends:
        try:
            sent = os.sendfile(sock, fd, at, min(_CALL, end - at))
        except BlockingIOError:
            if not room.poll(_PATIENCE):
                break
        except ConnectionError:
            return at - start or _CLOSED
        else:
            if not sent:
                return at - start or _ENDED
            at += sent
    return at - start
