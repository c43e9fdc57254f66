"""One connection to an FTP server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Final

import aioftp
from aioftp.common import SSLSessionBoundContext

CONNECT, SILENCE = 15, 60
_CONFIRM_SECONDS = 600  # seconds in which a server must confirm a file: some store it elsewhere first
_KEEPALIVE_SECONDS: Final = 60  # idle seconds of a control connection before keep-alive packets are sent
PIECE: Final = 1 << 18
#: Seconds after which a connection is replaced: servers forget its TLS session, which data connections reuse.
_MAX_AGE_SECONDS = 600.0


class FtpClient(aioftp.Client):
    """A control connection with a login."""

    home = "/"
    used = 0.0  # monotonic

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._opened_at = time.monotonic()
        self._ending: aioftp.ThrottleStreamIO | None = None  # the last data connection

    @property
    def old(self) -> bool:
        """Whether the connection is too old for another transfer."""
        return time.monotonic() - self._opened_at > _MAX_AGE_SECONDS

    async def parse_line(self) -> tuple[aioftp.Code, str]:
        """A line of a reply. Replaces a method of the library that fails for greetings in another
        encoding."""
        if not (line := await self.stream.readline()):
            raise ConnectionResetError("the server has closed the connection")
        text = line.decode(self.encoding, "replace").rstrip()
        return aioftp.Code(text[:3]), text[3:]

    async def confirm(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """Wait until the server confirms that it has the file."""
        self.stream.read_timeout = _CONFIRM_SECONDS
        await self.end(stream)
        self.stream.read_timeout = SILENCE

    async def end(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """End a data connection, and wait for the server's confirmation. TLS is closed in the background: a
        server forgets a session that was cut off."""
        self._ending = stream
        await stream.finish()

    def keep_alive(self) -> None:
        """Turn on keep-alive packets: routers drop connections that are idle for minutes, as this one is
        during a transfer."""
        control: socket.socket = self.stream.writer.get_extra_info("socket")
        control.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            control.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)

    def hang_up(self) -> None:
        """Close the connection at once; `close` would wait for bytes that the server still sends."""
        for stream in (self._stream, self._ending):
            if stream is not None:
                cut(stream)

    async def data(self, command: str, offset: int = 0) -> aioftp.DataConnectionThrottleStreamIO:
        """The data connection of a command. The library leaves it open when the server refuses the command,
        and starts TLS before the command, when most servers do not expect it."""
        reader, writer = await self.get_passive_connection()
        if self._ending is not None:
            cut(self._ending)  # the server accepts a new one, so TLS of the last one is closed
            self._ending = None
        stream = aioftp.DataConnectionThrottleStreamIO(self, reader, writer, {}, timeout=SILENCE)
        try:
            if offset:
                await self.command(f"REST {offset}", "350")
            await self.command(command, "1xx")
            await self._protect(stream)
        except BaseException:
            cut(stream)
            raise
        return stream

    async def _open_connection(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is None:  # the control connection
            return await super()._open_connection(host, port)
        async with asyncio.timeout(CONNECT):
            return await asyncio.open_connection(host, port, limit=PIECE)

    async def _protect(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """Start TLS if the control connection uses it. Reuses its session, which many servers require as
        proof that both connections come from the same client."""
        tls = self.stream.writer.get_extra_info("ssl_object")
        if tls is None:
            return
        context = SSLSessionBoundContext(ssl.PROTOCOL_TLS_CLIENT, tls.context, tls.session)
        await stream.start_tls(context, self.server_host)


def cut(stream: aioftp.ThrottleStreamIO) -> None:
    """Close a connection at once; closing TLS properly would wait for bytes that the server still sends."""
    # CPython 3.11 fails here if the connection was closed while bytes were buffered, and has ended since.
    with suppress(AttributeError):
        stream.writer.transport.abort()
