"""Finds chats as one account sees them: by username, by id, or as a message mentions them.

Telegram identifies a chat by its id together with an access hash, which differs between accounts. The
account's session remembers the hashes and the ids of usernames.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from telethon import errors as tg
from telethon import utils
from telethon.tl import functions, types

from saveany.errors import Permanent
from saveany.single_flight import SingleFlight
from saveany.telegram.client import MtprotoClient, refused_peer
from saveany.telegram.errors import AccountRefused, describe
from saveany.telegram.unparsed import UnparsedReply
from saveany.texts import Text

#: Minimum seconds between two readings of the whole list of dialogs, which is expensive.
_DIALOGS_SECONDS = 60.0
_DIALOGS_PAGE = 100

#: Errors that mean that this account cannot see the chat, but another one might. Other refusals concern the
#: account, whatever it requests (see `AccountRefused`).
_CHAT_NOT_VISIBLE: tuple[type[BaseException], ...] = (
    tg.BotMethodInvalidError,
    tg.ChannelBannedError,
    tg.ChannelInvalidError,
    tg.ChannelPrivateError,
    tg.ChannelPublicGroupNaError,
    tg.ChatAdminRequiredError,
    tg.ChatForbiddenError,
    tg.ChatIdInvalidError,
    tg.ChatRestrictedError,
    tg.FrozenParticipantMissingError,
    tg.PeerIdInvalidError,
    tg.UserBannedInChannelError,
    tg.UserNotParticipantError,
)

_MARKED = re.compile(r"-?[0-9]{1,15}")

T = TypeVar("T")


class ChatNotVisible(AccountRefused):
    """This account cannot see the chat; another might."""


@contextmanager
def _visible() -> Iterator[None]:
    """Raise `ChatNotVisible` if a request is refused because its account cannot see a chat."""
    try:
        yield
    except _CHAT_NOT_VISIBLE as error:
        raise ChatNotVisible(describe(error)) from error


class ChatFinder:
    """Finds the chats that one account can see."""

    def __init__(self, client: MtprotoClient) -> None:
        self._client = client
        self._dialogs_lock = asyncio.Lock()
        self._dialogs_read = -_DIALOGS_SECONDS
        self._lookups = SingleFlight()
        self._forgetting = asyncio.Lock()
        self._forgotten: Counter[str] = Counter()  # how often each username was dropped from the cache

    async def call(self, request: Any) -> Any:
        """The reply to one request. Raises `ChatNotVisible` if this account cannot see the chat concerned."""
        with _visible():
            return await self._client.call(request)

    async def call_unparsed(self, request: Any) -> UnparsedReply:
        """As `call`, for replies of type `messages.Messages`, which are parsed on demand."""
        with _visible():
            return await self._client.call_unparsed(request)

    async def retry_without_cache(self, work: Callable[[], Awaitable[T]], name: str = "") -> T:
        """The result of `work`. Access hashes, and the chat that the username `name` leads to, are cached and
        may be outdated: if `work` fails because of that, the entry is dropped and `work` runs once more."""
        forgotten = self._forgotten[name]
        try:
            return await work()
        except ChatNotVisible as error:
            if not refused_peer(error) and not (name and await self._forget_name(name, forgotten)):
                raise
        return await work()

    async def _forget_name(self, name: str, forgotten: int) -> bool:
        """Drop a username from the cache. Returns whether it was dropped, by this caller or by another one
        since it had been dropped `forgotten` times."""
        async with self._forgetting:
            if self._forgotten[name] == forgotten and await self._client.session.forget_name(name):
                self._forgotten[name] += 1
                self._lookups.reset()
            return self._forgotten[name] != forgotten

    async def confirmed(self, text: str, username: str = "") -> types.InputChannel:
        """A channel or group by its current @name, or by its id as -100…, for which `username` is another way
        to find it."""
        if text.startswith("-"):
            return await self.find(int(text), username)
        name = text.removeprefix("@")
        return await self.retry_without_cache(lambda: self._confirmed_name(name), name)

    async def _confirmed_name(self, name: str) -> types.InputChannel:
        chat = await self._by_username(name)
        check_username(name, chat, await self.call(functions.channels.GetChannelsRequest([chat])))
        return chat

    async def find(self, chat: str | int, username: str = "") -> types.InputChannel:
        """A chat by username, plain channel id or marked id; for an id, `username` is another way to find
        it."""
        return await self._lookups.run((chat, username), lambda: self._find(chat, username))

    async def _find(self, chat: str | int, username: str) -> types.InputChannel:
        if isinstance(chat, str):
            return await self._by_username(chat)
        number = chat if chat > 0 else utils.resolve_id(chat)[0]
        marked = utils.get_peer_id(types.PeerChannel(number))
        access_hash = await self._client.session.access_hash(marked)
        moved: Text | None = None
        if access_hash is None and username:
            try:
                return await self.retry_without_cache(lambda: self._same(number, username), username)
            except Permanent as error:  # the username was dropped, or belongs to another chat now
                moved = error.text
        if access_hash is None and not self._client.is_bot:
            access_hash = await self._from_dialogs(marked, moved)
        # A bot needs no access hash for a chat that it is a member of.
        return types.InputChannel(number, access_hash or 0)

    async def _same(self, number: int, username: str) -> types.InputChannel:
        """The chat with the username, if its id is `number`; otherwise raises `ChatNotVisible`."""
        chat = await self._by_username(username)
        if chat.channel_id != number:
            raise ChatNotVisible("@{username} belongs to another chat now", username=username)
        return chat

    async def _by_username(self, username: str) -> types.InputChannel:
        marked = await self._client.session.chat_of(username)
        access_hash = None if marked is None else await self._client.session.access_hash(marked)
        if marked is None or access_hash is None:
            marked = await self._resolve_username(username)
            access_hash = await self._client.session.access_hash(marked)
        return types.InputChannel(utils.resolve_id(marked)[0], access_hash or 0)

    async def _resolve_username(self, username: str) -> int:
        reply = await self._resolved(username)
        if not isinstance(reply.peer, types.PeerChannel):
            raise Permanent(
                "@{username} is a person or a bot, not a channel or group; check the link.", username=username
            )
        marked: int = utils.get_peer_id(reply.peer)
        await self._client.session.keep_name(username, marked)
        return marked

    async def _resolved(self, username: str) -> Any:
        try:
            return await self._client.call(functions.contacts.ResolveUsernameRequest(username))
        except (tg.UsernameNotOccupiedError, tg.UsernameInvalidError) as error:
            raise Permanent("@{username}: {reason}.", username=username, reason=describe(error)) from error

    async def input_peer(self, chat: int, username: str = "") -> Any:
        """Any chat by its marked id, as Telegram's `inputPeer`; as `find` for a channel. Raises
        `ChatNotVisible`."""
        number, kind = utils.resolve_id(chat)
        if kind is types.PeerChat:
            return types.InputPeerChat(number)
        if kind is types.PeerChannel:
            channel = await self.find(chat, username)
            return types.InputPeerChannel(channel.channel_id, channel.access_hash)
        if self._client.user and number == self._client.user.id:
            return types.InputPeerSelf()
        access_hash = await self._client.session.access_hash(chat)
        return types.InputPeerUser(number, access_hash or await self._from_dialogs(chat, None))

    async def marked_id(self, text: str) -> int:
        """The marked id of any chat: of this account itself for `me`, else given by @name or a marked id."""
        if text == "me":
            return self._client.user.id if self._client.user else 0
        if _MARKED.fullmatch(text):
            return int(text)
        reply = await self._resolved(text.removeprefix("@"))
        return int(utils.get_peer_id(reply.peer))

    async def by_invite(self, code: str) -> int:
        """The marked id of the chat of an invite link, if the account is a member of it, or the chat
        can be previewed. Joins nothing."""
        try:
            found = await self.call(functions.messages.CheckChatInviteRequest(code))
        except (tg.InviteHashExpiredError, tg.InviteHashInvalidError, tg.InviteHashEmptyError) as error:
            raise Permanent("This invite link is not valid any more.") from error
        if isinstance(found, types.ChatInvite):
            raise ChatNotVisible(Text("it is not in the chat of this invite link; join it in Telegram first"))
        return int(utils.get_peer_id(found.chat))

    async def _from_dialogs(self, marked: int, fallback_reason: Text | None) -> int:
        """The access hash of a chat that the user is a member of; Telegram sends it only with the list of
        dialogs. Raises `ChatNotVisible`, with `fallback_reason` if there is one."""
        async with self._dialogs_lock:
            if time.monotonic() - self._dialogs_read > _DIALOGS_SECONDS:
                await self._read_dialogs()
                self._dialogs_read = time.monotonic()
            access_hash = await self._client.session.access_hash(marked)
        if access_hash is None:
            raise ChatNotVisible(fallback_reason or Text("it is not a member of the chat"))
        return access_hash

    async def _read_dialogs(self) -> None:
        """Read all dialogs; the session stores the access hashes in the replies."""
        async for _ in self.dialogs():
            pass

    async def dialogs(self) -> AsyncIterator[Any]:
        """The pages of the list of dialogs, in Telegram's own type. It is expensive: Telegram limits it."""
        page = functions.messages.GetDialogsRequest(None, 0, types.InputPeerEmpty(), _DIALOGS_PAGE, 0)
        while page is not None:
            reply = await self._client.call(page)
            yield reply
            page = _next_page(reply)

    async def discussion(self, channel: types.InputChannel, username: str = "") -> types.InputChannel:
        """The discussion group of a channel. Raises `ChatNotVisible` if `username` is not the channel's any
        more."""
        key = ("discussion", channel.channel_id, username)
        return await self._lookups.run(key, lambda: self._discussion(channel, username))

    async def _discussion(self, channel: types.InputChannel, username: str) -> types.InputChannel:
        full = await self.call(functions.channels.GetFullChannelRequest(channel))
        if username:
            check_username(username, channel, full)
        group = full.full_chat.linked_chat_id
        if not group:
            raise Permanent("This channel has no comments; check the link.")
        return await self.find(group)

    async def mentioned(self, message: Any, peer: Any) -> Any:
        """A user or channel that a message mentions. Without an access hash it is identified by the message
        (https://core.telegram.org/api/min)."""
        marked = utils.get_peer_id(peer)
        number, access_hash = utils.resolve_id(marked)[0], await self._client.session.access_hash(marked)
        if access_hash is not None:
            return (types.InputPeerUser if marked > 0 else types.InputPeerChannel)(number, access_hash)
        chat = await self.find(utils.get_peer_id(message.peer_id))
        input_chat = types.InputPeerChannel(chat.channel_id, chat.access_hash)
        by_message = types.InputPeerUserFromMessage if marked > 0 else types.InputPeerChannelFromMessage
        return by_message(input_chat, message.id, number)


def check_username(name: str, chat: types.InputChannel, reply: Any) -> None:
    """Raise `ChatNotVisible` if a chat that came with `reply` does not have this username."""
    found = next((each for each in reply.chats if each.id == chat.channel_id), None)
    if name.lower() not in _all_names(found):
        raise ChatNotVisible("@{username} belongs to another chat now", username=name)


def _all_names(chat: Any) -> set[str]:
    """Every active username of a chat, in lower case."""
    several: Iterable[Any] = getattr(chat, "usernames", None) or ()
    active = {each.username.lower() for each in several if each.active}
    return active | {(getattr(chat, "username", None) or "").lower()}


def _next_page(reply: Any) -> functions.messages.GetDialogsRequest | None:
    """The request for the next page of dialogs: Telegram pages by date, id and chat of the last dialog's
    message."""
    if not isinstance(reply, types.messages.DialogsSlice) or not reply.dialogs:
        return None
    last = reply.dialogs[-1]
    where = utils.get_peer_id(last.peer)
    messages = {(utils.get_peer_id(m.peer_id), m.id): m for m in reply.messages}
    chats = {utils.get_peer_id(each): each for each in (*reply.chats, *reply.users)}
    message, chat = messages.get((where, last.top_message)), chats.get(where)
    if message is None or chat is None:
        return None
    peer = utils.get_input_peer(chat, check_hash=False)
    return functions.messages.GetDialogsRequest(message.date, message.id, peer, _DIALOGS_PAGE, 0)
