"""Comments on the posts of a channel. They are messages of its discussion group, which may admit nobody: then
they can only be read as the replies to a post (https://core.telegram.org/api/discussion)."""

from __future__ import annotations

from typing import Any

from telethon import errors as tg
from telethon.tl import functions, types

from saveany.telegram.chats import ChatFinder, ChatNotVisible
from saveany.telegram.message_loader import LoadedMessages
from saveany.texts import Text

#: Maximum number of messages in one reply.
PAGE = 100
#: Number of messages before and after a comment that are loaded with it: the others of its album.
_NEARBY = 10


async def replies_after(chats: ChatFinder, channel: types.InputChannel, post: int, seen: int) -> Any:
    """Telegram's reply with the first `PAGE` comments on a post that follow the message `seen` of the
    discussion group; None if the post has no comments any more."""
    peer = types.InputPeerChannel(channel.channel_id, channel.access_hash)
    request = functions.messages.GetRepliesRequest(
        peer, post, seen + 1, None, -PAGE, PAGE, max_id=0, min_id=0, hash=0
    )
    try:
        return await chats.call(request)
    except (tg.MsgIdInvalidError, tg.MessageIdInvalidError):
        return None


async def load_comment(
    chats: ChatFinder, channel: types.InputChannel, post: int, number: int
) -> LoadedMessages:
    """A comment on a post, and those around it. Raises `ChatNotVisible` if the post has no comments."""
    reply = await replies_after(chats, channel, post, number - _NEARBY - 1)
    if reply is None:
        raise ChatNotVisible(Text("the post has no comments any more"))
    found = {each.id: each for each in reply.messages}
    return LoadedMessages(frozenset({number}), found, list(reply.users), list(reply.chats))
