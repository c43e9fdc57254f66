"""Recordings of ordinary calls, which Telegram makes for administrators. The files arrive in the Saved
Messages of the account that has started one
(https://core.telegram.org/api/group-calls#video-chats-livestreams)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from telethon import errors as tg
from telethon.tl import functions

from saveany.telegram.livestream import LiveCall, NotLive

if TYPE_CHECKING:
    from saveany.telegram.accounts import Accounts
    from saveany.telegram.history import MessagePage


class CallRecorder:
    """Starts and ends such recordings. Every method raises as `Accounts.resolve` does."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def start(self, account: str, call: LiveCall, title: str) -> None:
        """Have a call recorded; nothing if it is already. Raises `NotLive` if it has ended."""
        video = call.has_video or None
        request = functions.phone.ToggleGroupCallRecordRequest(
            call.input, start=True, video=video, title=title, video_portrait=False if video else None
        )
        async with self._accounts.using(account) as client:
            try:
                await client.call(request)
            except tg.GroupcallNotModifiedError:
                return
            except (tg.GroupcallForbiddenError, tg.GroupcallInvalidError) as error:
                raise NotLive("the call has ended") from error

    async def stop(self, account: str, call: LiveCall) -> None:
        """End the recording of a call; nothing if it has ended."""
        ended = (tg.GroupcallNotModifiedError, tg.GroupcallForbiddenError, tg.GroupcallInvalidError)
        async with self._accounts.using(account) as client:
            with suppress(*ended):
                await client.call(functions.phone.ToggleGroupCallRecordRequest(call.input))

    async def saved_after(self, account: str, seen: int) -> MessagePage:
        """The messages in Saved Messages that follow the message `seen`."""
        own = self._accounts.client(account).session.user_id
        return await self._accounts.history.messages_after(own, seen, prefer=account, only=(account,))

    async def last_saved(self, account: str) -> int:
        """The id of the newest message in Saved Messages; 0 if there is none."""
        own = self._accounts.client(account).session.user_id
        page = await self._accounts.history.messages_before(own, 0, prefer=account, only=(account,))
        return page.last
