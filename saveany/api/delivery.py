"""Routes that deliver the files of links. They need no token: whoever has the link may use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from saveany.api.auth import public
from saveany.api.errors import rate_limit, refused
from saveany.api.services import ApiServices
from saveany.delivery.headers import PICTURE, PREFLIGHT, REDIRECT, headers_of
from saveany.delivery.response import ContentResponse
from saveany.errors import RequestError, StorageError
from saveany.languages import localized
from saveany.net.addresses import network_of

if TYPE_CHECKING:
    from saveany.catalogue.link_models import Link
    from saveany.delivery.content import Content
    from saveany.delivery.delivery import LinkDelivery


class _LinkRoute(APIRoute):
    """A route that tells a browser in a page, not in JSON, why a link does not work."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of requests."""
        handle = super().get_route_handler()

        async def handle_readably(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestError as error:
                if "text/html" not in request.headers.get("accept", ""):
                    raise
                return _error_page(error)

        return handle_readably


router = APIRouter(tags=["links"], dependencies=[Depends(public)], route_class=_LinkRoute)

_METHODS = ["GET", "HEAD"]
#: Maximum size of the form with a password, in bytes; the rest of a longer one is ignored.
_MAX_FORM = 4096
#: Seconds for which a presigned URL works: as long as an opening.
_PRESIGNED_SECONDS = 600


@router.api_route("/dl/{token}", methods=_METHODS, include_in_schema=False)
@router.api_route("/dl/{token}/{rest:path}", methods=_METHODS, include_in_schema=False)
async def download(request: Request, token: str, rest: str = "") -> Response:
    """The file of a link, to be saved. `rest` is its name, which may be any; for a file of a folder, its id
    and its name."""
    return await _deliver(request, token, rest, inline=False)


@router.api_route("/stream/{token}", methods=_METHODS, include_in_schema=False)
@router.api_route("/stream/{token}/{rest:path}", methods=_METHODS, include_in_schema=False)
async def stream(request: Request, token: str, rest: str = "") -> Response:
    """The file of a link, to be shown or played in place."""
    return await _deliver(request, token, rest, inline=True)


@router.options("/dl/{token}", include_in_schema=False)
@router.options("/dl/{token}/{rest:path}", include_in_schema=False)
@router.options("/stream/{token}", include_in_schema=False)
@router.options("/stream/{token}/{rest:path}", include_in_schema=False)
async def preflight() -> Response:
    """Pages of other sites may read files, so that players on them work."""
    return Response(status_code=204, headers=PREFLIGHT)


@router.api_route("/thumb/{token}", methods=_METHODS, include_in_schema=False)
@router.api_route("/thumb/{token}/{file_id}", methods=_METHODS, include_in_schema=False)
async def thumbnail(request: Request, token: str, file_id: str = "") -> Response:
    """A small picture of the file of a link, or of a file in its folder."""
    link = await _opened(request, token, file_id)
    data = await _delivery(request).thumbnails.get(link)
    return Response(data, media_type="image/jpeg", headers=PICTURE)


@router.api_route("/s/{token}", methods=_METHODS, include_in_schema=False)
@router.api_route("/s/{token}/{file_id}", methods=_METHODS, include_in_schema=False)
async def show(request: Request, token: str, file_id: str = "") -> Response:
    """The page of a link, or of a file in its folder."""
    from saveany.delivery import page
    from saveany.delivery.passwords import PasswordNeeded

    if file_id == "playlist.m3u8":
        return await play(request, token)
    delivery = _delivery(request)
    theme = request.query_params.get("theme", "")
    link = await delivery.link(token, _address(request))
    try:
        await delivery.passwords.check(link, request.cookies)
    except PasswordNeeded:
        return HTMLResponse(page.locked_page(link, theme=theme), 401, page.headers())
    shown = await delivery.member(link, file_id) if file_id else link
    base = "../.." if file_id else ".."
    if entry := page.entry_of(shown, base, file_id):
        outside = page.entry_of(shown, _base(request), file_id)
        text = page.file_page(shown, entry, outside or entry, theme)
    else:
        text = page.folder_page(link, base, await delivery.members(link), theme)
    return HTMLResponse(text, headers=page.headers())


@router.post("/s/{token}", include_in_schema=False)
@router.post("/s/{token}/{file_id}", include_in_schema=False)
async def unlock(request: Request, token: str) -> Response:
    """Open a link with its password."""
    from saveany.delivery import page
    from saveany.delivery.passwords import COOKIE_SECONDS, PasswordNeeded, cookie_name

    delivery = _delivery(request)
    link = await delivery.link(token, _address(request))
    form = (await request.body())[:_MAX_FORM].decode("utf-8", "replace")
    password = parse_qs(form).get("password", [""])[0]
    try:
        value = await delivery.passwords.cookie(link, password, _address(request))
    except PasswordNeeded as error:
        return HTMLResponse(page.locked_page(link, localized(error.text)), 401, page.headers())
    # Relative to the address of the request: a proxy may have removed the start of the path.
    response = RedirectResponse(f"./{quote(request.url.path.rpartition('/')[2], safe='')}", 303)
    for prefix, kind in product(_prefixes(request), ("dl", "stream", "s", "thumb")):
        response.set_cookie(
            cookie_name(token),
            value,
            max_age=COOKIE_SECONDS,
            path=f"{prefix}/{kind}/{token}",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
    return response


def _error_page(error: RequestError) -> Response:
    from saveany.delivery import page

    plain = refused(error)
    kept = {name: value for name, value in plain.headers.items() if not name.startswith("content-")}
    return HTMLResponse(page.error_page(error.text), plain.status_code, {**kept, **page.headers()})


def _prefixes(request: Request) -> set[str]:
    """What browsers may have in front of the paths of this API: nothing, or the path of `api.public_url`."""
    services: ApiServices = request.app.state.services
    return {"", urlsplit(services.config.api.public_url).path.rstrip("/")}


@router.api_route("/s/{token}/{file_id}/playlist.m3u8", methods=_METHODS, include_in_schema=False)
async def play(request: Request, token: str, file_id: str = "") -> Response:
    """A playlist, which players open."""
    from saveany.delivery import page

    link, base = await _opened(request, token, file_id), _base(request)
    entry = page.entry_of(link, base, file_id)
    if entry:
        text = page.playlist([entry])
    else:
        found = await _delivery(request).members(link)
        text = await asyncio.to_thread(lambda: page.playlist(page.entries_of(link, base, found.files)))
    return Response(text, media_type="audio/x-mpegurl", headers=page.headers())


async def _opened(request: Request, token: str, file_id: str) -> Link:
    """A link that the client may use, or, with the id of a file in its folder, that file."""
    delivery = _delivery(request)
    link = await delivery.link(token, _address(request))
    await delivery.passwords.check(link, request.cookies)
    return await delivery.member(link, file_id) if file_id else link


def _delivery(request: Request) -> LinkDelivery:
    services: ApiServices = request.app.state.services
    return services.delivery


def _base(request: Request) -> str:
    """The address of this SaveAny, for other programs."""
    services: ApiServices = request.app.state.services
    return (services.config.api.public_url or str(request.base_url)).rstrip("/")


def _address(request: Request) -> str:
    return network_of(request.client.host if request.client else "")


async def _deliver(request: Request, token: str, rest: str, *, inline: bool) -> Response:
    services: ApiServices = request.app.state.services
    delivery = services.delivery
    address = _address(request)
    link = await _opened(request, token, "")
    if link.folder_id is not None and "/" in rest:
        link = await delivery.member(link, rest.partition("/")[0])
    if request.method == "HEAD":
        return ContentReply(ContentResponse(await delivery.look(link), inline=inline))
    trust(request)
    with ExitStack() as stack:
        stack.enter_context(delivery.limits.connection(token, address))
        content, opening = await delivery.open(link, address)
        limit = services.config.links.openings
        limits = rate_limit(limit, opening.remaining, opening.reset) if limit else {}
        if _may_redirect(services, link) and (
            reply := await _redirected(content, inline=inline, headers=limits)
        ):
            return reply
        response = ContentResponse(
            content,
            inline=inline,
            headers=limits,
            report=lambda size: delivery.sent(token, address, size, content.size),
            stop=lambda: delivery.until_stopped(token, address),
        )
        return ContentReply(response, stack.pop_all())
    raise AssertionError("unreachable")


def _may_redirect(services: ApiServices, link: Link) -> bool:
    """Whether the storage may send the file itself. A password would not protect that."""
    return services.config.links.redirect and link.redirect and not link.password


async def _redirected(content: Content, *, inline: bool, headers: Mapping[str, str]) -> Response | None:
    """A redirect to the storage, which sends the file itself; None if it cannot."""
    own = headers_of(content, inline=inline)
    names = ("content-disposition", "content-type")
    try:
        url = await content.url(_PRESIGNED_SECONDS, {name.title(): own[name] for name in names})
    except StorageError:
        return None  # `ContentResponse` finds out why
    if not url:
        return None
    await content.close()
    return RedirectResponse(url, 302, {**headers, **REDIRECT})


def trust(request: Request) -> None:
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
