"""The chats that files are sent to: whether an account may post there, and how full they are."""

from __future__ import annotations

from typing import Any

from telethon.tl import functions, types

from saveany.telegram.client import MtprotoClient
from saveany.texts import gettext_noop

#: Number of events that are asked for. A channel with more than that replies with its newest message instead.
_EVENTS = 100


async def cannot_post(client: MtprotoClient, peer: Any) -> str:
    """As `missing_right`, for any chat."""
    if not isinstance(peer, types.InputPeerChannel):
        return ""
    reply = await client.call(functions.channels.GetChannelsRequest([as_channel(peer)]))
    return missing_right(reply.chats[0] if reply.chats else None)


async def newest_message(client: MtprotoClient, peer: Any, enough: int) -> int:
    """The id of the newest message of a channel or group, or a number between it and `enough`, if that is
    cheaper; 0 for chats that Telegram does not limit. Bots may ask for this, too."""
    if not isinstance(peer, types.InputPeerChannel):
        return 0
    channel = as_channel(peer)
    full = (await client.call(functions.channels.GetFullChannelRequest(channel))).full_chat
    if full.pts <= enough:  # each message is an event, and so are edits and deletions
        return int(full.pts)
    newest, pts = 0, 1
    while True:
        no_filter = types.ChannelMessagesFilterEmpty()
        reply = await client.call(
            functions.updates.GetChannelDifferenceRequest(channel, no_filter, pts, _EVENTS, force=True)
        )
        if isinstance(reply, types.updates.ChannelDifferenceTooLong):
            return int(reply.dialog.top_message)
        newest = max([newest, *(each.id for each in getattr(reply, "new_messages", ()))])
        if reply.final or reply.pts <= pts:
            return int(newest)
        pts = reply.pts


def as_channel(peer: types.InputPeerChannel) -> types.InputChannel:
    """The channel of a peer."""
    return types.InputChannel(peer.channel_id, peer.access_hash)


def missing_right(chat: types.Channel | types.ChannelForbidden | None) -> str:
    """The reason why the account may not post in a channel or group, as a template with the fields `account`
    and `chat`; "" if none is known."""
    if not isinstance(chat, types.Channel) or chat.left:
        return gettext_noop("{account} is not a member of the chat {chat}; add it, with the right to post")
    rights = chat.admin_rights
    if chat.broadcast and not (chat.creator or (rights and rights.post_messages)):
        return gettext_noop("{account} may not post in the channel {chat}; add it, with the right to post")
    return ""
