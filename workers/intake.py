"""Takes the parts of one file as they come: writes them, counts them, hashes them in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from saveany.errors import Permanent
from storages.base import Range, Upload
from workers.checkpoint import Checkpoints
from workers.meter import Meter

#: Bytes that are read back at once to be hashed.
_PIECE = 1 << 20


class Intake:
    """The way of one file from its source into its upload."""

    def __init__(self, upload: Upload, meter: Meter, checkpoints: Checkpoints) -> None:
        self._upload = upload
        self._meter = meter
        self._checkpoints = checkpoints
        self._hash = hashlib.sha256()
        self._hashed = 0  # the hash covers the file up to here …
        # … and these pieces (offset: size) are written but not hashed yet: what an earlier try has left, and
        # parts that came before their turn.
        self._ahead = dict(_pieces(upload.kept))
        self._hashing = False
        self.size = sum(self._ahead.values())
        meter.restart(self.size)

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put a part where it belongs."""
        await self._upload.write(offset, data)
        self.size += len(data)
        self._meter.add(len(data))
        if offset == self._hashed and not self._hashing:
            self._hash.update(data)
            self._hashed += len(data)
        else:
            self._ahead[offset] = len(data)
        await self._catch_up()
        await self._checkpoints.maybe(self._written)

    async def sha256(self) -> str:
        """Hex digest of the whole file. Raises `Permanent` if a part is missing: that is never a success."""
        await self._catch_up()
        if self._ahead or self._hashed != self.size:
            raise Permanent(f"the file has a hole at byte {self._hashed}")
        return self._hash.hexdigest()

    async def _catch_up(self) -> None:
        # What came early is read back: from the page cache, while holding it would cost memory.
        if self._hashing:
            return
        self._hashing = True
        try:
            while (size := self._ahead.pop(self._hashed, None)) is not None:
                data = await self._upload.read(self._hashed, size)
                self._hash.update(data)
                self._hashed += size
        finally:
            self._hashing = False

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
