"""Takes the parts of one file as they come: puts them into the storage, counts them, hashes them in order.

A storage takes parts either anywhere in the file or in order only. In order, what comes before its turn is
held in memory, up to `Source.ahead` bytes further on; who brings more waits. That ends, because sources begin
parts in ascending order and whoever fetches the part in turn waits for nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

from saveany.errors import Permanent
from storages.base import Range, Storage, Upload
from workers.checkpoint import Checkpoints
from workers.progress import FileProgress

#: Bytes that are read back at once to be hashed.
_PIECE = 1 << 20
#: Bytes of parts before their turn that are held to be hashed; what comes on top is read back.
_HOLD = 16 << 20
#: A shorter part is hashed sooner than a thread is asked to.
_SHORT = 256 << 10


class PartWriter:
    """The way of one file from its source into its upload."""

    def __init__(
        self, storage: Storage, upload: Upload, progress: FileProgress, checkpoints: Checkpoints, window: int
    ) -> None:
        self._window = window
        self._anywhere = storage.capabilities.random_writes
        self._reads_back = storage.capabilities.reads_back
        self._upload = upload
        self._progress = progress
        self._checkpoints = checkpoints
        self._hash: hashlib._Hash | None = hashlib.sha256()
        self._settled = 0  # up to here the file is written, and hashed if it is …
        # … and these pieces (offset: size) are there too, but not in turn yet: what an earlier try has left,
        # and parts that came early, some or all of which are held in memory.
        self._ahead = dict(_pieces(upload.kept))
        self._held: dict[int, bytes | memoryview] = {}
        self._settling = False
        self._passing: asyncio.Task[None] | None = None  # settles what is in turn, where order matters
        self._moved = asyncio.Event()
        self.size = sum(self._ahead.values())
        progress.restart(self.size)
        if self._ahead and not self._reads_back:
            self._hash = None  # what cannot be read again cannot be hashed: better no hash than half of one
            self._settled, self._ahead = self.size, {}

    async def __aenter__(self) -> PartWriter:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop passing parts on."""
        if self._passing is not None:
            self._passing.cancel()
            await asyncio.gather(self._passing, return_exceptions=True)

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Take a part. Returns when there is room for another."""
        if self._anywhere:
            await self._upload.write(offset, data)
        self._ahead[offset] = len(data)
        if not self._anywhere or sum(map(len, self._held.values())) + len(data) <= _HOLD:
            self._held[offset] = data
        self.size += len(data)
        self._progress.add(len(data))
        if self._anywhere:
            await self._catch_up()
        else:
            await self._pass_on(offset)
        await self._checkpoints.save_if_due(self._written)

    async def _pass_on(self, offset: int) -> None:
        """Have what is in turn go its way, beside the fetching; wait if this part came far too early."""
        self._look_after_passing()
        while offset >= self._settled + self._window:
            self._moved.clear()
            await self._moved.wait()
            self._look_after_passing()

    def _look_after_passing(self) -> None:
        if self._passing is None or self._passing.done():
            if self._passing is not None:
                self._passing.result()
            if self._settled in self._ahead:
                self._passing = asyncio.create_task(self._catch_up())

    async def sha256(self) -> str:
        """Hex digest of the whole file, "" where it could not be made: after a resume on a storage that
        cannot be read back. Raises `Permanent` if a part is missing: that is never a success."""
        if self._passing is not None:
            await self._passing
        await self._catch_up()
        if self._ahead or self._settled != self.size:
            raise Permanent(f"the file has a hole at byte {self._settled}")
        return self._hash.hexdigest() if self._hash else ""

    async def _catch_up(self) -> None:
        """Settle what is in turn now. One caller does it for all; the others go on fetching."""
        if self._settling:
            return
        self._settling = True
        try:
            while (size := self._ahead.get(self._settled)) is not None:
                await self._settle(self._settled, size)
                del self._ahead[self._settled]
                self._settled += size
                self._moved.set()
        finally:
            self._settling = False
            self._moved.set()

    async def _settle(self, offset: int, size: int) -> None:
        data = self._held.pop(offset, None)
        if data is None:
            data = await self._upload.read(offset, size)
        if self._anywhere:
            await self._update(data)
        else:
            await asyncio.gather(self._update(data), self._upload.write(offset, data))

    async def _update(self, data: bytes | memoryview) -> None:
        if self._hash is None:
            return
        if len(data) < _SHORT:
            self._hash.update(data)
        else:  # beside the event loop, which decrypts the next part meanwhile: hashlib lets go of the GIL
            await asyncio.to_thread(self._hash.update, data)

    def _written(self) -> list[Range]:
        """All that is in the storage, as ranges."""
        ranges = [(0, self._settled)] if self._settled else []
        for offset, size in sorted(self._ahead.items()) if self._anywhere else ():
            if ranges and ranges[-1][1] == offset:
                ranges[-1] = (ranges[-1][0], offset + size)
            else:
                ranges.append((offset, offset + size))
        return ranges


def _pieces(ranges: Iterable[Range]) -> Iterable[Range]:
    """The ranges as (offset, size) of at most `_PIECE` bytes."""
    for start, end in ranges:
        for offset in range(start, end, _PIECE):
            yield offset, min(_PIECE, end - offset)
