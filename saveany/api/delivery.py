"""Routes that deliver the files of links. They need no token: whoever has the link may use it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from saveany.api.auth import public
from saveany.api.errors import rate_limit
from saveany.api.services import ApiServices
from saveany.delivery.headers import PREFLIGHT
from saveany.delivery.response import ContentResponse

router = APIRouter(tags=["links"], dependencies=[Depends(public)])

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


@router.api_route("/s/{token}", methods=_METHODS, include_in_schema=False)
async def show(request: Request, token: str) -> Response:
    """The page of a link."""
    from saveany.delivery import page
    from saveany.delivery.passwords import PasswordNeeded

    delivery = request.app.state.services.delivery
    link = await delivery.link(token, _address(request))
    try:
        await delivery.passwords.check(link, request.cookies)
    except PasswordNeeded:
        return HTMLResponse(page.page(link, locked=True), 401, page.HEADERS)
    return HTMLResponse(page.page(link), headers=page.HEADERS)


@router.post("/s/{token}", include_in_schema=False)
async def unlock(request: Request, token: str) -> Response:
    """Open a link with its password."""
    from saveany.delivery import page
    from saveany.delivery.passwords import COOKIE_SECONDS, PasswordNeeded, cookie_name

    delivery = request.app.state.services.delivery
    link = await delivery.link(token, _address(request))
    password = parse_qs((await request.body()).decode("utf-8", "replace")).get("password", [""])[0]
    try:
        value = await delivery.passwords.cookie(link, password, _address(request))
    except PasswordNeeded as error:
        return HTMLResponse(page.page(link, problem=error.message, locked=True), 401, page.HEADERS)
    response = RedirectResponse(request.url.path, 303)
    for kind in ("dl", "stream", "s"):
        response.set_cookie(
            cookie_name(token),
            value,
            max_age=COOKIE_SECONDS,
            path=f"{request.scope.get('root_path', '')}/{kind}/{token}",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
    return response


@router.api_route("/s/{token}/playlist.m3u8", methods=_METHODS, include_in_schema=False)
async def play(request: Request, token: str) -> Response:
    """A playlist, which players open."""
    from saveany.delivery import page

    delivery = request.app.state.services.delivery
    link = await delivery.link(token, _address(request))
    await delivery.passwords.check(link, request.cookies)
    services: ApiServices = request.app.state.services
    base = (services.config.api.public_url or str(request.base_url)).rstrip("/")
    url = f"{base}/stream/{token}/{quote(link.name, safe='')}"
    return Response(page.playlist(link, url), media_type="audio/x-mpegurl", headers=page.HEADERS)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _deliver(request: Request, token: str, *, inline: bool) -> Response:
    services: ApiServices = request.app.state.services
    delivery = services.delivery
    address = _address(request)
    link = await delivery.link(token, address)
    await delivery.passwords.check(link, request.cookies)
    if request.method == "HEAD":
        return ContentReply(ContentResponse(await delivery.look(link), inline=inline))
    _trust(request)
    with ExitStack() as stack:
        stack.enter_context(delivery.limits.connection(token, address))
        content, opening = await delivery.open(link, address)
        limit = services.config.links.openings
        response = ContentResponse(
            content,
            inline=inline,
            headers=rate_limit(limit, opening.remaining, opening.reset) if limit else {},
            report=lambda size: delivery.sent(token, address, size, content.size),
            stop=lambda: delivery.until_stopped(token, address),
        )
        return ContentReply(response, stack.pop_all())
    raise AssertionError("unreachable")


def _trust(request: Request) -> None:
    """Let the connection of someone who has a link stay, also while a player is paused."""
    state = request.scope.get("state", {})
    for name in ("trust", "allow_pauses"):
        if name in state:
            state[name]()


class ContentReply(Response):
    """The response as the framework expects one."""

    def __init__(self, content: ContentResponse, stack: ExitStack | None = None) -> None:
        """`stack` is closed after the response."""
        self._content = content
        self._stack = stack or ExitStack()
        self.status_code = 200
        self.background = None
        self.raw_headers = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Send the response."""
        with self._stack:
            await self._content(scope, receive, send)
