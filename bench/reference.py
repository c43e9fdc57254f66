"""The reference: `download_media` of unmodified Telethon to a file, then its SHA-256, in a separate process.

`python -m bench.reference FACTS NUMBER FILE`, with the facts of the sandbox as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession

from bench import files


async def main(session: str, number: int, path: Path) -> None:
    """Print the seconds that the download takes, without the login and fetching the message."""
    client = TelegramClient(StringSession(session), 1, "hash", receive_updates=False)
    await client.connect()
    message = await client.get_messages(files.CHANNEL, ids=number)
    began = time.monotonic()
    await client.download_media(message, file=str(path))
    digest = _sync_and_hash(path)
    print(json.dumps({"seconds": time.monotonic() - began, "sha256": digest}), flush=True)
    await client.disconnect()


def _sync_and_hash(path: Path) -> str:
    """The SHA-256 of the file, which is synced to disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


if __name__ == "__main__":
    sandbox = json.loads(sys.argv[1])
    rsa.add_key(Path(sandbox["public_key_file"]).read_text(), old=False)
    asyncio.run(main(sandbox["user_session"], int(sys.argv[2]), Path(sys.argv[3])))
