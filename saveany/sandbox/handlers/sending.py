"""messages.send*, forwardMessages and uploadMedia: sending messages.

A file that was sent becomes part of the world, and its uploaded parts are deleted. The same `random_id` of an
account is never sent twice.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import texts
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.buttons import check_markup
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.handlers.uploads import uploaded
from saveany.sandbox.images import photo
from saveany.sandbox.world import Chat, Origin, SandboxAccount, StoredFile, StoredMessage, World

_MAX_CAPTION, _MAX_TEXT = 1024, 4096
_MAX_ALBUM, _MAX_FORWARDED = 10, 100


class _OutgoingMessage(NamedTuple):
    """One message to be sent."""

    random_id: int
    message: StoredMessage


@handles(fn.messages.SendMessageRequest)
def send_message(context: RequestContext, request: Any) -> Any:
    """A message without a file."""
    check_markup(context, request.reply_markup)
    content = message_text(request.message, request.entities)
    return _send(context, request, [_outgoing(request, request.random_id, content)])


@handles(fn.messages.SendMediaRequest)
def send_media(context: RequestContext, request: Any) -> Any:
    """A message with a file."""
    check_markup(context, request.reply_markup)
    _check_writable(context, request.peer)
    _check_new(context, [request.random_id])
    content = caption(request.message, request.entities)
    each = _outgoing(request, request.random_id, content, media_file(context, request.media))
    return _send(context, request, [each])


@handles(fn.messages.SendMultiMediaRequest)
def send_multi_media(context: RequestContext, request: Any) -> Any:
    """An album."""
    if not 0 < len(request.multi_media) <= _MAX_ALBUM:
        raise RpcFailure(400, "MULTI_MEDIA_TOO_LONG" if request.multi_media else "MEDIA_EMPTY")
    _check_new(context, [each.random_id for each in request.multi_media])
    if any(isinstance(each.media, (_UPLOADED_DOCUMENT, _UPLOADED_PHOTO)) for each in request.multi_media):
        raise RpcFailure(400, "MEDIA_INVALID")  # they go through uploadMedia first
    files = [media_file(context, each.media) for each in request.multi_media]
    if any(map(_is_voice, files)):
        raise RpcFailure(400, "MEDIA_INVALID")
    if len({_album_kind(file) for file in files}) > 1:
        raise RpcFailure(400, "MEDIA_GROUPED_INVALID")
    outgoing = [
        _outgoing(request, each.random_id, caption(each.message, each.entities), file)
        for each, file in zip(request.multi_media, files, strict=True)
    ]
    return _send(context, request, _grouped(context, outgoing))


@handles(fn.messages.UploadMediaRequest)
def upload_media(context: RequestContext, request: Any) -> Any:
    """Create a file from uploaded parts, for an album."""
    context.peer(request.peer)
    return context.view.media(media_file(context, request.media))


@handles(fn.messages.ForwardMessagesRequest)
def forward_messages(context: RequestContext, request: Any) -> Any:
    """Forward messages from one chat to another; albums stay together."""
    source = context.peer(request.from_peer)
    if source.protected:
        raise RpcFailure(400, "CHAT_FORWARDS_RESTRICTED")
    if not request.id:
        raise RpcFailure(400, "MESSAGE_IDS_EMPTY")
    if len(request.id) != len(request.random_id) or len(request.id) > _MAX_FORWARDED:
        raise RpcFailure(400, "RANDOM_ID_INVALID")
    originals = [source.messages.get(id_) for id_ in request.id]
    albums: dict[int, int] = {}
    outgoing = []
    for original, random_id in zip(originals, request.random_id, strict=True):
        if original is None or original.service:
            raise RpcFailure(400, "MESSAGE_ID_INVALID")
        if original.album and original.album not in albums:
            albums[original.album] = context.world.new_id()
        album = albums.get(original.album or 0)
        copy = replace(_forwarded(source, original, request), album=album, sender=context.account.id)
        outgoing.append(_OutgoingMessage(random_id, copy))
    chosen = tl.InputReplyToMessage(request.top_msg_id) if request.top_msg_id else None
    return _send(context, request, outgoing, to=request.to_peer, reply=chosen)


def _is_protected(world: World, file: StoredFile) -> bool:
    """Whether all messages that contain a file, and at least one, may not be copied."""
    found = False
    for chat, message in world.messages_with(file.id):
        if not (chat.protected or message.protected):
            return False
        found = True
    return found


_UPLOADED_DOCUMENT, _UPLOADED_PHOTO = tl.InputMediaUploadedDocument, tl.InputMediaUploadedPhoto


def message_text(text: str, entities: Sequence[Any] | None) -> texts.StyledText:
    """The text of a message without a file. Raises if it is empty or too long."""
    content = texts.received(text, entities)
    if not content[0]:
        raise RpcFailure(400, "MESSAGE_EMPTY")
    if len(content[0]) > _MAX_TEXT:
        raise RpcFailure(400, "MESSAGE_TOO_LONG")
    return content


def caption(text: str, entities: Sequence[Any] | None) -> texts.StyledText:
    """The caption of a file. Raises if it is too long."""
    content = texts.received(text, entities)
    if len(content[0]) > _MAX_CAPTION:
        raise RpcFailure(400, "MEDIA_CAPTION_TOO_LONG")
    return content


def media_file(context: RequestContext, media: Any) -> StoredFile:
    """The file that an account names, or creates from its uploaded parts."""
    world = context.world
    if isinstance(media, tl.InputMediaDocument | tl.InputMediaPhoto):
        existing = world.file(context.account, media.id.id, media.id.access_hash, media.id.file_reference)
        if _is_protected(world, existing):
            raise RpcFailure(400, "CHAT_FORWARDS_RESTRICTED")
        return existing
    if isinstance(media, _UPLOADED_PHOTO):
        picture = photo(media.file.name, uploaded(context, media.file))
        made = StoredFile(id=world.new_id(), content=picture.content, mime="image/jpeg", pictures=(picture,))
    elif isinstance(media, _UPLOADED_DOCUMENT):
        named = (each for each in media.attributes if isinstance(each, tl.DocumentAttributeFilename))
        others = (each for each in media.attributes if not isinstance(each, tl.DocumentAttributeFilename))
        name = next((each.file_name for each in named), media.file.name or None)
        made = StoredFile(
            id=world.new_id(),
            content=uploaded(context, media.file),
            name=name,
            mime=media.mime_type,
            attributes=tuple(others),
        )
    else:
        raise RpcFailure(400, "MEDIA_INVALID")
    made.dc, made.date = context.home, datetime.now(UTC)
    world.uploads.pop((context.account.id, media.file.id), None)
    return world.add_file(made)


def _outgoing(
    request: Any, random_id: int, content: texts.StyledText, file: StoredFile | None = None
) -> _OutgoingMessage:
    text, entities = content
    markup = getattr(request, "reply_markup", None)
    return _OutgoingMessage(
        random_id, StoredMessage(id=0, text=text, entities=entities, markup=markup, file=file)
    )


def _grouped(context: RequestContext, outgoing: Sequence[_OutgoingMessage]) -> list[_OutgoingMessage]:
    album = context.world.new_id() if len(outgoing) > 1 else None
    return [each._replace(message=replace(each.message, album=album)) for each in outgoing]


def _album_kind(file: StoredFile) -> str:
    """The kind of album a file belongs in: photos and videos may be mixed, documents and music may not."""
    kinds = {type(attribute) for attribute in file.attributes}
    if file.pictures or tl.DocumentAttributeVideo in kinds:
        return "visual"
    return "audio" if tl.DocumentAttributeAudio in kinds else "document"


def _is_voice(file: StoredFile) -> bool:
    return any(isinstance(each, tl.DocumentAttributeAudio) and each.voice for each in file.attributes)


def _forwarded(source: Chat, original: StoredMessage, request: Any) -> StoredMessage:
    channel = source.id if source.broadcast else None
    post = original.id if channel else None
    account = None if channel else original.sender
    origin = original.origin or Origin(original.date, account, channel, post)
    if origin.account is None and origin.channel is None:
        origin = origin._replace(channel=source.id)
    bare = request.drop_media_captions and original.file
    return StoredMessage(
        id=0,
        text="" if bare else original.text,
        entities=() if bare else original.entities,
        file=original.file,
        wrapped=original.wrapped,
        markup=_links_only(original.markup),
        origin=None if request.drop_author else origin,
    )


def _links_only(markup: Any) -> Any:
    """The buttons of a forwarded message: all of them if all open links, otherwise none."""
    buttons = [button for row in getattr(markup, "rows", ()) for button in row.buttons]
    return markup if all(isinstance(each.type, tl.InlineButtonTypeUrl) for each in buttons) else None


def _check_new(context: RequestContext, random_ids: Sequence[int]) -> None:
    known = any((context.account.id, random_id) in context.world.sent for random_id in random_ids)
    if known or len(set(random_ids)) != len(random_ids):
        raise RpcFailure(500, "RANDOM_ID_DUPLICATE")


def _check_writable(context: RequestContext, peer: Any) -> Chat:
    """The chat of a peer. Raises if the account may not write there."""
    chat, me = context.peer(peer), context.account
    if chat.group:
        return chat
    if not chat.private:
        if me.id not in chat.members:
            raise RpcFailure(403, "CHAT_WRITE_FORBIDDEN")
        if chat.broadcast and not chat.is_administered_by(me.id):
            raise RpcFailure(400, "CHAT_ADMIN_REQUIRED")
        return chat
    _check_reachable(context, me, context.world.accounts[chat.id])
    return chat


def _check_reachable(context: RequestContext, me: SandboxAccount, other: SandboxAccount) -> None:
    if me.bot and other.bot:
        raise RpcFailure(400, "USER_IS_BOT")
    if me.id in other.blocked:
        raise RpcFailure(400, "USER_IS_BLOCKED")
    if other.id in me.blocked:
        raise RpcFailure(400, "YOU_BLOCKED_USER")
    if me.bot and not context.world.private_chats.side(me, other).messages:
        raise RpcFailure(400, "PEER_ID_INVALID")  # a bot cannot start a private chat


def _send(
    context: RequestContext,
    request: Any,
    outgoing: Sequence[_OutgoingMessage],
    to: Any = None,
    reply: Any = None,
) -> Any:
    chat = _check_writable(context, to or request.peer)
    _check_new(context, [each.random_id for each in outgoing])
    fields_of_reply = _reply_fields(chat, reply or getattr(request, "reply_to", None))
    ids = []
    for each in outgoing:
        fields = {"date": datetime.now(UTC), "sender": context.account.id, **fields_of_reply}
        sent = context.world.send(chat, replace(each.message, **fields))
        context.world.sent[context.account.id, each.random_id] = (chat.id, sent.id)
        ids.append(tl.UpdateMessageID(sent.id, each.random_id))
    return context.updates(*ids)


def _reply_fields(chat: Chat, reply: Any) -> dict[str, Any]:
    """The message that this one replies to, and its topic."""
    replied_to = getattr(reply, "reply_to_msg_id", None)
    if replied_to is None:
        return {}
    target = chat.messages.get(replied_to)
    if target is None:
        raise RpcFailure(400, "REPLY_MESSAGE_ID_INVALID")
    thread = reply.top_msg_id or target.thread or (replied_to if chat.forum else None)
    reply_to = replied_to if replied_to != thread else None
    return {"reply_to": reply_to, "thread": thread, "topic": chat.forum and thread is not None}
