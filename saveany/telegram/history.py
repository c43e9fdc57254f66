"""Reading a chat forward from a message on, as only users may: bots cannot list messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telethon import utils
from telethon.tl import functions, types

from saveany.errors import Permanent
from saveany.telegram.media import Media
from saveany.telegram.messages import NotHere, Reader, Withheld, public_name, public_names

#: The most messages that Telegram gives at once, and the most chats it tells the newest message of.
PAGE = 100


@dataclass(frozen=True, slots=True)
class ChatState:
    """A channel or group, as an account sees it now."""

    id: int  # marked: -100…
    title: str
    username: str  # empty: it has none
    top: int  # id of the newest message
    account: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages that follow each other in a chat."""

    media: list[Media]  # the files in them, oldest first
    last: int  # id of the newest of them, with a file or not
    full: bool  # there may be more behind it
    username: str  # of the chat now; empty: it has none
    account: str  # who read it


async def chat_state(reader: Reader, chat: str) -> ChatState:
    """A chat by @name or -100…"""
    return await reader.afresh(lambda: _chat_state(reader, chat))


async def _chat_state(reader: Reader, chat: str) -> ChatState:
    peer = await reader.chat(chat)
    answer = await reader.ask(_history(peer, offset_id=0, add_offset=0, limit=1))
    found = next(each for each in answer.chats if each.id == peer.channel_id)
    return ChatState(
        id=utils.get_peer_id(types.PeerChannel(peer.channel_id)),
        title=found.title,
        username=public_name(found),
        top=max((message.id for message in answer.messages), default=0),
        account=reader.account,
    )


async def newest_ids(reader: Reader, chats: Mapping[int, str]) -> dict[int, int]:
    """Id of the newest message of each chat that the account sees. `chats`: marked id -> username."""
    peers = []
    for chat, username in chats.items():
        try:
            peers.append(await _peer(reader, chat, username))
        except NotHere:
            continue
    found: dict[int, int] = {}
    for start in range(0, len(peers), PAGE):
        found |= await _newest_ids(reader, peers[start : start + PAGE])
    return found


async def _newest_ids(reader: Reader, peers: list[types.InputChannel]) -> dict[int, int]:
    """One chat that the account may not see spoils the answer for all, so then it asks for each half."""
    named = [types.InputDialogPeer(_input_peer(each)) for each in peers]
    try:
        answer = await reader.ask(functions.messages.GetPeerDialogsRequest(named))
    except NotHere:
        if len(peers) == 1:
            return {}
        middle = len(peers) // 2
        return await _newest_ids(reader, peers[:middle]) | await _newest_ids(reader, peers[middle:])
    return {utils.get_peer_id(each.peer): each.top_message for each in answer.dialogs}


async def messages_after(reader: Reader, chat: int, seen: int, username: str = "") -> MessagePage:
    """The first `PAGE` messages of a chat after the one with the id `seen`."""
    return await reader.afresh(lambda: _messages_after(reader, chat, seen, username))


async def _messages_after(reader: Reader, chat: int, seen: int, username: str) -> MessagePage:
    peer = await _peer(reader, chat, username)
    # The page ends before `offset_id`; moved by its own length towards newer ones it begins there. Telegram
    # answers nothing to a `min_id` that is far back, so what is too old is left out here.
    answer = await reader.ask(_history(peer, offset_id=seen + 1, add_offset=-PAGE, limit=PAGE))
    messages = sorted((each for each in answer.messages if each.id > seen), key=lambda each: each.id)
    try:
        media = await reader.files(messages, answer)
    except Withheld as error:
        media = error.rest
    return MessagePage(
        media=media,
        last=messages[-1].id if messages else seen,
        full=len(messages) >= PAGE,
        username=public_names(answer).get(chat, ""),
        account=reader.account,
    )


async def _peer(reader: Reader, chat: int, username: str) -> types.InputChannel:
    """The chat, which has maybe given its username to another one."""
    try:
        return await reader.chat(str(chat), username)
    except NotHere:
        raise
    except Permanent as error:
        raise NotHere(error.message) from error


def _history(peer: types.InputChannel, *, offset_id: int, add_offset: int, limit: int) -> Any:
    return functions.messages.GetHistoryRequest(
        _input_peer(peer), offset_id, None, add_offset, limit, max_id=0, min_id=0, hash=0
    )


def _input_peer(peer: types.InputChannel) -> types.InputPeerChannel:
    return types.InputPeerChannel(peer.channel_id, peer.access_hash)
