"""The bot's Telegram client: it receives updates and sends messages, as plain data for the bot role."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

from telethon import errors as tg
from telethon import utils
from telethon.extensions import html
from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.errors import NeedsLogin, Permanent, Retryable
from saveany.excerpt import excerpt
from saveany.logs import get_logger
from saveany.store.telegram import TelegramStore
from saveany.telegram import incoming
from saveany.telegram import login as logins
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import translated
from saveany.telegram.messages import MessageReader, album_candidates
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.settings import TelegramTable, read
from saveany.telegram.update_types import Button, CallbackQuery, ChatMessage, Keyboard, TelegramUser
from saveany.telegram.updates import Batch, Feed, Position

__all__ = ["BotClient", "ChatGone", "Position"]

#: Maximum number of characters of a message, and of the reply to a button press.
_MAX_TEXT, _MAX_CALLBACK_TEXT = 4096, 200
_RETRY_SECONDS = 5.0
#: Placeholder in a request; `BotClient._send_to` replaces it.
_ANY_PEER = types.InputPeerEmpty()

_log = get_logger(__name__)


class ChatGone(Permanent):
    """The message was deleted."""


class BotClient:
    """Sends and receives the messages of one bot.

    Its methods raise `Retryable` (a flood wait, at once, with its length in `after`; the network; a login
    that is being renewed), `Permanent` (the bot may not write there) and `NeedsLogin`. It has a separate
    login, stored once per machine, because Telegram sends updates to a login that receives them.
    """

    def __init__(
        self, table: TelegramTable, data_dir: Path, store: TelegramStore | None = None, *, proxy: str = ""
    ) -> None:
        self._token = table.token.get_secret_value()
        self._settings = read(table, proxy)
        self._folder = SessionFolder(data_dir)
        self._store = store
        self._client: MtprotoClient | None = None
        self.me = TelegramUser(id=0)  # set by `open`

    async def open(self) -> None:
        """Log in. Raises `ConfigError` without a token."""
        with translated(logins.LISTENER, is_bot=True):
            await logins.open_bot(self._settings, self._folder, self._token, self._connect, logins.LISTENER)

    async def close(self) -> None:
        """Disconnect. The login stays valid."""
        if self._client is not None:
            await self._client.close()

    async def _connect(self, login: Login) -> None:
        await self.close()
        client = MtprotoClient(logins.LISTENER, self._settings, login, self._store, receives_updates=True)
        try:
            user = await client.open()
        except BaseException:
            await client.close()
            raise
        self._client = client
        self.me = incoming.user(user.id, {user.id: user})

    # Receiving.

    async def updates(self, position: Position | None) -> AsyncGenerator[Batch, None]:
        """All messages and button presses from `position` on, without end. Store each batch together with the
        position after it. None starts now, with an empty batch."""
        while True:
            try:
                async with aclosing(Feed(self._opened, self.me).updates(position)) as batches:
                    async for batch in batches:
                        position = batch[1]
                        yield batch
            except NeedsLogin as error:
                _log.warning("bot_login_lost", reason=error.message)
                await self.open()

    # Sending.

    async def send_text(
        self, chat: int, text: str, keyboard: Keyboard = (), *, reply_to: int = 0, key: str = ""
    ) -> int:
        """Send a text in Telegram's HTML, shortened if it is too long; returns the message id.

        Returns 0 if the text was sent before, with the same `key` or because Telegram's reply was lost:
        nothing is sent twice. If the message in `reply_to` was deleted, the text is sent without being a
        reply.
        """
        plain, entities = _parse_html(text)
        request = functions.messages.SendMessageRequest(
            _ANY_PEER,
            plain,
            no_webpage=True,
            reply_to=types.InputReplyToMessage(reply_to) if reply_to else None,
            random_id=random_id(key) if key else None,
            reply_markup=_markup(keyboard),
            entities=entities,
        )
        with self.translating() as client:
            try:
                return message_id(await self._send_to(client, chat, request))
            except tg.RandomIdDuplicateError:
                return 0
            except tg.BadRequestError as error:
                if not reply_to or not _is_about_missing_message(error):
                    raise
            request.reply_to = None
            return message_id(await self._send_to(client, chat, request))

    async def send_picture(self, chat: int, png: bytes, caption: str, keyboard: Keyboard = ()) -> int:
        """Send a small picture (at most 512 KiB); returns its message id, or 0 if Telegram's reply was
        lost."""
        plain, entities = _parse_html(caption)
        file = types.InputFile(secrets.randbits(63), 1, "picture.png", "")
        request = functions.messages.SendMediaRequest(
            _ANY_PEER,
            types.InputMediaUploadedPhoto(file),
            plain,
            reply_markup=_markup(keyboard),
            entities=entities,
        )
        with self.translating() as client:
            await client.call(functions.upload.SaveFilePartRequest(file.id, 0, png))
            try:
                return message_id(await self._send_to(client, chat, request))
            except tg.RandomIdDuplicateError:
                return 0

    async def edit(self, chat: int, message: int, text: str, keyboard: Keyboard = ()) -> None:
        """Replace text and keyboard of one of the bot's messages. Raises `ChatGone` if it was deleted."""
        plain, entities = _parse_html(text)
        request = functions.messages.EditMessageRequest(
            _ANY_PEER,
            message,
            no_webpage=True,
            message=plain,
            reply_markup=_markup(keyboard),
            entities=entities,
        )
        with self.translating() as client:
            try:
                await self._send_to(client, chat, request)
            except tg.MessageNotModifiedError:
                pass
            except tg.MessageIdInvalidError as error:
                raise ChatGone("The message was deleted.") from error

    async def delete(self, chat: int, messages: Sequence[int]) -> None:
        """Delete messages for everybody. Messages that do not exist are ignored."""
        with self.translating() as client:
            await client.retry_with_new_hash(lambda: self._delete(client, chat, messages))

    async def _delete(self, client: MtprotoClient, chat: int, messages: Sequence[int]) -> None:
        peer = await self.peer(chat)
        request: TLRequest = functions.messages.DeleteMessagesRequest(list(messages), revoke=True)
        if isinstance(peer, types.InputPeerChannel):
            channel = types.InputChannel(peer.channel_id, peer.access_hash)
            request = functions.channels.DeleteMessagesRequest(channel, list(messages))
        await client.send_once(request, max_flood_wait=0)

    async def answer_callback(self, press: CallbackQuery, text: str = "", alert: bool = False) -> None:
        """Reply to a button press, with a short text or none. Does nothing if the press has expired."""
        request = functions.messages.SetBotCallbackAnswerRequest(
            press.query, 0, alert=alert, message=excerpt(text, _MAX_CALLBACK_TEXT) or None
        )
        with self.translating() as client, suppress(tg.QueryIdInvalidError):
            await client.send_once(request, max_flood_wait=0)

    async def set_commands(self, commands: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Publish the commands with their descriptions, by language code; "" stands for all other
        languages."""
        everywhere = types.BotCommandScopeDefault()
        with self.translating() as client:
            for language, pairs in commands.items():
                listed = [types.BotCommand(command, description) for command, description in pairs]
                await client.call(functions.bots.SetBotCommandsRequest(everywhere, language, listed))

    # Reading.

    async def read(self, chat: int, ids: Sequence[int]) -> dict[int, ChatMessage]:
        """The existing messages among `ids`, by id."""
        with self.translating() as client:
            messages, known = await MessageReader(client).read(chat, ids)
        return {
            number: incoming.message(each, known, self.me)
            for number, each in messages.items()
            if isinstance(each, types.Message)
        }

    async def album(self, message: ChatMessage) -> list[ChatMessage]:
        """The messages of the album that a message belongs to, in order; only the message if there is
        none."""
        if not message.album:
            return [message]
        ids = album_candidates(message.id, in_bot_chat=not incoming.is_channel(message.chat))
        found = await self.read(message.chat, ids)
        return [each for _, each in sorted(found.items()) if each.album == message.album]

    # Inside.

    @property
    def _opened(self) -> MtprotoClient:
        if self._client is None:
            raise Retryable("The bot is not connected to Telegram yet.", after=_RETRY_SECONDS)
        return self._client

    @contextmanager
    def translating(self) -> Iterator[MtprotoClient]:
        """The client, with its errors translated. A dead login is renewed by `updates`; until then it is
        `Retryable`."""
        client = self._opened
        try:
            with translated(logins.LISTENER, is_bot=True):
                yield client
        except NeedsLogin as error:
            client.on_update(types.UpdatesTooLong())
            raise Retryable(error.text, after=_RETRY_SECONDS) from error

    async def _send_to(self, client: MtprotoClient, chat: int, request: Any) -> Any:
        """Send a request to a chat; returns the reply."""

        async def send() -> Any:
            request.peer = await self.peer(chat)
            return await client.send_once(request, max_flood_wait=0)

        return await client.retry_with_new_hash(send)

    async def peer(self, chat: int) -> Any:
        """The chat as Telegram's type. A bot needs no access hash for chats and users that it has met."""
        number, kind = utils.resolve_id(chat)
        if kind is types.PeerChat:
            return types.InputPeerChat(number)
        access_hash = await self._opened.session.access_hash(chat) or 0
        peer = types.InputPeerUser if kind is types.PeerUser else types.InputPeerChannel
        return peer(number, access_hash)


def _parse_html(text: str) -> tuple[str, list[Any]]:
    """Plain text and its entities, shortened to the maximum length."""
    plain, entities = html.parse(text)
    cut = _shorten(plain, _MAX_TEXT)
    if cut != plain:
        end = len(cut.encode("utf-16-le")) // 2
        entities = [each for each in entities if each.offset < end]
        for each in entities:
            each.length = min(each.length, end - each.offset)
    return cut, entities


def _shorten(text: str, maximum: int) -> str:
    return text if len(text) <= maximum else text[: maximum - 1] + "…"


def random_id(key: str) -> int:
    """The number by which Telegram recognizes that a message was sent before."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)


def _markup(keyboard: Keyboard) -> types.ReplyInlineMarkup | None:
    rows = [types.KeyboardInlineButtonRow([_button(each) for each in row]) for row in keyboard]
    return types.ReplyInlineMarkup(rows) if rows else None


def _button(button: Button) -> types.KeyboardInlineButton:
    kind = (
        types.InlineButtonTypeUrl(button.url)
        if button.url
        else types.InlineButtonTypeCallback(button.data.encode())
    )
    return types.KeyboardInlineButton(button.label, kind)


def _is_about_missing_message(error: tg.BadRequestError) -> bool:
    """Whether the message to reply to was deleted. Telethon has no class for one of the two errors."""
    return isinstance(error, tg.MessageIdInvalidError) or error.message == "REPLY_MESSAGE_ID_INVALID"


def message_id(reply: Any) -> int:
    """The id of the message that was sent. For private chats Telegram sends a short form."""
    if isinstance(reply, types.UpdateShortSentMessage):
        return int(reply.id)
    return int(next(each.id for each in reply.updates if isinstance(each, types.UpdateMessageID)))
