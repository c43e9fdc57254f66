"""Serves a stream at a URL on the loopback interface, once: for programs that read URLs, not streams."""

from __future__ import annotations

import asyncio
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from storages.chunks import Chunks

_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n"
    "Connection: close\r\n\r\n"
)


class OneTimeUrl:
    """A stream behind a URL that cannot be guessed and serves one GET request."""

    def __init__(self, chunks: Chunks, size: int) -> None:
        self.url = ""
        #: Done when all bytes were sent; fails with the error that `chunks` has raised.
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunks = chunks
        self._size = size
        self._secret = secrets.token_urlsafe(32)
        self._used = False  # whether the one request has come
        self._connections: dict[asyncio.Task[None], StreamWriter] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start the server."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{self._secret}"

    async def close(self) -> None:
        """Stop, and close all connections. A reader in the middle of a response notices: it has fewer bytes
        than were announced."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if not self.sent.cancel() and not self.sent.cancelled():
            self.sent.exception()  # marks it as retrieved, for asyncio
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._server is None:  # accepted at the moment of `close`
            writer.transport.abort()
            return
        task = asyncio.create_task(self._connected(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).split(b" ")
            if self._used or request[0] != b"GET" or not self._is_secret(request[1]):
                writer.write(_NOT_FOUND)
                await writer.drain()
            else:
                self._used = True
                await self._serve(writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, IndexError):
            pass  # a connection of another program, or one that was closed; the result is in `sent`
        finally:
            writer.close()

    def _is_secret(self, path: bytes) -> bool:
        return secrets.compare_digest(path, f"/{self._secret}".encode())

    async def _serve(self, writer: StreamWriter) -> None:
        # The buffer of a chunk is reused when the next one is requested.
        writer.transport.set_write_buffer_limits(0)
        try:
            writer.write(_HEAD.format(self._size).encode())
            async for chunk in self._chunks:
                writer.write(chunk)
                if not await _drained(writer):
                    return  # the reader closed the connection, and reports the reason itself
        except Exception as error:
            writer.transport.abort()
            self.sent.set_exception(error)
        else:
            self.sent.set_result(None)


async def _drained(writer: StreamWriter) -> bool:
    try:
        await writer.drain()
    except OSError:
        return False
    return True


@asynccontextmanager
async def served_once(chunks: Chunks, size: int) -> AsyncIterator[OneTimeUrl]:
    """A URL that serves the chunks, `size` bytes in total, while the block runs."""
    link = OneTimeUrl(chunks, size)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
