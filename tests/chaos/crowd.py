"""`python -m tests.chaos.crowd PORT IDLE SLOW HOSTILE`: so many connections to the API, without a token.

Idle ones send nothing, slow ones a byte now and then, hostile ones as much as they can of what costs most.
All come back when they are sent away. Half of them have the address of the owner, 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

Behavior = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3", "127.0.0.1", "127.0.0.4")
_POST = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n"
_PIECE = 16384
_LINES = b"X-Y: z\r\n" * (_PIECE // 8)


async def idle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Sit there."""
    await reader.read()


def dripping(begin: bytes, drop: bytes) -> Behavior:
    """What grows by a drop a second, for ever."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(1)

    return behave


def flooding(begin: bytes, piece: bytes) -> Behavior:
    """What grows as fast as the server takes it, for ever."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return behave


async def guesses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wrong tokens, one after the other."""
    for number in itertools.count():
        writer.write(
            b"GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %d\r\n\r\n" % number
        )
        if not await reader.read(_PIECE):
            return


SLOW: dict[str, Behavior] = {
    "a head": dripping(_GET % b"health" + b"X: ", b"x"),
    "a body": dripping(_POST + b"Content-Length: 1000000\r\n\r\n", b" "),
}
HOSTILE: dict[str, Behavior] = {
    "one header": flooding(_POST + b"X: ", b"x" * _PIECE),
    "many headers": flooding(_POST, _LINES),
    "headers after a body": flooding(_POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", _LINES),
    "a body of a gigabyte": flooding(_POST + b"Content-Length: 1000000000\r\n\r\n", b" " * _PIECE),
    "wrong tokens": guesses,
    "requests whose answers nobody reads": flooding(b"", (_GET % b"openapi.json" + b"\r\n") * 300),
}


async def _for_ever(port: int, address: str, behave: Behavior) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            with suppress(OSError):
                await behave(reader, writer)
            writer.transport.abort()
        await asyncio.sleep(1)


async def main(port: int, idle_ones: int, slow_ones: int, hostile_ones: int) -> None:
    """Until it is killed; says so when all have begun."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    behaviors = [
        *itertools.repeat(idle, idle_ones),
        *itertools.islice(itertools.cycle(SLOW.values()), slow_ones),
        *itertools.islice(itertools.cycle(HOSTILE.values()), hostile_ones),
    ]
    addresses = itertools.cycle(_ADDRESSES)
    async with asyncio.TaskGroup() as group:
        for behave in behaviors:
            group.create_task(_for_ever(port, next(addresses), behave))
        await asyncio.sleep(0)
        print("all have begun", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
