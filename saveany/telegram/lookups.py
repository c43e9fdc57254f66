"""Finds out single facts about the messages of a chat: which exist, and which is the last before a date."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from telethon import utils
from telethon.tl import functions, types

from saveany.errors import Permanent
from saveany.telegram.chat_state import history_request
from saveany.telegram.chats import ChatNotVisible
from saveany.telegram.messages import MessageReader

#: Maximum number of messages in one request.
_PAGE = 100


async def existing(
    reader: MessageReader, chat: int, numbers: Collection[int], username: str = ""
) -> set[int]:
    """Those of these messages that exist."""

    async def read() -> set[int]:
        peer = await peer_of(reader, chat, username)
        found: set[int] = set()
        for start in range(0, len(numbers), _PAGE):
            ids = [types.InputMessageID(each) for each in list(numbers)[start : start + _PAGE]]
            request = functions.messages.GetMessagesRequest(ids)
            if isinstance(peer, types.InputPeerChannel):
                channel = types.InputChannel(peer.channel_id, peer.access_hash)
                request = functions.channels.GetMessagesRequest(channel, ids)
            reply = await reader.chats.call(request)
            here = [each for each in reply.messages if not isinstance(each, types.MessageEmpty)]
            found |= {each.id for each in here if utils.get_peer_id(each.peer_id) == chat}
        return found

    return await reader.chats.retry_without_cache(read)


async def last_before(reader: MessageReader, chat: int, date_ms: int, username: str = "") -> int:
    """The id of the last message of a chat before a date; 0 if there is none."""

    async def read() -> int:
        peer = await peer_of(reader, chat, username)
        date = datetime.fromtimestamp(date_ms / 1000, UTC)
        reply = await reader.chats.call(
            history_request(peer, offset_id=0, add_offset=0, limit=1, offset_date=date)
        )
        return max((message.id for message in reply.messages), default=0)

    return await reader.chats.retry_without_cache(read)


async def peer_of(reader: MessageReader, chat: int, username: str) -> Any:
    """The chat. Raises `ChatNotVisible` also if its username has moved to another chat."""
    try:
        return await reader.chats.input_peer(chat, username)
    except ChatNotVisible:
        raise
    except Permanent as error:
        raise ChatNotVisible(error.text) from error
