"""The bot as somebody who listens and answers: what the bot role needs of Telegram, in plain data."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from telethon import errors as tg
from telethon import utils
from telethon.extensions import html
from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.errors import NeedsLogin, Permanent, Retryable
from saveany.excerpt import excerpt
from saveany.logs import get_logger
from saveany.telegram import incoming
from saveany.telegram import login as logins
from saveany.telegram.client import Client
from saveany.telegram.errors import translated
from saveany.telegram.messages import Reader, neighbours
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.settings import TelegramTable, read
from saveany.telegram.update_types import Button, CallbackQuery, ChatMessage, Keyboard, TelegramUser
from saveany.telegram.updates import Batch, Feed, Position

__all__ = ["BotClient", "ChatGone", "Position"]

#: Characters of a text, and of the answer to a press.
_LONGEST, _LONGEST_ANSWER = 4096, 200
_RETRY_SECONDS = 5.0
#: Stands in a request until it is sent (`BotClient._post`).
_ANY_PEER = types.InputPeerEmpty()

_log = get_logger(__name__)


class ChatGone(Permanent):
    """The message is not there any more."""


class BotClient:
    """One bot's talks. Its methods raise `Retryable` (with `after`, at once, when Telegram asks to wait; the
    network; a login that is made anew), `Permanent` (the bot may not write there) and `NeedsLogin`.

    It has a login of its own, kept once per machine: Telegram tells what happens to one that listens.
    """

    def __init__(
        self, table: TelegramTable, data_dir: Path, redis: Redis | None = None, *, proxy: str = ""
    ) -> None:
        self._token = table.token.get_secret_value()
        self._settings = read(table, proxy)
        self._folder = SessionFolder(data_dir)
        self._redis = redis
        self._client: Client | None = None
        self.me = TelegramUser(id=0)  # known once it is open

    async def open(self) -> None:
        """Log in. Raises `ConfigError` without a token."""
        with translated(logins.LISTENER, is_bot=True):
            await logins.open_bot(self._settings, self._folder, self._token, self._connect, logins.LISTENER)

    async def close(self) -> None:
        """Hang up. The login stays valid."""
        if self._client is not None:
            await self._client.close()

    async def _connect(self, login: Login) -> None:
        await self.close()
        client = Client(logins.LISTENER, self._settings, login, self._redis, listens=True)
        try:
            user = await client.open()
        except BaseException:
            await client.close()
            raise
        self._client = client
        self.me = incoming.person(user.id, {user.id: user})

    # Listening.

    async def updates(self, position: Position | None) -> AsyncGenerator[Batch, None]:
        """What people say and press, for ever: each batch with the position after it, to be kept in one step
        with the letters. None begins now, with an empty batch."""
        while True:
            try:
                async with aclosing(Feed(self._opened, self.me).updates(position)) as batches:
                    async for batch in batches:
                        position = batch[1]
                        yield batch
            except NeedsLogin as error:
                _log.warning("the bot's login was lost", reason=error.message)
                await self.open()

    # Speaking.

    async def send_text(
        self, chat: int, text: str, keyboard: Keyboard = (), *, reply_to: int = 0, key: str = ""
    ) -> int:
        """Send a text in Telegram's HTML, cut if it is too long, and return its message id.

        0 if it had been sent before, with the same `key` or because the answer was lost on the way: nothing
        is said twice. An answer to a message that was deleted answers none.
        """
        said, entities = _parsed(text)
        request = functions.messages.SendMessageRequest(
            _ANY_PEER,
            said,
            no_webpage=True,
            reply_to=types.InputReplyToMessage(reply_to) if reply_to else None,
            random_id=_random_id(key) if key else None,
            reply_markup=_markup(keyboard),
            entities=entities,
        )
        with self._speaking() as client:
            try:
                return _sent(await self._post(client, chat, request))
            except tg.RandomIdDuplicateError:
                return 0
            except tg.BadRequestError as error:
                if not reply_to or not _names_no_message(error):
                    raise
            request.reply_to = None
            return _sent(await self._post(client, chat, request))

    async def send_picture(self, chat: int, png: bytes, caption: str, keyboard: Keyboard = ()) -> int:
        """Send a small picture (at most 512 KiB) and return its message id; 0 if the answer was lost."""
        said, entities = _parsed(caption)
        file = types.InputFile(secrets.randbits(63), 1, "picture.png", "")
        request = functions.messages.SendMediaRequest(
            _ANY_PEER,
            types.InputMediaUploadedPhoto(file),
            said,
            reply_markup=_markup(keyboard),
            entities=entities,
        )
        with self._speaking() as client:
            await client.call(functions.upload.SaveFilePartRequest(file.id, 0, png))
            try:
                return _sent(await self._post(client, chat, request))
            except tg.RandomIdDuplicateError:
                return 0

    async def edit(self, chat: int, message: int, text: str, keyboard: Keyboard = ()) -> None:
        """Replace text and keyboard of an own message. Raises `ChatGone` if it was deleted."""
        said, entities = _parsed(text)
        request = functions.messages.EditMessageRequest(
            _ANY_PEER,
            message,
            no_webpage=True,
            message=said,
            reply_markup=_markup(keyboard),
            entities=entities,
        )
        with self._speaking() as client:
            try:
                await self._post(client, chat, request)
            except tg.MessageNotModifiedError:
                pass
            except tg.MessageIdInvalidError as error:
                raise ChatGone("the message was deleted") from error

    async def delete(self, chat: int, messages: Sequence[int]) -> None:
        """Delete messages for everybody; one that is gone is no error."""
        with self._speaking() as client:
            await client.afresh(lambda: self._delete(client, chat, messages))

    async def _delete(self, client: Client, chat: int, messages: Sequence[int]) -> None:
        peer = await self._peer(chat)
        request: TLRequest = functions.messages.DeleteMessagesRequest(list(messages), revoke=True)
        if isinstance(peer, types.InputPeerChannel):
            channel = types.InputChannel(peer.channel_id, peer.access_hash)
            request = functions.channels.DeleteMessagesRequest(channel, list(messages))
        await client.post(request, patience=0)

    async def answer_callback(self, press: CallbackQuery, text: str = "", alert: bool = False) -> None:
        """End the waiting of who has pressed, with a short text or none; harmless if it has ended."""
        request = functions.messages.SetBotCallbackAnswerRequest(
            press.query, 0, alert=alert, message=excerpt(text, _LONGEST_ANSWER) or None
        )
        with self._speaking() as client, suppress(tg.QueryIdInvalidError):
            await client.post(request, patience=0)

    async def set_commands(self, commands: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Publish commands with their descriptions, by language code; "" is for all other languages."""
        everywhere = types.BotCommandScopeDefault()
        with self._speaking() as client:
            for language, pairs in commands.items():
                listed = [types.BotCommand(command, description) for command, description in pairs]
                await client.call(functions.bots.SetBotCommandsRequest(everywhere, language, listed))

    # Reading.

    async def read(self, chat: int, ids: Sequence[int]) -> dict[int, ChatMessage]:
        """Messages that are there, by id, whoever wrote them."""
        with self._speaking() as client:
            messages, known = await Reader(client).read(chat, ids)
        return {
            number: incoming.message(each, known, self.me)
            for number, each in messages.items()
            if isinstance(each, types.Message)
        }

    async def album(self, message: ChatMessage) -> list[ChatMessage]:
        """The messages of its album, in order; itself alone if there is none."""
        if not message.album:
            return [message]
        near = neighbours(message.id, in_talk=not incoming.is_channel(message.chat))
        found = await self.read(message.chat, near)
        return [each for _, each in sorted(found.items()) if each.album == message.album]

    # Inside.

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise Retryable("the bot is not connected to Telegram yet", after=_RETRY_SECONDS)
        return self._client

    @contextmanager
    def _speaking(self) -> Iterator[Client]:
        """A dead login is made anew by who listens; until then it is a passing failure."""
        client = self._opened
        try:
            with translated(logins.LISTENER, is_bot=True):
                yield client
        except NeedsLogin as error:
            client.heard(types.UpdatesTooLong())
            raise Retryable(error.message, after=_RETRY_SECONDS) from error

    async def _post(self, client: Client, chat: int, request: Any) -> Any:
        """The answer to a request that is about a chat."""

        async def ask() -> Any:
            request.peer = await self._peer(chat)
            return await client.post(request, patience=0)

        return await client.afresh(ask)

    async def _peer(self, chat: int) -> Any:
        """A bot may write to whom it has met, also without knowing the access hash any more."""
        number, kind = utils.resolve_id(chat)
        if kind is types.PeerChat:
            return types.InputPeerChat(number)
        access_hash = await self._opened.session.access_hash(chat) or 0
        peer = types.InputPeerUser if kind is types.PeerUser else types.InputPeerChannel
        return peer(number, access_hash)


def _parsed(text: str) -> tuple[str, list[Any]]:
    """Plain text and its entities, not too long."""
    plain, entities = html.parse(text)
    cut = _cut(plain, _LONGEST)
    if cut != plain:
        end = len(cut.encode("utf-16-le")) // 2
        entities = [each for each in entities if each.offset < end]
        for each in entities:
            each.length = min(each.length, end - each.offset)
    return cut, entities


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _random_id(key: str) -> int:
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


def _names_no_message(error: tg.BadRequestError) -> bool:
    """What is answered is gone; Telethon has no class for one of the names of this."""
    return isinstance(error, tg.MessageIdInvalidError) or error.message == "REPLY_MESSAGE_ID_INVALID"


def _sent(answer: Any) -> int:
    """The id of the message that was sent; to people Telegram answers in a short form."""
    if isinstance(answer, types.UpdateShortSentMessage):
        return int(answer.id)
    return int(next(each.id for each in answer.updates if isinstance(each, types.UpdateMessageID)))
