"""Writes the parts of one file to its upload as they arrive: counts them, and hashes them in order.

Some storages take parts at any offset, others only in order. For the latter a part that arrives early is held
in memory, up to `Source.read_ahead` bytes beyond the last written byte; the writer of a part further ahead
waits. The wait ends, because sources begin parts in ascending order and the writer of the next part never
waits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import ClassVar

from saveany.errors import Permanent
from saveany.ranges import RangeSet, split
from storages.base import Range, Storage, Upload
from workers.checkpoint import Checkpoints
from workers.progress import FileProgress

#: Parts of an earlier attempt are hashed in pieces of this size.
_CHUNK = 1 << 20
#: Bytes that are hashed in one step, if there are so many: the fewer steps, the better hashing keeps pace.
_STEP = 16 << 20
#: Bytes of early parts, of all files of this process, that are held in memory until they can be hashed; the
#: rest is read back later, from the page cache.
_HOLD = 8 << 20
#: A part shorter than this is hashed in less time than it takes to hand it to a thread.
_SHORT = 256 << 10


class PartWriter:
    """Receives the parts of one file."""

    #: Bytes that all writers of this process hold.
    held_bytes: ClassVar[int] = 0

    def __init__(
        self, storage: Storage, upload: Upload, progress: FileProgress, checkpoints: Checkpoints, window: int
    ) -> None:
        """`window` is the number of bytes beyond the last written byte that are held in memory."""
        self._window = window
        self._any_order = storage.capabilities.random_writes
        self._reads_back = storage.capabilities.reads_back
        self._upload = upload
        self._progress = progress
        self._checkpoints = checkpoints
        self._hash: hashlib._Hash | None = hashlib.sha256()
        #: The file is written and hashed up to this offset.
        self._position = 0
        #: Size by offset of the parts beyond the position: parts that arrived early, and what an earlier
        #: attempt has left.
        self._early = {start: end - start for start, end in split(upload.kept, _CHUNK)}
        #: Those of the early parts that are in memory.
        self._held: dict[int, bytes | memoryview] = {}
        self._advancing: asyncio.Task[None] | None = None
        self._advanced = asyncio.Event()
        self.size = sum(self._early.values())
        progress.restart(self.size)
        if self._early and not self._reads_back:
            self._hash = None  # bytes that cannot be read back cannot be hashed; a partial hash is useless
            self._position, self._early = self.size, {}

    async def __aenter__(self) -> PartWriter:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop writing."""
        if self._advancing is not None:
            self._advancing.cancel()
            await asyncio.gather(self._advancing, return_exceptions=True)
        for offset in list(self._held):
            self._take_held(offset)

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Take a part. Returns when there is room for another one. Raises what the storage raises."""
        if self._any_order:
            await self._upload.write(offset, data)
        self._early[offset] = len(data)
        is_next = offset == self._position  # it is hashed at once
        if is_next or not self._any_order or PartWriter.held_bytes + len(data) <= _HOLD:
            self._hold(offset, data)
        self.size += len(data)
        self._progress.add(len(data))
        self._advance_soon()
        if not self._any_order:
            await self._wait_for_room(offset)
        await self._checkpoints.save_if_due(self.size, self._written)

    async def sha256(self) -> str:
        """Hex digest of the whole file; "" if it was resumed on a storage that cannot be read back. Raises
        `Permanent` if a part is missing."""
        if self._advancing is not None:
            await self._advancing
        await self._advance()
        if self._early or self._position != self.size:
            raise Permanent("the file has a hole at byte {offset}", offset=self._position)
        return self._hash.hexdigest() if self._hash else ""

    async def _wait_for_room(self, offset: int) -> None:
        """Wait while the part at `offset` is too far ahead."""
        while offset >= self._position + self._window:
            self._advanced.clear()
            await self._advanced.wait()
            self._advance_soon()

    def _advance_soon(self) -> None:
        """Hash, and where order matters write, parts from the position on, in the background. Raises the
        error with which that has failed."""
        if self._advancing is not None and not self._advancing.done():
            return
        if self._advancing is not None:
            self._advancing.result()
        if self._any_order:
            self._hash_short_parts()
        if self._position in self._early:
            self._advancing = asyncio.create_task(self._advance())

    def _hash_short_parts(self) -> None:
        """Hash short parts from the position on here and now."""
        while self._early.get(self._position, _SHORT) < _SHORT:
            if (data := self._take_held(self._position)) is None:
                return
            if self._hash is not None:
                self._hash.update(data)
            self._skip(self._position, len(data))

    async def _advance(self) -> None:
        try:
            while parts := self._next_parts():
                await self._process(parts)
                for offset, size in parts:
                    self._skip(offset, size)
        finally:
            self._advanced.set()

    def _skip(self, offset: int, size: int) -> None:
        del self._early[offset]
        self._position = offset + size
        self._advanced.set()

    def _next_parts(self) -> list[Range]:
        """Offset and size of the parts from the position on that are processed in one step: all of them are
        in memory, or none is."""
        parts, end = list[Range](), self._position
        limit, held = _STEP if self._any_order else 1, end in self._held
        while (size := self._early.get(end)) is not None and end < self._position + limit:
            if (end in self._held) != held:
                break
            parts.append((end, size))
            end += size
        return parts

    async def _process(self, parts: Sequence[Range]) -> None:
        offset, size = parts[0][0], sum(size for _, size in parts)
        pieces = [data for offset, _ in parts if (data := self._held.get(offset)) is not None]
        if self._any_order:
            await (self._update_hash(pieces) if pieces else self._scan(offset, size))
        else:
            pieces = pieces or [await self._upload.read(offset, size)]
            await asyncio.gather(self._update_hash(pieces), self._upload.write(offset, pieces[0]))
        for offset, _ in parts:
            self._take_held(offset)

    async def _scan(self, offset: int, size: int) -> None:
        if self._hash is not None:
            await self._upload.scan(offset, size, self._hash.update)

    def _hold(self, offset: int, data: bytes | memoryview) -> None:
        self._held[offset] = data
        PartWriter.held_bytes += len(data)

    def _take_held(self, offset: int) -> bytes | memoryview | None:
        """The part at `offset` if it is in memory; it is not held any more."""
        data = self._held.pop(offset, None)
        PartWriter.held_bytes -= len(data or b"")
        return data

    async def _update_hash(self, pieces: Sequence[bytes | memoryview]) -> None:
        if self._hash is None:
            return
        if sum(map(len, pieces)) < _SHORT:
            _update(self._hash, pieces)
        else:  # in a thread: hashlib releases the GIL, so the event loop decrypts the next part meanwhile
            await asyncio.to_thread(_update, self._hash, pieces)

    def _written(self) -> list[Range]:
        """The ranges that are in the storage."""
        early = self._early.items() if self._any_order else ()
        return list(RangeSet([(0, self._position), *((offset, offset + size) for offset, size in early)]))


def _update(digest: hashlib._Hash, pieces: Sequence[bytes | memoryview]) -> None:
    for piece in pieces:
        digest.update(piece)
