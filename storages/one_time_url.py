"""A stream as a page on loopback that one reader gets, once: for programs that take a URL, not a stream."""

from __future__ import annotations

import asyncio
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from storages.remote import Chunks

_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n"
    "Connection: close\r\n\r\n"
)


class OneTimeUrl:
    """What is offered: `url` cannot be guessed, and is good for one GET."""

    def __init__(self, chunks: Chunks, size: int) -> None:
        self.url = ""
        #: Done when all was handed over, or with what `chunks` raised.
        self.taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunks = chunks
        self._size = size
        self._secret = secrets.token_urlsafe(32)
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> asyncio.Server:
        """Start to listen."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{self._secret}"
        return server

    async def close(self) -> None:
        """Break off what is under way: the reader sees a short answer, as its length was announced."""
        if not self.taken.cancel() and not self.taken.cancelled():
            self.taken.exception()  # nobody may have asked
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ")
            if self._serving or asked[0] != b"GET" or not self._knows(asked[1]):
                writer.write(_NOT_FOUND)
                await writer.drain()
            else:
                self._serving = asyncio.create_task(self._serve(writer))
                await asyncio.wait([self._serving])
        except (OSError, EOFError, asyncio.LimitOverrunError, IndexError):
            pass  # somebody else's connection, or one that is given up: `taken` tells what matters
        finally:
            writer.close()

    def _knows(self, path: bytes) -> bool:
        return secrets.compare_digest(path, f"/{self._secret}".encode())

    async def _serve(self, writer: StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # a chunk is its owner's again when the next is asked for
        try:
            writer.write(_HEAD.format(self._size).encode())
            async for chunk in self._chunks:
                writer.write(chunk)
                if not await _arrived(writer):
                    return  # the reader has gone, and says why
        except Exception as error:
            writer.transport.abort()
            self.taken.set_exception(error)
        else:
            self.taken.set_result(None)


async def _arrived(writer: StreamWriter) -> bool:
    try:
        await writer.drain()
    except OSError:
        return False
    return True


@asynccontextmanager
async def offered(chunks: Chunks, size: int) -> AsyncIterator[OneTimeUrl]:
    """Offers the chunks, `size` bytes in all, while the block runs."""
    offer = OneTimeUrl(chunks, size)
    server = await offer.open()
    try:
        yield offer
    finally:
        server.close()
        await offer.close()
