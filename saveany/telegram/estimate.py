"""Estimates what a chat contains, with a few requests: numbers of files by kind, and sizes from samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telethon.tl import functions, types

from saveany.telegram.media import files_in
from saveany.telegram.messages import MessageReader

#: Number of files of each kind whose sizes are looked at.
_SAMPLE = 50
#: Kind of files -> Telegram's filter. They do not overlap; stickers have none, and are not counted.
_FILTERS: Mapping[str, Any] = {
    "photo": types.InputMessagesFilterPhotos,
    "video": types.InputMessagesFilterVideo,
    "audio": types.InputMessagesFilterMusic,
    "voice": types.InputMessagesFilterVoice,
    "video_note": types.InputMessagesFilterRoundVideo,
    "animation": types.InputMessagesFilterGif,
    "document": types.InputMessagesFilterDocument,
}


@dataclass(frozen=True, slots=True)
class KindEstimate:
    """The files of one kind."""

    count: int
    bytes: int  # estimated


@dataclass(frozen=True, slots=True)
class ChatEstimate:
    """The contents of a chat."""

    kinds: Mapping[str, KindEstimate]  # without those of which there are none
    first_ms: int  # dates of the oldest and of the newest message; 0 for an empty chat
    last_ms: int

    @property
    def bytes(self) -> int:
        """The estimated size of all files."""
        return sum(each.bytes for each in self.kinds.values())


async def estimate(reader: MessageReader, chat: int, username: str = "") -> ChatEstimate:
    """The contents of a chat (marked id)."""
    peer = await reader.chats.input_peer(chat, username)
    filters = [each() for each in _FILTERS.values()]
    counters = await reader.chats.call(functions.messages.GetSearchCountersRequest(peer, filters))
    counts = {type(each.filter): each.count for each in counters}
    kinds = {
        kind: KindEstimate(counts[filter_], await _bytes(reader, peer, filter_(), counts[filter_]))
        for kind, filter_ in _FILTERS.items()
        if counts.get(filter_)
    }
    return ChatEstimate(kinds, await _date(reader, peer, first=True), await _date(reader, peer, first=False))


async def _bytes(reader: MessageReader, peer: Any, filter_: Any, count: int) -> int:
    """The size of `count` files of a kind, if they are like the newest ones."""
    request = functions.messages.SearchRequest(
        peer, "", filter_, None, None, offset_id=0, add_offset=0, limit=_SAMPLE, max_id=0, min_id=0, hash=0
    )
    reply = await reader.chats.call(request)
    sizes = [media.size for message in reply.messages for media in files_in(message, reader.account)]
    return round(count * sum(sizes) / len(sizes)) if sizes else 0


async def _date(reader: MessageReader, peer: Any, *, first: bool) -> int:
    offset_id, add_offset = (1, -1) if first else (0, 0)
    reply = await reader.chats.call(
        functions.messages.GetHistoryRequest(peer, offset_id, None, add_offset, 1, max_id=0, min_id=0, hash=0)
    )
    return max((int(each.date.timestamp() * 1000) for each in reply.messages), default=0)
