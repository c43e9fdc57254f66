"""Copying files that a program has downloaded to this machine's disk into a storage."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from saveany.errors import Retryable
from saveany.ranges import Range, missing
from workers.sources.base import Write

#: Bytes read at once.
_CHUNK = 1 << 20


def names(folder: Path) -> list[str]:
    """Names in a folder; none if it cannot be read."""
    with suppress(OSError):
        return [path.name for path in folder.iterdir()]
    return []


async def copy(path: Path, size: int, write: Write, have: Sequence[Range]) -> None:
    """Write the missing ranges of a file. Raises `Retryable` if the file has become shorter."""
    fd = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        for start, end in missing(have, size):
            offset = start
            while offset < end:
                data = await asyncio.to_thread(os.pread, fd, min(_CHUNK, end - offset), offset)
                if not data:
                    raise Retryable("{name} is shorter than it was", name=path.name)
                await write(offset, data)
                offset += len(data)
    finally:
        os.close(fd)
