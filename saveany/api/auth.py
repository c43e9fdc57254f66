"""Who calls: the only place that creates principals, and what each route requires of its caller.

A route declares its requirement as a dependency, which also returns the principal for the services:

    async def list_tasks(services: InjectedServices, principal: TasksPrincipal) -> TaskList: ...

`requires("tasks")` admits the operator, and keys with this scope; for GET also keys with the scope `read`.
`operator` admits only the operator, `public` everybody. A test fails for a route without a requirement.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from saveany.api.errors import error_response
from saveany.errors import Forbidden, Unauthorized
from saveany.models import KeyScope
from saveany.service import OPERATOR, Principal

_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request."""

    principal: Principal
    scopes: frozenset[KeyScope] = frozenset(KeyScope)


class Requirement:
    """What a route requires of its caller: that it is the operator, or has one of some scopes."""

    def __init__(self, *scopes: KeyScope) -> None:
        #: Sufficient scopes; none: only the operator is admitted.
        self.scopes = frozenset(scopes)

    async def __call__(self, request: Request) -> Principal:
        """The caller. Raises `Unauthorized` and `Forbidden`."""
        return self.check(request.scope)

    def check(self, scope: Scope) -> Principal:
        """As a call, for the ASGI scope of a request."""
        caller: Caller | None = scope["state"]["caller"]
        if caller is None:
            raise Unauthorized
        if not (caller.principal.is_operator or caller.scopes & self.sufficient(scope["method"])):
            raise Forbidden(self._refusal(scope["method"]))
        return caller.principal

    def sufficient(self, method: str) -> frozenset[KeyScope]:
        """The scopes of which a key needs one."""
        return self.scopes | {KeyScope.READ} if self.scopes and method in _READING else self.scopes

    def _refusal(self, method: str) -> str:
        if not self.scopes:
            return "only the operator may do this; use api.token instead of a key"
        return f"this key lacks the scope {' or '.join(sorted(self.sufficient(method)))}"


def requires(*scopes: str) -> Requirement:
    """The requirement of a route that the operator may use, and keys with one of these scopes."""
    return Requirement(*map(KeyScope, scopes))


async def public() -> None:
    """The requirement of a route that everybody may use."""


#: The requirement of a route that only the operator may use.
operator = Requirement()

OperatorPrincipal = Annotated[Principal, Depends(operator)]
TasksPrincipal = Annotated[Principal, Depends(requires("tasks"))]
FilesPrincipal = Annotated[Principal, Depends(requires("files"))]
LinksPrincipal = Annotated[Principal, Depends(requires("links"))]


def requirement_of(route: APIRoute) -> Requirement | None:
    """The requirement of a route; None if it declares that it is public. Raises `LookupError` if it declares
    nothing."""
    for call in _calls(route.dependant):
        if call is public:
            return None
        if isinstance(call, Requirement):
            return call
    raise LookupError(f"{route.path} does not declare what it requires of its caller")


def _calls(dependant: Dependant) -> Iterable[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


class Authentication:
    """Middleware: refuses requests that do not say who sends them, also to unknown addresses; public routes
    are open to all.

    Sets `caller` in the state of the request, and marks the connection as trusted. Without a configured
    token, the operator sends all requests.
    """

    def __init__(self, app: ASGIApp, token: str, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._token = token.encode()
        self._routes = [(route, requirement_of(route) is None) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = Caller(OPERATOR) if self._is_operator(scope) else None
        if state["caller"] and "trust" in state:
            state["trust"]()
        if state["caller"] or self._is_public(scope):
            await self._app(scope, receive, send)
        else:
            await error_response(Unauthorized())(scope, receive, send)

    def _is_operator(self, scope: Scope) -> bool:
        if not self._token:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(b" "), self._token)

    def _is_public(self, scope: Scope) -> bool:
        """Whether everybody may use this address; for a method that it does not support, whether it is public
        for the others."""
        path, method = scope["path"], scope["method"]
        at_path = [(route, is_public) for route, is_public in self._routes if route.path_regex.match(path)]
        same_method = [is_public for route, is_public in at_path if method in (route.methods or ())]
        return same_method[0] if same_method else bool(at_path) and all(each for _, each in at_path)
