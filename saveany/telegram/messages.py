"""Resolves message links to files, as one account sees them. Messages are only read by id, never searched or
listed, so bots can do all of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from telethon import errors as tg
from telethon import utils
from telethon.tl import functions, types

from saveany import advice
from saveany.errors import Permanent
from saveany.telegram.client import Client, refused_peer
from saveany.telegram.errors import AccountRefused, ErrorKind, describe, kind_of
from saveany.telegram.links import MessageLink
from saveany.telegram.media import Media, files_in, price, product_picture, story_without_content
from saveany.telegram.peers import peers_in, public_names
from saveany.texts import Field, Text

#: Maximum number of files in an album; their message ids are close together.
_ALBUM = 10
#: Maximum distance of message ids in an album in chats with the bot, where all chats share one sequence of
#: ids.
_ALBUM_IN_BOT_CHATS = 50
#: Maximum number of messages in one reply from Telegram.
_BATCH = 100
#: Minimum seconds between two readings of the whole list of dialogs, which is expensive.
_DIALOGS_SECONDS = 60.0
_DIALOGS_PAGE = 100

#: Errors that mean that this account cannot see the chat, but another one might. Other refusals concern the
#: account, whatever it requests (see `AccountRefused`).
_CLOSED: tuple[type[BaseException], ...] = (
    tg.BotMethodInvalidError,
    tg.ChannelBannedError,
    tg.ChannelInvalidError,
    tg.ChannelPrivateError,
    tg.ChannelPublicGroupNaError,
    tg.ChatAdminRequiredError,
    tg.ChatForbiddenError,
    tg.ChatIdInvalidError,
    tg.ChatRestrictedError,
    tg.FrozenParticipantMissingError,
    tg.PeerIdInvalidError,
    tg.UserBannedInChannelError,
    tg.UserNotParticipantError,
)

T = TypeVar("T")

#: A channel or supergroup; or a chat with the bot, by the marked id of the user or small group.
_Chat: TypeAlias = types.InputChannel | int


class NotHere(AccountRefused):
    """This account cannot see the chat; another might."""


class NotThere(Permanent):
    """The account sees the chat but not the message: it was deleted, never existed, or is hidden from this
    account."""


class Withheld(NotThere):
    """The account sees the message but not its files. `rest` are the files that it does see in a range."""

    def __init__(self, text: str | Text, rest: Sequence[Media] = (), **fields: Field) -> None:
        super().__init__(text, **fields)
        self.rest = list(rest)


class MessageReader:
    """Reads messages with one account."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._dialogs_lock = asyncio.Lock()
        self._dialogs_read = -_DIALOGS_SECONDS

    async def resolve(self, link: MessageLink, username: str = "") -> list[Media]:
        """The files of a link; those of an album in order. If the link names the chat by id, `username` is
        another way to find it.

        Raises `NotHere`, `NotThere`, `Withheld`, `Permanent` (the message has no file) and Telethon's errors.
        """
        name = link.chat if isinstance(link.chat, str) else ""
        return await self.retry_without_cache(lambda: self._resolve(link, username), name)

    async def _resolve(self, link: MessageLink, username: str) -> list[Media]:
        if link.last is not None:
            return await self._range(link, link.last, username)
        chat, number = await self._locate(link, username)
        nearby = [number] if link.single else album_candidates(number, in_bot_chat=isinstance(chat, int))
        messages, reply = await self._fetch(chat, nearby)
        _check_name(link, chat, reply)
        message = _existing(messages, number)
        album = [m for m in messages.values() if m.id == number or _same_album(m, message)]
        media = await self.files(sorted(album, key=lambda m: m.id), reply, previews=True)
        if not media:
            raise Permanent(_reason_for_no_file(message))
        return media

    async def _locate(self, link: MessageLink, username: str) -> tuple[_Chat, int]:
        """The chat of a link, and the id of the message in it."""
        if link.bot_chat_id:
            return link.bot_chat_id, link.message
        chat = await self._chat(link.chat, username)
        if link.comment is not None:
            return await self._discussion(link, chat), link.comment
        return chat, link.message

    async def _range(self, link: MessageLink, last: int, username: str) -> list[Media]:
        """The files of a range of messages, only those of one topic if the link names it."""
        chat, topic = await self._chat(link.chat, username), link.topic or link.thread
        media: list[Media] = []
        withheld: Text | None = None
        for first in range(link.message, last + 1, _BATCH):
            messages, reply = await self._fetch(chat, list(range(first, min(first + _BATCH, last + 1))))
            _check_name(link, chat, reply)
            selected = (m for _, m in sorted(messages.items()) if topic is None or _is_in_topic(m, topic))
            try:
                media += await self.files(list(selected), reply)
            except Withheld as error:
                media += error.rest
                withheld = withheld or error.text
        if withheld:
            raise Withheld(withheld, media)
        if not media:
            raise Permanent(
                "None of the messages {first} to {last} has a file.", first=link.message, last=last
            )
        return media

    async def files(self, messages: Iterable[Any], reply: Any, *, previews: bool = False) -> list[Media]:
        """The files in messages, which came with `reply`. If the files of a message are withheld, raises
        `Withheld` with the files of the others."""
        names, media = public_names(reply), list[Media]()
        withheld: Text | None = None
        for message in messages:
            try:
                await self._complete(message)
            except Withheld as error:
                withheld = withheld or error.text
            else:
                media += files_in(message, self._client.name, names, previews=previews)
        if any(each.is_web for each in media):
            dc_id = (await self._client.config()).webfile_dc_id
            media = [replace(each, dc_id=dc_id) if each.is_web else each for each in media]
        if withheld:
            raise Withheld(withheld, media)
        return media

    async def _complete(self, message: Any) -> None:
        """Fetch the parts of a message that Telegram did not send with it. Raises `Withheld`."""
        if cost := price(message):
            raise Withheld(
                "The media of message {message} costs {price} and has not been bought. Buy it in Telegram "
                "with a user account that is logged in here, and send the link again.",
                message=message.id,
                price=cost,
            )
        if story := story_without_content(message):
            self._require_user(message, "The message quotes a story")
            story.story = await self._client.retry_with_new_hash(lambda: self._story(message, story))
        if product_picture(message):
            self._require_user(message, "The message is an invoice with a picture of the product")

    def _require_user(self, message: Any, subject: str) -> None:
        """Raise `Withheld` if the account is a bot, which may not fetch this."""
        if not self._client.is_bot:
            return
        text = Text(
            "{subject}, which no bot can read. Log in a user: /login in the bot, or {command}",
            {"subject": Text(subject), "command": advice.command("login --phone")},
        )
        if not isinstance(message.peer_id, types.PeerChannel):  # users cannot see messages to the bot
            text = Text("{advice}. Then send the link of the original message", {"advice": text})
        raise Withheld(text)

    async def _story(self, message: Any, quoted: types.MessageMediaStory) -> Any:
        """The story that a message quotes; None if it has expired."""
        peer = await self._peer_in(message, quoted.peer)
        try:
            reply = await self._client.call(functions.stories.GetStoriesByIDRequest(peer, [quoted.id]))
        except tg.RPCError as error:
            if kind_of(type(error)) is not ErrorKind.FAIL:
                raise
            raise Withheld(
                "This account cannot see the story that the message quotes: {reason}.", reason=describe(error)
            ) from error
        return next((each for each in reply.stories if each.id == quoted.id), None)

    async def _peer_in(self, message: Any, peer: Any) -> Any:
        """A user or channel that a message mentions. Without an access hash it is identified by the message
        (https://core.telegram.org/api/min)."""
        marked = utils.get_peer_id(peer)
        number, access_hash = utils.resolve_id(marked)[0], await self._client.session.access_hash(marked)
        if access_hash is not None:
            return (types.InputPeerUser if marked > 0 else types.InputPeerChannel)(number, access_hash)
        chat = await self._chat(utils.get_peer_id(message.peer_id))
        input_chat = types.InputPeerChannel(chat.channel_id, chat.access_hash)
        by_message = types.InputPeerUserFromMessage if marked > 0 else types.InputPeerChannelFromMessage
        return by_message(input_chat, message.id, number)

    async def retry_without_cache(self, work: Callable[[], Awaitable[T]], name: str = "") -> T:
        """The result of `work`. Access hashes, and the chat that the username `name` leads to, are cached and
        may be outdated: if `work` fails because of that, the entry is dropped and `work` runs once more."""
        try:
            return await work()
        except NotHere as error:
            if not refused_peer(error) and not (name and await self._client.session.forget_name(name)):
                raise
        return await work()

    @property
    def account(self) -> str:
        """Name of the account that reads."""
        return self._client.name

    async def chat(self, text: str, username: str = "") -> types.InputChannel:
        """A channel or group by its current @name, or by its id as -100…, for which `username` is another way
        to find it."""
        if text.startswith("-"):
            return await self._chat(int(text), username)
        name = text.removeprefix("@")
        return await self.retry_without_cache(lambda: self._confirmed(name), name)

    async def _confirmed(self, name: str) -> types.InputChannel:
        chat = await self._by_username(name)
        _check_chat(name, chat, await self.call(functions.channels.GetChannelsRequest([chat])))
        return chat

    async def find(self, source: Mapping[str, Any]) -> Media:
        """The file of `Media.source`, read again. Raises as `resolve` does, and `Permanent` if the message
        has another file now."""
        return await self.retry_without_cache(lambda: self._find(source))

    async def _find(self, source: Mapping[str, Any]) -> Media:
        chat = await self._marked(source["chat"], source.get("chat_username", ""))
        messages, reply = await self._fetch(chat, [source["message"]])
        found = await self.files([_existing(messages, source["message"])], reply, previews=True)
        for media in found:
            if (media.document_id, media.kind) == (source["document"], source["kind"]):
                return media
        raise Permanent("The message was edited and has another file now. Send the link again.")

    async def read(self, chat: int, numbers: Sequence[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        """The existing messages of a chat, by id; and the users and chats that came with them, by marked id.
        `chat` is a marked id. Raises `NotHere` and Telethon's errors."""
        return await self.retry_without_cache(lambda: self._read(chat, numbers))

    async def _read(self, chat: int, numbers: Sequence[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        peer = await self._marked(chat)
        messages: dict[int, Any] = {}
        known: dict[int, Any] = {}
        for first in range(0, len(numbers), _BATCH):
            found, reply = await self._fetch(peer, numbers[first : first + _BATCH])
            messages |= found
            known |= peers_in(reply)
        return messages, known

    async def _marked(self, chat: int, username: str = "") -> _Chat:
        if utils.resolve_id(chat)[1] is types.PeerChannel:
            return await self._chat(chat, username)
        return chat

    async def _fetch(self, chat: _Chat, numbers: Sequence[int]) -> tuple[dict[int, Any], Any]:
        """Messages by id, and the reply that contained them."""
        ids = [types.InputMessageID(n) for n in numbers]
        if not isinstance(chat, int):
            reply = await self.call(functions.channels.GetMessagesRequest(chat, ids))
            return {m.id: m for m in reply.messages if not isinstance(m, types.MessageEmpty)}, reply
        if not self._client.is_bot:
            raise NotHere("Only the bot can read messages that were sent to it.")
        reply = await self.call(functions.messages.GetMessagesRequest(ids))
        existing = [m for m in reply.messages if not isinstance(m, types.MessageEmpty)]
        return {m.id: m for m in existing if utils.get_peer_id(m.peer_id) == chat}, reply

    async def _discussion(self, link: MessageLink, channel: types.InputChannel) -> types.InputChannel:
        """The discussion group of a channel."""
        full = await self.call(functions.channels.GetFullChannelRequest(channel))
        if isinstance(link.chat, str):
            _check_chat(link.chat, channel, full)
        group = full.full_chat.linked_chat_id
        if not group:
            raise Permanent("This channel has no comments; check the link.")
        return await self._chat(group)

    async def _chat(self, chat: str | int, username: str = "") -> types.InputChannel:
        """A chat by username, plain channel id or marked id; for an id, `username` is another way to find
        it."""
        if isinstance(chat, str):
            return await self._by_username(chat)
        number = chat if chat > 0 else utils.resolve_id(chat)[0]
        marked = utils.get_peer_id(types.PeerChannel(number))
        access_hash = await self._client.session.access_hash(marked)
        moved: Text | None = None
        if access_hash is None and username:
            try:
                return await self.retry_without_cache(lambda: self._same(number, username), username)
            except Permanent as error:  # the username was dropped, or belongs to another chat now
                moved = error.text
        if access_hash is None and not self._client.is_bot:
            access_hash = await self._from_dialogs(marked, moved)
        # A bot needs no access hash for a chat that it is a member of.
        return types.InputChannel(number, access_hash or 0)

    async def _same(self, number: int, username: str) -> types.InputChannel:
        """The chat with the username, if its id is `number`; otherwise raises `NotHere`."""
        chat = await self._by_username(username)
        if chat.channel_id != number:
            raise NotHere("@{username} belongs to another chat now", username=username)
        return chat

    async def _by_username(self, username: str) -> types.InputChannel:
        marked = await self._client.session.chat_of(username)
        access_hash = None if marked is None else await self._client.session.access_hash(marked)
        if marked is None or access_hash is None:
            marked = await self._resolve_username(username)
            access_hash = await self._client.session.access_hash(marked)
        return types.InputChannel(utils.resolve_id(marked)[0], access_hash or 0)

    async def _resolve_username(self, username: str) -> int:
        request = functions.contacts.ResolveUsernameRequest(username)
        try:
            reply = await self._client.call(request)
        except (tg.UsernameNotOccupiedError, tg.UsernameInvalidError) as error:
            raise Permanent("@{username}: {reason}.", username=username, reason=describe(error)) from error
        if not isinstance(reply.peer, types.PeerChannel):
            raise Permanent(
                "@{username} is a person or a bot, not a channel or group; check the link.", username=username
            )
        marked: int = utils.get_peer_id(reply.peer)
        await self._client.session.remember_name(username, marked)
        return marked

    async def _from_dialogs(self, marked: int, fallback_reason: Text | None) -> int:
        """The access hash of a chat that the user is a member of; Telegram sends it only with the list of
        dialogs. Raises `NotHere`, with `fallback_reason` if there is one."""
        async with self._dialogs_lock:
            if time.monotonic() - self._dialogs_read > _DIALOGS_SECONDS:
                await self._read_dialogs()
                self._dialogs_read = time.monotonic()
            access_hash = await self._client.session.access_hash(marked)
        if access_hash is None:
            raise NotHere(fallback_reason or Text("it is not a member of the chat"))
        return access_hash

    async def _read_dialogs(self) -> None:
        """Read all dialogs; the session stores the access hashes in the replies."""
        page = functions.messages.GetDialogsRequest(None, 0, types.InputPeerEmpty(), _DIALOGS_PAGE, 0)
        while page is not None:
            page = _next_page(await self._client.call(page))

    async def call(self, request: Any) -> Any:
        """The reply to one request. Raises `NotHere` if this account cannot see the chat concerned."""
        try:
            return await self._client.call(request)
        except _CLOSED as error:
            raise NotHere(describe(error)) from error


def album_candidates(number: int, *, in_bot_chat: bool) -> list[int]:
    """The ids that the other messages of an album may have."""
    distance = _ALBUM_IN_BOT_CHATS if in_bot_chat else _ALBUM
    return [each for each in range(number - distance + 1, number + distance) if each > 0]


def _next_page(reply: Any) -> functions.messages.GetDialogsRequest | None:
    """The request for the next page of dialogs: Telegram pages by date, id and chat of the last dialog's
    message."""
    if not isinstance(reply, types.messages.DialogsSlice) or not reply.dialogs:
        return None
    last = reply.dialogs[-1]
    where = utils.get_peer_id(last.peer)
    messages = {(utils.get_peer_id(m.peer_id), m.id): m for m in reply.messages}
    chats = {utils.get_peer_id(each): each for each in (*reply.chats, *reply.users)}
    message, chat = messages.get((where, last.top_message)), chats.get(where)
    if message is None or chat is None:
        return None
    peer = utils.get_input_peer(chat, check_hash=False)
    return functions.messages.GetDialogsRequest(message.date, message.id, peer, _DIALOGS_PAGE, 0)


def _existing(messages: Mapping[int, Any], number: int) -> Any:
    if number not in messages:
        raise NotThere(
            "Message {message} does not exist: it was deleted, or the link is wrong.", message=number
        )
    return messages[number]


def _same_album(one: Any, other: Any) -> bool:
    grouped_id = getattr(one, "grouped_id", None)
    return grouped_id is not None and grouped_id == getattr(other, "grouped_id", None)


def _is_in_topic(message: Any, topic: int) -> bool:
    """Whether a message belongs to a topic or to a thread of replies, or has opened it. The first topic of a
    forum has the id 1, and its messages are not marked (https://core.telegram.org/api/forum)."""
    reply = getattr(message, "reply_to", None)
    thread = getattr(reply, "reply_to_top_id", None) or getattr(reply, "reply_to_msg_id", None)
    if topic == 1 and not getattr(reply, "forum_topic", None):
        return True
    return topic in (thread, message.id)


def _check_name(link: MessageLink, chat: _Chat, reply: Any) -> None:
    """Raise `NotHere` if the chat of a link no longer has the username in the link. Links to comments are not
    checked, because the discussion group has another username."""
    if isinstance(link.chat, str) and not isinstance(chat, int) and link.comment is None:
        _check_chat(link.chat, chat, reply)


def _check_chat(name: str, chat: types.InputChannel, reply: Any) -> None:
    found = next((each for each in reply.chats if each.id == chat.channel_id), None)
    if name.lower() not in _all_names(found):
        raise NotHere("@{username} belongs to another chat now", username=name)


def _all_names(chat: Any) -> set[str]:
    """Every active username of a chat, in lower case."""
    several: Iterable[Any] = getattr(chat, "usernames", None) or ()
    active = {each.username.lower() for each in several if each.active}
    return active | {(getattr(chat, "username", None) or "").lower()}


def _reason_for_no_file(message: Any) -> Text:
    """The reason why there is nothing to download in a message."""
    media = getattr(message, "media", None)
    if isinstance(media, types.MessageMediaPhoto | types.MessageMediaDocument):
        return Text("The message's file has expired; Telegram does not have it any more.")
    if isinstance(media, types.MessageMediaStory):
        return Text("The story that the message quotes has expired, or this account may not see it.")
    if isinstance(media, types.MessageMediaInvoice) and media.photo:
        return Text(
            "The picture of the product is not stored at Telegram. Send its link to save it: {url}",
            {"url": media.photo.url},
        )
    return Text("The message has no file: only photos, videos, documents and similar media can be saved.")
