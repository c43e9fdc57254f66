"""The reference for reading histories: a bare Telethon client, in a separate process.

`python -m bench.bare_history FACTS CHAT`, with the facts of the sandbox as JSON. It does nothing with the
messages. Telethon's pause of a second after each page is turned off.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession


async def main(session: str, chat: str) -> None:
    """Print the seconds and the number of messages, over an open connection."""
    client = TelegramClient(StringSession(session), 1, "hash", receive_updates=False)
    await client.connect()
    channel = await client.get_input_entity(chat)
    count, began = 0, time.monotonic()
    async for _ in client.iter_messages(channel, reverse=True, wait_time=0):
        count += 1
    print(json.dumps({"seconds": time.monotonic() - began, "messages": count}), flush=True)
    await client.disconnect()


if __name__ == "__main__":
    sandbox = json.loads(sys.argv[1])
    rsa.add_key(Path(sandbox["public_key_file"]).read_text(), old=False)
    asyncio.run(main(sandbox["user_session"], sys.argv[2]))
