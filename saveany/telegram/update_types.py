"""What a bot is told: messages and presses of buttons, as plain data that can be kept."""

from __future__ import annotations

import msgspec


class TelegramUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody with an account."""

    id: int
    name: str = ""  # as shown: first and last name
    username: str = ""
    language: str = ""  # of the person's app, as `en` or `zh-hans`; Telegram does not always tell


class Attachment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The file in a message."""

    kind: str  # one of `saveany.filters.Kind`
    size: int
    name: str = ""  # as the sender gave it, not safe as a path; photos have none
    mime_type: str = ""


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message to the bot, or in a group where it is."""

    chat: int  # marked: the person's id in a private talk, negative for a group
    id: int
    sender: TelegramUser
    date_ms: int
    text: str = ""  # or the caption
    urls: tuple[str, ...] = ()  # all that its text and buttons link to, in order, hidden ones too
    file: Attachment | None = None
    album: int = 0  # the same for all messages of an album
    reply_to: int = 0  # message id
    for_me: bool = True  # private; or names the bot, or answers it
    link: str = ""  # by which a worker finds the message; never shown
    origin: str = ""  # name of the chat or person it was forwarded from
    origin_chat: int = 0  # marked id of that, if Telegram tells

    @property
    def private(self) -> bool:
        """Whether it was said to the bot alone."""
        return self.chat > 0


class CallbackQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A button was pressed."""

    query: int  # what the answer goes to
    chat: int
    message: int  # the button is below it
    sender: TelegramUser
    data: str


Update = ChatMessage | CallbackQuery


class Button(msgspec.Struct, frozen=True):
    """A button below a message. `data`, at most 64 bytes, comes back when it is pressed."""

    label: str
    data: str = ""
    url: str = ""  # instead: what it opens


Keyboard = tuple[tuple[Button, ...], ...]
