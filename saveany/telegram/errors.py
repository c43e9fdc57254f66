"""What Telegram's and Telethon's errors mean for a task: the one place where they are mapped.

Telethon has several hundred error classes. A class is looked up along its base classes, so a family has one
entry and the exceptions to the family's rule have their own. A test walks every class Telethon defines and
fails when one is reached by no entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

from telethon import errors as tg
from telethon.errors import common, rpcbaseerrors

from saveany import advice
from saveany.errors import NeedsLogin, Offline, Permanent, Retryable, SaveAnyError, TaskError
from saveany.net.dial import ProxyFailed


class Unreachable(OSError):
    """No connection could be made."""


class LibraryError(ConnectionError):
    """Telethon failed in a way that it does not know itself."""


class AccountRefused(Permanent):
    """Telegram does not let this account do it; it may let another one."""


class ErrorKind(Enum):
    """What to do after an error."""

    RETRY = "retry"
    FLOOD = "flood"  # retry after the seconds Telegram names
    LOGIN = "login"
    FAIL = "fail"


#: Error class or family -> what to do. The nearest entry along the base classes decides.
KINDS: Mapping[type[BaseException], ErrorKind] = {
    rpcbaseerrors.InvalidDCError: ErrorKind.RETRY,
    rpcbaseerrors.BadRequestError: ErrorKind.FAIL,
    rpcbaseerrors.UnauthorizedError: ErrorKind.LOGIN,
    rpcbaseerrors.ForbiddenError: ErrorKind.FAIL,
    rpcbaseerrors.NotFoundError: ErrorKind.FAIL,
    rpcbaseerrors.AuthKeyError: ErrorKind.FAIL,  # code 406, "not acceptable"; most are not about keys at all
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

#: Errors that say: this connection is of no use any more, open another one.
NETWORK: tuple[type[BaseException], ...] = (
    OSError,
    EOFError,
    common.InvalidBufferError,
    common.InvalidChecksumError,
    common.SecurityError,
    common.BadMessageError,
)

#: Errors that say: the access hash of a chat or a person is wrong, or there is no such chat or person.
WRONG_HASH: tuple[type[BaseException], ...] = (
    tg.ChannelInvalidError,
    tg.PeerIdInvalidError,
    tg.UserIdInvalidError,
)

#: The same for the access hash of a file.
WRONG_LOCATION: tuple[type[BaseException], ...] = (tg.FileIdInvalidError, tg.LocationInvalidError)

#: Errors that say: read the message again, the file reference is too old.
STALE_REFERENCE: tuple[type[BaseException], ...] = (
    tg.FileReferenceEmptyError,
    tg.FileReferenceExpiredError,
    tg.FileReferenceInvalidError,
    tg.FilerefUpgradeNeededError,
)

_MESSAGES: Mapping[type[BaseException], str] = {
    tg.AuthKeyDuplicatedError: (
        "the login was used from two internet addresses at once, so Telegram ended it (AUTH_KEY_DUPLICATED); "
        "keep it on one machine and log in again"
    ),
    tg.SessionRevokedError: "the login was ended from another device",
    tg.SessionExpiredError: "the login has expired",
    tg.AuthKeyUnregisteredError: "Telegram does not know this login any more",
    common.AuthKeyNotFound: "Telegram does not know this login any more",
    tg.UserDeactivatedError: "the account was deleted",
    tg.UserDeactivatedBanError: "the account was banned by Telegram",
    tg.SessionPasswordNeededError: "the login was never finished: the account's password is missing",
    tg.AccessTokenInvalidError: "Telegram refused the bot token: compare telegram.token with @BotFather's",
    tg.AccessTokenExpiredError: "the bot token was revoked: set telegram.token to @BotFather's new one",
    tg.ApiIdInvalidError: "Telegram refused telegram.app_id and app_hash: see https://my.telegram.org",
    tg.ApiIdPublishedFloodError: (
        "telegram.app_id is a published one that Telegram has blocked: make your own at https://my.telegram.org"
    ),
    tg.BotMethodInvalidError: "bots may not do this",
    tg.ChannelBannedError: "the chat was banned by Telegram",
    tg.ChatRestrictedError: "the chat is restricted for this account",
    tg.FrozenParticipantMissingError: (
        "the account is frozen by Telegram and no member of the chat; see the chat with Telegram in its app"
    ),
    tg.PremiumAccountRequiredError: "this needs an account with Telegram Premium",
    tg.UserNotParticipantError: "this account is not a member of the chat",
    tg.UserRestrictedError: "the account is restricted by Telegram; see the chat with @SpamBot in its app",
    tg.ChannelPrivateError: "the chat is private and this account is not a member",
    tg.ChannelInvalidError: "the chat does not exist or this account is not a member",
    tg.ChannelPublicGroupNaError: "the chat is not available to this account",
    tg.ChatForbiddenError: "this account may not read the chat",
    tg.UserBannedInChannelError: "this account is banned in the chat",
    tg.ChatIdInvalidError: "the chat does not exist",
    tg.PeerIdInvalidError: "the chat does not exist or this account has never met it",
    tg.UserIdInvalidError: "there is no such person or this account has never met them",
    tg.UserIsBlockedError: "the person has blocked the bot",
    tg.InputUserDeactivatedError: "the person's Telegram account was deleted",
    tg.ChatWriteForbiddenError: "this account may not write in the chat",
    tg.MsgIdInvalidError: "there is no such message",
    tg.UsernameNotOccupiedError: "nobody has this username; check the link",
    tg.UsernameInvalidError: "this is not a possible username; check the link",
    tg.FrozenMethodInvalidError: "the account is frozen by Telegram; see the chat with Telegram in its app",
    tg.PhoneNumberInvalidError: "this is not a phone number Telegram knows; write it as +491701234567",
    tg.PhoneNumberBannedError: "this phone number is banned by Telegram",
    tg.PhoneNumberUnoccupiedError: "no Telegram account has this phone number",
    tg.PhoneCodeInvalidError: "the code is wrong",
    tg.CodeInvalidError: "the code is wrong",
    tg.EmailVerifyExpiredError: "the code has expired; start again",
    tg.PhonePasswordProtectedError: "the account is protected by a password",
    tg.SendCodeUnavailableError: "all ways to send the code were used already",
    tg.UpdateAppToLoginError: "it wants a newer app",
    tg.PhoneCodeEmptyError: "the code is missing",
    tg.PhoneCodeExpiredError: "the code has expired; start again",
    tg.PasswordHashInvalidError: "the password is wrong",
    tg.LocationInvalidError: "Telegram does not know this file any more",
    tg.FileIdInvalidError: "Telegram does not know this file any more",
    TimeoutError: "Telegram did not answer in time",
    LibraryError: "Telegram's library stumbled over what came, if it came from Telegram; the log tells more",
    ConnectionError: "the connection to Telegram was lost",
    EOFError: "the connection to Telegram was lost",
    common.SecurityError: "a reply of Telegram was damaged",
    common.TypeNotFoundError: "a reply of Telegram could not be read; a newer SaveAny may know it",
    OSError: "Telegram cannot be reached; check network and proxy",
}

#: The account itself is gone: logging in to it again is not possible.
_GONE = (tg.UserDeactivatedError, tg.UserDeactivatedBanError)

_DEFAULT_FLOOD_SECONDS = 60.0


def kind(cls: type[BaseException]) -> ErrorKind | None:
    """What to do after an error of this class; None if no entry reaches it."""
    return next((KINDS[base] for base in cls.__mro__ if base in KINDS), None)


def is_known(error: BaseException) -> bool:
    """Whether it is an answer of Telegram's, or trouble with the connection to it."""
    return isinstance(error, tg.RPCError) or kind(type(error)) is not None


def login_command(account: str, is_bot: bool) -> str:
    """The exact command that logs this account in again."""
    return advice.command("login --bot" if is_bot else f"login --phone --name {account}")


def flood_seconds(error: BaseException) -> float:
    """How long Telegram asked to wait; at least 1 s, as a wait of 0 has been seen and means "soon"."""
    return max(1.0, float(getattr(error, "seconds", _DEFAULT_FLOOD_SECONDS)))


def unknown_key(error: BaseException) -> bool:
    """Whether the server does not know the authorization key (transport error 404)."""
    return isinstance(error, common.AuthKeyNotFound) or (
        isinstance(error, common.InvalidBufferError) and error.code == 404
    )


def describe(error: BaseException) -> str:
    """The error in words for a user, without secrets."""
    if isinstance(error.__cause__, ProxyFailed):
        return f"Telegram cannot be reached: {error.__cause__}"
    text = next((_MESSAGES[base] for base in type(error).__mro__ if base in _MESSAGES), "")
    if text:
        return text
    if isinstance(error, tg.RPCError):
        return f"Telegram answered {_rpc_name(error)}"
    return f"an unexpected error of Telegram's library: {type(error).__name__}"


def translate(error: BaseException, account: str = "", *, is_bot: bool = False) -> TaskError:
    """The task error for an error of Telethon; `account` is named in the message."""
    if isinstance(error, TaskError):
        return error
    who = f"Telegram account {account}: " if account else ""
    what = ErrorKind.LOGIN if unknown_key(error) else kind(type(error)) or ErrorKind.RETRY
    if what is ErrorKind.LOGIN:
        text = describe(common.AuthKeyNotFound()) if unknown_key(error) else describe(error)
        return NeedsLogin(f"{who}{text}. {_login_advice(error, account, is_bot=is_bot)}")
    if what is ErrorKind.FLOOD:
        seconds = flood_seconds(error)
        return Retryable(f"{who}Telegram asks to wait {seconds:.0f} s", after=seconds)
    if what is ErrorKind.RETRY:
        return (Offline if isinstance(error, Unreachable) else Retryable)(who + describe(error))
    refused = AccountRefused if isinstance(error, tg.RPCError) else Permanent
    return refused(who + describe(error))


@contextmanager
def translated(account: str = "", *, is_bot: bool = False) -> Iterator[None]:
    """The edge: inside, errors are Telethon's; what comes out is ours. Cancellation and ours pass."""
    try:
        yield
    except (SaveAnyError, asyncio.CancelledError):
        raise
    except Exception as error:
        if not is_known(error):
            raise  # a bug of ours, not an answer of Telegram's
        raise translate(error, account, is_bot=is_bot) from error


def _login_advice(error: BaseException, account: str, *, is_bot: bool) -> str:
    if isinstance(error, _GONE) and not is_bot:
        return f"Log in another account: {login_command(account, is_bot)}"
    return f"Log in again: {login_command(account, is_bot)}"


def _rpc_name(error: BaseException) -> str:
    """The server's own text, which Telethon keeps for errors it has no class for, else the class's name."""
    return str(vars(error).get("message") or type(error).__name__)
