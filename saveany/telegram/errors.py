"""Maps the errors of Telegram and Telethon to this project's errors; no other module does this.

Telethon has several hundred error classes. The entry of the nearest base class applies, so that each family
of errors needs one entry and each exception to the rule another. A test checks that every class which
Telethon defines has an entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

from telethon import errors as tg
from telethon.errors import common, rpcbaseerrors

from saveany import advice
from saveany.errors import NeedsLogin, Offline, Permanent, Retryable, SaveAnyError, TaskError
from saveany.net.dial import ProxyFailed
from saveany.texts import Text, gettext_noop


class Unreachable(OSError):
    """Connecting to Telegram failed."""


class LibraryError(ConnectionError):
    """Telethon raised an error that it does not define, for example because of malformed data."""


class AccountRefused(Permanent):
    """Telegram refuses this to the account; another account may be allowed to do it."""


class ErrorKind(Enum):
    """What to do after an error."""

    RETRY = "retry"
    FLOOD = "flood"  # retry after the seconds Telegram names
    LOGIN = "login"
    FAIL = "fail"


#: Error class -> what to do. The entry of the nearest base class applies.
KINDS: Mapping[type[BaseException], ErrorKind] = {
    rpcbaseerrors.InvalidDCError: ErrorKind.RETRY,
    rpcbaseerrors.BadRequestError: ErrorKind.FAIL,
    rpcbaseerrors.UnauthorizedError: ErrorKind.LOGIN,
    rpcbaseerrors.ForbiddenError: ErrorKind.FAIL,
    rpcbaseerrors.NotFoundError: ErrorKind.FAIL,
    rpcbaseerrors.AuthKeyError: ErrorKind.FAIL,  # code 406, "not acceptable"; most do not concern keys
    rpcbaseerrors.FloodError: ErrorKind.FLOOD,
    rpcbaseerrors.ServerError: ErrorKind.RETRY,
    rpcbaseerrors.TimedOutError: ErrorKind.RETRY,
    tg.AuthKeyDuplicatedError: ErrorKind.LOGIN,
    tg.AccessTokenExpiredError: ErrorKind.LOGIN,
    tg.AccessTokenInvalidError: ErrorKind.LOGIN,
    tg.FilerefUpgradeNeededError: ErrorKind.RETRY,
    tg.FileReferenceEmptyError: ErrorKind.RETRY,
    tg.FileReferenceExpiredError: ErrorKind.RETRY,
    tg.FileReferenceInvalidError: ErrorKind.RETRY,
    tg.AuthBytesInvalidError: ErrorKind.RETRY,
    tg.ConnectionNotInitedError: ErrorKind.RETRY,
    tg.FrozenMethodInvalidError: ErrorKind.FAIL,
    common.AuthKeyNotFound: ErrorKind.LOGIN,
    common.ReadCancelledError: ErrorKind.RETRY,
    common.TypeNotFoundError: ErrorKind.RETRY,
    common.InvalidChecksumError: ErrorKind.RETRY,
    common.InvalidBufferError: ErrorKind.RETRY,
    common.SecurityError: ErrorKind.RETRY,
    common.BadMessageError: ErrorKind.RETRY,
    common.MultiError: ErrorKind.RETRY,
    common.AlreadyInConversationError: ErrorKind.FAIL,
    OSError: ErrorKind.RETRY,  # includes ConnectionError and TimeoutError
    EOFError: ErrorKind.RETRY,  # includes asyncio.IncompleteReadError
}

#: Errors after which a connection is unusable and another one must be opened.
NETWORK: tuple[type[BaseException], ...] = (
    OSError,
    EOFError,
    common.InvalidBufferError,
    common.InvalidChecksumError,
    common.SecurityError,
    common.BadMessageError,
)

#: Errors for a wrong access hash of a chat or user, or for one that does not exist.
WRONG_HASH: tuple[type[BaseException], ...] = (
    tg.ChannelInvalidError,
    tg.PeerIdInvalidError,
    tg.UserIdInvalidError,
)

#: Errors for a wrong access hash of a file.
WRONG_LOCATION: tuple[type[BaseException], ...] = (tg.FileIdInvalidError, tg.LocationInvalidError)

#: Errors for an expired file reference: the message must be read again.
STALE_REFERENCE: tuple[type[BaseException], ...] = (
    tg.FileReferenceEmptyError,
    tg.FileReferenceExpiredError,
    tg.FileReferenceInvalidError,
    tg.FilerefUpgradeNeededError,
)

_MESSAGES: Mapping[type[BaseException], Text] = {
    tg.AuthKeyDuplicatedError: (
        Text(
            "the login was used from two internet addresses at once, so Telegram ended it "
            "(AUTH_KEY_DUPLICATED); "
            "keep it on one machine and log in again"
        )
    ),
    tg.SessionRevokedError: Text("the login was ended from another device"),
    tg.SessionExpiredError: Text("the login has expired"),
    tg.AuthKeyUnregisteredError: Text("Telegram does not know this login any more (AUTH_KEY_UNREGISTERED)"),
    common.AuthKeyNotFound: Text("Telegram does not know this login any more"),
    tg.UserDeactivatedError: Text("the account was deleted"),
    tg.UserDeactivatedBanError: Text("the account was banned by Telegram"),
    tg.SessionPasswordNeededError: Text("the login was never finished: the account's password is missing"),
    tg.AccessTokenInvalidError: Text(
        "Telegram refused the bot token: compare telegram.token with @BotFather's"
    ),
    tg.AccessTokenExpiredError: Text("the bot token was revoked: set telegram.token to @BotFather's new one"),
    tg.ApiIdInvalidError: Text("Telegram refused telegram.app_id and app_hash: see https://my.telegram.org"),
    tg.ApiIdPublishedFloodError: (
        Text(
            "telegram.app_id is a published one that Telegram has blocked: get your own at "
            "https://my.telegram.org"
        )
    ),
    tg.BotMethodInvalidError: Text("bots may not do this"),
    tg.ChannelBannedError: Text("the chat was banned by Telegram"),
    tg.ChatRestrictedError: Text("the chat is restricted for this account"),
    tg.FrozenParticipantMissingError: (
        Text(
            "the account is frozen by Telegram and no member of the chat; see the chat with "
            "Telegram in its app"
        )
    ),
    tg.PremiumAccountRequiredError: Text("this needs an account with Telegram Premium"),
    tg.UserNotParticipantError: Text("this account is not a member of the chat"),
    tg.UserRestrictedError: Text(
        "the account is restricted by Telegram; see the chat with @SpamBot in its app"
    ),
    tg.ChannelPrivateError: Text("the chat is private and this account is not a member"),
    tg.ChannelInvalidError: Text("the chat does not exist or this account is not a member"),
    tg.ChannelPublicGroupNaError: Text("the chat is not available to this account"),
    tg.ChatForbiddenError: Text("this account may not read the chat"),
    tg.UserBannedInChannelError: Text("this account is banned in the chat"),
    tg.ChatIdInvalidError: Text("the chat does not exist"),
    tg.PeerIdInvalidError: Text("the chat does not exist or this account has never seen it"),
    tg.UserIdInvalidError: Text("there is no such user or this account has never been in contact with them"),
    tg.UserIsBlockedError: Text("the person has blocked the bot"),
    tg.InputUserDeactivatedError: Text("the person's Telegram account was deleted"),
    tg.ChatWriteForbiddenError: Text("this account may not write in the chat"),
    tg.MsgIdInvalidError: Text("there is no such message"),
    tg.UsernameNotOccupiedError: Text("nobody has this username; check the link"),
    tg.UsernameInvalidError: Text("this cannot be a username; check the link"),
    tg.FrozenMethodInvalidError: Text(
        "the account is frozen by Telegram; see the chat with Telegram in its app"
    ),
    tg.PhoneNumberInvalidError: Text("this is not a phone number Telegram knows; write it as +491701234567"),
    tg.PhoneNumberBannedError: Text("this phone number is banned by Telegram"),
    tg.PhoneNumberUnoccupiedError: Text("no Telegram account has this phone number"),
    tg.PhoneCodeInvalidError: Text("the code is wrong"),
    tg.CodeInvalidError: Text("the code is wrong"),
    tg.EmailVerifyExpiredError: Text("the code has expired; start again"),
    tg.PhonePasswordProtectedError: Text("the account is protected by a password"),
    tg.SendCodeUnavailableError: Text("every way of sending the code has already been used"),
    tg.UpdateAppToLoginError: Text("it requires a newer app"),
    tg.PhoneCodeEmptyError: Text("the code is missing"),
    tg.PhoneCodeExpiredError: Text("the code has expired; start again"),
    tg.PasswordHashInvalidError: Text("the password is wrong"),
    tg.LocationInvalidError: Text("Telegram does not know this file any more"),
    tg.FileIdInvalidError: Text("Telegram does not know this file any more"),
    TimeoutError: Text("Telegram did not reply in time"),
    LibraryError: Text("Telegram's library failed, perhaps because of what Telegram sent; see the log"),
    ConnectionError: Text("the connection to Telegram was lost"),
    EOFError: Text("the connection to Telegram was lost"),
    common.SecurityError: Text("a reply from Telegram was damaged"),
    common.TypeNotFoundError: Text("a reply of Telegram could not be read; a newer SaveAny may support it"),
    OSError: Text("Telegram cannot be reached; check the network and the proxy"),
}

#: The account no longer exists, so logging in to it again is not possible.
_GONE = (tg.UserDeactivatedError, tg.UserDeactivatedBanError)

_DEFAULT_FLOOD_SECONDS = 60.0

_OF_ACCOUNT = gettext_noop("Telegram account {account}: {reason}")


def kind_of(cls: type[BaseException]) -> ErrorKind | None:
    """What to do after an error of this class; None if there is no entry for it."""
    return next((KINDS[base] for base in cls.__mro__ if base in KINDS), None)


def is_known(error: BaseException) -> bool:
    """Whether it is an error reply from Telegram, or a failure of the connection to it."""
    return isinstance(error, tg.RPCError) or kind_of(type(error)) is not None


def login_command(account: str, is_bot: bool) -> str:
    """The command that logs this account in again."""
    return advice.command("login --bot" if is_bot else f"login --phone --name {account}")


def flood_seconds(error: BaseException) -> float:
    """The flood wait that Telegram demands, in seconds; at least 1, because it sometimes sends 0 for
    "soon"."""
    return max(1.0, float(getattr(error, "seconds", _DEFAULT_FLOOD_SECONDS)))


def unknown_key(error: BaseException) -> bool:
    """Whether the server does not know the authorization key (transport error 404)."""
    return isinstance(error, common.AuthKeyNotFound) or (
        isinstance(error, common.InvalidBufferError) and error.code == 404
    )


def describe(error: BaseException) -> Text:
    """What the error means, for a user, as a phrase without a full stop. It contains no secret."""
    if isinstance(error.__cause__, ProxyFailed):
        return Text("Telegram cannot be reached: {reason}", {"reason": error.__cause__.text})
    phrase = next((_MESSAGES[base] for base in type(error).__mro__ if base in _MESSAGES), None)
    if phrase:
        return phrase
    if isinstance(error, tg.RPCError):
        return Text("Telegram replied {error}", {"error": _rpc_name(error)})
    return Text("an unexpected error of Telegram's library: {error}", {"error": type(error).__name__})


def of_account(account: str, reason: Text) -> Text:
    """`reason` preceded by the name of the account; `reason` alone without a name."""
    return Text(_OF_ACCOUNT, {"account": account, "reason": reason}) if account else reason


def without_account(text: Text) -> Text:
    """The `reason` in a text made by `of_account`; any other text unchanged."""
    reason = text.fields.get("reason")
    return reason if text.template == _OF_ACCOUNT and isinstance(reason, Text) else text


def joined(texts: Sequence[Text], separator: str = "; ") -> Text:
    """Several texts as one, with the separator between them."""
    first, *others = texts
    for each in others:
        first = Text(separator.join(("{first}", "{second}")), {"first": first, "second": each})
    return first


def flood_wait(seconds: float) -> Text:
    """The reason for waiting `seconds`."""
    return Text("Telegram asks to wait {seconds} s", {"seconds": round(seconds)})


def translate(error: BaseException, account: str = "", *, is_bot: bool = False) -> TaskError:
    """The task error for an error of Telethon; its text names the `account`."""
    if isinstance(error, TaskError):
        return error
    kind = ErrorKind.LOGIN if unknown_key(error) else kind_of(type(error)) or ErrorKind.RETRY
    if kind is ErrorKind.LOGIN:
        return NeedsLogin(of_account(account, _login_reason(error, account, is_bot=is_bot)))
    if kind is ErrorKind.FLOOD:
        seconds = flood_seconds(error)
        return Retryable(of_account(account, flood_wait(seconds)), after=seconds)
    reason = of_account(account, describe(error))
    if kind is ErrorKind.RETRY:
        return (Offline if isinstance(error, Unreachable) else Retryable)(reason)
    return (AccountRefused if isinstance(error, tg.RPCError) else Permanent)(reason)


@contextmanager
def translated(account: str = "", *, is_bot: bool = False) -> Iterator[None]:
    """Translate Telethon's errors inside the block. This project's errors and cancellation pass unchanged."""
    try:
        yield
    except (SaveAnyError, asyncio.CancelledError):
        raise
    except Exception as error:
        if not is_known(error):
            raise  # a bug in this project
        raise translate(error, account, is_bot=is_bot) from error


def _login_reason(error: BaseException, account: str, *, is_bot: bool) -> Text:
    template = gettext_noop("{reason}. Log in again: {command}")
    if isinstance(error, _GONE) and not is_bot:
        template = gettext_noop("{reason}. Log in another account: {command}")
    reason = describe(common.AuthKeyNotFound() if unknown_key(error) else error)
    return Text(template, {"reason": reason, "command": login_command(account, is_bot)})


def _rpc_name(error: BaseException) -> str:
    """The name of an error as the server sent it. Telethon keeps it only for errors that it has no class for;
    for others the name of the class."""
    return str(vars(error).get("message") or type(error).__name__)
