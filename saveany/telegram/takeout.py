"""Takeouts: exports of an account's data, in which Telegram answers faster (https://core.telegram.org/api/takeout).

An account has one at a time: if another begins, requests of the first are refused, and are sent outside of it
then. Telegram tells all devices of the account of a takeout, and may want the user to allow it there first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telethon import errors as tg
from telethon.tl import functions

if TYPE_CHECKING:
    from saveany.telegram.messages import MessageReader

#: Errors that mean that a takeout does not exist any more.
TAKEOUT_ENDED = (tg.TakeoutInvalidError, tg.TakeoutRequiredError)
#: Maximum bytes of a file, the largest number that Telegram takes.
_ANY_SIZE = 2**63 - 1


@dataclass(slots=True)
class Takeout:
    """A takeout of an account. `has_ended` is set when Telegram refuses it."""

    account: str
    id: int
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class TakeoutRefused:
    """Telegram does not permit a takeout, or not for `seconds`."""

    seconds: int = 0


_current: ContextVar[Takeout | None] = ContextVar("takeout", default=None)


@contextmanager
def within(takeout: Takeout | None) -> Iterator[None]:
    """Send the requests of this block as part of a takeout, those of its account."""
    token = _current.set(takeout)
    try:
        yield
    finally:
        _current.reset(token)


def takeout_of(account: str) -> Takeout | None:
    """The takeout in which requests of an account are to be sent now."""
    takeout = _current.get()
    return takeout if takeout and takeout.account == account and not takeout.has_ended else None


def wrapped(request: Any, takeout_id: int) -> Any:
    """A request as part of a takeout."""
    return functions.InvokeWithTakeoutRequest(takeout_id, request)


async def begin(reader: MessageReader) -> Takeout | TakeoutRefused:
    """Begin a takeout. One that is open ends by this."""
    request = functions.account.InitTakeoutSessionRequest(
        message_users=True,
        message_chats=True,
        message_megagroups=True,
        message_channels=True,
        files=True,
        file_max_size=_ANY_SIZE,
    )
    try:
        return Takeout(reader.account, (await reader.chats.call(request)).id)
    except tg.TakeoutInitDelayError as error:
        return TakeoutRefused(int(error.seconds))
    except tg.BadRequestError:
        return TakeoutRefused()


async def finish(reader: MessageReader, takeout_id: int, *, success: bool) -> None:
    """End a takeout, whether or not it exists."""
    request = functions.account.FinishTakeoutSessionRequest(success=success or None)
    try:
        await reader.chats.call(wrapped(request, takeout_id))
    except TAKEOUT_ENDED:
        return
