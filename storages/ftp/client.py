"""One connection to an FTP server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any, Final

import aioftp
from aioftp.common import SSLSessionBoundContext

CONNECT, SILENCE = 15, 60


_THINK = 600  # seconds until a server says that it has a file: some bring it elsewhere first


_NUDGE: Final = 60  # seconds without a word between the commands' ends until routers are reminded of them


PIECE: Final = 1 << 18


#: A connection older than this is not used again: servers forget its TLS session, which data must go on with.
_LONGEST_SECONDS = 600.0


class FtpClient(aioftp.Client):
    """A connection that is logged in."""

    home = "/"
    used = 0.0  # monotonic

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._born = time.monotonic()
        self._ending: aioftp.ThrottleStreamIO | None = None  # the last data connection

    @property
    def old(self) -> bool:
        """Whether it is not to be used for another transfer."""
        return time.monotonic() - self._born > _LONGEST_SECONDS

    async def parse_line(self) -> tuple[aioftp.Code, str]:
        """A line of the server's. The library's own way breaks at a greeting in another encoding."""
        if not (line := await self.stream.readline()):
            raise ConnectionResetError("the server has hung up")
        text = line.decode(self.encoding, "replace").rstrip()
        return aioftp.Code(text[:3]), text[3:]

    async def taken(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """Wait until the server says that it has the file that was sent."""
        self.stream.read_timeout = _THINK
        await self.end(stream)
        self.stream.read_timeout = SILENCE

    async def end(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """End a data connection, and hear that all went well. TLS says goodbye meanwhile: a server forgets a
        session that was cut off."""
        self._ending = stream
        await stream.finish()

    def stay_alive(self) -> None:
        """Routers forget what is silent for minutes, as this connection is while a file is on its way."""
        wire: socket.socket = self.stream.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _NUDGE)

    def hang_up(self) -> None:
        """Not `close`: it would wait for what the server still sends."""
        for stream in (self._stream, self._ending):
            if stream is not None:
                cut(stream)

    async def data(self, command: str, offset: int = 0) -> aioftp.DataConnectionThrottleStreamIO:
        """The connection for what a command sends or takes. The library's own way leaves it open when the
        server refuses the command, and begins TLS before it: most servers do not listen then."""
        reader, writer = await self.get_passive_connection()
        if self._ending is not None:
            cut(self._ending)  # the server is ready for the next, so it has heard the goodbye
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
        if self._stream is None:  # the commands' own
            return await super()._open_connection(host, port)
        async with asyncio.timeout(CONNECT):
            return await asyncio.open_connection(host, port, limit=PIECE)

    async def _protect(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """TLS for data, if the commands have it. It goes on with their session: many servers demand that, as
        it proves who has come."""
        tls = self.stream.writer.get_extra_info("ssl_object")
        if tls is None:
            return
        context = SSLSessionBoundContext(ssl.PROTOCOL_TLS_CLIENT, tls.context, tls.session)
        await stream.start_tls(context, self.server_host)


def cut(stream: aioftp.ThrottleStreamIO) -> None:
    """A polite end of TLS would wait for what the server still sends."""
    stream.writer.transport.abort()
