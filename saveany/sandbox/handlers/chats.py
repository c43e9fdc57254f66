"""contacts.resolveUsername, channels.get*, messages.getDialogs and getPeerDialogs: finding chats."""

import re
from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.view import peer_of
from saveany.sandbox.world import Chat, SandboxAccount, StoredMessage

_USERNAME = re.compile(r"[a-z](?!\w*__)\w{2,30}[a-z0-9]", re.ASCII | re.IGNORECASE)
_MAX_DIALOGS = 100
_PEER_IDS = ("channel_id", "chat_id", "user_id")


@handles(fn.contacts.ResolveUsernameRequest)
def resolve_username(context: RequestContext, request: Any) -> Any:
    """The chat or user with a username."""
    if not _USERNAME.fullmatch(request.username):
        raise RpcFailure(400, "USERNAME_INVALID")
    found = context.world.by_username(request.username)
    if isinstance(found, Chat):
        return tl.contacts.ResolvedPeer(tl.PeerChannel(found.id), [context.view.chat(found)], [])
    if isinstance(found, SandboxAccount):
        return tl.contacts.ResolvedPeer(tl.PeerUser(found.id), [], [context.view.user(found)])
    raise RpcFailure(400, "USERNAME_NOT_OCCUPIED")


@handles(fn.channels.GetChannelsRequest)
def get_channels(context: RequestContext, request: Any) -> Any:
    """Channels and supergroups by id and access hash."""
    return tl.messages.Chats([context.view.chat(context.chat(peer)) for peer in request.id])


@handles(fn.messages.GetChatsRequest)
def get_chats(context: RequestContext, request: Any) -> Any:
    """Small groups by id."""
    chats = [context.peer(tl.InputPeerChat(id_)) for id_ in request.id]
    return tl.messages.Chats([context.view.chat(chat) for chat in chats])


@handles(fn.channels.GetFullChannelRequest)
def get_full_channel(context: RequestContext, request: Any) -> Any:
    """A channel with its discussion group and its group call."""
    chat = context.chat(request.channel)
    call = context.world.calls.of(chat)
    full = tl.ChannelFull(
        id=chat.id,
        about="",
        read_inbox_max_id=chat.newest.id,
        read_outbox_max_id=0,
        unread_count=0,
        chat_photo=context.view.file(chat.photo) if chat.photo else tl.PhotoEmpty(0),
        notify_settings=tl.PeerNotifySettings(),
        bot_info=[],
        pts=chat.box.pts,
        linked_chat_id=chat.linked,
        migrated_from_chat_id=chat.migrated_from,
        migrated_from_max_id=_last_of_group(context, chat),
        participants_count=len(chat.members),
        exported_invite=_invite(context, chat) if chat.invite else None,
        call=context.view.input_call(call.id) if call else None,
    )
    linked = [context.world.chats[chat.linked]] if chat.linked else []
    return tl.messages.ChatFull(full, [context.view.chat(c) for c in (chat, *linked)], [])


def _last_of_group(context: RequestContext, chat: Chat) -> int | None:
    """The id of the last message of the small group that became this supergroup, as its members see it."""
    group = context.world.private_chats.groups.get(chat.migrated_from or 0)
    if group is None or context.account.id not in group.members:
        return None if group is None else 0
    return max(context.world.private_chats.side(context.account, group).messages, default=0)


@handles(fn.messages.GetForumTopicsByIDRequest)
def get_forum_topics_by_id(context: RequestContext, request: Any) -> Any:
    """Some topics of a forum. The first one is General; the ids of the others are those of the service
    messages that made them."""
    chat = context.chat(request.peer)
    if not chat.forum:
        raise RpcFailure(400, "CHANNEL_FORUM_MISSING")
    titles = {1: "General"} | {m.id: m.opens_topic for m in chat.messages.values() if m.opens_topic}
    found = [_topic(chat, id_, titles[id_]) for id_ in request.topics if id_ in titles]
    return tl.messages.ForumTopics(
        count=len(found),
        topics=found,
        messages=[],
        chats=[context.view.chat(chat)],
        users=[],
        pts=chat.box.pts,
    )


def _topic(chat: Chat, id_: int, title: str) -> Any:
    return tl.ForumTopic(
        id=id_,
        date=chat.date,
        peer=peer_of(chat),
        title=title,
        icon_color=0x6FB9F0,
        top_message=id_,
        read_inbox_max_id=0,
        read_outbox_max_id=0,
        unread_count=0,
        unread_mentions_count=0,
        unread_reactions_count=0,
        unread_poll_votes_count=0,
        from_id=tl.PeerChannel(chat.id),
        notify_settings=tl.PeerNotifySettings(),
    )


@handles(fn.messages.ExportChatInviteRequest)
def export_chat_invite(context: RequestContext, request: Any) -> Any:
    """An invite link, for administrators."""
    chat = context.chat(request.peer)
    _check_administers(context, chat)
    chat.invite = f"https://t.me/+{context.world.new_id()}"
    return _invite(context, chat)


@handles(fn.messages.CheckChatInviteRequest, bots=False)
def check_chat_invite(context: RequestContext, request: Any) -> Any:
    """The chat of an invite link: itself for its members, else only its title."""
    link = f"https://t.me/+{request.hash}"
    chat = next((each for each in context.world.chats.values() if each.invite == link), None)
    if chat is None:
        raise RpcFailure(400, "INVITE_HASH_EXPIRED")
    if context.account.id in chat.members:
        return tl.ChatInviteAlready(context.view.chat(chat))
    return tl.ChatInvite(chat.title, tl.PhotoEmpty(0), len(chat.members), 0, channel=True)


@handles(fn.channels.GetParticipantRequest)
def get_participant(context: RequestContext, request: Any) -> Any:
    """A member of a channel, for its administrators, or of a group, for its members."""
    chat = context.chat(request.channel)
    account = context.user(request.participant)
    if account is None:
        raise RpcFailure(400, "USER_ID_INVALID")
    if account is not context.account and (chat.broadcast or context.account.id not in chat.members):
        _check_administers(context, chat)
    if account.id not in chat.members:
        raise RpcFailure(400, "USER_NOT_PARTICIPANT")
    participant: Any = tl.ChannelParticipant(account.id, chat.date)
    if account.id in chat.restricted:
        rights = tl.ChatBannedRights(until_date=None, send_messages=True)
        participant = tl.ChannelParticipantBanned(
            tl.PeerUser(account.id), context.account.id, chat.date, rights
        )
    return tl.channels.ChannelParticipant(
        participant, [context.view.chat(chat)], [context.view.user(account)]
    )


def _check_administers(context: RequestContext, chat: Chat) -> None:
    if not chat.is_administered_by(context.account.id):
        raise RpcFailure(400, "CHAT_ADMIN_REQUIRED")


def _invite(context: RequestContext, chat: Chat) -> Any:
    """The invite link, which only administrators see."""
    if not chat.is_administered_by(context.account.id):
        return None
    return tl.ChatInviteExported(chat.invite, context.account.id, chat.date, permanent=True)


@handles(fn.messages.GetDialogsRequest, bots=False)
def get_dialogs(context: RequestContext, request: Any) -> Any:
    """A page of the chats of a user, in order of their newest messages, newest first."""
    world, me = context.world, context.account
    mine = [chat for chat in world.chats.values() if me.id in chat.members] + world.private_chats.non_empty(
        me
    )
    tops = sorted(((chat, chat.newest) for chat in mine), key=_recency, reverse=True)
    date, offset = request.offset_date, request.offset_peer
    peer = next((getattr(offset, name) for name in _PEER_IDS if hasattr(offset, name)), 0)
    if date is not None and date.timestamp() > 0:
        tops = [top for top in tops if _recency(top) < (date, peer)]
    page = tops[: min(request.limit, _MAX_DIALOGS)]
    found: dict[str, list[Any]] = {
        "dialogs": [dialog(chat, top) for chat, top in page],
        "messages": [context.view.message(chat, top) for chat, top in page],
        **context.view.peers_of_all((chat, [top]) for chat, top in page),
    }
    if len(page) == len(mine):
        return tl.messages.Dialogs(**found)
    return tl.messages.DialogsSlice(count=len(mine), **found)


@handles(fn.messages.GetPeerDialogsRequest, bots=False)
def get_peer_dialogs(context: RequestContext, request: Any) -> Any:
    """The newest message of each of the given chats."""
    if not request.peers:
        raise RpcFailure(400, "INPUT_PEERS_EMPTY")
    if len(request.peers) > _MAX_DIALOGS:
        raise RpcFailure(400, "LIMIT_INVALID")
    chats = [context.peer(each.peer) for each in request.peers]
    tops = [(chat, chat.newest) for chat in chats if chat.messages]
    box = context.world.private_chats.box(context.account)
    return tl.messages.PeerDialogs(
        dialogs=[dialog(chat, top) for chat, top in tops],
        messages=[context.view.message(chat, top) for chat, top in tops],
        state=tl.updates.State(pts=box.pts, qts=0, date=datetime.now(UTC), seq=1, unread_count=0),
        **context.view.peers_of_all((chat, [top]) for chat, top in tops),
    )


def _recency(top: tuple[Chat, StoredMessage]) -> tuple[Any, int]:
    chat, message = top
    return message.date, chat.id


def dialog(chat: Chat, top: StoredMessage) -> Any:
    """A `dialog` without unread messages."""
    return tl.Dialog(
        peer=peer_of(chat),
        top_message=top.id,
        read_inbox_max_id=top.id,
        read_outbox_max_id=0,
        unread_count=0,
        unread_mentions_count=0,
        unread_reactions_count=0,
        unread_poll_votes_count=0,
        notify_settings=tl.PeerNotifySettings(),
        pts=None if chat.private else chat.box.pts,
    )
