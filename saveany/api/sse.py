"""The wire format of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from saveany.api.views import archive_event_view, event_view
from saveany.store import Event

#: A comment, which clients ignore.
PING = b": ping\n\n"

_TEXT = {"type": "string"}
#: How openapi.json describes a stream (OpenAPI 3.2, "Special Considerations for Server-Sent Events").
STREAMED: dict[str, Any] = {
    "description": "A stream of events.",
    "content": {
        "text/event-stream": {
            "itemSchema": {"type": "object", "properties": {"data": _TEXT, "event": _TEXT, "id": _TEXT}}
        }
    },
}


@lru_cache(maxsize=4096)
def encode(event: Event) -> bytes:
    """An event in the wire format. Recent ones are cached, because many clients request the same."""
    if event.type == "reset":
        data = json.dumps({"reason": event.error})
    elif event.archive_id:
        data = archive_event_view(event).model_dump_json()
    else:
        data = event_view(event).model_dump_json()
    # Neither JSON nor types nor ids contain line ends.
    lines = [f"event: {event.type}", f"data: {data}", *([f"id: {event.id}"] if event.id else []), "", ""]
    return "\n".join(lines).encode()


class EventStream(Response):
    """A response that lasts until `pieces` is exhausted or the client disconnects."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, pieces: AsyncGenerator[bytes, None], status_code: int = 200) -> None:
        self._pieces = pieces
        self.status_code = status_code
        self.background = None
        # Without the second header nginx buffers the stream.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces, until the client disconnects."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        tasks = {asyncio.create_task(self._feed(send)), asyncio.create_task(_until_disconnected(receive))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._pieces.aclose()
        for task in done:
            task.result()

    async def _feed(self, send: Send) -> None:
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
