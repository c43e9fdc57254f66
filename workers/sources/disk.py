"""Files that a program has put on this machine's disk, on their way into a storage."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from saveany.errors import Retryable
from storages.base import Range
from workers.sources.base import Write

_PIECE = 1 << 20


def names(folder: Path) -> list[str]:
    """What is in a folder; nothing if it cannot be read."""
    with suppress(OSError):
        return [each.name for each in folder.iterdir()]
    return []


async def copy(path: Path, size: int, write: Write, have: Sequence[Range]) -> None:
    """Write what is missing of a file."""
    fd = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        at = 0
        for start, end in [*have, (size, size)]:
            while at < start:
                piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, start - at), at)
                if not piece:
                    raise Retryable(f"{path.name} is shorter than it was")
                await write(at, piece)
                at += len(piece)
            at = end
    finally:
        os.close(fd)
