"""The sandbox with the files of the benchmark, as a separate process: `python -m bench.telegram FAULT …`.

Prints one line of JSON (`saveany.sandbox.__main__.describe`), then serves until SIGTERM. After each SIGUSR1
it prints another line: what it has served so far (`Served`). At the first SIGUSR2 the channels `files.LIVE`
go live, at the next one their streams end, and so on; a line says how many are live.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import files
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.__main__ import describe
from saveany.sandbox.calls import Call, CallCounters
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.group_calls import LiveStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage, World
from tests.fixtures.streams import make_parts

_CHAT_ID = 1600000001
_FIRST_FILE = 10**9
_FIRST_POSTED = 3 * 10**6
#: Of the channel `files.COPY`.
COPY_ID = _CHAT_ID + 2
_LIVE_ID = _CHAT_ID + 3
#: The streams repeat so many seconds of film for ten minutes.
_FILM_SECONDS, _STREAM_SECONDS = 20, 600


@dataclass
class Served:
    """What the sandbox has served."""

    bytes: int = 0  # of files
    uploaded: int = 0  # bytes of files that were sent to it
    last_at: float = 0.0  # time of the last part, in seconds since 1970
    requests: int = 0
    pages: int = 0  # requests for a page of a history


class _Counters(CallCounters):
    """Keeps totals, which take no time to add up."""

    def __init__(self) -> None:
        super().__init__()
        self.served = Served()

    def count(self, call: Call) -> None:
        self.served.requests += 1
        self.served.pages += call.method == "messages.getHistory"

    def sent(self, call: Call, length: int) -> None:
        self.served.bytes += length
        self.served.last_at = time.time()


async def main() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    sandbox, counters = Sandbox(), _Counters()
    sandbox.counters = counters

    def show() -> None:
        uploads = sandbox.world.uploads.values()
        served = replace(counters.served, uploaded=sum(sum(each.lengths.values()) for each in uploads))
        print(json.dumps(asdict(served)), flush=True)

    loop.add_signal_handler(signal.SIGUSR1, show)
    loop.add_signal_handler(signal.SIGUSR2, lambda: print(_toggle_streams(sandbox.world), flush=True))
    async with sandbox:
        fill(sandbox.world, sandbox.dc_id)
        for fault in sys.argv[1:]:
            sandbox.faults.add(fault)
        print(json.dumps(describe(sandbox)), flush=True)
        await stop.wait()


def fill(world: World, dc: int) -> None:
    """Post the files."""
    _fill_posted(world, dc)  # first: where a file occurs is searched for in this order
    chat = world.add_chat(Chat(id=_CHAT_ID, title="Benchmark", username=files.CHANNEL))
    for number in files.numbers():
        content = files.content(number)
        file = world.add_file(StoredFile(id=content.seed, content=content, name=f"{number}.bin", dc=dc))
        world.post(chat, StoredMessage(id=number, file=file))
    for number, name in enumerate(files.LIVE):
        world.add_chat(Chat(id=_LIVE_ID + number, title=name, username=name, members={samples.USER.id}))
    for name, count in files.LONG_CHATS.items():
        _fill_long_chat(world, dc, name, count)


def _toggle_streams(world: World) -> int:
    """Let the channels `files.LIVE` go live, or end their streams. Returns how many are live."""
    chats = [world.chats[_LIVE_ID + number] for number in range(len(files.LIVE))]
    if running := [call for chat in chats if (call := world.calls.of(chat))]:
        for call in running:
            world.calls.end(call)
        return 0
    parts = [*_film()] * (_STREAM_SECONDS // _FILM_SECONDS)
    for chat in chats:
        world.calls.start(chat, title=chat.title, stream=LiveStream(parts=parts))
    return len(chats)


@cache
def _film() -> Sequence[bytes]:
    with TemporaryDirectory(prefix="saveany-bench-") as folder:
        return make_parts(Path(folder), _FILM_SECONDS, "1280x720")


def _fill_long_chat(world: World, dc: int, name: str, count: int) -> None:
    """A channel in which each tenth message has a file. Each file has its own content."""
    chat = world.add_chat(
        Chat(id=_CHAT_ID + count, title=name, username=name, members={samples.USER.id}, broadcast=True)
    )
    first = _FIRST_FILE + count

    def make(number: int) -> StoredMessage:
        return StoredMessage(id=number, text="words", file=world.files.get(first + number))

    for number in range(10, count + 1, 10):
        content = LiteralContent(f"{number:<1000}".encode())
        kind = files.WANTED if number % files.WANTED_EVERY == 0 else "bin"
        world.add_file(StoredFile(id=first + number, content=content, name=f"{number}.{kind}", dc=dc))
    world.fill(chat, count, make)


def _fill_posted(world: World, dc: int) -> None:
    """A channel in which each message has a file, and an empty one that the user may post in."""
    user = {samples.USER.id}
    chat = world.add_chat(
        Chat(id=_CHAT_ID + 1, title=files.POSTED, username=files.POSTED, members=set(user), broadcast=True)
    )
    for number in range(files.POSTS):
        content = LiteralContent(f"{number:<1000}".encode())
        file = StoredFile(id=_FIRST_POSTED + number, content=content, name=f"{number}.bin", dc=dc)
        album = 1 + number // 10 if number % 100 < 30 else None
        world.send(chat, StoredMessage(id=0, text=str(number), file=world.add_file(file), album=album))
    world.add_chat(
        Chat(id=COPY_ID, title=files.COPY, username=files.COPY, members=set(user), admins=set(user))
    )


if __name__ == "__main__":
    asyncio.run(main())
