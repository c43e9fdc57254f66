"""The HTTP response that delivers a file, or the range of it that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, aclosing
from types import MappingProxyType
from typing import Never, Protocol

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from saveany.delivery import ranges
from saveany.delivery.conditions import Verdict, evaluate, range_applies
from saveany.delivery.content import Content, Piece
from saveany.delivery.errors import unreadable
from saveany.delivery.headers import headers_of
from saveany.errors import StorageError, TaskError
from saveany.logs import get_logger
from saveany.ranges import Range

log = get_logger("saveany.delivery")

#: Size of a range from which on the kernel sends it, and bytes at its end that are read.
_DIRECT, _TAIL = 8 << 20, 64 << 10

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Socket(Protocol):
    """See `saveany.api.direct.DirectSocket`."""

    def lend(self, work: Callable[[int], int]) -> Callable[[], int]:
        """A function that runs `work` with the socket."""

    def sent(self, size: int) -> None:
        """Note that `size` bytes were sent."""

    async def wait(self) -> None:
        """Wait until the socket takes more."""

    async def flushed(self) -> None:
        """Wait until what was written before is sent."""


#: The socket of the response, once that has begun; None if there is none to use.
Direct = Callable[[], AbstractContextManager[Socket | None]]
#: Called with the numbers of bytes sent.
Report = Callable[[int], None]


class ContentResponse:
    """An ASGI response, which closes `content` at its end.

    The body is never ended early: if its rest cannot be read, the connection is closed before all bytes that
    Content-Length promises were sent, so that the client notices. Before the first byte, errors are raised,
    and the application responds with an error. When the client disconnects, reading stops at once.
    """

    def __init__(
        self,
        content: Content,
        *,
        inline: bool = False,
        headers: Mapping[str, str] = _NO_HEADERS,
        report: Report = lambda size: None,
        stop: Callable[[], Awaitable[Never]] | None = None,
    ) -> None:
        """`headers` are sent besides those of the file. `stop` raises an error when the rest may not be sent
        any more."""
        self._content = content
        self._inline = inline
        self._headers = headers
        self._report = report
        self._stop = stop
        self._is_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a GET or HEAD request. Raises the errors of `Content.read` before anything was sent."""
        try:
            await self._respond(scope, receive, send)
        finally:
            await self._content.close()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        content, asked = self._content, Headers(scope=scope)
        headers = {**headers_of(content, inline=self._inline), **self._headers}
        verdict = evaluate(asked, content.etag, content.modified)
        if verdict is not Verdict.SEND:
            await _send_empty(send, verdict.value, headers)
            return
        is_head = scope["method"] == "HEAD"  # which ignores Range (RFC 9110, section 14.2)
        applies = content.ranges and range_applies(asked, content.etag, content.modified)
        header = asked.get("range") if applies and not is_head else None
        try:
            selected = ranges.select(header, content.size)
        except ranges.Unsatisfiable:
            await _send_empty(send, 416, headers | {"content-range": f"bytes */{content.size}"})
            return
        start, end = selected or (0, content.size)
        headers["content-length"] = str(end - start)
        if selected:
            headers["content-range"] = f"bytes {start}-{end - 1}/{content.size}"
        status = 206 if selected else 200
        if is_head or start == end:
            await _start(send, status, headers)
            await send({"type": "http.response.body"})
            return
        direct = scope.get("state", {}).get("direct")
        if direct is not None and content.sends and end - start > _DIRECT:
            sending = self._send_directly(direct, send, status, headers, (start, end))
        else:
            sending = self._send(send, status, headers, (start, end))
        await self._send_while_wanted(receive, sending)

    async def _send_while_wanted(self, receive: Receive, sending: Coroutine[None, None, None]) -> None:
        """Send, until the client disconnects or `stop` raises an error, which is the response if nothing was
        sent yet."""
        work = asyncio.create_task(sending)
        others = [asyncio.create_task(_disconnected(receive))]
        if self._stop is not None:
            others.append(asyncio.ensure_future(self._stop()))
        try:
            await asyncio.wait((work, *others), return_when=asyncio.FIRST_COMPLETED)
            for task in (work,) if self._is_begun else (work, *others):
                if task.done():
                    task.result()
        finally:
            for task in (work, *others):
                task.cancel()
            await asyncio.gather(work, *others, return_exceptions=True)

    async def _send_directly(
        self, direct: Direct, send: Send, status: int, headers: dict[str, str], selected: Range
    ) -> None:
        """Let the kernel send all but the last bytes, which are read as usual: that finds out whether the
        file has changed."""
        at, end = selected
        await self._begin(send, status, headers)
        with direct() as socket:
            if socket is not None:
                await socket.flushed()
                try:
                    while at < end - _TAIL:
                        at += await self._send_piece(socket, at, end - _TAIL)
                        await socket.wait()
                except ConnectionError:
                    return
                except (TaskError, StorageError) as error:
                    self._log_break(at - selected[0], error)
                    return
        await self._send(send, status, headers, (at, end))

    async def _send_piece(self, socket: Socket, start: int, end: int) -> int:
        """Let the kernel send some bytes; returns how many. They count even if the response is canceled
        meanwhile, as it is when the client disconnects."""
        sending = asyncio.ensure_future(self._content.send(socket.lend, start, end))
        sending.add_done_callback(self._report_piece)
        try:
            sent = await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait([sending])
            raise
        socket.sent(sent)
        return sent

    def _report_piece(self, sending: asyncio.Future[int]) -> None:
        if not sending.cancelled() and not sending.exception():
            self._report(sending.result())

    async def _send(self, send: Send, status: int, headers: dict[str, str], selected: Range) -> None:
        sent, total = 0, selected[1] - selected[0]
        last: Piece = b""
        try:
            async with aclosing(self._content.read(*selected)) as pieces:
                async for piece in pieces:
                    if not self._is_begun:
                        await self._begin(send, status, headers)
                    sent += len(piece)
                    if sent == total:  # kept until `read` has ended, because it may still find a change
                        last = piece
                        continue
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    self._report(len(piece))
        except (TaskError, StorageError) as error:
            if not self._is_begun:
                raise unreadable(error) from error
            self._log_break(sent, error)
            return  # the server closes the connection, because the response is not complete
        await send({"type": "http.response.body", "body": last})
        self._report(len(last))

    async def _begin(self, send: Send, status: int, headers: dict[str, str]) -> None:
        self._is_begun = True
        await _start(send, status, headers)

    def _log_break(self, sent: int, error: TaskError | StorageError) -> None:
        log.warning("delivery_broke_off", name=self._content.name, sent=sent, reason=error.message)


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})


async def _send_empty(send: Send, status: int, headers: dict[str, str]) -> None:
    """A response without the file."""
    for name in ("content-type", "content-disposition"):
        headers.pop(name, None)
    if status != 304:
        headers["content-length"] = "0"
    await _start(send, status, headers)
    await send({"type": "http.response.body"})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
