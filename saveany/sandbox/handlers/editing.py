"""messages.editMessage and deleteMessages."""

from collections.abc import Sequence
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.buttons import check_markup
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.handlers.sending import caption, media_file, message_text
from saveany.sandbox.world import Chat, StoredMessage


@handles(fn.messages.EditMessageRequest)
def edit_message(context: RequestContext, request: Any) -> Any:
    """Change text, file or keyboard. Without a keyboard in the request the old one is removed."""
    chat = context.peer(request.peer)
    message = chat.messages.get(request.id)
    if message is None or message.service:
        raise RpcFailure(400, "MESSAGE_ID_INVALID")
    _check_author(context, chat, message)
    check_markup(context, request.reply_markup)
    changes = _changes(context, request, message)
    if all(_same(getattr(message, name), value) for name, value in changes.items()):
        raise RpcFailure(400, "MESSAGE_NOT_MODIFIED")
    context.world.edit(chat, message.id, **changes)
    return context.updates()


@handles(fn.channels.DeleteMessagesRequest)
def delete_channel_messages(context: RequestContext, request: Any) -> Any:
    """Delete messages of a channel or group."""
    chat = context.chat(request.channel)
    found = [chat.messages[id_] for id_ in request.id if id_ in chat.messages]
    if not chat.is_administered_by(context.account.id) and any(m.sender != context.account.id for m in found):
        raise RpcFailure(403, "MESSAGE_DELETE_FORBIDDEN")
    return _delete(context, [(chat, [message.id for message in found])], chat.box.pts)


@handles(fn.messages.DeleteMessagesRequest)
def delete_messages(context: RequestContext, request: Any) -> Any:
    """Delete messages outside of channels; with `revoke`, and always for bots, also on the other side."""
    private_chats = context.world.private_chats
    wanted = [
        (chat, [i for i in request.id if i in chat.messages])
        for chat in private_chats.non_empty(context.account)
    ]
    mine = [(chat, ids) for chat, ids in wanted if ids]
    if request.revoke or context.account.bot:
        for side, copy in [
            copy for chat, ids in mine for id_ in ids for copy in private_chats.copies(chat, id_)
        ]:
            context.world.delete(side, copy.id)
    return _delete(context, mine, private_chats.box(context.account).pts)


def _delete(context: RequestContext, chosen: Sequence[tuple[Chat, Sequence[int]]], before: int) -> Any:
    for chat, ids in chosen:
        context.world.delete(chat, *ids)
    count = sum(len(ids) for _, ids in chosen)
    return tl.messages.AffectedMessages(pts=before + count, pts_count=count)


def _check_author(context: RequestContext, chat: Chat, message: StoredMessage) -> None:
    posted = chat.broadcast and chat.is_administered_by(context.account.id)
    if message.origin is not None or (message.sender != context.account.id and not posted):
        raise RpcFailure(403, "MESSAGE_AUTHOR_REQUIRED")


def _changes(context: RequestContext, request: Any, message: StoredMessage) -> dict[str, Any]:
    changes: dict[str, Any] = {"markup": request.reply_markup}
    if request.media is not None:
        changes["file"] = media_file(context, request.media)
    if request.message is not None:
        read = caption if message.file or request.media else message_text
        changes["text"], changes["entities"] = read(request.message, request.entities)
    return changes


def _same(one: Any, other: Any) -> bool:
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    """A value in a form that compares TL objects by their contents."""
    if isinstance(value, tuple):
        return [bytes(each) for each in value]
    return bytes(value) if hasattr(value, "CONSTRUCTOR_ID") else value
