"""Replies with pages of a chat that are parsed later, so that the next page can be requested before.

Parsing a page of 100 messages takes about as long as Telegram's server needs for the next one; and to request
that one, only the id of the newest message is needed, which comes first in the reply.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from telethon.extensions import BinaryReader
from telethon.tl import TLRequest, types

_MESSAGES = types.messages.Messages.CONSTRUCTOR_ID
_SLICE = types.messages.MessagesSlice.CONSTRUCTOR_ID
_OF_CHANNEL = types.messages.ChannelMessages.CONSTRUCTOR_ID
#: Constructor of a message -> number of fields of 4 bytes between it and its id.
_BEFORE_ID = {
    types.Message.CONSTRUCTOR_ID: 2,
    types.MessageService.CONSTRUCTOR_ID: 1,
    types.MessageEmpty.CONSTRUCTOR_ID: 1,
}
_NEXT_RATE, _OFFSET, _SEARCH_FLOOD = 1, 4, 8  # flags of a reply: which optional fields it has


class UnparsedRequest(TLRequest):  # type: ignore[misc]  # Telethon is not typed
    """A request whose reply is returned as the bytes that came."""

    def __init__(self, query: TLRequest) -> None:
        self.query = query
        self.CONSTRUCTOR_ID = query.CONSTRUCTOR_ID

    def _bytes(self) -> bytes:
        return bytes(self.query)

    @staticmethod
    def read_result(reader: BinaryReader) -> bytes:
        """All bytes of the reply."""
        return bytes(reader.read())


class UnparsedReply:
    """A reply of type `messages.Messages`. `on_parsed` is called with the parsed one."""

    def __init__(self, data: bytes, on_parsed: Callable[[Any], None]) -> None:
        self._data = data
        self._on_parsed = on_parsed

    @property
    def newest_message(self) -> int:
        """The id of the newest message in it; 0 if it has none, or has an unknown form."""
        return newest_message(self._data)

    def parsed(self) -> Any:
        """The reply as a TL object. Raises Telethon's `TypeNotFoundError`."""
        reply = BinaryReader(self._data).tgread_object()
        self._on_parsed(reply)
        return reply


def newest_message(reply: bytes) -> int:
    """The id of the first message in a serialised `messages.Messages`; 0 if it has none, or an unknown
    form."""
    reader = BinaryReader(reply)
    try:
        kind = reader.read_int(signed=False)
        if kind in (_SLICE, _OF_CHANNEL):
            flags = reader.read_int()
            if flags & _SEARCH_FLOOD:
                return 0
            fields = 1 if kind == _SLICE else 2  # the count; for channels the number of the last event, too
            fields += sum(bool(flags & each) for each in (_NEXT_RATE, _OFFSET))
            reader.seek(4 * fields)
        elif kind != _MESSAGES:
            return 0
        reader.seek(4)  # the constructor of the list
        if not reader.read_int():
            return 0
        before = _BEFORE_ID.get(reader.read_int(signed=False))
        if before is None:
            return 0
        reader.seek(4 * before)
        return int(reader.read_int())
    except struct.error:  # it is shorter
        return 0
