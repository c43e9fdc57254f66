"""Takes a picture from a video, an image or the cover of a piece of music, with ffmpeg.

ffmpeg gets the file from a server on loopback, because it has to read from any position, wherever the file
is. Files are hostile: ffmpeg may read nothing but that URL, write nothing but its output, and has limits.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config as ServerConfig
from uvicorn.server import ServerState

from saveany.delivery.content import Content, Piece
from saveany.delivery.errors import NotNow
from saveany.delivery.response import ContentResponse
from saveany.errors import RequestError, StorageError, TaskError
from saveany.logs import get_logger
from saveany.programs import SELF_CONTAINED_FORMATS, die_with_parent, end_group, find_program

log = get_logger("saveany.delivery")

_FORMATS: Final = f"{SELF_CONTAINED_FORMATS},gif,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe"
#: Positions in seconds at which a frame is tried: the first frames of a film are often black.
_POSITIONS: Final = ("3", "0")
_FILTER: Final = "scale=w=320:h=320:force_original_aspect_ratio=decrease:force_divisible_by=2,format=yuvj420p"
#: Limits of one run: seconds of time, of CPU time, bytes of memory, and bytes of output.
_SECONDS, _CPU_SECONDS, _MEMORY, _MAX_OUTPUT = 20.0, 15, 1 << 30, 1 << 20
#: Maximum number of ffmpeg at the same time.
AT_ONCE: Final = 2


class FrameMaker:
    """Makes small JPEG pictures of files."""

    def __init__(self, program: str = "ffmpeg") -> None:
        """`program` is the name or path of ffmpeg; "" makes no pictures."""
        self._program = program
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._server = _LoopbackServer()

    @property
    def path(self) -> str | None:
        """The path of ffmpeg; None if it is not installed, or not wanted."""
        return find_program(self._program) if self._program else None

    async def make(self, content: Content) -> bytes:
        """A JPEG of at most 320 x 320 pixels; empty if the file has no picture, or there is no ffmpeg. Raises
        `Unavailable` if the file could not be read."""
        if not (program := self.path):
            return b""
        borrowed = _Borrowed(content)
        async with self._slots:
            port = await self._server.start()
            with self._server.serving(borrowed, port) as url:
                for position in _POSITIONS:
                    if picture := await _run(_command(program, url, position)):
                        return picture
        if borrowed.failed:
            raise NotNow
        return b""

    async def close(self) -> None:
        """Stop the server."""
        await self._server.close()


def _command(program: str, url: str, position: str) -> list[str]:
    return [
        *(program, "-v", "error", "-nostdin", "-threads", "1"),
        *("-protocol_whitelist", "http,tcp", "-format_whitelist", _FORMATS),
        *("-ss", position, "-i", url, "-map", "0:v:0", "-frames:v", "1", "-vf", _FILTER),
        *("-map_metadata", "-1", "-c:v", "mjpeg", "-q:v", "5", "-f", "mjpeg", "pipe:1"),
    ]


async def _run(command: list[str]) -> bytes:
    """The output of ffmpeg; empty if it fails, or exceeds a limit."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
        env={"PATH": os.environ.get("PATH", "")},  # no proxy
        start_new_session=True,
        preexec_fn=_restrict,
    )
    stdout, output = process.stdout, b""
    try:
        async with asyncio.timeout(_SECONDS):
            while stdout and len(output) <= _MAX_OUTPUT and (data := await stdout.read(1 << 16)):
                output += data
            code = await process.wait() if len(output) <= _MAX_OUTPUT else -1
    except TimeoutError:
        code = -1
    finally:
        await end_group(process)
    if code:
        log.info("no_frame", code=code)
    return b"" if code else output


_die_with_parent = die_with_parent(signal.SIGKILL)


def _restrict() -> None:
    """Limit what a child may do; runs in it."""
    if _die_with_parent:
        _die_with_parent()
    os.nice(10)
    for what, limit in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (limit, limit))


class _LoopbackServer:
    """Serves files under addresses that nobody can guess, on loopback."""

    def __init__(self) -> None:
        self._contents: dict[str, Content] = {}
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> int:
        """Listen on a free port, if it does not yet; returns the port."""
        async with self._starting:
            if self._server is None:
                self._server = await self._listen()
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _listen(self) -> asyncio.Server:
        config = ServerConfig(
            self._app, interface="asgi3", lifespan="off", log_config=None, access_log=False, ws="none"
        )
        config.load()
        state = ServerState()
        return await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn's server does
                config=config, server_state=state, app_state={}
            ),
            "127.0.0.1",
            0,
        )

    @contextmanager
    def serving(self, content: Content, port: int) -> Iterator[str]:
        """Serve a file within this context; the value is its address."""
        name = secrets.token_urlsafe(24)
        self._contents[name] = content
        try:
            yield f"http://127.0.0.1:{port}/{name}"
        finally:
            del self._contents[name]

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = self._contents.get(scope["path"].lstrip("/"))
        if content is None:
            await Response(status_code=404)(scope, receive, send)
            return
        with suppress(OSError, RequestError):
            await ContentResponse(content)(scope, receive, send)


class _Borrowed(Content):
    """A file that several requests read; it stays open."""

    def __init__(self, content: Content) -> None:
        super().__init__(content.name, content.size, content.mime, content.etag, content.modified)
        self._content = content
        self.failed = False  # a part of it could not be read

    async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """As in the contract."""
        try:
            async with aclosing(self._content.read(start, end)) as pieces:
                async for piece in pieces:
                    yield piece
        except (TaskError, StorageError):
            self.failed = True
            raise
