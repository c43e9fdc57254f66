"""The guarded proxy: child programs reach the internet only through it, under the rules of the address guard.

yt-dlp, gallery-dl and aria2 follow links and redirects by themselves. With this as their only proxy they
reach no address that we would refuse.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from saveany.errors import InvalidInput
from saveany.net.client import describe
from saveany.net.dial import CONNECT_SECONDS, ProxyFailed, dial
from saveany.net.guard import AddressGuard
from saveany.net.upstream import Streams
from saveany.texts import Text

#: Seconds without traffic after which a connection is closed.
_SILENCE = 120.0
_PIECE = 1 << 16
#: Bytes that a speed limit permits at a time.
_SLICE = 1 << 12
_MAX_REFUSALS = 20

_PORTS = {"http": 80, "https": 443}
_REQUEST = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]")
_ABSOLUTE = re.compile(r"(?i:http)://([^/?#]+)([^#]*)")
#: Headers about one connection, which are not forwarded (RFC 9110, 7.6.1). `Expect` is one of them, because
#: bodies are forwarded as they arrive.
_HOPS = ("connection", "keep-alive", "te", "upgrade", "expect", "proxy-connection", "proxy-authorization")
#: Socket option that resets the connection on close, so that a truncated body does not count as complete.
_RESET = struct.pack("ii", 1, 0)

Alive = Callable[[int], None]
#: A speed limit: waits until the given number of bytes from a server is permitted.
Take = Callable[[int], Awaitable[None]]


class GuardedProxy:
    """An HTTP proxy for a child process: CONNECT, and GET, HEAD and POST of http:// URLs.

        async with GuardedProxy(guard, config.proxy) as proxy:
            await run("yt-dlp", env={"http_proxy": proxy.url, "https_proxy": proxy.url})

    Every host is resolved and checked here, and the connection goes to the address that was checked, through
    `upstream` (the URL of a SOCKS or HTTP proxy) if there is one. What servers send is passed on no faster
    than `take` lets it. At the end of the block all connections are cut.
    """

    def __init__(
        self,
        guard: AddressGuard,
        upstream: str = "",
        *,
        silence: float = _SILENCE,
        take: Take | None = None,
    ) -> None:
        self._guard = guard
        self._take = take
        self._upstream = upstream
        self._silence = silence
        self._user = f"saveany:{secrets.token_urlsafe(24)}"
        self._login = b"Basic " + b64encode(self._user.encode())
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        #: Number of connections of the child, and bytes in both directions.
        self.connections, self.passed = 0, 0
        #: Reasons for which the guard refused requests, each once, oldest first.
        self.refusals: list[Text] = []
        #: Why the operator's proxy failed; None if a later connection through it succeeded.
        self.problem: Text | None = None

    @property
    def url(self) -> str:
        """The URL of the proxy, with a secret that only the child may know. Pass it in the environment or in
        a file, because all users of the machine can read arguments."""
        return f"http://{self._user}@127.0.0.1:{self._port}"

    async def __aenter__(self) -> GuardedProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_PIECE)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
            writer.close()
        except (OSError, EOFError):
            pass  # one side closed the connection or timed out
        finally:
            _cut(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._silence) as silence:

            def alive(size: int) -> None:
                self.passed += size
                if not silence.expired():
                    silence.reschedule(asyncio.get_running_loop().time() + self._silence)

            try:
                await self._handle(await _Head.read(reader), reader, writer, alive)
            except _Refused as refused:
                writer.write(refused.response)
                await writer.drain()

    async def _handle(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Alive
    ) -> None:
        request = _REQUEST.fullmatch(head.first)
        if request is None:
            raise _Refused(HTTPStatus.BAD_REQUEST, "This is not an HTTP/1.1 request.")
        if not hmac.compare_digest(head.value("proxy-authorization"), self._login):
            raise _Refused(
                HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "The credentials for this proxy are wrong."
            )
        method, target = request.groups()
        if method == "CONNECT":
            await self._tunnel(target, (reader, writer), alive)
        else:
            await self._forward(method, target, head, (reader, writer), alive)

    async def _tunnel(self, authority: str, client: Streams, alive: Alive) -> None:
        async with self._connection("https", authority) as server:
            client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            down = _pump(server[0], client[1], alive, self._take)
            await _until_one_ends(_pump(client[0], server[1], alive), down)

    async def _forward(self, method: str, target: str, head: _Head, client: Streams, alive: Alive) -> None:
        url = _ABSOLUTE.fullmatch(target)
        if url is None or method not in ("GET", "HEAD", "POST"):
            raise _Refused(
                HTTPStatus.BAD_REQUEST,
                "This proxy supports only CONNECT, and GET, HEAD and POST of http:// URLs.",
            )
        authority, path = url.groups()
        length = head.length()
        first = f"{method} {path if path.startswith('/') else '/' + path} HTTP/1.1"
        async with self._connection("http", authority) as server:
            server[1].write(head.forwarded(first, f"Host: {authority}", "Connection: close", without="host"))
            await _until_one_ends(
                _upload(client[0], server[1], length, alive), _download(server, client, alive, self._take)
            )

    @asynccontextmanager
    async def _connection(self, scheme: str, authority: str) -> AsyncIterator[Streams]:
        server = await self._open(scheme, authority)
        try:
            yield server
            server[1].close()
        finally:
            _cut(server[1])

    async def _open(self, scheme: str, authority: str) -> Streams:
        """A connection to an address that the guard permits."""
        url = f"{scheme}://{authority}"
        try:
            self._guard.check_url(url)
            host, port = httpx.URL(url).raw_host.decode("ascii"), httpx.URL(url).port or _PORTS[scheme]
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await self._guard.resolve(host, port)
            server = await dial(addresses, port, self._upstream, CONNECT_SECONDS)
            self.problem = None
            return server
        except InvalidInput as error:
            if error.text not in self.refusals:
                self.refusals = [*self.refusals, error.text][-_MAX_REFUSALS:]
            raise _Refused(HTTPStatus.FORBIDDEN, error.message) from error
        except TimeoutError as error:
            raise _Refused(HTTPStatus.GATEWAY_TIMEOUT, "The server could not be reached in time.") from error
        except OSError as error:
            self.problem = error.text if isinstance(error, ProxyFailed) else None
            raise _Refused(
                HTTPStatus.BAD_GATEWAY, f"The server cannot be reached: {describe(error)}."
            ) from error


class _Refused(Exception):
    """The proxy itself responds with an error."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        login = 'Proxy-Authenticate: Basic realm="SaveAny"\r\n' if status == 407 else ""
        body = f"{message}\n".encode()
        self.response = (
            f"HTTP/1.1 {status} {status.phrase}\r\n{login}Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body


@dataclass(frozen=True, slots=True)
class _Head:
    """The head of a message: its first line, and the header lines unchanged."""

    first: str
    lines: list[bytes]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> _Head:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        except asyncio.LimitOverrunError as error:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too long.") from error
        return cls(first.decode("latin-1"), lines)

    def value(self, name: str) -> bytes:
        return next((line.partition(b":")[2].strip() for line in self.lines if _name(line) == name), b"")

    def length(self) -> int:
        """The length of the request body."""
        if self.value("transfer-encoding"):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "This proxy accepts only bodies of a known length.")
        value = self.value("content-length")
        if value and not (value.isdigit() and len(value) < 19):
            raise _Refused(HTTPStatus.BAD_REQUEST, "The Content-Length is not a number.")
        return int(value or 0)

    def forwarded(self, first: str, *new: str, without: str = "") -> bytes:
        """The head to forward, with another first line and other headers."""
        kept = [line for line in self.lines if _name(line) not in (*_HOPS, without)]
        return b"\r\n".join(
            [first.encode("latin-1"), *(line.encode("latin-1") for line in new), *kept, b"", b""]
        )


def _name(line: bytes) -> str:
    return line.partition(b":")[0].strip().lower().decode("latin-1")


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Alive, take: Take | None = None
) -> None:
    while piece := await reader.read(_PIECE):
        left = len(piece)
        while take and left:  # in slices, so that a delay of ours does not count as silence of the server
            await take(min(_SLICE, left))
            alive(min(_SLICE, left))
            left -= min(_SLICE, left)
        writer.write(piece)
        await writer.drain()
        alive(left)


async def _upload(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int, alive: Alive
) -> None:
    """Forward the body of a request; ends when the client closes the connection."""
    while piece := await reader.read(_PIECE):
        writer.write(piece[:length])  # bytes after the body are dropped: pipelining is not supported
        await writer.drain()
        length -= min(length, len(piece))
        alive(len(piece))


async def _download(server: Streams, client: Streams, alive: Alive, take: Take | None) -> None:
    """Forward the response, with `Connection: close`: the next request may be for another host."""
    while True:
        try:
            head = await _Head.read(server[0])
        except (EOFError, _Refused) as error:
            raise _Refused(HTTPStatus.BAD_GATEWAY, "The server's response is not valid HTTP.") from error
        interim = head.first.partition(" ")[2].startswith("1")
        client[1].write(head.forwarded(head.first, *([] if interim else ["Connection: close"])))
        if not interim:
            return await _pump(server[0], client[1], alive, take)


async def _until_one_ends(*work: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cut(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, unless it is being closed regularly."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
