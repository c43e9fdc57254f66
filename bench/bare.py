"""The reference for small files: a bare Telethon client, in a separate process.

`python -m bench.bare FACTS FIRST LAST FOLDER`, with the facts of the sandbox as JSON. It looks messages up a
hundred at a time, keeps 16 requests for files in flight over 8 connections, and only writes the files.
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
from telethon.tl import functions
from telethon.tl import types as tl

from bench import files
from bench.results import MIB

CONNECTIONS = 8  # as many as SaveAny has by default
IN_FLIGHT = 16
_LOOKUP = 100  # messages in one reply at most
_AHEAD = 200  # looked up before they are downloaded

Messages = asyncio.Queue[tl.Message | None]


async def main(session: str, numbers: range, folder: Path) -> None:
    """Print the seconds and CPU seconds from the first lookup to the last file, over open connections."""
    clients = [
        TelegramClient(StringSession(session), 1, "hash", receive_updates=False) for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(client.connect() for client in clients))
    channel = await clients[0].get_input_entity(files.CHANNEL)
    messages: Messages = asyncio.Queue(_AHEAD)
    began, cpu = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as group:
        group.create_task(_look_up(clients[0], channel, numbers, messages))
        for n in range(IN_FLIGHT):
            group.create_task(_download(clients[n % CONNECTIONS], messages, folder))
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}), flush=True)
    await asyncio.gather(*(client.disconnect() for client in clients))


async def _look_up(
    client: TelegramClient, channel: tl.TypeInputPeer, numbers: range, messages: Messages
) -> None:
    for at in range(0, len(numbers), _LOOKUP):
        for message in await client.get_messages(channel, ids=list(numbers[at : at + _LOOKUP])):
            await messages.put(message)
    for _ in range(IN_FLIGHT):
        await messages.put(None)


async def _download(client: TelegramClient, messages: Messages, folder: Path) -> None:
    while (message := await messages.get()) is not None:
        document = message.document
        location = tl.InputDocumentFileLocation(
            document.id, document.access_hash, document.file_reference, thumb_size=""
        )
        part = await client(functions.upload.GetFileRequest(location, offset=0, limit=MIB))
        (folder / f"{message.id}.bin").write_bytes(part.bytes)


if __name__ == "__main__":
    sandbox = json.loads(sys.argv[1])
    rsa.add_key(Path(sandbox["public_key_file"]).read_text(), old=False)
    first, last = int(sys.argv[2]), int(sys.argv[3])
    asyncio.run(main(sandbox["user_session"], range(first, last + 1), Path(sys.argv[4])))
