"""Reads the newest messages of chats, a hundred chats in one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telethon import utils
from telethon.tl import functions, types

from saveany.telegram.chats import ChatNotVisible
from saveany.telegram.lookups import peer_of
from saveany.telegram.messages import MessageReader
from saveany.telegram.peers import peers_in

#: Maximum number of chats in one request.
_CHATS = 100


@dataclass(frozen=True, slots=True)
class ChatTop:
    """The newest message and event of a chat."""

    message: int
    pts: int = 0  # number of the last event; 0 for private chats and basic groups
    is_live: bool = False  # whether it has a call, or a stream
    successor: int = 0  # marked id of the supergroup that this basic group became; 0 if it is none
    photo: int = 0  # id of the current profile photo; 0 if there is none


async def tops(reader: MessageReader, chats: Mapping[int, str]) -> dict[int, ChatTop]:
    """Marked id -> newest message, of the chats that the account can see. `chats`: marked id -> username."""
    peers = []
    for chat, username in chats.items():
        try:
            peers.append(await peer_of(reader, chat, username))
        except ChatNotVisible:
            continue
    found: dict[int, ChatTop] = {}
    for start in range(0, len(peers), _CHATS):
        found |= await _tops(reader, peers[start : start + _CHATS])
    return found


async def _tops(reader: MessageReader, peers: list[Any]) -> dict[int, ChatTop]:
    """Telegram rejects the whole request if the account cannot see one of the chats; then each half is
    tried."""
    named = [types.InputDialogPeer(each) for each in peers]
    try:
        reply = await reader.chats.call(functions.messages.GetPeerDialogsRequest(named))
    except ChatNotVisible:
        if len(peers) == 1:
            return {}
        middle = len(peers) // 2
        return await _tops(reader, peers[:middle]) | await _tops(reader, peers[middle:])
    known = peers_in(reply)
    marked = {utils.get_peer_id(each.peer): each for each in reply.dialogs}
    return {
        chat: ChatTop(
            each.top_message,
            each.pts or 0,
            is_live=bool(getattr(known.get(chat), "call_active", False)),
            successor=_successor(known.get(chat)),
            photo=_photo(known.get(chat)),
        )
        for chat, each in marked.items()
    }


def _photo(chat: Any) -> int:
    return int(getattr(getattr(chat, "photo", None), "photo_id", 0))


def _successor(group: Any) -> int:
    migrated = getattr(group, "migrated_to", None)
    return utils.get_peer_id(types.PeerChannel(migrated.channel_id)) if migrated else 0
