"""What an account sees of a chat as a whole: title, newest message, and the chats that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from telethon import utils
from telethon.tl import functions, types

from saveany.telegram.chats import ChatNotVisible
from saveany.telegram.messages import MessageReader
from saveany.telegram.peers import peers_in, public_name
from saveany.texts import Text


@dataclass(frozen=True, slots=True)
class ChatState:
    """The current state of a chat, as an account sees it."""

    id: int  # marked: -100… for channels and supergroups
    title: str
    username: str  # "" if it has none
    top: int  # id of the newest message
    account: str
    total: int = 0  # number of messages
    older_chat: int = 0  # marked id of the basic group that became this supergroup; 0 if there is none
    older_problem: Text | None = None  # why no account can read that group; None if one can
    older_reader: str = ""  # the account that can read that group; "": this one
    is_forum: bool = False
    protected: bool = False  # its messages may not be forwarded
    discussion: int = 0  # marked id of the group with the comments on its posts; 0 if there are none


async def chat_state(reader: MessageReader, chat: str) -> ChatState:
    """The current state of a channel or supergroup, given by @name or -100…, or of any chat by an invite link
    (`links.invite_of`)."""

    async def read() -> ChatState:
        if chat.startswith("+"):
            return await _state(reader, await reader.chats.by_invite(chat[1:]))
        peer = await reader.chats.confirmed(chat)
        return await _state(reader, utils.get_peer_id(types.PeerChannel(peer.channel_id)))

    return await reader.chats.retry_without_cache(read)


async def personal_state(reader: MessageReader, chat: str) -> ChatState:
    """The current state of any chat, given by `me`, @name or a marked id."""

    async def read() -> ChatState:
        if chat.startswith("+"):
            return await _state(reader, await reader.chats.by_invite(chat[1:]))
        return await _state(reader, await reader.chats.marked_id(chat))

    return await reader.chats.retry_without_cache(read)


async def _state(reader: MessageReader, chat: int) -> ChatState:
    peer = await reader.chats.input_peer(chat)
    reply = await reader.chats.call(history_request(peer, offset_id=0, add_offset=0, limit=1))
    found = peers_in(reply).get(chat)
    if found is None:  # an empty chat
        found = await _entity(reader, peer)
    if isinstance(found, types.Chat) and found.migrated_to:
        supergroup = types.PeerChannel(found.migrated_to.channel_id)
        return await _state(reader, utils.get_peer_id(supergroup))
    full = await _full(reader, peer, found)
    older, problem = await _older_group(reader, full) if full else (0, None)
    discussion = full.linked_chat_id if full and found.broadcast else None
    return ChatState(
        id=chat,
        title=utils.get_display_name(found) or str(chat),
        username=public_name(found),
        top=max((message.id for message in reply.messages), default=0),
        account=reader.account,
        total=total_of(reply),
        older_chat=older,
        older_problem=problem,
        is_forum=bool(getattr(found, "forum", False)),
        protected=bool(getattr(found, "noforwards", False)),
        discussion=utils.get_peer_id(types.PeerChannel(discussion)) if discussion else 0,
    )


async def _full(reader: MessageReader, peer: Any, found: Any) -> Any:
    """More about a supergroup, or a channel with comments; None for other chats."""
    if not getattr(found, "megagroup", False) and not getattr(found, "has_link", False):
        return None
    channel = types.InputChannel(peer.channel_id, peer.access_hash)
    return (await reader.chats.call(functions.channels.GetFullChannelRequest(channel))).full_chat


async def _older_group(reader: MessageReader, full: Any) -> tuple[int, Text | None]:
    """The marked id of the basic group that became this supergroup, and why this account cannot read it."""
    if not full.migrated_from_chat_id:
        return 0, None
    group = utils.get_peer_id(types.PeerChat(full.migrated_from_chat_id))
    try:
        await reader.chats.call(
            history_request(await reader.chats.input_peer(group), offset_id=0, add_offset=0, limit=1)
        )
    except ChatNotVisible as error:
        return group, error.text
    return group, None


async def _entity(reader: MessageReader, peer: Any) -> Any:
    """The user or basic group of a chat without messages."""
    if isinstance(peer, types.InputPeerChat):
        return (await reader.chats.call(functions.messages.GetChatsRequest([peer.chat_id]))).chats[0]
    own = isinstance(peer, types.InputPeerSelf)
    user = types.InputUserSelf() if own else types.InputUser(peer.user_id, peer.access_hash)
    found = await reader.chats.call(functions.users.GetUsersRequest([user]))
    if not found:
        raise ChatNotVisible("there is no such person, or this account does not know them")
    return found[0]


def history_request(
    peer: Any, *, offset_id: int, add_offset: int, limit: int, offset_date: datetime | None = None
) -> Any:
    """A request for a page of a chat."""
    return functions.messages.GetHistoryRequest(
        peer, offset_id, offset_date, add_offset, limit, max_id=0, min_id=0, hash=0
    )


def total_of(reply: Any) -> int:
    """The number of messages of the whole chat."""
    return int(getattr(reply, "count", len(reply.messages)))
