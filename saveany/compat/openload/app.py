"""The application: finds the call and its user, and puts the result into an envelope.

The HTTP status is 200 whatever happens, because clients read the status in the body, and some raise an
exception for other ones before they do. Only pages for browsers have a status of their own.

Keys and tickets are in addresses: nothing here logs an address, and no reply lets a browser pass it on.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from saveany.catalogue.link_models import LinkTarget
from saveany.compat.addresses import path_parts, site_of, trust
from saveany.compat.openload import uploads
from saveany.compat.openload.call import SCOPE, Addresses, OpenloadCall, OpenloadServices
from saveany.compat.openload.calls import CALLS, WITH_TICKET
from saveany.compat.openload.dialects import DIALECTS, STREAMTAPE, Dialect
from saveany.compat.openload.parameters import Parameters, parse
from saveany.delivery.errors import TrafficUsedUp
from saveany.errors import InvalidInput, NotFound, RequestError, TooMany
from saveany.logs import get_logger
from saveany.service import OPERATOR
from saveany.service.links import LinkUrls

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
#: Parts of the path of SaveAny's links, which are at every host.
_LINKS: Final = frozenset({"dl", "stream", "s", "thumb"})
#: Part of the path -> what redirects there: the page of a link, and its file for a player.
_PAGES: Final = {"v": "page", "e": "stream"}
_BY_PREFIX: Final = {dialect.prefix: dialect for dialect in DIALECTS if dialect.prefix}

log = get_logger("saveany.compat.openload")


class OpenloadApp:
    """The API, at a path of SaveAny's address, and at a host name of its own if one is configured."""

    def __init__(self, services: OpenloadServices) -> None:
        self._services = services
        self._config = services.config.compat.openload
        self._root = path_parts(self._config.path)

    def claims(self, scope: Scope) -> bool:
        """Whether a request is for this API."""
        return self._path(scope) is not None

    def is_upload(self, scope: Scope) -> bool:
        """Whether a request may have a body of any size."""
        path = self._path(scope)
        return bool(path) and _split(path or [])[1][:1] == ["ul"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        dialect, path = _split(self._path(scope) or [])
        response = await self._response(request, dialect, path)
        await response(scope, receive, send)

    def _path(self, scope: Scope) -> list[str] | None:
        """The parts of the path below that of this API; None if it is another one."""
        parts = path_parts(scope["path"])
        if self._is_at_host(scope):
            return parts if not parts or parts[0] not in _LINKS else None
        size = len(self._root)
        return parts[size:] if parts[:size] == self._root else None

    def _is_at_host(self, scope: Scope) -> bool:
        host = self._config.host
        return bool(host) and Request(scope).headers.get("host", "").partition(":")[0].lower() == host

    async def _response(self, request: Request, dialect: Dialect, path: list[str]) -> Response:
        name = "/".join(path) if "/".join(path) in CALLS else next(iter(path), "")
        try:
            if name in _PAGES:
                return await self._page(request, path)
            return _envelope(200, "OK", await self._result(request, dialect, path))
        except (RequestError, HTTPException) as error:
            return _refusal(error, dialect)
        except ClientDisconnect:
            return _envelope(400, "the connection was closed", None)
        except Exception:
            number = uuid4().hex[:12]
            log.exception("request_crashed", error_id=number, call=name if name in CALLS else "")
            return _envelope(500, f"something went wrong; look for the error id {number} in the log", None)

    async def _result(self, request: Request, dialect: Dialect, path: list[str]) -> Any:
        if path[:1] == ["ul"] and len(path) == 2:
            return await self._receive(request, dialect, path[1])
        name = "/".join(path)
        if name not in CALLS:
            raise NotFound("there is no such call")
        body = await request.body() if request.method == "POST" else b""
        content_type = request.headers.get("content-type", "")
        parameters = parse(request.scope["query_string"], body, content_type)
        keys, tickets = self._services.keys, self._services.tickets
        if name in WITH_TICKET:
            key = await tickets.download(parameters.required("ticket"), parameters.required("file"))
        else:
            key = await keys.log_in(parameters.text("login"), parameters.text("key"), SCOPE)
        trust(request)
        addresses = self._addresses(request, dialect)
        return await CALLS[name].handle(OpenloadCall(self._services, dialect, parameters, key, addresses))

    async def _receive(self, request: Request, dialect: Dialect, ticket: str) -> Any:
        """The file that is sent to the address of an upload."""
        if request.method not in ("POST", "PUT"):
            raise InvalidInput("send the file with POST, as a form")
        permit, key = await self._services.tickets.take_upload(ticket)
        trust(request, "expect_upload")
        call = OpenloadCall(self._services, dialect, Parameters(()), key, self._addresses(request, dialect))
        return await uploads.receive(call, permit, request.headers.get("content-type", ""), _body(request))

    async def _page(self, request: Request, path: list[str]) -> Response:
        """A redirect to a link to a file: its address in replies works as long as the file exists."""
        services = self._services
        file_id = path[1] if len(path) > 1 else ""
        if not await services.tickets.is_signed(file_id, request.query_params.get("s", "")):
            return Response("There is no such file.", 404, _HEADERS)
        try:
            file = await services.files.get(OPERATOR, file_id)
        except NotFound:
            return Response("This file was deleted.", 404, _HEADERS)
        link = await services.links.share(OPERATOR, file.user_id, LinkTarget(file_id=file.id))
        urls = LinkUrls(self._site(request), link)
        return RedirectResponse(getattr(urls, _PAGES[path[0]]), 302, _HEADERS)

    def _addresses(self, request: Request, dialect: Dialect) -> Addresses:
        at_host = self._is_at_host(request.scope)
        site = self._site(request)
        # A certificate of the public address is one of the host, too.
        own = str(request.base_url.replace(path="", scheme=site.partition(":")[0])).rstrip("/")
        base = own if at_host else f"{site}{self._config.path}"
        return Addresses("/".join(filter(None, (base, dialect.prefix))), site)

    def _site(self, request: Request) -> str:
        return site_of(self._services.config, request)


def _split(path: list[str]) -> tuple[Dialect, list[str]]:
    """The dialect of a path, and the rest of it."""
    dialect = _BY_PREFIX.get(path[0]) if path else None
    return (dialect, path[1:]) if dialect else (STREAMTAPE, path)


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece


def _refusal(error: RequestError | HTTPException, dialect: Dialect) -> Response:
    if isinstance(error, HTTPException):
        return _envelope(400, "the request is too large", None)
    if isinstance(error, TrafficUsedUp | TooMany):
        return _envelope(dialect.exhausted, error.message, None)
    status = error.status if error.status in (403, 404) or error.status >= 500 else 400
    return _envelope(status, error.message, None)


def _envelope(status: int, message: str, result: Any) -> Response:
    text = json.dumps({"status": status, "msg": message, "result": result})
    return Response(text, headers=_HEADERS, media_type="application/json")
