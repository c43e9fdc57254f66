"""From a message link to the files it means, as one account sees them. A bot may do all of it: messages are
only ever read by id, never searched or listed."""

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
from saveany.telegram.errors import AccountRefused, ErrorKind, describe, kind
from saveany.telegram.links import MessageLink
from saveany.telegram.media import Media, files_in, price, product_picture, unread_story

#: An album has at most 10 files, with neighbouring message ids.
_ALBUM = 10
#: What is said to the bot has numbers together with all that others say to it at the same time.
_ALBUM_IN_TALKS = 50
#: The most messages that Telegram gives at once.
_BATCH = 100
#: Reading all dialogs is expensive, so a chat that is not among them is not looked for again so soon.
_DIALOGS_SECONDS = 60.0
_DIALOGS_PAGE = 100

#: Answers that mean: this account may not see the chat, another one might. Other refusals are about the
#: account, whatever it asks for (see `AccountRefused`).
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

#: A channel or supergroup; or a talk of the bot, by the marked id of the other side.
_Chat: TypeAlias = types.InputChannel | int


class NotHere(AccountRefused):
    """This account cannot see the chat; another might."""


class NotThere(Permanent):
    """The account sees the chat but no such message: deleted, never written, or hidden from this account."""


class Withheld(NotThere):
    """The account sees the message but not its files, or not those of all messages; `rest` it does see."""

    def __init__(self, message: str, rest: Sequence[Media] = ()) -> None:
        super().__init__(message)
        self.rest = list(rest)


class Reader:
    """Reads messages with one account."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._dialogs_lock = asyncio.Lock()
        self._dialogs_read = -_DIALOGS_SECONDS

    async def resolve(self, link: MessageLink, username: str = "") -> list[Media]:
        """The files of a link, an album's in order. `username` is a second way to a chat that the link names
        by its id.

        Raises `NotHere`, `NotThere`, `Withheld`, `Permanent` (there is nothing to download in the message)
        and Telethon's errors.
        """
        name = link.chat if isinstance(link.chat, str) else ""
        return await self.afresh(lambda: self._resolve(link, username), name)

    async def _resolve(self, link: MessageLink, username: str) -> list[Media]:
        if link.last is not None:
            return await self._range(link, link.last, username)
        chat, number = await self._place(link, username)
        around = [number] if link.single else neighbours(number, in_talk=isinstance(chat, int))
        messages, answer = await self._fetch(chat, around)
        _check_name(link, chat, answer)
        message = _existing(messages, number)
        album = [m for m in messages.values() if m.id == number or _same_album(m, message)]
        media = await self.files(sorted(album, key=lambda m: m.id), answer, previews=True)
        if not media:
            raise Permanent(_why_empty(message))
        return media

    async def _place(self, link: MessageLink, username: str) -> tuple[_Chat, int]:
        """The chat and the number in it."""
        if link.bot_chat_id:
            return link.bot_chat_id, link.message
        chat = await self._chat(link.chat, username)
        if link.comment is not None:
            return await self._discussion(link, chat), link.comment
        return chat, link.message

    async def _range(self, link: MessageLink, last: int, username: str) -> list[Media]:
        """The files of all messages from one to another, those of one topic if the link names it."""
        chat, topic = await self._chat(link.chat, username), link.topic or link.thread
        media: list[Media] = []
        withheld = ""
        for first in range(link.message, last + 1, _BATCH):
            messages, answer = await self._fetch(chat, list(range(first, min(first + _BATCH, last + 1))))
            _check_name(link, chat, answer)
            chosen = (m for _, m in sorted(messages.items()) if topic is None or _is_in_topic(m, topic))
            try:
                media += await self.files(list(chosen), answer)
            except Withheld as error:
                media += error.rest
                withheld = withheld or error.message
        if withheld:
            raise Withheld(withheld, media)
        if not media:
            raise Permanent(f"None of the messages {link.message} to {last} has a file.")
        return media

    async def files(self, messages: Iterable[Any], answer: Any, *, previews: bool = False) -> list[Media]:
        """The files in messages that came with an answer; raises `Withheld` with the others if those of a
        message are withheld."""
        names, media, withheld = public_names(answer), list[Media](), ""
        for message in messages:
            try:
                await self._complete(message)
            except Withheld as error:
                withheld = withheld or error.message
            else:
                media += files_in(message, self._client.name, names, previews=previews)
        if any(each.is_web for each in media):
            center = (await self._client.config()).webfile_dc_id
            media = [replace(each, dc_id=center) if each.is_web else each for each in media]
        if withheld:
            raise Withheld(withheld, media)
        return media

    async def _complete(self, message: Any) -> None:
        """Fetch what belongs to a message and has not come with it."""
        if cost := price(message):
            raise Withheld(
                f"The media of message {message.id} costs {cost} and is not bought. Buy it in Telegram, with "
                "a user account that is logged in here, and send the link again."
            )
        if story := unread_story(message):
            self._check_user(message, "The message quotes a story")
            story.story = await self._client.afresh(lambda: self._story(message, story))
        if product_picture(message):
            self._check_user(message, "The message is an invoice with a picture of the product")

    def _check_user(self, message: Any, what: str) -> None:
        """Raises `Withheld` for a bot, which may not fetch that."""
        if self._client.is_bot:
            text = f"{what}, which no bot can read. Log in a user: /login in the bot, or "
            text += advice.command("login --phone")
            if not isinstance(message.peer_id, types.PeerChannel):  # users do not see what is said to the bot
                text += ". Then send the link of the original message"
            raise Withheld(text)

    async def _story(self, message: Any, quoted: types.MessageMediaStory) -> Any:
        """The story that a message quotes; None if it is over."""
        peer = await self._met_in(message, quoted.peer)
        try:
            answer = await self._client.call(functions.stories.GetStoriesByIDRequest(peer, [quoted.id]))
        except tg.RPCError as error:
            if kind(type(error)) is not ErrorKind.FAIL:
                raise
            why = describe(error)
            raise Withheld(f"This account cannot see the story that the message quotes: {why}.") from error
        return next((each for each in answer.stories if each.id == quoted.id), None)

    async def _met_in(self, message: Any, peer: Any) -> Any:
        """Somebody, or a channel, that a message names. Without an access hash Telegram knows them by the
        message (https://core.telegram.org/api/min)."""
        marked = utils.get_peer_id(peer)
        number, access_hash = utils.resolve_id(marked)[0], await self._client.session.access_hash(marked)
        if access_hash is not None:
            return (types.InputPeerUser if marked > 0 else types.InputPeerChannel)(number, access_hash)
        chat = await self._chat(utils.get_peer_id(message.peer_id))
        place = types.InputPeerChannel(chat.channel_id, chat.access_hash)
        by_message = types.InputPeerUserFromMessage if marked > 0 else types.InputPeerChannelFromMessage
        return by_message(place, message.id, number)

    async def afresh(self, work: Callable[[], Awaitable[T]], name: str = "") -> T:
        """What `work` gives. A chat's access hash, and where the username `name` leads, are remembered and
        may be wrong: if `work` fails then, it is done once more without that memory."""
        try:
            return await work()
        except NotHere as error:
            if not refused_peer(error) and not (name and await self._client.session.forget_name(name)):
                raise
        return await work()

    @property
    def account(self) -> str:
        """Whose eyes it reads with."""
        return self._client.name

    async def chat(self, text: str, username: str = "") -> types.InputChannel:
        """A channel or group by @name, or by its id as -100… (with the username as a second way). The name is
        its name now."""
        if text.startswith("-"):
            return await self._chat(int(text), username)
        name = text.removeprefix("@")
        return await self.afresh(lambda: self._confirmed(name), name)

    async def _confirmed(self, name: str) -> types.InputChannel:
        chat = await self._by_username(name)
        _check_chat(name, chat, await self.ask(functions.channels.GetChannelsRequest([chat])))
        return chat

    async def find(self, source: Mapping[str, Any]) -> Media:
        """Read the message of `Media.source` again. Raises as `resolve` does, and `Permanent` if its file is
        another one now."""
        return await self.afresh(lambda: self._find(source))

    async def _find(self, source: Mapping[str, Any]) -> Media:
        chat = await self._marked(source["chat"], source.get("chat_username", ""))
        messages, answer = await self._fetch(chat, [source["message"]])
        found = await self.files([_existing(messages, source["message"])], answer, previews=True)
        for media in found:
            if (media.document_id, media.kind) == (source["document"], source["kind"]):
                return media
        raise Permanent("The message was edited since: its file is another one now. Send the link again.")

    async def read(self, chat: int, numbers: Sequence[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        """The messages of a chat, named by its marked id, that are there; and who and what goes with them, by
        marked id. Raises `NotHere` and Telethon's errors."""
        return await self.afresh(lambda: self._read(chat, numbers))

    async def _read(self, chat: int, numbers: Sequence[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        place = await self._marked(chat)
        messages: dict[int, Any] = {}
        known: dict[int, Any] = {}
        for first in range(0, len(numbers), _BATCH):
            found, answer = await self._fetch(place, numbers[first : first + _BATCH])
            messages |= found
            known |= around(answer)
        return messages, known

    async def _marked(self, chat: int, username: str = "") -> _Chat:
        if utils.resolve_id(chat)[1] is types.PeerChannel:
            return await self._chat(chat, username)
        return chat

    async def _fetch(self, chat: _Chat, numbers: Sequence[int]) -> tuple[dict[int, Any], Any]:
        """Messages by id, and the answer they came with."""
        ids = [types.InputMessageID(n) for n in numbers]
        if not isinstance(chat, int):
            answer = await self.ask(functions.channels.GetMessagesRequest(chat, ids))
            return {m.id: m for m in answer.messages if not isinstance(m, types.MessageEmpty)}, answer
        if not self._client.is_bot:
            raise NotHere("only the bot can read what was said to it")
        answer = await self.ask(functions.messages.GetMessagesRequest(ids))
        there = [m for m in answer.messages if not isinstance(m, types.MessageEmpty)]
        return {m.id: m for m in there if utils.get_peer_id(m.peer_id) == chat}, answer

    async def _discussion(self, link: MessageLink, channel: types.InputChannel) -> types.InputChannel:
        """The group in which posts of a channel are commented."""
        full = await self.ask(functions.channels.GetFullChannelRequest(channel))
        if isinstance(link.chat, str):
            _check_chat(link.chat, channel, full)
        group = full.full_chat.linked_chat_id
        if not group:
            raise Permanent("This channel has no comments; check the link.")
        return await self._chat(group)

    async def _chat(self, chat: str | int, username: str = "") -> types.InputChannel:
        """Find a chat by username, plain channel id or marked id (with the username as a second way)."""
        if isinstance(chat, str):
            return await self._by_username(chat)
        number = chat if chat > 0 else utils.resolve_id(chat)[0]
        marked = utils.get_peer_id(types.PeerChannel(number))
        access_hash = await self._client.session.access_hash(marked)
        moved = ""
        if access_hash is None and username:
            try:
                return await self.afresh(lambda: self._same(number, username), username)
            except Permanent as error:  # nobody has the name any more, or somebody else
                moved = error.message
        if access_hash is None and not self._client.is_bot:
            access_hash = await self._from_dialogs(marked, moved)
        # A bot is known by its membership and needs no hash.
        return types.InputChannel(number, access_hash or 0)

    async def _same(self, number: int, username: str) -> types.InputChannel:
        """The chat with an id, by its username."""
        chat = await self._by_username(username)
        if chat.channel_id != number:
            raise NotHere(f"@{username} is another chat now")
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
            answer = await self._client.call(request)
        except (tg.UsernameNotOccupiedError, tg.UsernameInvalidError) as error:
            raise Permanent(f"@{username}: {describe(error)}.") from error
        if not isinstance(answer.peer, types.PeerChannel):
            raise Permanent(f"@{username} is a person or a bot, not a channel or group; check the link.")
        marked: int = utils.get_peer_id(answer.peer)
        await self._client.session.remember_name(username, marked)
        return marked

    async def _from_dialogs(self, marked: int, otherwise: str) -> int:
        """The access hash of a chat the user is in; Telegram tells it only with the list of dialogs. If
        it is not there, `otherwise` may say better what is wrong."""
        async with self._dialogs_lock:
            if time.monotonic() - self._dialogs_read > _DIALOGS_SECONDS:
                await self._read_dialogs()
                self._dialogs_read = time.monotonic()
            access_hash = await self._client.session.access_hash(marked)
        if access_hash is None:
            raise NotHere(otherwise or "it is not a member of the chat")
        return access_hash

    async def _read_dialogs(self) -> None:
        """Page through all dialogs; the session learns the access hashes from the answers."""
        page = functions.messages.GetDialogsRequest(None, 0, types.InputPeerEmpty(), _DIALOGS_PAGE, 0)
        while page is not None:
            page = _next_page(await self._client.call(page))

    async def ask(self, request: Any) -> Any:
        """The answer to one request; `NotHere` if this account may not see what it is about."""
        try:
            return await self._client.call(request)
        except _CLOSED as error:
            raise NotHere(describe(error)) from error


def neighbours(number: int, *, in_talk: bool) -> list[int]:
    """Where the other messages of an album may be."""
    most = _ALBUM_IN_TALKS if in_talk else _ALBUM
    return [each for each in range(number - most + 1, number + most) if each > 0]


def around(answer: Any) -> dict[int, Any]:
    """The people and chats that came with an answer or an update, by marked id."""
    named = (*(getattr(answer, "users", None) or ()), *(getattr(answer, "chats", None) or ()))
    return {utils.get_peer_id(each): each for each in named}


def public_names(answer: Any) -> dict[int, str]:
    """The usernames of those that came with an answer, by marked id."""
    return {marked: public_name(each) for marked, each in around(answer).items()}


def _next_page(answer: Any) -> functions.messages.GetDialogsRequest | None:
    """What follows a page of dialogs: Telegram pages by date, id and chat of the last dialog's message."""
    if not isinstance(answer, types.messages.DialogsSlice) or not answer.dialogs:
        return None
    last = answer.dialogs[-1]
    where = utils.get_peer_id(last.peer)
    messages = {(utils.get_peer_id(m.peer_id), m.id): m for m in answer.messages}
    chats = {utils.get_peer_id(each): each for each in (*answer.chats, *answer.users)}
    message, chat = messages.get((where, last.top_message)), chats.get(where)
    if message is None or chat is None:
        return None
    peer = utils.get_input_peer(chat, check_hash=False)
    return functions.messages.GetDialogsRequest(message.date, message.id, peer, _DIALOGS_PAGE, 0)


def _existing(messages: Mapping[int, Any], number: int) -> Any:
    if number not in messages:
        raise NotThere(f"Message {number} does not exist: it was deleted, or the link is wrong.")
    return messages[number]


def _same_album(one: Any, other: Any) -> bool:
    grouped_id = getattr(one, "grouped_id", None)
    return grouped_id is not None and grouped_id == getattr(other, "grouped_id", None)


def _is_in_topic(message: Any, topic: int) -> bool:
    """Whether a message is of a topic or of a thread of replies, or has opened it. The first topic of a forum
    has the number 1, and its messages carry no mark (https://core.telegram.org/api/forum)."""
    reply = getattr(message, "reply_to", None)
    thread = getattr(reply, "reply_to_top_id", None) or getattr(reply, "reply_to_msg_id", None)
    if topic == 1 and not getattr(reply, "forum_topic", None):
        return True
    return topic in (thread, message.id)


def _check_name(link: MessageLink, chat: _Chat, answer: Any) -> None:
    """Raises `NotHere` if the chat of a link does not have the name any more that the link calls it by. The
    group of comments has another one."""
    if isinstance(link.chat, str) and not isinstance(chat, int) and link.comment is None:
        _check_chat(link.chat, chat, answer)


def _check_chat(name: str, chat: types.InputChannel, answer: Any) -> None:
    found = next((each for each in answer.chats if each.id == chat.channel_id), None)
    if name.lower() not in _all_names(found):
        raise NotHere(f"@{name} is another chat now")


def _all_names(chat: Any) -> set[str]:
    """Every username that leads to a chat, in lower case."""
    several: Iterable[Any] = getattr(chat, "usernames", None) or ()
    active = {each.username.lower() for each in several if each.active}
    return active | {(getattr(chat, "username", None) or "").lower()}


def public_name(chat: Any) -> str:
    """A chat's public name; since 2022 a chat may have several."""
    several: Iterable[Any] = getattr(chat, "usernames", None) or ()
    active = next((each.username for each in several if each.active), "")
    return getattr(chat, "username", None) or active


def _why_empty(message: Any) -> str:
    """Why a message has nothing to download."""
    media = getattr(message, "media", None)
    if isinstance(media, types.MessageMediaPhoto | types.MessageMediaDocument):
        return "The message's file has expired; Telegram does not have it any more."
    if isinstance(media, types.MessageMediaStory):
        return "The story that the message quotes is over, or this account may not see it."
    if isinstance(media, types.MessageMediaInvoice) and media.photo:
        return f"The picture of the product is not at Telegram. Send its link to save it: {media.photo.url}"
    return "The message has no file: only photos, videos, documents and the like can be saved."
