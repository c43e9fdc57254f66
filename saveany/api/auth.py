"""Who may ask: the bearer token, and no request that a page of another site has made."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from saveany.api.errors import error_response
from saveany.config.values import is_loopback
from saveany.errors import Forbidden, Unauthorized

#: Served to everyone: a sign of life, whether it is ready, and what the API looks like.
OPEN_PATHS = frozenset({"/health", "/readyz", "/openapi.json"})

_FOREIGN = (
    "a page of another site has made this request; call the API from the same origin, or not from a browser. "
    "A reverse proxy must pass on the Host header"
)
_REBOUND = (
    "without api.token only requests for this machine are answered, whose Host is localhost, 127.0.0.1 or "
    "[::1]; set api.token to use another name"
)


class SameOrigin:
    """Middleware: refuses what a browser sends on behalf of a page of another site (cross-site request
    forgery). `only_loopback` also refuses names of this machine that others control (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, only_loopback: bool) -> None:
        self._app = app
        self._only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of ASGI."""
        problem = self._problem(scope["headers"]) if scope["type"] == "http" else ""
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


def _is_own(origin: bytes, hosts: list[bytes]) -> bool:
    """Whether an origin is that of the API itself, by the name it was called."""
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


class TokenAuth:
    """Middleware: nothing behind it is reached without the token, unknown addresses included.

    Tells the application who asks (`known`), and the connection that it need not make room for others. An
    empty token is no authentication: whoever can ask is known.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["known"] = not self._token or self._admits(scope)
        if state["known"] and "trust" in state:
            state["trust"]()
        if state["known"] or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
        else:
            await error_response(Unauthorized())(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(b" "), self._token)
