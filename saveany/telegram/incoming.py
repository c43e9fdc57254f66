"""Letters from what Telegram sends: its types end here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from telethon import utils
from telethon.helpers import add_surrogate, del_surrogate
from telethon.tl import types

from saveany.telegram import media
from saveany.telegram.links import BotChatKind, MessageLink
from saveany.telegram.messages import public_name
from saveany.telegram.update_types import Attachment, CallbackQuery, ChatMessage, TelegramUser

_MAGNET = re.compile(r"(?i)\bmagnet:\?\S+")

#: People and chats by marked id, as `messages.around` finds them.
Around = Mapping[int, Any]


def person(marked: int, known: Around) -> TelegramUser:
    """Somebody, or a chat in whose name somebody writes; without a name if Telegram did not tell it."""
    found = known.get(marked)
    return TelegramUser(
        id=marked,
        name=utils.get_display_name(found),
        username=public_name(found),
        language=getattr(found, "lang_code", None) or "",
    )


def message(found: types.Message, known: Around, me: TelegramUser) -> ChatMessage:
    """A message as `me` sees it. Whether it answers one of mine is not known here."""
    chat = utils.get_peer_id(found.peer_id)
    text, forward = found.message or "", found.fwd_from
    origin = utils.get_peer_id(forward.from_id) if forward and forward.from_id else 0
    hidden = (forward.from_name or "") if forward else ""
    return ChatMessage(
        chat=chat,
        id=found.id,
        sender=me if found.out else person(_sender(found), known),
        date_ms=int(found.date.timestamp() * 1000),
        text=text,
        urls=tuple(dict.fromkeys([*_urls(text, found.entities or ()), *_buttons(found.reply_markup)])),
        file=_file(found),
        album=found.grouped_id or 0,
        reply_to=_reply_to(found),
        for_me=chat > 0 or _names(text, found.entities or (), me),
        link=_link(chat, found.id),
        origin=hidden or (person(origin, known).name if origin else ""),
        origin_chat=origin,
    )


def press(update: types.UpdateBotCallbackQuery, known: Around) -> CallbackQuery:
    """A button was pressed."""
    return CallbackQuery(
        query=update.query_id,
        chat=utils.get_peer_id(update.peer),
        message=update.msg_id,
        sender=person(update.user_id, known),
        data=(update.data or b"").decode(errors="replace"),
    )


def is_channel(marked: int) -> bool:
    """Whether a marked id is a channel's or a supergroup's, whose messages have numbers of their own."""
    return utils.resolve_id(marked)[1] is types.PeerChannel


def _sender(found: types.Message) -> int:
    """In a private talk Telegram names the other side only as the chat."""
    marked: int = utils.get_peer_id(found.from_id or found.peer_id)
    return marked


def _file(found: types.Message) -> Attachment | None:
    """The file that was sent, the first if there are several. What cannot be seen from here a worker
    finds, or it says why not."""
    file = next(iter(media.files_in(found, "", previews=False)), None)
    if file is not None:
        return Attachment(kind=file.kind, size=file.size, name=file.name or "", mime_type=file.mime_type)
    if media.price(found) or media.unread_story(found):
        return Attachment(kind="document", size=0)
    return None


def _reply_to(found: types.Message) -> int:
    """The message of this chat that is answered; a message in a topic names the topic in the same place."""
    header = found.reply_to
    if not isinstance(header, types.MessageReplyHeader) or header.reply_to_peer_id:
        return 0
    if header.forum_topic and not header.reply_to_top_id:
        return 0
    return header.reply_to_msg_id or 0


def _link(chat: int, number: int) -> str:
    """By which a `Reader` finds the message."""
    plain, kind = utils.resolve_id(chat)
    kinds: Mapping[Any, BotChatKind] = {types.PeerUser: "user", types.PeerChat: "chat"}
    return MessageLink(plain, number, bot_chat=kinds.get(kind)).url


def _urls(text: str, entities: Iterable[Any]) -> Iterable[str]:
    for entity in entities:
        if isinstance(entity, types.MessageEntityTextUrl):
            yield entity.url
        elif isinstance(entity, types.MessageEntityUrl):
            url = _cut(text, entity)
            yield url if "://" in url else f"https://{url}"
    yield from _MAGNET.findall(text)  # which Telegram does not mark as links


def _buttons(markup: Any) -> Iterable[str]:
    """The links that the buttons below a message open."""
    for row in getattr(markup, "rows", None) or ():
        for button in row.buttons:
            if isinstance(button.type, types.InlineButtonTypeUrl | types.InlineButtonTypeUrlAuth):
                yield button.type.url


def _names(text: str, entities: Iterable[Any], me: TelegramUser) -> bool:
    """Whether a text mentions me, or is a command to me by name."""
    at = f"@{me.username}".lower()
    for entity in entities:
        if isinstance(entity, types.MessageEntityMentionName) and entity.user_id == me.id:
            return True
        if isinstance(entity, types.MessageEntityMention) and _cut(text, entity).lower() == at:
            return True
        if isinstance(entity, types.MessageEntityBotCommand) and _cut(text, entity).lower().endswith(at):
            return True
    return False


def _cut(text: str, entity: Any) -> str:
    """The text of an entity, whose place is counted in UTF-16 units."""
    units = add_surrogate(text)[entity.offset : entity.offset + entity.length]
    return str(del_surrogate(units))
