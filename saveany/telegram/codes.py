"""Login codes: the ways in which Telegram sends one, and which account gets none.

See https://core.telegram.org/api/auth. Some accounts can be logged in by QR code only: Telegram first wants
an e-mail address of them, or money, or a passkey, which only its own apps can show.
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
from saveany.telegram.errors import ErrorKind, describe, kind


class DeliveryMethod(StrEnum):
    """How a code is sent; the value says so, with `CodeSent.detail` and `CodeSent.length` filled in."""

    APP = "Telegram has sent a login code to your other devices: it is in the chat named Telegram there."
    SMS = "Telegram has sent a login code by SMS."
    SMS_WORD = "Telegram has sent a word by SMS; that word is the login code."
    SMS_PHRASE = "Telegram has sent a few words by SMS; all of them are the login code."
    CALL = "Telegram calls your phone and says the login code."
    FLASH_CALL = "Telegram calls your phone for a moment; the login code is the number that calls: {detail}."
    MISSED_CALL = (
        "Telegram calls your phone and hangs up; the login code is the last {length} digits of the number "
        "that calls, which begins with {detail}."
    )
    FRAGMENT = "Telegram has sent a login code to your account at Fragment: {detail}"
    EMAIL = "Telegram has sent a login code by e-mail to {detail}."
    FIREBASE = (
        "Telegram sends a login code by SMS, through a service that may serve its own apps only. If none "
        "comes, log in by QR code."
    )


@dataclass(frozen=True, slots=True)
class CodeSent:
    """A code that was sent."""

    way: DeliveryMethod
    #: Where it went, or comes from: an e-mail address with stars, a URL, the beginning of a number.
    detail: str = ""
    length: int = 0  # digits of the code; 0 if Telegram does not tell

    @property
    def text(self) -> str:
        """Where the code is, as a sentence."""
        return self.way.value.format(detail=self.detail, length=self.length)

    @property
    def is_number(self) -> bool:
        """Whether the code has digits only."""
        return self.way not in (DeliveryMethod.SMS_WORD, DeliveryMethod.SMS_PHRASE)


class NoCode(Permanent):
    """Telegram sends this account no login code that can be used here; it can log in by QR code."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Telegram does not let this account log in by a code here: {reason}. Use a QR code."
        )


#: By the class of `SentCode.type`: the way, and which of the type's fields says more.
_WAYS: dict[type, tuple[DeliveryMethod, str]] = {
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

#: Refusals for which a QR code would be no help, or that have an advice of their own.
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


def sent(answer: Any) -> CodeSent:
    """Where the code is that auth.sendCode has sent. Raises `NoCode`."""
    if isinstance(answer, types.auth.SentCodePaymentRequired):
        raise NoCode("it wants to be paid for the SMS, in its own app")
    if isinstance(answer.type, types.auth.SentCodeTypeSetUpEmailRequired):
        raise NoCode("the account has to set up an e-mail address for logins first, in Telegram's own app")
    if type(answer.type) not in _WAYS:
        raise NoCode("it sends the code in a way that SaveAny does not know")
    way, field = _WAYS[type(answer.type)]
    return CodeSent(way, getattr(answer.type, field) if field else "", getattr(answer.type, "length", 0) or 0)


@contextmanager
def by_code() -> Iterator[None]:
    """Inside, what Telegram refuses because of how one logs in becomes `NoCode`: an account with a passkey
    or one that must use a newer app may still log in by QR code."""
    try:
        yield
    except _NOT_ABOUT_CODES:
        raise
    except tg.RPCError as error:
        if kind(type(error)) is ErrorKind.FAIL:
            raise NoCode(describe(error)) from error
        raise
