"""Resolves message links to files, as one account sees them. Messages are only read by id, never searched or
listed, so bots can do all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from telethon import errors as tg
from telethon import utils
from telethon.tl import functions, types

from saveany import advice
from saveany.errors import Permanent
from saveany.telegram import links
from saveany.telegram.chats import ChatFinder, ChatNotVisible, check_username
from saveany.telegram.client import MtprotoClient
from saveany.telegram.comments import load_comment
from saveany.telegram.errors import ErrorKind, describe, kind_of
from saveany.telegram.instant_views import InstantViews, page_in_part
from saveany.telegram.links import MAX_MESSAGE_ID, MessageLink
from saveany.telegram.media import (
    EXTRAS,
    OF_ONE_MESSAGE,
    Media,
    files_in,
    is_partial,
    price,
    product_picture,
    story_without_content,
)
from saveany.telegram.message_loader import BATCH, IN_FLIGHT, LoadedMessages, MessageLoader
from saveany.telegram.peers import peers_in, protected_chats, public_names
from saveany.telegram.profile_photos import PHOTOS_BELOW, check_photo_reader, load_profile_photo
from saveany.telegram.reasons import FILE_EXPIRED, FILES_LOCKED, MESSAGE_GONE, PHOTO_GONE, STORY_EXPIRED
from saveany.telegram.stories import check_reader, load_stories, owner_of
from saveany.texts import Field, Text

#: Maximum number of files in an album; their message ids are close together.
_ALBUM = 10
#: Maximum distance of message ids in an album in chats with the bot, where all chats share one sequence of
#: ids.
_ALBUM_IN_BOT_CHATS = 50
#: The extra files that come with a message.
_OF_MESSAGE = tuple(each for each in EXTRAS if each != "instant_view")
#: A channel or supergroup; or another chat of the account, by the marked id of the user or small group.
_Chat: TypeAlias = types.InputChannel | int


class MessageNotFound(Permanent):
    """The account sees the chat but not the message: it was deleted, never existed, or is hidden from this
    account."""


class FilesWithheld(MessageNotFound):
    """The account sees the message but not its files. `rest` are the files that it does see in a range."""

    def __init__(self, text: str | Text, rest: Sequence[Media] = (), **fields: Field) -> None:
        super().__init__(text, **fields)
        self.rest = list(rest)


class FilesLocked(FilesWithheld):
    """The files of the message must be paid for."""


class MessageReader:
    """Reads messages with one account."""

    def __init__(self, client: MtprotoClient) -> None:
        self._client = client
        self.chats = ChatFinder(client)  # the chats that this account sees
        self._messages = MessageLoader(self._request, _loader_key)
        self._views = InstantViews(client)

    async def resolve(
        self,
        link: MessageLink,
        username: str = "",
        *,
        own: bool = False,
        extras: Collection[str] | None = None,
    ) -> list[Media]:
        """The files of a link; those of an album in order. If the link names the chat by id, `username` is
        another way to find it. With `own`, a private chat is one of this account, not one with the bot.
        `extras` are the `media.Extra` files that are wanted, too; by default the preview of a single message.

        Raises `ChatNotVisible`, `MessageNotFound`, `FilesWithheld`, `Permanent` (the message has no file)
        and Telethon's errors."""
        name = link.chat if isinstance(link.chat, str) else ""
        return await self.chats.retry_without_cache(lambda: self._resolve(link, username, own, extras), name)

    async def _resolve(
        self, link: MessageLink, username: str, own: bool, extras: Collection[str] | None
    ) -> list[Media]:
        if link.last is not None:
            return await self._range(link, link.last, username, extras or ())
        if link.photo:
            marked = link.bot_chat_id or await owner_of(self.chats, link.chat, username)
            loaded = await self._profile_photo(marked, -link.message)
            return await self.files([loaded.messages[-link.message]], loaded)
        if link.story:
            check_reader(self._client.is_bot)
            owner = await owner_of(self.chats, link.chat, username)
            return await _story_files(self, owner, -link.message)
        chat, number = await self._locate(link, username, own=own)
        nearby = [] if link.single else album_candidates(number, in_bot_chat=isinstance(chat, int))
        comment_on = None
        try:
            loaded = await self._load(chat, [number], nearby)
        except ChatNotVisible:
            if link.comment is None or self._client.is_bot:
                raise
            channel = await self.chats.find(link.chat, username)
            loaded = await load_comment(self.chats, channel, link.message, number)
            comment_on, nearby = (links.marked_id(channel.channel_id), link.message), []
        _check_name(link, chat, loaded)
        message = _existing(loaded.messages, number)
        album = [message]
        if nearby and getattr(message, "grouped_id", None) is not None:
            if missing := [each for each in nearby if each not in loaded.requested]:
                loaded |= await self._load(chat, missing)
            found = (loaded.messages.get(each) for each in nearby)
            album = [each for each in found if each is message or _same_album(each, message)]
        wanted = OF_ONE_MESSAGE if extras is None else extras
        media = await self.files(album, loaded, extras=wanted)
        if not media:
            raise Permanent(_reason_for_no_file(message))
        return [replace(each, comment_on=comment_on) for each in media] if comment_on else media

    async def _locate(self, link: MessageLink, username: str, *, own: bool) -> tuple[_Chat, int]:
        """The chat of a link, and the id of the message in it."""
        if link.bot_chat_id:
            if not own:
                self._check_numbers()
            return link.bot_chat_id, link.message
        chat = await self.chats.find(link.chat, username)
        if link.comment is not None:
            username = link.chat if isinstance(link.chat, str) else ""
            return await self.chats.discussion(chat, username), link.comment
        return chat, link.message

    async def _range(
        self, link: MessageLink, last: int, username: str, extras: Collection[str]
    ) -> list[Media]:
        """The files of a range of messages, only those of one topic if the link names it."""
        chat, topic = await self.chats.find(link.chat, username), link.topic or link.thread
        media: list[Media] = []
        withheld: Text | None = None
        async for numbers, loaded in self._load_range(chat, range(link.message, last + 1)):
            _check_name(link, chat, loaded)
            existing = [loaded.messages[each] for each in numbers if each in loaded.messages]
            selected = [m for m in existing if topic is None or _is_in_topic(m, topic)]
            try:
                media += await self.files(selected, loaded, extras=extras)
            except FilesWithheld as error:
                media += error.rest
                withheld = withheld or error.text
        if withheld:
            raise FilesWithheld(withheld, media)
        if not media:
            raise Permanent(
                "None of the messages {first} to {last} has a file.", first=link.message, last=last
            )
        return media

    async def files(
        self, messages: Iterable[Any], reply: Any, *, extras: Collection[str] = ()
    ) -> list[Media]:
        """The files in messages, which came with `reply`. If the files of a message are withheld, raises
        `FilesWithheld` with the files of the others."""
        found = await self.files_of_each(messages, reply, extras=extras)
        media = [each for files in found if isinstance(files, list) for each in files]
        for withheld in found:
            if isinstance(withheld, FilesWithheld):
                raise FilesWithheld(withheld.text, media)
        return media

    async def files_of_each(
        self, messages: Iterable[Any], reply: Any, *, extras: Collection[str] = ()
    ) -> list[list[Media] | FilesWithheld]:
        """The files in each of the messages, which came with `reply`, or why they are withheld."""
        names, found = public_names(reply), list[list[Media] | FilesWithheld]()
        protected = protected_chats(reply)
        for message in messages:
            try:
                await self._complete(message, extras)
            except FilesWithheld as error:
                found.append(error)
            else:
                media = files_in(message, self._client.name, names, extras=extras)
                if any(each.is_web for each in media):
                    dc_id = (await self._client.data_centers.config()).webfile_dc_id
                    media = [replace(each, dc_id=dc_id) if each.is_web else each for each in media]
                if protected:
                    media = [
                        replace(each, is_protected=each.is_protected or each.chat_id in protected)
                        for each in media
                    ]
                found.append(media)
        return found

    async def _complete(self, message: Any, extras: Collection[str]) -> None:
        """Fetch the parts of a message that Telegram did not send with it, of the extra files only these.
        Raises `FilesWithheld`."""
        if cost := price(message):
            raise FilesLocked(FILES_LOCKED, message=message.id, price=cost)
        if story := story_without_content(message):
            self._require_user(message, Text("The message quotes a story"))
            story.story = await self._client.retry_with_new_hash(lambda: self._story(message, story))
        if is_partial(message):
            message.rich_message = await self._rich_text(message)
        if "instant_view" in extras and (page := page_in_part(message)):
            self._require_user(message, Text("The message links to a page with a long instant view"))
            page.cached_page = await self._views.whole(page)
        if product_picture(message):
            self._require_user(message, Text("The message is an invoice with a picture of the product"))

    async def _rich_text(self, message: Any) -> Any:
        """The whole rich text of a message; its beginning if the account may not request the rest."""
        peer = await self.chats.input_peer(utils.get_peer_id(message.peer_id))
        try:
            reply = await self._client.call(functions.messages.GetRichMessageRequest(peer, message.id))
        except tg.RPCError as error:
            if kind_of(type(error)) is not ErrorKind.FAIL:
                raise
            return message.rich_message
        found = next((each for each in reply.messages if each.id == message.id), message)
        return found.rich_message or message.rich_message

    def _require_user(self, message: Any, subject: Text) -> None:
        """Raise `FilesWithheld` if the account is a bot, which may not fetch this."""
        if not self._client.is_bot:
            return
        text = Text(
            "{subject}, which no bot can read. Log in a user: /login in the bot, or {command}",
            {"subject": subject, "command": advice.command("login --phone")},
        )
        if not isinstance(message.peer_id, types.PeerChannel):  # users cannot see messages to the bot
            text = Text("{advice}. Then send the link of the original message", {"advice": text})
        raise FilesWithheld(text)

    async def _story(self, message: Any, quoted: types.MessageMediaStory) -> Any:
        """The story that a message quotes; None if it has expired."""
        peer = await self.chats.mentioned(message, quoted.peer)
        try:
            reply = await self._client.call(functions.stories.GetStoriesByIDRequest(peer, [quoted.id]))
        except tg.RPCError as error:
            if kind_of(type(error)) is not ErrorKind.FAIL:
                raise
            raise FilesWithheld(
                "This account cannot see the story that the message quotes: {reason}.", reason=describe(error)
            ) from error
        return next((each for each in reply.stories if each.id == quoted.id), None)

    @property
    def account(self) -> str:
        """Name of the account that reads."""
        return self._client.name

    async def find(self, source: Mapping[str, Any]) -> Media:
        """The file of `Media.source`, read again. Raises as `resolve` does, and `Permanent` if the message
        has another file now."""
        return await self.chats.retry_without_cache(lambda: self._find(source))

    async def _find(self, source: Mapping[str, Any]) -> Media:
        only = source.get("only", ())
        comment_on = source.get("comment_on")
        if source["message"] < PHOTOS_BELOW:
            loaded = await self._profile_photo(source["chat"], source["message"])
        elif source["message"] < 0:
            check_reader(self._client.is_bot)
            loaded = await load_stories(self.chats, source["chat"], [-source["message"]])
        elif comment_on and not self._client.is_bot:
            channel = await self.chats.find(comment_on[0])
            loaded = await load_comment(self.chats, channel, comment_on[1], source["message"])
        else:
            chat = await self._marked(source["chat"], source.get("chat_username", ""), only)
            loaded = await self._load(chat, [source["message"]])
        message = _existing(loaded.messages, source["message"])
        if page := page_in_part(message):
            self._views.forget(page)
        for extras in (_OF_MESSAGE, EXTRAS):  # the rest of an instant view takes a request
            for media in await self.files([message], loaded, extras=extras):
                if (media.document_id, media.kind) == (source["document"], source["kind"]):
                    return replace(media, comment_on=tuple(comment_on)) if comment_on else media
        raise Permanent("The message was edited and has another file now. Send the link again.")

    async def _profile_photo(self, owner: int, number: int) -> LoadedMessages:
        """The profile photo that is shown as the message `number`. Raises `MessageNotFound`."""
        check_photo_reader(self._client.is_bot)
        loaded = await load_profile_photo(self.chats, owner, -number)
        if number not in loaded.messages:
            raise MessageNotFound(PHOTO_GONE)
        return loaded

    async def read(self, chat: int, numbers: Sequence[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        """The existing messages of a chat, by id; and the users and chats that came with them, by marked id.
        `chat` is a marked id. Raises `ChatNotVisible` and Telethon's errors."""
        return await self.chats.retry_without_cache(lambda: self._read(chat, numbers))

    async def _read(self, chat: int, numbers: Sequence[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        peer = await self._marked(chat)
        messages: dict[int, Any] = {}
        known: dict[int, Any] = {}
        for batch in _batches(numbers):
            loaded = await self._load(peer, batch)
            messages |= {each: loaded.messages[each] for each in batch if each in loaded.messages}
            known |= peers_in(loaded)
        return messages, known

    async def _marked(self, chat: int, username: str = "", only: Sequence[str] = ()) -> _Chat:
        if utils.resolve_id(chat)[1] is types.PeerChannel:
            return await self.chats.find(chat, username)
        self._check_numbers(only)
        return chat

    def _check_numbers(self, only: Sequence[str] = ()) -> None:
        """Raise `ChatNotVisible` unless the number of a message outside of channels is that of this account:
        each account has numbers of its own. Users have those of messages that they have sent themselves."""
        if not self._client.is_bot and list(only) != [self.account]:
            raise ChatNotVisible("Only the bot can read messages that were sent to it.")

    async def _load(self, chat: _Chat, numbers: Sequence[int], extra: Sequence[int] = ()) -> LoadedMessages:
        """Messages of a chat; `extra` as in `MessageLoader.load`."""
        loaded = await self._messages.load(chat, numbers, extra)
        if not isinstance(chat, int):
            return loaded
        own = {number: m for number, m in loaded.messages.items() if utils.get_peer_id(m.peer_id) == chat}
        return replace(loaded, messages=own)

    async def _load_range(
        self, chat: _Chat, numbers: range
    ) -> AsyncIterator[tuple[Sequence[int], LoadedMessages]]:
        """The messages of a range, batch by batch; several are loaded at the same time."""
        batches = list(_batches(numbers))
        for first in range(0, len(batches), IN_FLIGHT):
            group = batches[first : first + IN_FLIGHT]
            loaded = await asyncio.gather(*(self._load(chat, batch) for batch in group))
            for each in zip(group, loaded, strict=True):
                yield each

    async def _request(self, chat: _Chat, numbers: Sequence[int]) -> Any:
        ids = [types.InputMessageID(n) for n in numbers]
        if not isinstance(chat, int):
            return await self.chats.call(functions.channels.GetMessagesRequest(chat, ids))
        return await self.chats.call(functions.messages.GetMessagesRequest(ids))


async def _story_files(reader: MessageReader, owner: int, number: int) -> list[Media]:
    loaded = await load_stories(reader.chats, owner, [-number])
    if number not in loaded.messages:
        raise MessageNotFound(STORY_EXPIRED)
    return await reader.files([loaded.messages[number]], loaded)


def _loader_key(chat: _Chat) -> tuple[int, int] | None:
    """Equal for chats whose messages can be requested together: all those that are not channels share their
    ids."""
    return None if isinstance(chat, int) else (chat.channel_id, chat.access_hash)


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH))


def album_candidates(number: int, *, in_bot_chat: bool) -> list[int]:
    """The ids that the other messages of an album may have."""
    distance = _ALBUM_IN_BOT_CHATS if in_bot_chat else _ALBUM
    return list(range(max(1, number - distance + 1), min(MAX_MESSAGE_ID, number + distance - 1) + 1))


def _existing(messages: Mapping[int, Any], number: int) -> Any:
    if number not in messages:
        raise MessageNotFound(MESSAGE_GONE, message=number)
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
    """Raise `ChatNotVisible` if the chat of a link no longer has the username in the link. Links to comments
    are not checked, because the discussion group has another username."""
    if isinstance(link.chat, str) and not isinstance(chat, int) and link.comment is None:
        check_username(link.chat, chat, reply)


def reason_for_expired_file(message: Any) -> Text | None:
    """Why a message that has no file any more has none; None if it never had one."""
    media = getattr(message, "media", None)
    if media is None:
        return None
    if isinstance(media, types.MessageMediaPhoto | types.MessageMediaDocument):
        return Text(FILE_EXPIRED)
    return Text(STORY_EXPIRED) if isinstance(media, types.MessageMediaStory) else None


def _reason_for_no_file(message: Any) -> Text:
    """The reason why there is nothing to download in a message."""
    media = getattr(message, "media", None)
    if expired := reason_for_expired_file(message):
        return expired
    if isinstance(media, types.MessageMediaInvoice) and media.photo:
        return Text(
            "The picture of the product is not stored at Telegram. Send its link to save it: {url}",
            {"url": media.photo.url},
        )
    return Text("The message has no file: only photos, videos, documents and similar media can be saved.")
