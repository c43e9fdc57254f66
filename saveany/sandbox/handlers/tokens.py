"""auth.*LoginToken: logging in by a QR code that another session scans
(https://core.telegram.org/api/qr-login)."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.auth import log_in, need_password
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.key_store import StoredKey
from saveany.sandbox.world import SandboxAccount


@dataclass(eq=False)
class Token:
    """A QR code, shown by the session with `key` until it expires or is accepted."""

    key: StoredKey
    expires: datetime
    account: SandboxAccount | None = None  # the account that has accepted it


@handles(fn.auth.ExportLoginTokenRequest, login=False)
def export_login_token(context: RequestContext, request: Any) -> Any:
    """A token to show, the same until it expires; after it was accepted, the login."""
    tokens, now = context.world.tokens, datetime.now(UTC)
    for content, token in list(tokens.items()):
        if token.key is context.key:
            if token.account is None and token.expires > now:
                return tl.auth.LoginToken(token.expires, content)
            del tokens[content]
            if token.account is not None:
                return _accepted(context, token.account)
    content = secrets.token_bytes(16)
    expires = now + timedelta(seconds=context.world.token_lifetime)
    tokens[content] = Token(context.key, expires)
    return tl.auth.LoginToken(expires, content)


@handles(fn.auth.ImportLoginTokenRequest, login=False)
def import_login_token(context: RequestContext, request: Any) -> Any:
    """Log in at the account's data center with a token that was accepted."""
    token = context.world.tokens.pop(request.token, None)
    if token is None or token.account is None:
        raise RpcFailure(400, "AUTH_TOKEN_INVALID")
    return _success(context, token.account)


@handles(fn.auth.AcceptLoginTokenRequest, bots=False)
def accept_login_token(context: RequestContext, request: Any) -> Any:
    """Scan a QR code: logs in the session that shows it."""
    token = context.world.tokens.get(request.token)
    if token is None:
        raise RpcFailure(400, "AUTH_TOKEN_INVALID")
    if token.account is not None:
        raise RpcFailure(400, "AUTH_TOKEN_ALREADY_ACCEPTED")
    if token.expires < datetime.now(UTC):
        raise RpcFailure(400, "AUTH_TOKEN_EXPIRED")
    token.account = context.account
    context.broadcaster.push(tl.UpdateLoginToken(), key=token.key)
    return _authorization(token.key)


def _accepted(context: RequestContext, account: SandboxAccount) -> Any:
    if context.dc == context.home:
        return _success(context, account)
    content = secrets.token_bytes(16)
    context.world.tokens[content] = Token(context.key, datetime.now(UTC), account)
    return tl.auth.LoginTokenMigrateTo(context.home, content)


def _success(context: RequestContext, account: SandboxAccount) -> Any:
    need_password(context, account)
    return tl.auth.LoginTokenSuccess(log_in(context, account))


def _authorization(key: StoredKey) -> Any:
    """The description of the new session for the client that scanned the code."""
    now = datetime.now(UTC)
    unknown = dict.fromkeys(("device_model", "platform", "system_version", "app_name", "app_version"), "")
    place = {"ip": "127.0.0.1", "country": "", "region": ""}
    return tl.Authorization(hash=key.id >> 1, api_id=1, date_created=now, date_active=now, **unknown, **place)
