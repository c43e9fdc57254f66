"""The updates a bot receives, as plain data that can be stored."""

from __future__ import annotations

import msgspec


class TelegramUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Telegram user, or a chat that writes in its own name."""

    id: int
    name: str = ""  # display name: first and last name
    username: str = ""
    language: str = ""  # language of the user's app, as `en` or `zh-hans`; "" if unknown


class Attachment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The file in a message."""

    kind: str  # one of `saveany.filters.Kind`
    size: int
    name: str = ""  # given by the sender, not safe as a path; "" for photos
    mime_type: str = ""


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message to the bot, or in one of its groups."""

    chat: int  # marked id: the user's id in a private chat, negative for a group
    id: int
    sender: TelegramUser
    date_ms: int
    text: str = ""  # the text, or the caption of the file
    urls: tuple[str, ...] = ()  # all links in the text and its buttons, in order, including hidden ones
    file: Attachment | None = None
    album: int = 0  # id shared by all messages of an album; 0: none
    reply_to: int = 0  # id of the message it replies to
    for_me: bool = True  # in a private chat, mentioning the bot, or replying to it
    link: str = ""  # internal link with which a worker finds the message; never shown
    origin: str = ""  # name of the chat or person it was forwarded from
    origin_chat: int = 0  # marked id of that chat or person; 0 if unknown

    @property
    def private(self) -> bool:
        """Whether it was sent in a private chat with the bot."""
        return self.chat > 0


class CallbackQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A press of an inline button."""

    query: int  # id of the callback query, for the reply
    chat: int
    message: int  # id of the message with the button
    sender: TelegramUser
    data: str


Update = ChatMessage | CallbackQuery


class Button(msgspec.Struct, frozen=True):
    """A button below a message. A press sends back `data`, at most 64 bytes."""

    label: str
    data: str = ""
    url: str = ""  # instead of `data`: the page that the button opens


Keyboard = tuple[tuple[Button, ...], ...]
