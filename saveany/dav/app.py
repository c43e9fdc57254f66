"""The application: finds the user of a request, and what its address leads to, and replies."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from saveany.compat.addresses import trust
from saveany.dav import properties
from saveany.dav.addresses import ROOT, href, names_of
from saveany.dav.listing import XML, Page, send_listing
from saveany.dav.properties import DavResource
from saveany.dav.reading import FileReader
from saveany.dav.tree import Node, Tree
from saveany.errors import (
    Forbidden,
    InvalidInput,
    RequestError,
    TooLarge,
    Unauthorized,
)
from saveany.languages import localized
from saveany.logs import get_logger
from saveany.texts import Text, gettext_noop

if TYPE_CHECKING:
    from saveany.catalogue.keys import ApiKey
    from saveany.config import Config
    from saveany.delivery.delivery import LinkDelivery
    from saveany.service import FileService
    from saveany.service.keys import KeyService

#: The scope that a key needs.
SCOPE: Final = "read"
_ALLOWED: Final = "OPTIONS, GET, HEAD, PROPFIND"
#: Methods of class 1 that change something: they are known, but refused.
_CHANGING: Final = frozenset({"PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH"})
#: Windows takes an address for a drive only with MS-Author-Via.
_CLASS: Final = {"DAV": "1", "MS-Author-Via": "DAV"}
_HEADERS: Final = {**_CLASS, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
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
        self._reader = FileReader(services.delivery, services.keys)

    def claims(self, scope: Scope) -> bool:
        """Whether a request is for the drive, or asks what is above it."""
        is_above = scope["path"] == "/" and scope["method"] in ("OPTIONS", "PROPFIND")
        return is_above or names_of(scope) is not None

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
        link = await self._reader.find(tree, names_of(scope) or [])
        if link is None:
            await Response(f"{localized(Text(_HINT))}\n", 200, _HEADERS, "text/plain")(scope, receive, send)
        else:
            await self._reader.send(request, key, link, _CLASS, receive, send)

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
        names, base = names_of(request.scope), self._base(request)
        node = Node(()) if names is None else await tree.find(names)
        if node.file is None and depth == "infinity":
            body = properties.error("propfind-finite-depth")
            await Response(body, 403, _HEADERS, XML)(request.scope, request.receive, send)
            return
        if names is None:
            await send_listing(request, send, _HEADERS, _above(base, depth), wanted)
            return
        place = {"Content-Location": href(base, node.names, is_folder=node.file is None)}
        await send_listing(request, send, _HEADERS | place, _pages(tree, node, base, depth), wanted)

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


async def _above(base: str, depth: str) -> AsyncIterator[Page]:
    """The address above the drive, which has nothing but the drive. Windows looks at it on its way, and
    people enter it."""
    yield [(f"{base}/", DavResource("SaveAny", is_folder=True))]
    if depth == "1":
        yield [(href(base, (), is_folder=True), DavResource(ROOT, is_folder=True))]


async def _pages(tree: Tree, node: Node, base: str, depth: str) -> AsyncIterator[Page]:
    yield [_entry(node, base)]
    if depth == "1" and node.file is None:
        async for nodes in tree.children(node):
            yield [_entry(each, base) for each in nodes]


def _entry(node: Node, base: str) -> tuple[str, DavResource]:
    return href(base, node.names, is_folder=node.file is None), node.resource


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
