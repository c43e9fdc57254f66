"""auth.* and users.*: logging in, and information about users.

All accounts belong to the home data center. Other data centers redirect logins to it (USER_MIGRATE,
PHONE_MIGRATE) and accept an account only through exportAuthorization and importAuthorization.
"""

import hmac
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.bots import bot_info
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.view import WorldView
from saveany.sandbox.world import SandboxAccount

#: For Telegram's test numbers, 99966XYYYY, the code is X five times.
LOGIN_CODE = "22222"

#: The delivery methods of login codes (`SandboxAccount.code_by`), as Telegram describes them to the client.
CODES: dict[str, Any] = {
    "app": tl.auth.SentCodeTypeApp(len(LOGIN_CODE)),
    "sms": tl.auth.SentCodeTypeSms(len(LOGIN_CODE)),
    "word": tl.auth.SentCodeTypeSmsWord(),
    "phrase": tl.auth.SentCodeTypeSmsPhrase(),
    "call": tl.auth.SentCodeTypeCall(len(LOGIN_CODE)),
    "flash call": tl.auth.SentCodeTypeFlashCall("+4430*****"),
    "missed call": tl.auth.SentCodeTypeMissedCall("+4430", len(LOGIN_CODE)),
    "fragment": tl.auth.SentCodeTypeFragmentSms("https://fragment.com/number/99966", len(LOGIN_CODE)),
    "firebase": tl.auth.SentCodeTypeFirebaseSms(len(LOGIN_CODE)),
    "email": tl.auth.SentCodeTypeEmailCode("s***y@example.org", len(LOGIN_CODE)),
    "email setup": tl.auth.SentCodeTypeSetUpEmailRequired(),
    "payment": None,
}


@handles(fn.auth.ImportBotAuthorizationRequest, login=False)
def import_bot_authorization(context: RequestContext, request: Any) -> Any:
    """Log a bot in."""
    token = request.bot_auth_token
    bot = next((a for a in context.world.accounts.values() if a.bot and a.token == token), None)
    if bot is None:
        raise RpcFailure(400, "ACCESS_TOKEN_INVALID")
    if context.dc != context.home:
        raise RpcFailure(303, f"USER_MIGRATE_{context.home}")
    return log_in(context, bot)


@handles(fn.auth.SendCodeRequest, login=False)
def send_code(context: RequestContext, request: Any) -> Any:
    """Pretend to send a code, with the account's delivery method."""
    user = _by_phone(context, request.phone_number)
    if context.dc != context.home:
        raise RpcFailure(303, f"PHONE_MIGRATE_{context.home}")
    way = CODES[user.code_by]
    if way is None:
        return tl.auth.SentCodePaymentRequired("product", _code_hash(context, user), "", "", 7, "USD", 99)
    return tl.auth.SentCode(way, _code_hash(context, user))


@handles(fn.auth.SignInRequest, login=False)
def sign_in(context: RequestContext, request: Any) -> Any:
    """Log a user in with the code."""
    user = _by_phone(context, request.phone_number)
    code = _code(user, request)
    if not code:
        raise RpcFailure(400, "PHONE_CODE_EMPTY")
    if request.phone_code_hash != _code_hash(context, user):
        raise RpcFailure(400, "PHONE_CODE_EXPIRED")
    if code != login_code(user):
        raise RpcFailure(400, "PHONE_CODE_INVALID")
    need_password(context, user)
    return log_in(context, user)


@handles(fn.auth.ExportAuthorizationRequest)
def export_authorization(context: RequestContext, request: Any) -> Any:
    """A ticket with which the same client can log in at another data center."""
    if request.dc_id == context.dc or request.dc_id not in context.addresses:
        raise RpcFailure(400, "DC_ID_INVALID")
    return tl.auth.ExportedAuthorization(
        context.account.id, _ticket(context, context.account.id, request.dc_id)
    )


@handles(fn.auth.ImportAuthorizationRequest, login=False)
def import_authorization(context: RequestContext, request: Any) -> Any:
    """Log in with a ticket from exportAuthorization."""
    account = context.world.accounts.get(request.id)
    if account is None or not hmac.compare_digest(request.bytes, _ticket(context, account.id, context.dc)):
        raise RpcFailure(400, "AUTH_BYTES_INVALID")
    return log_in(context, account)


@handles(fn.auth.LogOutRequest)
def log_out(context: RequestContext, request: Any) -> Any:
    """Log the key out."""
    context.key_store.bind(context.key, None)
    return tl.auth.LoggedOut()


@handles(fn.users.GetUsersRequest)
def get_users(context: RequestContext, request: Any) -> Any:
    """Users; unknown users and wrong access hashes are left out."""
    return [context.view.user(user) for user in map(context.user, request.id) if user is not None]


@handles(fn.users.GetFullUserRequest)
def get_full_user(context: RequestContext, request: Any) -> Any:
    """One user."""
    user = context.user(request.id)
    if user is None:
        raise RpcFailure(400, "USER_ID_INVALID")
    info = bot_info(user, context.account) if user.bot else None
    full = tl.UserFull(user.id, tl.PeerSettings(), tl.PeerNotifySettings(), 0, bot_info=info)
    return tl.users.UserFull(full, [], [context.view.user(user)])


def need_password(context: RequestContext, account: SandboxAccount) -> None:
    """Raise SESSION_PASSWORD_NEEDED if the account has a password; the key may then send the password."""
    if account.password:
        context.key.awaiting_password = account.id
        raise RpcFailure(401, "SESSION_PASSWORD_NEEDED")


def log_in(context: RequestContext, account: SandboxAccount) -> Any:
    """Log the key in to the account."""
    context.key_store.bind(context.key, account.id)
    return tl.auth.Authorization(user=WorldView(context.world, account).user(account))


def login_code(user: SandboxAccount) -> str:
    """The login code of a user."""
    return {"word": "harbour", "phrase": "four views of the harbour"}.get(user.code_by, LOGIN_CODE)


def _code(user: SandboxAccount, request: Any) -> str:
    """The code that the user typed. A code sent by e-mail is verified as an e-mail code."""
    proof = request.email_verification
    if user.code_by == "email":
        return proof.code if isinstance(proof, tl.EmailVerificationCode) else ""
    return request.phone_code or ""


def _by_phone(context: RequestContext, phone: str) -> SandboxAccount:
    digits = phone.lstrip("+").replace(" ", "")
    for account in context.world.accounts.values():
        if account.phone and account.phone.lstrip("+") == digits:
            return account
    raise RpcFailure(400, "PHONE_NUMBER_INVALID")


def _code_hash(context: RequestContext, user: SandboxAccount) -> str:
    """Identifies a code request; valid only with the key that requested the code."""
    return hmac.digest(context.key.auth.key, b"code %d" % user.id, "sha256").hex()[:18]


def _ticket(context: RequestContext, account: int, dc: int) -> bytes:
    """A signed ticket that only the sandbox's data centers can create and check."""
    secret = context.key_store.ticket_secret
    return hmac.digest(secret, b"%d %d" % (account, dc), "sha256")
