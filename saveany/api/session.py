"""Routes for the sessions of browsers."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from saveany.api.auth import COOKIE, SESSION_SECONDS, Caller, InjectedCaller, UserPrincipal, any_user, public
from saveany.api.bodies import NewSession
from saveany.api.errors import responses
from saveany.api.models import MessageReply, SessionView
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.errors import InvalidInput, Unauthorized
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1/session", tags=["keys"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    operation_id="beginSession",
    summary="Begin a session",
    responses=responses(401, 413, 415, public=True),
    dependencies=[Depends(public)],
)
async def begin(
    services: InjectedServices, request: Request, response: Response, body: NewSession
) -> SessionView:
    """Exchange the token or a key for a cookie, which lasts 30 days and which pages cannot read. Requests
    that change something need the `csrf_token` of this reply, too. The session ends early when its key is
    revoked, or the token is changed."""
    if bool(body.token) == bool(body.key):
        raise InvalidInput("give either token or key", "token")
    secret = (body.token or body.key).encode("utf-8", "surrogatepass")
    caller = await services.authenticator.with_secret(secret)
    if caller is None:
        raise Unauthorized
    any_user.check(caller, request.method)
    begun = await services.authenticator.begin(caller, secret)
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
