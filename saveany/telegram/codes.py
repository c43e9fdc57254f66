"""Login codes: the ways in which Telegram sends them, and the accounts that cannot get one here.

See https://core.telegram.org/api/auth. Some accounts can only log in by QR code: Telegram first demands an
e-mail address, a payment or a passkey, and only its own apps can ask for these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from telethon import errors as tg
from telethon.tl import types

from saveany.errors import Permanent
from saveany.telegram.errors import ErrorKind, describe, kind_of
from saveany.texts import Text


class DeliveryMethod(StrEnum):
    """How a code is sent. The value describes it; fill in `CodeSent.detail` and `CodeSent.length`."""

    APP = "Telegram has sent a login code to your other devices: it is in the chat named Telegram there."
    SMS = "Telegram has sent a login code by SMS."
    SMS_WORD = "Telegram has sent a word by SMS; that word is the login code."
    SMS_PHRASE = "Telegram has sent a few words by SMS; all of them are the login code."
    CALL = "Telegram will call your phone and read out the login code."
    FLASH_CALL = "Telegram will call your phone briefly; the login code is the caller's number: {detail}."
    MISSED_CALL = (
        "Telegram will call your phone and hang up; the login code is the last {length} digits of the "
        "caller's number, which begins with {detail}."
    )
    FRAGMENT = "Telegram has sent a login code to your account at Fragment: {detail}"
    EMAIL = "Telegram has sent a login code by e-mail to {detail}."
    FIREBASE = (
        "Telegram is sending a login code by SMS, through a service that may work only for its own apps. If "
        "no code arrives, log in by QR code."
    )


@dataclass(frozen=True, slots=True)
class CodeSent:
    """Where Telegram has sent a login code."""

    method: DeliveryMethod
    #: An e-mail address partly masked with stars, a URL, or the first digits of the calling number.
    detail: str = ""
    length: int = 0  # digits of the code; 0 if unknown

    @property
    def text(self) -> str:
        """A sentence that says where to find the code."""
        return self.method.value.format(detail=self.detail, length=self.length)

    @property
    def is_number(self) -> bool:
        """Whether the code consists of digits only."""
        return self.method not in (DeliveryMethod.SMS_WORD, DeliveryMethod.SMS_PHRASE)


class NoCode(Permanent):
    """This account cannot get a login code here; it can log in by QR code."""

    def __init__(self, reason: Text) -> None:
        super().__init__(
            "Telegram does not let this account log in by a code here: {reason}. Use a QR code.",
            reason=reason,
        )


#: Class of `SentCode.type` -> the delivery method, and the name of the field with its details.
_METHODS: dict[type, tuple[DeliveryMethod, str]] = {
    types.auth.SentCodeTypeApp: (DeliveryMethod.APP, ""),
    types.auth.SentCodeTypeSms: (DeliveryMethod.SMS, ""),
    types.auth.SentCodeTypeSmsWord: (DeliveryMethod.SMS_WORD, ""),
    types.auth.SentCodeTypeSmsPhrase: (DeliveryMethod.SMS_PHRASE, ""),
    types.auth.SentCodeTypeCall: (DeliveryMethod.CALL, ""),
    types.auth.SentCodeTypeFlashCall: (DeliveryMethod.FLASH_CALL, "pattern"),
    types.auth.SentCodeTypeMissedCall: (DeliveryMethod.MISSED_CALL, "prefix"),
    types.auth.SentCodeTypeFragmentSms: (DeliveryMethod.FRAGMENT, "url"),
    types.auth.SentCodeTypeEmailCode: (DeliveryMethod.EMAIL, "email_pattern"),
    types.auth.SentCodeTypeFirebaseSms: (DeliveryMethod.FIREBASE, ""),
}

#: Errors for which a QR code would not help, or whose messages already say what to do.
_NOT_ABOUT_CODES: tuple[type[BaseException], ...] = (
    tg.ApiIdInvalidError,
    tg.ApiIdPublishedFloodError,
    tg.CodeInvalidError,
    tg.EmailVerifyExpiredError,
    tg.PhoneCodeEmptyError,
    tg.PhoneCodeExpiredError,
    tg.PhoneCodeInvalidError,
    tg.PhoneNumberBannedError,
    tg.PhoneNumberFloodError,
    tg.PhoneNumberInvalidError,
    tg.PhoneNumberUnoccupiedError,
    tg.PhonePasswordFloodError,
)


def sent(reply: Any) -> CodeSent:
    """Where auth.sendCode has sent the code. Raises `NoCode`."""
    if isinstance(reply, types.auth.SentCodePaymentRequired):
        raise NoCode(Text("it demands a payment for the SMS, which only its own app can make"))
    if isinstance(reply.type, types.auth.SentCodeTypeSetUpEmailRequired):
        raise NoCode(Text("set up an e-mail address for logins first, in Telegram's own app"))
    if type(reply.type) not in _METHODS:
        raise NoCode(Text("it sends the code in a way that SaveAny does not know"))
    method, field = _METHODS[type(reply.type)]
    detail = getattr(reply.type, field) if field else ""
    return CodeSent(method, detail, getattr(reply.type, "length", 0) or 0)


@contextmanager
def code_login() -> Iterator[None]:
    """Turn refusals that concern this way of logging in into `NoCode`: an account with a passkey, or one that
    requires a newer app, may still log in by QR code."""
    try:
        yield
    except _NOT_ABOUT_CODES:
        raise
    except tg.RPCError as error:
        if kind_of(type(error)) is ErrorKind.FAIL:
            raise NoCode(describe(error)) from error
        raise
