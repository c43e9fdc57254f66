"""Reads ranges of a file with the accounts of a separate process: `python -m bench.reader CONFIG`.

Prints one line of JSON: seconds to the first bytes over new connections, and the number of random ranges with
wrong bytes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from bench import files
from bench.results import MIB
from saveany import logs
from saveany.config import Config, load
from saveany.telegram import links
from saveany.telegram.accounts import Accounts
from saveany.telegram.media import Media

_COLD, _RANDOM = 5, 100
_LENGTH = 256 << 10


async def main(config: Config) -> None:
    random.seed(1)
    first = [await _first_byte(config) for _ in range(_COLD)]
    print(json.dumps({"first": first, "wrong": await _wrong(config), "ranges": _RANDOM}), flush=True)


async def _first_byte(config: Config) -> float:
    """Seconds to the first bytes, after the message was resolved and before any connection for files
    exists."""
    async with _resolved(config) as (accounts, media):
        began = time.monotonic()
        async with aclosing(accounts.read(media, 100 * MIB + 12_345, MIB)) as pieces:
            await anext(pieces)
            return time.monotonic() - began


async def _wrong(config: Config) -> int:
    content = files.content(files.MIB_256)
    async with _resolved(config) as (accounts, media):
        offsets = [random.randrange(media.size - _LENGTH) for _ in range(_RANDOM)]
        return sum([await _read(accounts, media, each) != content.read(each, _LENGTH) for each in offsets])


async def _read(accounts: Accounts, media: Media, offset: int) -> bytes:
    return b"".join([piece async for piece in accounts.read(media, offset, _LENGTH)])


@asynccontextmanager
async def _resolved(config: Config) -> AsyncIterator[tuple[Accounts, Media]]:
    accounts = Accounts(config.telegram, config.data_dir)
    await accounts.start()
    try:
        (media,) = await accounts.resolve(links.parse(files.link(files.MIB_256)))
        yield accounts, media
    finally:
        await accounts.close()


if __name__ == "__main__":
    logs.setup("warning", "text")
    asyncio.run(main(load(Path(sys.argv[1]), {})))
