"""What Telegram pushes to a user account: which chats have new or edited messages. Pushes may be lost, so
they only say where to look earlier than planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from telethon import utils
from telethon.tl import types

_NEW = (types.UpdateNewMessage, types.UpdateNewChannelMessage)
_EDITED = (types.UpdateEditMessage, types.UpdateEditChannelMessage)


class ChatChange(NamedTuple):
    """Something new in a chat."""

    chat: int  # marked
    is_edit: bool = False  # whether a message was edited; else one may be new


def changes_in(pushed: Any) -> Iterator[ChatChange]:
    """The changes that pushed `Updates` tell."""
    for update in single_updates(pushed):
        if isinstance(update, _NEW):
            yield ChatChange(utils.get_peer_id(update.message.peer_id))
        elif isinstance(update, _EDITED):
            yield ChatChange(utils.get_peer_id(update.message.peer_id), is_edit=True)
        elif isinstance(update, types.UpdateChannelTooLong):
            yield ChatChange(utils.get_peer_id(types.PeerChannel(update.channel_id)))
        elif isinstance(update, types.UpdateShortMessage):
            yield ChatChange(update.user_id)
        elif isinstance(update, types.UpdateShortChatMessage):
            yield ChatChange(utils.get_peer_id(types.PeerChat(update.chat_id)))


def single_updates(pushed: Any) -> Sequence[Any]:
    """The single updates in what was pushed. A message in a short form is an update."""
    if isinstance(pushed, types.Updates | types.UpdatesCombined):
        return list(pushed.updates)
    return [pushed.update if isinstance(pushed, types.UpdateShort) else pushed]
