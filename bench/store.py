"""Writes a file to a storage, or reads one, with the calls that a transfer makes, in a separate process.

`python -m bench.store up|down TABLE BYTES PATH`, with the `[[storages]]` table as JSON. Prints the
seconds taken.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.results import MIB
from saveany.cli.role import run_async
from storages.base import Services, Storage, UploadKey
from storages.registry import open_storage, options_model

#: The blocks of a file, used cyclically: neighboring blocks differ, and all of them need little memory.
_BLOCKS = [os.urandom(MIB) for _ in range(8)]


#: Bytes of the upload that is not measured: more than one part for a storage that uploads in parts.
_FIRST = 8 * MIB


async def main(way: str, table: str, size: int, path: str) -> None:
    options = json.loads(table)
    model = options_model(options["type"])
    assert model
    with tempfile.TemporaryDirectory() as scratch:
        storage = open_storage(model.model_validate(options), Services(scratch=Path(scratch)))
        # A worker is already connected when a transfer begins, and has learned how its server behaves.
        await storage.stat(path)
        if way == "up":
            await _up(storage, _FIRST, path)
            # As for the reference, whose target is emptied first: free memory is faster.
            await storage.delete(path)
        began = time.monotonic()
        await (_up if way == "up" else _down)(storage, size, path)
        seconds = time.monotonic() - began
        await storage.close()
    print(json.dumps(seconds), flush=True)


async def _up(storage: Storage, size: int, path: str) -> None:
    async with await storage.begin(UploadKey(f"bench-{size}", 0, 1), path, size) as upload:
        for offset in range(0, size, MIB):
            await upload.write(offset, _BLOCKS[offset // MIB % len(_BLOCKS)])
        await upload.seal(size)
        await upload.commit(path, size, replace=True)


async def _down(storage: Storage, size: int, path: str) -> None:
    async with await storage.open(path) as reader:
        async for piece in reader.read():
            size -= len(piece)
    if size:
        raise RuntimeError(f"{path}: {size} bytes were not read")


if __name__ == "__main__":
    run_async(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
