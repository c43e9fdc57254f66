"""The maximum size of a request body."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Maximum size of a body in bytes: 10,000 links of 200 characters.
MAX_BODY = 2 * 1024 * 1024
#: Maximum number of bytes that are read and discarded before the response. A client that is still sending
#: when the connection closes would get a connection error instead of the response.
MAX_DISCARDED = 64 * 1024 * 1024


class BodyLimit:
    """Middleware: refuses a body larger than `MAX_BODY` with 413, with and without a Content-Length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.discard()
            await send(message)

        await self._app(scope, body.receive, send_after_body)


class _Body:
    """A body that is being received."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0
        self._more = True

    async def receive(self) -> Message:
        """The next message for the application. Raises HTTP 413."""
        message = await self._read()
        if self._size > MAX_BODY and message["type"] == "http.request":
            raise HTTPException(413)
        return message

    async def discard(self) -> None:
        """Read the rest of the body."""
        while self._more and self._size < MAX_DISCARDED:
            await self._read()

    async def _read(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        return message


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
