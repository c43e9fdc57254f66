"""Routes that deliver the files of links. They need no token: whoever has the link may use it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from saveany.api.services import ApiServices
from saveany.delivery.headers import PREFLIGHT
from saveany.delivery.response import ContentResponse
from saveany.store.openings import Opening

router = APIRouter(tags=["links"])

_METHODS = ["GET", "HEAD"]


@router.api_route("/dl/{token}", methods=_METHODS, include_in_schema=False)
@router.api_route("/dl/{token}/{name}", methods=_METHODS, include_in_schema=False)
async def download(request: Request, token: str) -> Response:
    """The file of a link, to be saved."""
    return await _deliver(request, token, inline=False)


@router.api_route("/stream/{token}", methods=_METHODS, include_in_schema=False)
@router.api_route("/stream/{token}/{name}", methods=_METHODS, include_in_schema=False)
async def stream(request: Request, token: str) -> Response:
    """The file of a link, to be shown or played in place."""
    return await _deliver(request, token, inline=True)


@router.options("/dl/{token}", include_in_schema=False)
@router.options("/dl/{token}/{name}", include_in_schema=False)
@router.options("/stream/{token}", include_in_schema=False)
@router.options("/stream/{token}/{name}", include_in_schema=False)
async def preflight() -> Response:
    """Pages of other sites may read files, so that players on them work."""
    return Response(status_code=204, headers=PREFLIGHT)


async def _deliver(request: Request, token: str, *, inline: bool) -> Response:
    services: ApiServices = request.app.state.services
    delivery = services.delivery
    address = request.client.host if request.client else ""
    link = await delivery.link(token, address)
    if request.method == "HEAD":
        return _Delivered(ContentResponse(await delivery.look(link), inline=inline))
    content, opening = await delivery.open(link, address)
    limit = services.config.links.openings
    return _Delivered(
        ContentResponse(
            content,
            inline=inline,
            headers=_limits(opening, limit) if limit else {},
            report=lambda size: delivery.sent(token, size),
            stop=lambda: delivery.until_stopped(token),
        )
    )


def _limits(opening: Opening, limit: int) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(opening.remaining),
        "x-ratelimit-reset": str(opening.reset),
    }


class _Delivered(Response):
    """The response as the framework expects one."""

    def __init__(self, content: ContentResponse) -> None:
        self._content = content
        self.status_code = 200
        self.background = None
        self.raw_headers = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Send the response."""
        await self._content(scope, receive, send)
