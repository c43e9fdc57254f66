"""Routes for the sessions of browsers."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from saveany.api.auth import (
    COOKIE,
    SESSION_SECONDS,
    Authenticator,
    Caller,
    InjectedCaller,
    UserPrincipal,
    any_user,
    public,
)
from saveany.api.bodies import NewSession
from saveany.api.errors import responses
from saveany.api.models import LoginLinkView, MessageReply, SessionView
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.errors import InvalidInput, Unauthorized
from saveany.net.addresses import network_of
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1/session", tags=["keys"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    operation_id="beginSession",
    summary="Begin a session",
    responses=responses(401, 413, 415, 429, public=True),
    dependencies=[Depends(public)],
)
async def begin(
    services: InjectedServices, request: Request, response: Response, body: NewSession
) -> SessionView:
    """Exchange the token, a key or the code of a login link for a cookie, which lasts 30 days and which pages
    cannot read. Requests that change something need the `csrf_token` of this reply, too. The session ends
    early when its key is revoked, or the token is changed."""
    if [body.token, body.key, body.code].count("") != 2:
        raise InvalidInput("give one of token, key and code", "token")
    limits, address = services.delivery.limits, network_of(request.client.host if request.client else "")
    limits.check_address(address)
    caller = await _caller(services.authenticator, body)
    if caller is None:
        await limits.refuse_unknown(address)
        raise Unauthorized
    any_user.check(caller, request.method)
    begun = await services.authenticator.begin(caller)
    response.headers["Cache-Control"] = "no-store"
    response.set_cookie(
        COOKIE,
        begun.session_id,
        max_age=SESSION_SECONDS,
        path=_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return _view(begun)


@router.post(
    "/links",
    status_code=201,
    operation_id="createLoginLink",
    summary="Create a login link",
    responses=responses(415),
)
async def offer(
    services: InjectedServices,
    request: Request,
    response: Response,
    caller: InjectedCaller,
    principal: UserPrincipal,
) -> LoginLinkView:
    """Create a link that opens the web UI and begins a session there as the caller: for another device. It
    works once, within 15 minutes."""
    code, expires_at = await services.authenticator.offer(caller)
    response.headers["Cache-Control"] = "no-store"
    base = (services.config.api.public_url or str(request.base_url)).rstrip("/")
    return LoginLinkView(url=f"{base}/#/login/{code}", code=code, expires_at=rfc3339(expires_at))


@router.get("", operation_id="getSession", summary="Who am I", responses=responses())
async def get(caller: InjectedCaller, principal: UserPrincipal, response: Response) -> SessionView:
    """Who sends this request, with a session or without."""
    response.headers["Cache-Control"] = "no-store"
    return _view(caller)


@router.delete("", operation_id="endSession", summary="End the session", responses=responses())
async def end(
    services: InjectedServices,
    request: Request,
    response: Response,
    caller: InjectedCaller,
    principal: UserPrincipal,
) -> MessageReply:
    """End the session of this request, with its event streams."""
    await services.authenticator.end(caller)
    response.delete_cookie(COOKIE, path=_path(request), httponly=True, samesite="lax")
    return MessageReply(message="session ended")


async def _caller(authenticator: Authenticator, body: NewSession) -> Caller | None:
    """The one who may begin a session; None if nobody may."""
    if body.code:
        return await authenticator.with_code(body.code)
    return await authenticator.with_secret((body.token or body.key).encode("utf-8", "surrogatepass"))


def _view(caller: Caller) -> SessionView:
    return SessionView(
        user_id=caller.principal.user_id,
        is_operator=caller.principal.is_operator,
        scopes=sorted(caller.scopes),
        csrf_token=caller.csrf_token or None,
        expires_at=None if caller.expires_at is None else rfc3339(caller.expires_at),
    )


def _path(request: Request) -> str:
    return request.scope.get("root_path") or "/"
