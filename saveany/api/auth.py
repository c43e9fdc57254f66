"""Who calls: the only place that creates principals, and what each route requires of its caller.

A route declares its requirement as a dependency, which also returns the principal for the services:

    async def list_tasks(services: InjectedServices, principal: TasksPrincipal) -> TaskList: ...

`requires("tasks")` admits the operator, and keys with this scope; for GET also keys with the scope `read`.
`operator` admits only the operator, `public` everybody. A test fails for a route without a requirement.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from saveany.api.errors import error_response
from saveany.errors import Forbidden, RequestError, Unauthorized
from saveany.loops import repeat
from saveany.models import KEY_SCOPES, KeyScope
from saveany.service import OPERATOR, Principal
from saveany.store.sessions import BrowserSession, Sessions

if TYPE_CHECKING:
    from saveany.api.signatures import SignedRequests
    from saveany.catalogue.keys import ApiKey
    from saveany.service.keys import WorkingKeys

_READING = frozenset({"GET", "HEAD"})
_SAFE = _READING | {"OPTIONS"}

#: The cookie of a session, and the header that must come with it in a request that changes something.
COOKIE, CSRF_HEADER = "saveany_session", "X-CSRF-Token"
#: Seconds until a session ends, and for which a code begins one.
SESSION_SECONDS, CODE_SECONDS = 30 * 24 * 3600, 15 * 60


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request: the operator, or the user of a key."""

    principal: Principal = OPERATOR
    scopes: frozenset[KeyScope] = frozenset(KEY_SCOPES)
    key_id: str = ""  # "": the token of the API
    session_id: str = ""  # "": the request contains the token or the key itself
    expires_at: int | None = None  # of the session, in ms since the epoch

    @property
    def csrf_token(self) -> str:
        """The value of `CSRF_HEADER` in requests of this session."""
        return _mac(self.session_id.encode(), "csrf") if self.session_id else ""


class Requirement:
    """What a route requires of its caller: that it is the operator, or has one of some scopes."""

    def __init__(self, *scopes: KeyScope) -> None:
        #: Sufficient scopes; none: only the operator is admitted.
        self.scopes = frozenset(scopes)

    async def __call__(self, request: Request) -> Principal:
        """The caller. Raises `Unauthorized` and `Forbidden`."""
        return self.check(request.scope["state"]["caller"], request.method)

    def check(self, caller: Caller | None, method: str) -> Principal:
        """The principal of a caller that may use this method of the route. Raises as a call."""
        if caller is None:
            raise Unauthorized
        if not (caller.principal.is_operator or caller.scopes & self.sufficient(method)):
            raise Forbidden(self._refusal(method))
        return caller.principal

    def sufficient(self, method: str) -> frozenset[KeyScope]:
        """The scopes of which a key needs one."""
        return self.scopes | {"read"} if self.scopes and method in _READING else self.scopes

    def _refusal(self, method: str) -> str:
        if not self.scopes:
            return "only the operator may do this; use api.token instead of a key"
        return f"this key lacks the scope {' or '.join(sorted(self.sufficient(method)))}"


def requires(*scopes: KeyScope) -> Requirement:
    """The requirement of a route that the operator may use, and keys with one of these scopes."""
    return Requirement(*scopes)


async def public() -> None:
    """The requirement of a route that everybody may use."""


async def caller_of(request: Request) -> Caller:
    """The sender of a request, for routes that need more than the principal; they need a requirement, too."""
    caller: Caller | None = request.scope["state"]["caller"]
    if caller is None:
        raise Unauthorized
    return caller


#: The requirement of a route that only the operator may use, and of one for all but the APIs of other hosts.
operator, any_user = Requirement(), Requirement("tasks", "files", "links", "read")

OperatorPrincipal = Annotated[Principal, Depends(operator)]
UserPrincipal = Annotated[Principal, Depends(any_user)]
TasksPrincipal = Annotated[Principal, Depends(requires("tasks"))]
FilesPrincipal = Annotated[Principal, Depends(requires("files"))]
LinksPrincipal = Annotated[Principal, Depends(requires("links"))]
InjectedCaller = Annotated[Caller, Depends(caller_of)]


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


class Authenticator:
    """Finds out who sends a request: the operator, who has the token of the API; the user of a key; or the
    one who has begun a session with either. Without a configured token, the operator sends all requests but
    those of keys and sessions."""

    def __init__(self, token: str, keys: WorkingKeys, sessions: Sessions) -> None:
        self._token = token.encode()
        self._keys = keys
        self._sessions = sessions
        #: The sender of requests that do not say who sends them; None: nobody.
        self.default = None if token else Caller()
        self._watched: set[tuple[Caller, Callable[[], None]]] = set()

    def has_token(self, scope: Scope) -> bool:
        """Whether the request contains the token of the API. That needs neither Redis nor the catalogue."""
        return self._is_token(_bearer(scope))

    async def caller(self, scope: Scope) -> Caller | None:
        """The sender of a request without the token; None if it does not say. Raises `Forbidden` for a
        request without the CSRF token of its session, and `Unavailable` while keys and sessions cannot be
        read."""
        bearer = _bearer(scope)
        session_id = "" if bearer else _cookie(scope)
        caller = await self.with_secret(bearer) if bearer else await self._in_session(session_id)
        if caller and session_id and scope["method"] not in _SAFE:
            _check_csrf(scope, caller)
        return caller if caller or self._keys.may_be_key(bearer) else self.default

    async def with_secret(self, secret: bytes) -> Caller | None:
        """The one who has this token or key; None if it is neither. Raises `Unavailable`."""
        if self._is_token(secret):
            return Caller()
        if not self._keys.may_be_key(secret):
            return None
        key = await self._keys.with_secret(secret, await self._sessions.generation())
        return _caller(key) if key else None

    async def with_code(self, code: str) -> Caller | None:
        """The one who has offered a session for this code, which is used up; None if nobody has."""
        offer, generation = await self._sessions.take(code)
        return await self._behind(offer, code, generation) if offer else None

    async def begin(self, caller: Caller) -> Caller:
        """Begin a session of a caller. Raises `Unauthorized` if its key was revoked in the meantime."""
        session_id = secrets.token_urlsafe(32)
        proof = await self._proof(caller, session_id)
        expires_at = await self._sessions.begin(session_id, caller.key_id, proof, SESSION_SECONDS)
        return replace(caller, session_id=session_id, expires_at=expires_at)

    async def offer(self, caller: Caller) -> tuple[str, int]:
        """A code that begins a session of the caller once, within `CODE_SECONDS`, and when that is over.
        Raises as `begin`."""
        code = secrets.token_urlsafe(24)
        proof = await self._proof(caller, code)
        return code, await self._sessions.offer(code, caller.key_id, proof, CODE_SECONDS)

    async def _proof(self, caller: Caller, salt: str) -> str:
        found = await self._with_key(caller.key_id, await self._sessions.generation())
        if found is None:
            raise Unauthorized
        return _mac(found[1], salt)

    async def end(self, caller: Caller) -> None:
        """End the session of a caller, if it has one."""
        if caller.session_id:
            await self._sessions.end(caller.session_id)

    @asynccontextmanager
    async def until_revoked(self, caller: Caller, end: Callable[[], None]) -> AsyncIterator[None]:
        """Call `end` when the key or the session of the caller is revoked before the block ends."""
        watched = caller, end
        self._watched.add(watched)
        try:
            if not await self._is_valid(caller):
                end()
            yield
        finally:
            self._watched.discard(watched)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch for revocations until the block ends."""
        watching = asyncio.create_task(repeat("revocations", self._watch))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        async for _ in self._sessions.announcements():
            for caller, end in list(self._watched):
                if not await self._is_valid(caller):
                    end()

    async def _is_valid(self, caller: Caller) -> bool:
        if caller.session_id:
            return await self._in_session(caller.session_id) is not None
        if caller.key_id:
            generation = await self._sessions.generation()
            return await self._keys.with_id(caller.key_id, generation) is not None
        return True

    def _is_token(self, given: bytes) -> bool:
        return bool(self._token) and hmac.compare_digest(given, self._token)

    async def _in_session(self, session_id: str) -> Caller | None:
        if not session_id:
            return None
        session, generation = await self._sessions.read(session_id)
        caller = await self._behind(session, session_id, generation) if session else None
        if session is None or caller is None:
            return None
        return replace(caller, session_id=session_id, expires_at=session.expires_at)

    async def _behind(self, session: BrowserSession, salt: str, generation: int) -> Caller | None:
        """The one who has begun a session; None if the token or the key is not valid any more."""
        found = await self._with_key(session.key_id, generation)
        if found is None:
            return None
        caller, hash_, key = found
        if not hmac.compare_digest(session.proof.encode(), _mac(hash_, salt).encode()):
            return None  # the token was replaced
        if key:
            self._keys.note_use(key)
        return caller

    async def _with_key(self, key_id: str, generation: int) -> tuple[Caller, bytes, ApiKey | None] | None:
        """The one who has a key, or the operator for "", with the hash of the secret, and the key; None if
        the key does not work."""
        if not key_id:
            return Caller(), hashlib.sha256(self._token).digest(), None
        key = await self._keys.with_id(key_id, generation)
        return (_caller(key), bytes.fromhex(key.hash), key) if key else None


def _caller(key: ApiKey) -> Caller:
    return Caller(Principal(key.user_id), key.scopes, key.id)


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _check_csrf(scope: Scope, caller: Caller) -> None:
    given = b"".join(_headers(scope, CSRF_HEADER.lower().encode()))
    if not hmac.compare_digest(given, caller.csrf_token.encode()):
        raise Forbidden("send the csrf_token of the session in the header {header}", header=CSRF_HEADER)


def _headers(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _bearer(scope: Scope) -> bytes:
    """The bearer token of a request; empty if it has none, or two Authorization headers."""
    given = _headers(scope, b"authorization")
    scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    return token.strip(b" ") if scheme.lower() == b"bearer" else b""


def _is_signed(scope: Scope) -> bool:
    """Whether a request has a signature."""
    return any(name in (b"signature", b"signature-input") for name, _ in scope["headers"])


def _cookie(scope: Scope) -> str:
    """The id of the session of a request; empty if it has none."""
    for header in _headers(scope, b"cookie"):
        for pair in header.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name == COOKIE.encode():
                return value.decode("latin-1")
    return ""


def _harmless(cookies: bytes) -> bytes:
    """A Cookie header without those that have backslashes."""
    return b";".join(pair for pair in cookies.split(b";") if b"\\" not in pair)


class Authentication:
    """Middleware: refuses requests that do not say who sends them, also to unknown addresses; public routes
    are open to all, and work without Redis and the catalogue.

    Sets `caller` in the state of the request, and marks the connection as trusted. Removes cookies with
    backslashes, which none of ours has: the framework reads the cookies of every request, and Python's parser
    takes time that grows with the square of their number (CVE-2024-7592).
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        routes: Sequence[APIRoute],
        signed: SignedRequests | None = None,
    ) -> None:
        """`signed` verifies requests with a signature; None: signatures are not accepted."""
        self._app = app
        self._authenticator = authenticator
        self._signed = signed
        self._routes = [(route, requirement_of(route) is None) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if any(b"\\" in cookies for cookies in _headers(scope, b"cookie")):
            scope["headers"] = [
                (name, _harmless(value) if name == b"cookie" else value) for name, value in scope["headers"]
            ]
        try:
            caller, receive = await self._caller(scope, receive)
        except (RequestError, HTTPException) as error:
            await error_response(error)(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = caller
        if caller and "trust" in state:
            state["trust"]()
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope, receive: Receive) -> tuple[Caller | None, Receive]:
        """The sender of the request, None if that is unknown and the route is public; and what the
        application receives. Raises `RequestError`, and `HTTPException` for a body that is too large."""
        if self._authenticator.has_token(scope):
            return Caller(), receive
        if self._is_public(scope):
            return self._authenticator.default, receive
        if _is_signed(scope) and not _headers(scope, b"authorization"):
            if self._signed:
                key, receive = await self._signed.verify(scope, receive)
                return _caller(key), receive
            if self._authenticator.default is None:
                raise Unauthorized("signed requests are not enabled; set signed = true in [api]")
        caller = await self._authenticator.caller(scope)
        if caller is None:
            raise Unauthorized
        return caller, receive

    def _is_public(self, scope: Scope) -> bool:
        """Whether everybody may use this address; for a method that it does not support, whether it is public
        for the others."""
        path, method = scope["path"], scope["method"]
        at_path = [(route, is_public) for route, is_public in self._routes if route.path_regex.match(path)]
        same_method = [is_public for route, is_public in at_path if method in (route.methods or ())]
        return same_method[0] if same_method else bool(at_path) and all(each for _, each in at_path)
