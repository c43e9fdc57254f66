"""Protection against requests that browsers send for pages of other sites."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from saveany.api.errors import error_response
from saveany.config.values import is_loopback
from saveany.errors import Forbidden
from saveany.texts import gettext_noop

#: Addresses that pages of other sites may lead to: links, and the web UI.
_OPEN = ("/dl/", "/stream/", "/s/", "/thumb/", "/assets/")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

_FOREIGN = gettext_noop(
    "this request was made by a page of another site; call the API from the same origin, or not from a "
    "browser. A reverse proxy must forward the Host header"
)
_REBOUND = gettext_noop(
    "without api.token the Host of a request must be localhost, 127.0.0.1 or [::1]; set api.token to use "
    "another name"
)


class SameOrigin:
    """Middleware: refuses requests that a browser sends for another site (cross-site request forgery).

    `only_loopback` also refuses all host names but those of the loopback interface (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, only_loopback: bool) -> None:
        self._app = app
        self._only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        checked = scope["type"] == "http" and not (_is_open(scope) and scope["method"] in _READING)
        problem = self._problem(scope["headers"]) if checked else ""
        if problem:
            await error_response(Forbidden(problem))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, headers: list[tuple[bytes, bytes]]) -> str:
        hosts, own, origins = [], [], []
        for name, value in headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"x-forwarded-host":
                own.append(value)
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site" and value.strip().lower() == b"cross-site":
                return _FOREIGN
        if any(not _is_own(origin, [*hosts, *own]) for origin in origins):
            return _FOREIGN
        if self._only_loopback and not (len(hosts) == 1 and _names_this_machine(hosts[0])):
            return _REBOUND
        return ""


def _is_open(scope: Scope) -> bool:
    """Whether pages of other sites may lead to this address."""
    path: str = scope["path"]
    return path == "/" or path.startswith(_OPEN)


def _is_own(origin: bytes, hosts: list[bytes]) -> bool:
    """Whether `origin` is the API itself, under a name by which the request addressed it."""
    scheme, separator, host = origin.strip().lower().partition(b"://")
    port = b":443" if scheme == b"https" else b":80"
    names = {each.strip().lower().removesuffix(port) for each in hosts}
    return bool(separator) and host.removesuffix(port) in names


def _names_this_machine(host: bytes) -> bool:
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name.removesuffix("."))
