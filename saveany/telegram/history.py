"""Reads the messages of a chat that follow a given one. Only user accounts can: bots cannot list messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from telethon import utils
from telethon.tl import functions, types

from saveany.advice import command
from saveany.errors import NeedsLogin, Permanent
from saveany.telegram.account_set import AccountSet
from saveany.telegram.chats import ChatNotVisible
from saveany.telegram.errors import translated
from saveany.telegram.login import BOT
from saveany.telegram.media import Media
from saveany.telegram.messages import FilesWithheld, MessageReader
from saveany.telegram.peers import public_name, public_names
from saveany.telegram.refusals import LOGIN, USER_ADVICE
from saveany.texts import Text

T = TypeVar("T")

#: Maximum number of messages in one reply, and of chats in one request for newest messages.
PAGE = 100


@dataclass(frozen=True, slots=True)
class ChatState:
    """The current state of a channel or group, as an account sees it."""

    id: int  # marked: -100…
    title: str
    username: str  # "" if it has none
    top: int  # id of the newest message
    account: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Consecutive messages of a chat."""

    media: list[Media]  # the files in the messages, oldest first
    last: int  # id of the newest message, with or without a file
    full: bool  # more messages may follow
    username: str  # current username of the chat; "" if it has none
    account: str  # the account that read it


class ChatHistory:
    """Reads chats with the user accounts."""

    def __init__(self, accounts: AccountSet) -> None:
        self._accounts = accounts

    async def chat_state(self, chat: str, only: Collection[str] = ()) -> ChatState:
        """The current state of a chat, given by @name or -100…, as the first user account that can read it
        sees it. `only` and the errors are those of `Accounts.resolve`."""
        return await self._first_user(lambda reader: chat_state(reader, chat), only=only)

    async def newest_ids(self, name: str, chats: Mapping[int, str]) -> dict[int, int]:
        """Marked id -> id of the newest message, of the chats that the account can see; empty if the account
        is not ready. `chats`: marked id -> username. Raises `Retryable`."""
        account = self._accounts.get(name)
        if account is None or account.reader is None or not account.ready:
            return {}
        async with self._accounts.login_checked(name):
            with translated(name):
                return await newest_ids(account.reader, chats)

    async def messages_after(
        self, chat: int, seen: int, *, username: str = "", prefer: str = "", only: Collection[str] = ()
    ) -> MessagePage:
        """The messages of a chat that follow the message `seen`, as the user account `prefer` sees them, or
        another one if it cannot. `only` and the errors are those of `Accounts.resolve`."""
        return await self._first_user(
            lambda reader: messages_after(reader, chat, seen, username), prefer, only
        )

    async def _first_user(
        self, query: Callable[[MessageReader], Awaitable[T]], prefer: str = "", only: Collection[str] = ()
    ) -> T:
        await self._accounts.started()
        if all(each.is_bot for each in self._accounts):
            advice = Text(USER_ADVICE, {"command": command(LOGIN)})
            raise NeedsLogin("A bot cannot watch chats. {advice}", advice=advice)
        return await self._accounts.first(query, prefer, without=[BOT], advice=USER_ADVICE, only=only)


async def chat_state(reader: MessageReader, chat: str) -> ChatState:
    """The current state of a chat, given by @name or -100…."""
    return await reader.chats.retry_without_cache(lambda: _chat_state(reader, chat))


async def _chat_state(reader: MessageReader, chat: str) -> ChatState:
    peer = await reader.chats.confirmed(chat)
    reply = await reader.chats.call(_history(peer, offset_id=0, add_offset=0, limit=1))
    found = next(each for each in reply.chats if each.id == peer.channel_id)
    return ChatState(
        id=utils.get_peer_id(types.PeerChannel(peer.channel_id)),
        title=found.title,
        username=public_name(found),
        top=max((message.id for message in reply.messages), default=0),
        account=reader.account,
    )


async def newest_ids(reader: MessageReader, chats: Mapping[int, str]) -> dict[int, int]:
    """Marked id -> id of the newest message, of the chats that the account can see. `chats`: marked id ->
    username."""
    peers = []
    for chat, username in chats.items():
        try:
            peers.append(await _peer(reader, chat, username))
        except ChatNotVisible:
            continue
    found: dict[int, int] = {}
    for start in range(0, len(peers), PAGE):
        found |= await _newest_ids(reader, peers[start : start + PAGE])
    return found


async def _newest_ids(reader: MessageReader, peers: list[types.InputChannel]) -> dict[int, int]:
    """Telegram rejects the whole request if the account cannot see one of the chats; then each half is
    tried."""
    named = [types.InputDialogPeer(_input_peer(each)) for each in peers]
    try:
        reply = await reader.chats.call(functions.messages.GetPeerDialogsRequest(named))
    except ChatNotVisible:
        if len(peers) == 1:
            return {}
        middle = len(peers) // 2
        return await _newest_ids(reader, peers[:middle]) | await _newest_ids(reader, peers[middle:])
    return {utils.get_peer_id(each.peer): each.top_message for each in reply.dialogs}


async def messages_after(reader: MessageReader, chat: int, seen: int, username: str = "") -> MessagePage:
    """The first `PAGE` messages of a chat that follow the message `seen`."""
    return await reader.chats.retry_without_cache(lambda: _messages_after(reader, chat, seen, username))


async def _messages_after(reader: MessageReader, chat: int, seen: int, username: str) -> MessagePage:
    peer = await _peer(reader, chat, username)
    # A page ends before `offset_id`; shifted by its own length towards newer messages, it begins there. With
    # an old `min_id` Telegram returns nothing, so older messages are filtered out here.
    reply = await reader.chats.call(_history(peer, offset_id=seen + 1, add_offset=-PAGE, limit=PAGE))
    messages = sorted((each for each in reply.messages if each.id > seen), key=lambda each: each.id)
    try:
        media = await reader.files(messages, reply)
    except FilesWithheld as error:
        media = error.rest
    return MessagePage(
        media=media,
        last=messages[-1].id if messages else seen,
        full=len(messages) >= PAGE,
        username=public_names(reply).get(chat, ""),
        account=reader.account,
    )


async def _peer(reader: MessageReader, chat: int, username: str) -> types.InputChannel:
    """The chat. Raises `ChatNotVisible` also if its username has moved to another chat."""
    try:
        return await reader.chats.confirmed(str(chat), username)
    except ChatNotVisible:
        raise
    except Permanent as error:
        raise ChatNotVisible(error.text) from error


def _history(peer: types.InputChannel, *, offset_id: int, add_offset: int, limit: int) -> Any:
    return functions.messages.GetHistoryRequest(
        _input_peer(peer), offset_id, None, add_offset, limit, max_id=0, min_id=0, hash=0
    )


def _input_peer(peer: types.InputChannel) -> types.InputPeerChannel:
    return types.InputPeerChannel(peer.channel_id, peer.access_hash)
