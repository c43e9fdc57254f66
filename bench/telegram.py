"""The sandbox with the files of the benchmark, as a separate process: `python -m bench.telegram FAULT …`.

Prints one line of JSON (`saveany.sandbox.__main__.describe`), then serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from bench import files
from saveany.sandbox import Sandbox
from saveany.sandbox.__main__ import describe
from saveany.sandbox.world import Chat, StoredFile, StoredMessage, World

_CHAT_ID = 1600000001


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Sandbox() as sandbox:
        fill(sandbox.world, sandbox.dc_id)
        for fault in sys.argv[1:]:
            sandbox.faults.add(fault)
        print(json.dumps(describe(sandbox)), flush=True)
        await stop.wait()


def fill(world: World, dc: int) -> None:
    """Post the files."""
    chat = world.add_chat(Chat(id=_CHAT_ID, title="Benchmark", username=files.CHANNEL))
    for number in files.numbers():
        content = files.content(number)
        file = world.add_file(StoredFile(id=content.seed, content=content, name=f"{number}.bin", dc=dc))
        world.post(chat, StoredMessage(id=number, file=file))


if __name__ == "__main__":
    asyncio.run(main())
