"""Routes for Telegram accounts and their logins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from saveany.api.auth import OperatorPrincipal
from saveany.api.config_models import AccountList, AccountView, LoginAnswer, LoginView, NewLogin
from saveany.api.errors import responses
from saveany.api.models import MessageReply
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.languages import localized
from saveany.service.accounts import LoginAttempt
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1", tags=["configuration"], route_class=JsonRoute)

LoginId = Annotated[str, Path(max_length=64, description="Id of the login.", examples=["Zk3uX9q0bYtP"])]
AccountName = Annotated[str, Path(max_length=64, description="Name of the account.", examples=["me"])]


@router.get("/accounts", operation_id="listAccounts", summary="Telegram accounts", responses=responses())
async def list_accounts(services: InjectedServices, principal: OperatorPrincipal) -> AccountList:
    """All accounts, and why some cannot be used."""
    return AccountList(
        accounts=[
            AccountView(
                name=each.name,
                is_bot=each.is_bot,
                is_configured=each.is_configured,
                owner=each.owner,
                user_id=each.user_id or None,
                ready=not each.problem,
                problem=localized(each.problem),
            )
            for each in await services.accounts.all(principal)
        ]
    )


@router.post(
    "/logins",
    status_code=201,
    operation_id="beginLogin",
    summary="Log an account in",
    responses=responses(409, 413, 415, 429),
)
async def begin(
    services: InjectedServices, principal: OperatorPrincipal, response: Response, body: NewLogin
) -> LoginView:
    """Begin to log an account in. Read the login every second: it shows a QR code, or asks for the phone
    number, the code and the password. All processes of this machine use the account within seconds."""
    login = await services.accounts.begin(principal, body.name, body.method, body.session)
    return _view(login, response)


@router.get("/logins/{login_id}", operation_id="getLogin", summary="A login", responses=responses(404))
async def get(
    services: InjectedServices, principal: OperatorPrincipal, response: Response, login_id: LoginId
) -> LoginView:
    """The state of a login."""
    return _view(services.accounts.get(principal, login_id), response)


@router.post(
    "/logins/{login_id}/answer",
    operation_id="answerLogin",
    summary="Answer a login",
    responses=responses(404, 409, 413, 415),
)
async def answer(
    services: InjectedServices,
    principal: OperatorPrincipal,
    response: Response,
    login_id: LoginId,
    body: LoginAnswer,
) -> LoginView:
    """Answer the question of a login."""
    return _view(services.accounts.answer(principal, login_id, body.answer), response)


@router.delete(
    "/logins/{login_id}", operation_id="cancelLogin", summary="Cancel a login", responses=responses(404)
)
async def cancel(services: InjectedServices, principal: OperatorPrincipal, login_id: LoginId) -> MessageReply:
    """Give a login up."""
    await services.accounts.cancel(principal, login_id)
    return MessageReply(message="login canceled")


@router.delete(
    "/accounts/{name}", operation_id="logOut", summary="Log an account out", responses=responses(404, 409)
)
async def log_out(
    services: InjectedServices, principal: OperatorPrincipal, name: AccountName
) -> MessageReply:
    """End the login of an account at Telegram, and delete it here."""
    await services.accounts.log_out(principal, name)
    return MessageReply(message="account logged out")


def _view(login: LoginAttempt, response: Response) -> LoginView:
    response.headers["Cache-Control"] = "no-store"
    return LoginView(
        login_id=login.id,
        name=login.name,
        method=login.method,
        state=login.state,
        question=login.question,
        is_wrong=login.is_wrong,
        sent=login.sent,
        qr_link=login.link,
        qr_png=f"data:image/png;base64,{login.png}" if login.png else "",
        qr_expires_at=rfc3339(login.expires_at) if login.png else None,
        owner=login.owner,
        user_id=login.user_id or None,
        problem=localized(login.problem),
    )
