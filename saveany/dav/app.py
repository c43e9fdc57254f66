"""The application: finds the user of a request, and what its address leads to, and replies."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Never
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from saveany.compat.addresses import trust
from saveany.dav import properties
from saveany.dav.addresses import href, names_of
from saveany.dav.properties import PropertyRequest, Renderer
from saveany.dav.tree import Node, Tree
from saveany.delivery.content import etag_of
from saveany.delivery.response import ContentResponse
from saveany.errors import (
    Forbidden,
    InvalidInput,
    RequestError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from saveany.languages import localized
from saveany.logs import get_logger
from saveany.net.addresses import network_of
from saveany.texts import Text, gettext_noop

if TYPE_CHECKING:
    from saveany.catalogue.keys import ApiKey
    from saveany.catalogue.models import SavedFile
    from saveany.config import Config
    from saveany.delivery.delivery import LinkDelivery
    from saveany.service import FileService
    from saveany.service.keys import KeyService

#: The scope that a key needs.
SCOPE: Final = "read"
#: Seconds between two checks whether the key of a running download still works.
_CHECK_SECONDS: Final = 2.0

_ALLOWED: Final = "OPTIONS, GET, HEAD, PROPFIND"
#: Methods of class 1 that change something: they are known, but refused.
_CHANGING: Final = frozenset({"PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH"})
#: Windows takes an address for a drive only with MS-Author-Via.
_CLASS: Final = {"DAV": "1", "MS-Author-Via": "DAV"}
_HEADERS: Final = {**_CLASS, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_XML: Final = "application/xml; charset=utf-8"
_HINT: Final = gettext_noop(
    "This is a folder of the drive. Open this address in a file manager or a player that knows WebDAV."
)

log = get_logger("saveany.dav")


@dataclass(frozen=True, slots=True)
class DavServices:
    """The parts of SaveAny that the drive needs."""

    config: Config
    keys: KeyService
    files: FileService
    delivery: LinkDelivery


class DavApp:
    """The drive, at `/dav`."""

    def __init__(self, services: DavServices) -> None:
        self._services = services
        self._public = urlsplit(services.config.api.public_url)

    def claims(self, scope: Scope) -> bool:
        """Whether a request is for the drive. Windows asks for the options of the address above it first."""
        return names_of(scope) is not None or (scope["method"] == "OPTIONS" and scope["path"] == "/")

    def is_upload(self, scope: Scope) -> bool:
        """Whether a request may have a body of any size."""
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_begun = False

        async def watch(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        request = Request(scope, receive)
        try:
            await self._handle(request, receive, watch)
        except ClientDisconnect:
            return
        except (RequestError, HTTPException) as error:
            if is_begun:  # the server closes the connection, because the response is not complete
                log.warning("listing_broke_off", reason=str(error))
                return
            await _refusal(error)(scope, receive, send)

    async def _handle(self, request: Request, receive: Receive, send: Send) -> None:
        scope, method = request.scope, request.method
        if method == "OPTIONS":
            headers = {**_CLASS, "Allow": _ALLOWED, "Content-Length": "0"}
            await Response(status_code=200, headers=headers)(scope, receive, send)
            return
        key = await self._key(request)
        trust(request, "allow_pauses")
        if method in _CHANGING:
            raise Forbidden("the drive can only be read")
        if method not in _ALLOWED.split(", "):
            raise HTTPException(405)
        tree = Tree(self._services.files, key.user_id)
        if method == "PROPFIND":
            await self._list(request, tree, send)
            return
        node = await tree.find(names_of(scope) or [])
        if node.file is None:
            await Response(f"{localized(Text(_HINT))}\n", 200, _HEADERS, "text/plain")(scope, receive, send)
            return
        await self._deliver(request, key, node.file, receive, send)

    async def _key(self, request: Request) -> ApiKey:
        """The key that is the password of a request. Raises `Unauthorized` and `Forbidden`."""
        key = await self._services.keys.with_secret(_password(request))
        if key is None:
            raise Unauthorized(
                "use a key with the scope {scope} as the password, and any user name", scope=SCOPE
            )
        if SCOPE not in key.scopes:
            raise Forbidden("this key lacks the scope {scope}", scope=SCOPE)
        return key

    async def _list(self, request: Request, tree: Tree, send: Send) -> None:
        depth = request.headers.get("depth", "infinity").strip().lower()
        if depth not in ("0", "1", "infinity"):
            raise InvalidInput("the header Depth must be 0 or 1")
        wanted = properties.parse(await _body(request))
        node = await tree.find(names_of(request.scope) or [])
        if node.file is None and depth == "infinity":
            body = properties.error("propfind-finite-depth")
            await Response(body, 403, _HEADERS, _XML)(request.scope, request.receive, send)
            return
        headers = dict(_HEADERS)
        base = self._base(request)
        if node.file is None:
            headers["Content-Location"] = href(base, node.names, is_folder=True)
        nodes = _with_children(tree, node) if depth == "1" and node.file is None else _only(node)
        pieces = _multistatus(nodes, base, wanted)
        await _send_text(request, send, headers, pieces)

    async def _deliver(
        self, request: Request, key: ApiKey, file: SavedFile, receive: Receive, send: Send
    ) -> None:
        delivery = self._services.delivery
        address = network_of(request.client.host if request.client else "")
        link = await delivery.saved(file.id)
        with ExitStack() as stack:
            if request.method == "GET":
                stack.enter_context(delivery.limits.connection(f"user:{key.user_id}", address))
                await delivery.limits.check_traffic()
            content = await delivery.look(link)
            if file.sha256 and content.etag == etag_of(file.sha256):
                content.modified = file.added_at // 1000  # as in listings
            response = ContentResponse(
                content,
                inline=True,
                headers=_CLASS,
                report=lambda size: delivery.sent("", address, size, content.size),
                stop=lambda: self._until_revoked(key.id),
            )
            await response(request.scope, receive, send)

    async def _until_revoked(self, key_id: str) -> Never:
        """Wait until the key does not work any more; raises `Forbidden` then."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self._services.keys.working_key(key_id)
            except Unavailable:
                continue

    def _base(self, request: Request) -> str:
        """The path that a reverse proxy has removed from the address of a request."""
        host = request.headers.get("host", "").partition(":")[0].lower()
        is_public = host == self._public.hostname
        return self._public.path.rstrip("/") if is_public else ""


def _password(request: Request) -> str:
    """The password of Basic authentication; "" if there is none."""
    given = request.headers.getlist("authorization")
    scheme, _, value = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "basic":
        return ""
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return text.partition(":")[2]


async def _body(request: Request) -> bytes:
    found = b""
    async for piece in request.stream():
        found += piece
        if len(found) > properties.MAX_BODY:
            raise TooLarge("the body is larger than {limit} bytes", limit=properties.MAX_BODY)
    return found


async def _only(node: Node) -> AsyncIterator[list[Node]]:
    yield [node]


async def _with_children(tree: Tree, node: Node) -> AsyncIterator[list[Node]]:
    yield [node]
    async for page in tree.children(node):
        yield page


async def _multistatus(
    pages: AsyncIterator[list[Node]], base: str, wanted: PropertyRequest
) -> AsyncIterator[str]:
    """The body of a multistatus response, in pieces."""
    renderer = Renderer(wanted)
    yield renderer.begin
    async for page in pages:
        yield "".join(
            renderer.response(href(base, node.names, is_folder=node.file is None), node.resource)
            for node in page
        )
    yield renderer.end


#: Size up to which a listing is sent with its length, in characters.
_SHORT: Final = 64 << 10


async def _send_text(
    request: Request, send: Send, headers: Mapping[str, str], pieces: AsyncIterator[str]
) -> None:
    """Send a multistatus response. A long one is sent while it is made; that ends when the client is gone."""
    begun: list[str] = []
    size = 0
    async for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > _SHORT:
            break
    else:
        await Response("".join(begun), 207, headers, _XML)(request.scope, request.receive, send)
        return
    start = Response(None, 207, headers, _XML)
    del start.headers["content-length"]
    leaving = asyncio.create_task(_disconnected(request.receive))
    try:
        await send({"type": "http.response.start", "status": 207, "headers": start.raw_headers})
        await send({"type": "http.response.body", "body": "".join(begun).encode(), "more_body": True})
        async for piece in pieces:
            if leaving.done():
                return
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        leaving.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _refusal(error: RequestError | HTTPException) -> Response:
    headers = dict(_HEADERS)
    if isinstance(error, HTTPException):
        status, text = error.status_code, Text(_PLAIN[error.status_code])
    else:
        status, text = error.status, error.text
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="SaveAny", charset="UTF-8"'
    if status == 405:
        headers["Allow"] = _ALLOWED
    if after := getattr(error, "after", 0.0):
        headers["Retry-After"] = f"{after:.0f}"
    return Response(f"{localized(text)}\n", status, headers, "text/plain")


_PLAIN: Final = {
    405: gettext_noop("the drive does not support this method"),
    413: gettext_noop("the body is too large"),
}
