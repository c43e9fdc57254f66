"""The maximum size of a request body."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Maximum size of a body in bytes: 10,000 links of 200 characters.
MAX_BODY = 2 * 1024 * 1024
#: Maximum number of bytes that are read and discarded before the response. A client that is still sending
#: when the connection closes would get a connection error instead of the response.
MAX_DISCARDED = 64 * 1024 * 1024
#: Addresses that receive files: what is saved has a limit of its own (`uploads.max_mb`); exports and lists
#: have none.
_UPLOADS = "/api/v1/uploads"
_POSTED = ("/api/v1/files", "/api/v1/archives/adopt", "/api/v1/tasks/list")


class BodyLimit:
    """Middleware: refuses a body larger than `MAX_BODY` with 413, with and without a Content-Length.
    Files that are uploaded may be larger."""

    def __init__(self, app: ASGIApp, is_upload: Callable[[Scope], bool] | None = None) -> None:
        """`is_upload` says whether a request may have a body of any size."""
        self._app = app
        self._is_upload = is_upload or (lambda scope: body_kind(scope) != "short")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or not has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive, math.inf if self._is_upload(scope) else MAX_BODY)
        waits = any(name == b"expect" for name, _ in scope["headers"])

        async def send_after_body(message: Message) -> None:
            # A client that waits for permission to send its body is not given it together with a refusal.
            if message["type"] == "http.response.start" and not (waits and not body.is_begun):
                await body.discard()
            await send(message)

        await self._app(scope, body.receive, send_after_body)


class _Body:
    """A body that is being received."""

    def __init__(self, receive: Receive, limit: float) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self.is_begun = False
        self._more = True

    async def receive(self) -> Message:
        """The next message for the application. Raises HTTP 413."""
        message = await self._read()
        if self._size > self._limit and message["type"] == "http.request":
            raise HTTPException(413)
        return message

    async def discard(self) -> None:
        """Read the rest of the body."""
        while self._more and self._size < MAX_DISCARDED:
            await self._read()

    async def _read(self) -> Message:
        self.is_begun = True
        message = await self._receive()
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        return message


def body_kind(scope: Scope) -> Literal["short", "file", "parts"]:
    """What a request receives: a file of any size in one piece or in parts, or at most `MAX_BODY` bytes."""
    path: str = scope["path"]
    if path.startswith(_UPLOADS):
        return "parts"
    return "file" if path in _POSTED and scope["method"] == "POST" else "short"


def has_body(scope: Scope) -> bool:
    """Whether a request says that it has a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
