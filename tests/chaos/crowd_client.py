"""`python -m tests.chaos.crowd_client PORT IDLE SLOW HOSTILE`: opens connections to the API, without a token.

The last three arguments are numbers of connections. Idle ones send nothing, slow ones a byte per second, and
hostile ones the most expensive requests as fast as they can. All of them reconnect when they are closed. Half
of them come from the address of the owner, 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.fixtures.tcp import connection

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3", "127.0.0.1", "127.0.0.4")
_POST = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n"
_PIECE = 16384
_LINES = b"X-Y: z\r\n" * (_PIECE // 8)


async def idle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Send nothing."""
    await reader.read()


def dripping(begin: bytes, drop: bytes) -> Client:
    """A client that sends `begin`, then `drop` once per second, without an end."""

    async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(1)

    return client


def flooding(begin: bytes, piece: bytes) -> Client:
    """A client that sends `begin`, then `piece` as fast as the server reads it, without an end."""

    async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return client


async def guess_tokens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send requests with wrong tokens, one after the other."""
    for number in itertools.count():
        writer.write(
            b"GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %d\r\n\r\n" % number
        )
        if not await reader.read(_PIECE):
            return


SLOW: dict[str, Client] = {
    "a head": dripping(_GET % b"health" + b"X: ", b"x"),
    "a body": dripping(_POST + b"Content-Length: 1000000\r\n\r\n", b" "),
}
HOSTILE: dict[str, Client] = {
    "one header": flooding(_POST + b"X: ", b"x" * _PIECE),
    "many headers": flooding(_POST, _LINES),
    "headers after a body": flooding(_POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", _LINES),
    "a body of a gigabyte": flooding(_POST + b"Content-Length: 1000000000\r\n\r\n", b" " * _PIECE),
    "wrong tokens": guess_tokens,
    "requests whose responses are not read": flooding(b"", (_GET % b"openapi.json" + b"\r\n") * 300),
}


async def _reconnect_forever(port: int, address: str, client: Client) -> None:
    while True:
        with suppress(OSError):
            async with connection("127.0.0.1", port, local_addr=(address, 0)) as streams:
                await client(*streams)
        await asyncio.sleep(1)


async def main(port: int, idle_ones: int, slow_ones: int, hostile_ones: int) -> None:
    """Run until killed. Prints a line when all connections were started."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    clients = [
        *itertools.repeat(idle, idle_ones),
        *itertools.islice(itertools.cycle(SLOW.values()), slow_ones),
        *itertools.islice(itertools.cycle(HOSTILE.values()), hostile_ones),
    ]
    addresses = itertools.cycle(_ADDRESSES)
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(_reconnect_forever(port, next(addresses), client))
        await asyncio.sleep(0)
        print("started", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
