"""The sandbox with the files of the benchmark, as a separate process: `python -m bench.telegram FAULT …`.

Prints one line of JSON (`saveany.sandbox.__main__.describe`), then serves until SIGTERM. After each SIGUSR1
it prints another line: what it has served so far (`Served`).
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass

from bench import files
from saveany.sandbox import Sandbox
from saveany.sandbox.__main__ import describe
from saveany.sandbox.calls import Call, CallCounters
from saveany.sandbox.world import Chat, StoredFile, StoredMessage, World

_CHAT_ID = 1600000001


@dataclass
class Served:
    """What the sandbox has served."""

    bytes: int = 0  # of files
    last_at: float = 0.0  # time of the last part, in seconds since 1970
    requests: int = 0


class _Counters(CallCounters):
    """Keeps totals, which take no time to add up."""

    def __init__(self) -> None:
        super().__init__()
        self.served = Served()

    def count(self, call: Call) -> None:
        self.served.requests += 1

    def sent(self, call: Call, length: int) -> None:
        self.served.bytes += length
        self.served.last_at = time.time()


async def main() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    sandbox, counters = Sandbox(), _Counters()
    sandbox.counters = counters
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(json.dumps(asdict(counters.served)), flush=True))
    async with sandbox:
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
