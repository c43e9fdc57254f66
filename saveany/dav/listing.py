"""Multistatus responses, which are sent while they are made: a folder may have any number of files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from saveany.dav.properties import DavResource, PropertyRequest, Renderer

#: Size up to which a listing is sent as a whole, with its length, in characters.
_SHORT: Final = 64 << 10
XML: Final = "application/xml; charset=utf-8"

#: Resources, each with its address.
Page = Iterable[tuple[str, DavResource]]


async def send_listing(
    request: Request,
    send: Send,
    headers: Mapping[str, str],
    pages: AsyncIterator[Page],
    wanted: PropertyRequest,
) -> None:
    """Respond with the properties of resources. It ends when the client is gone. If a page cannot be read,
    the response stays incomplete, so that the client notices."""
    pieces = _pieces(pages, wanted)
    begun = ""
    async for piece in pieces:
        begun += piece
        if len(begun) > _SHORT:
            break
    else:
        await Response(begun, 207, headers, XML)(request.scope, request.receive, send)
        return
    start = Response(None, 207, headers, XML)
    del start.headers["content-length"]
    leaving = asyncio.create_task(_disconnected(request.receive))
    try:
        await send({"type": "http.response.start", "status": 207, "headers": start.raw_headers})
        await send({"type": "http.response.body", "body": begun.encode(), "more_body": True})
        async for piece in pieces:
            if leaving.done():
                return
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        leaving.cancel()


async def _pieces(pages: AsyncIterator[Page], wanted: PropertyRequest) -> AsyncIterator[str]:
    renderer = Renderer(wanted)
    yield renderer.begin
    async for page in pages:
        yield "".join(renderer.response(href, resource) for href, resource in page)
    yield renderer.end


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
