"""Converts Telegram's messages and callback queries into this project's types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from telethon import utils
from telethon.helpers import add_surrogate, del_surrogate
from telethon.tl import types

from saveany.telegram import media
from saveany.telegram.links import BotChatKind, MessageLink
from saveany.telegram.peers import public_name
from saveany.telegram.update_types import Attachment, CallbackQuery, ChatMessage, TelegramUser

_MAGNET = re.compile(r"(?i)\bmagnet:\?\S+")

#: Users and chats by marked id, as returned by `peers.peers_in`.
KnownPeers = Mapping[int, Any]


def user(marked: int, known: KnownPeers) -> TelegramUser:
    """A user, or a chat that writes in its own name; without a name if Telegram did not send it."""
    found = known.get(marked)
    return TelegramUser(
        id=marked,
        name=utils.get_display_name(found),
        username=public_name(found),
        language=getattr(found, "lang_code", None) or "",
    )


def message(found: types.Message, known: KnownPeers, me: TelegramUser) -> ChatMessage:
    """A message as `me` sees it. Replies to messages of `me` are not recognized here (see `Feed`)."""
    chat = utils.get_peer_id(found.peer_id)
    text, forward = found.message or "", found.fwd_from
    origin = utils.get_peer_id(forward.from_id) if forward and forward.from_id else 0
    hidden = (forward.from_name or "") if forward else ""
    return ChatMessage(
        chat=chat,
        id=found.id,
        sender=me if found.out else user(_sender(found), known),
        date_ms=int(found.date.timestamp() * 1000),
        text=text,
        urls=tuple(dict.fromkeys([*_urls(text, found.entities or ()), *_buttons(found.reply_markup)])),
        file=_file(found),
        album=found.grouped_id or 0,
        reply_to=_reply_to(found),
        for_me=chat > 0 or _mentions(text, found.entities or (), me),
        link=_link(chat, found.id),
        origin=hidden or (user(origin, known).name if origin else ""),
        origin_chat=origin,
    )


def callback_query(update: types.UpdateBotCallbackQuery, known: KnownPeers) -> CallbackQuery:
    """A press of an inline button."""
    return CallbackQuery(
        query=update.query_id,
        chat=utils.get_peer_id(update.peer),
        message=update.msg_id,
        sender=user(update.user_id, known),
        data=(update.data or b"").decode(errors="replace"),
    )


def is_channel(marked: int) -> bool:
    """Whether a marked id belongs to a channel or supergroup, which numbers its messages separately."""
    return utils.resolve_id(marked)[1] is types.PeerChannel


def _sender(found: types.Message) -> int:
    """The marked id of the sender. In a private chat Telegram names the other side only as the chat."""
    marked: int = utils.get_peer_id(found.from_id or found.peer_id)
    return marked


def _file(found: types.Message) -> Attachment | None:
    """The first file in a message. For a file that a bot cannot see here, a placeholder: a worker finds the
    file or reports why it cannot."""
    file = next(iter(media.files_in(found, "", extras=())), None)
    if file is not None:
        return Attachment(kind=file.kind, size=file.size, name=file.name or "", mime_type=file.mime_type)
    if media.price(found) or media.story_without_content(found):
        return Attachment(kind="document", size=0)
    return None


def _reply_to(found: types.Message) -> int:
    """The id of the message that it replies to. In a topic Telegram uses the same field for the topic."""
    header = found.reply_to
    if not isinstance(header, types.MessageReplyHeader) or header.reply_to_peer_id:
        return 0
    if header.forum_topic and not header.reply_to_top_id:
        return 0
    return header.reply_to_msg_id or 0


def _link(chat: int, number: int) -> str:
    """The link with which a `MessageReader` finds the message."""
    plain, kind = utils.resolve_id(chat)
    kinds: Mapping[Any, BotChatKind] = {types.PeerUser: "user", types.PeerChat: "chat"}
    return MessageLink(plain, number, bot_chat=kinds.get(kind)).url


def _urls(text: str, entities: Iterable[Any]) -> Iterable[str]:
    for entity in entities:
        if isinstance(entity, types.MessageEntityTextUrl):
            yield entity.url
        elif isinstance(entity, types.MessageEntityUrl):
            url = _entity_text(text, entity)
            yield url if "://" in url else f"https://{url}"
    yield from _MAGNET.findall(text)  # Telegram does not mark magnet links


def _buttons(markup: Any) -> Iterable[str]:
    """The links of the buttons below a message."""
    for row in getattr(markup, "rows", None) or ():
        for button in row.buttons:
            if isinstance(button.type, types.InlineButtonTypeUrl | types.InlineButtonTypeUrlAuth):
                yield button.type.url


def _mentions(text: str, entities: Iterable[Any], me: TelegramUser) -> bool:
    """Whether a text mentions the bot, or is a command with its name."""
    at = f"@{me.username}".lower()
    for entity in entities:
        if isinstance(entity, types.MessageEntityMentionName) and entity.user_id == me.id:
            return True
        if isinstance(entity, types.MessageEntityMention) and _entity_text(text, entity).lower() == at:
            return True
        if isinstance(entity, types.MessageEntityBotCommand) and _entity_text(text, entity).lower().endswith(
            at
        ):
            return True
    return False


def _entity_text(text: str, entity: Any) -> str:
    """The text of an entity, whose offset and length are counted in UTF-16 code units."""
    units = add_surrogate(text)[entity.offset : entity.offset + entity.length]
    return str(del_surrogate(units))
