"""Takes the parts of one file as they come: writes them, counts them, hashes them in order."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

from saveany.errors import Permanent
from storages.base import Range, Upload
from workers.checkpoint import Checkpoints
from workers.meter import Meter

#: Bytes that are read back at once to be hashed.
_PIECE = 1 << 20
#: Bytes of parts before their turn that are held to be hashed; what comes on top is read back from the disk.
_HOLD = 16 << 20
#: A shorter part is hashed sooner than a thread is asked to.
_SHORT = 256 << 10


class Intake:
    """The way of one file from its source into its upload."""

    def __init__(self, upload: Upload, meter: Meter, checkpoints: Checkpoints) -> None:
        self._upload = upload
        self._meter = meter
        self._checkpoints = checkpoints
        self._hash = hashlib.sha256()
        self._hashed = 0  # the hash covers the file up to here …
        # … and these pieces (offset: size) are written but not hashed yet: what an earlier try has left, and
        # parts that came before their turn, some of which are still in memory.
        self._ahead = dict(_pieces(upload.kept))
        self._held: dict[int, bytes | memoryview] = {}
        self._hashing = False
        self.size = sum(self._ahead.values())
        meter.restart(self.size)

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put a part where it belongs."""
        await self._upload.write(offset, data)
        self.size += len(data)
        self._meter.add(len(data))
        self._ahead[offset] = len(data)
        if sum(map(len, self._held.values())) + len(data) <= _HOLD:
            self._held[offset] = data
        await self._catch_up()
        await self._checkpoints.maybe(self._written)

    async def sha256(self) -> str:
        """Hex digest of the whole file. Raises `Permanent` if a part is missing: that is never a success."""
        await self._catch_up()
        if self._ahead or self._hashed != self.size:
            raise Permanent(f"the file has a hole at byte {self._hashed}")
        return self._hash.hexdigest()

    async def _catch_up(self) -> None:
        if self._hashing:
            return
        self._hashing = True
        try:
            while (size := self._ahead.get(self._hashed)) is not None:
                data = self._held.pop(self._hashed, None)
                await self._update(await self._upload.read(self._hashed, size) if data is None else data)
                del self._ahead[self._hashed]
                self._hashed += size
        finally:
            self._hashing = False

    async def _update(self, data: bytes | memoryview) -> None:
        if len(data) < _SHORT:
            self._hash.update(data)
        else:  # beside the event loop, which decrypts the next part meanwhile: hashlib lets go of the GIL
            await asyncio.to_thread(self._hash.update, data)

    def _written(self) -> list[Range]:
        """All that has been written, as ranges."""
        ranges = [(0, self._hashed)] if self._hashed else []
        for offset, size in sorted(self._ahead.items()):
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
