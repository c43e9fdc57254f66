"""The reference for links: our own downloader without hashing and writing, in a separate process.

`python -m bench.downloader CONFIG NUMBER` prints one line of JSON: seconds and CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from bench import files
from saveany import logs
from saveany.config import Config, load
from saveany.telegram import links
from saveany.telegram.accounts import Accounts


async def main(config: Config, number: int) -> None:
    """Download twice; the first time opens the connections."""
    accounts = Accounts(config.telegram, config.data_dir)
    await accounts.start()
    try:
        await _download(accounts, number)
        began, cpu = time.monotonic(), time.process_time()
        await _download(accounts, number)
        print(json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}), flush=True)
    finally:
        await accounts.close()


async def _download(accounts: Accounts, number: int) -> None:
    async def drop(offset: int, data: bytes | memoryview) -> None:
        pass

    (media,) = await accounts.resolve(links.parse(files.link(number)))
    await accounts.download(media, drop)


if __name__ == "__main__":
    logs.setup("warning", "text")
    asyncio.run(main(load(Path(sys.argv[1]), {}), int(sys.argv[2])))
