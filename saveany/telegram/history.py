"""Reads the messages of a chat that follow a given one. Only user accounts can: bots cannot list messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import msgspec
from telethon import errors as tg
from telethon.tl import functions, types

from saveany.advice import command
from saveany.errors import NeedsLogin, TaskError
from saveany.telegram import takeout
from saveany.telegram.account_set import AccountSet
from saveany.telegram.chat_state import (
    ChatState,
    chat_state,
    history_request,
    personal_state,
    total_of,
)
from saveany.telegram.chat_tops import ChatTop, tops
from saveany.telegram.comments import replies_after
from saveany.telegram.dialogs import Dialog, dialogs
from saveany.telegram.errors import translated
from saveany.telegram.estimate import ChatEstimate, estimate
from saveany.telegram.login import BOT
from saveany.telegram.lookups import existing, last_before, peer_of
from saveany.telegram.media import Media
from saveany.telegram.messages import FilesLocked, FilesWithheld, MessageReader, reason_for_expired_file
from saveany.telegram.peers import public_names
from saveany.telegram.profile_photos import all_profile_photos
from saveany.telegram.pushes import ChatChange, changes_in
from saveany.telegram.refusals import LOGIN, USER_ADVICE
from saveany.telegram.stories import all_stories
from saveany.telegram.takeout import TakeoutRefused
from saveany.texts import Text

T = TypeVar("T")

#: Maximum number of messages in one reply.
PAGE = 100
#: Turns of the event loop after which a request that another task has begun has left: the task, Telethon's
#: sender, its connection and the socket take six. Too few would only be slower.
_SEND_TURNS = 8
#: Maximum number of events in one request for edits.
_MAX_EVENTS = 100_000


class ReadMessage(msgspec.Struct, frozen=True, eq=False):
    """A message of a chat. A `Struct` because there are millions: a frozen dataclass is made in five times
    the time."""

    id: int
    date_ms: int
    edited_ms: int = 0  # 0 if it was not edited
    media: Sequence[Media] = ()  # its files
    problem: Text | None = None  # why its files cannot be saved; None if they can, or if it has none
    is_locked: bool = False  # the files must be paid for
    is_expired: bool = False  # Telegram does not have the files any more
    topic: int = 0  # of a forum; 0 for messages that name none, which belong to the first topic
    raw: Any = None  # in Telegram's own type
    last_comment: int = 0  # id of the newest comment, in the discussion group; 0 if it has none

    @property
    def has_media(self) -> bool:
        """Whether it has, or had, a file."""
        return bool(self.media or self.problem)


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Consecutive messages of a chat. Only an empty page is the end: Telegram withholds some messages, so
    that a page may be short."""

    messages: list[ReadMessage]  # oldest first
    total: int  # number of messages that the chat has, according to Telegram
    username: str  # current username of the chat; "" if it has none
    account: str  # the account that read it
    reply: Any = field(default=None, repr=False, compare=False)  # of Telegram, with the authors
    is_last: bool = False  # whether the messages that follow are known not to be wanted

    @property
    def last(self) -> int:
        """Id of the newest message; 0 for an empty page."""
        return self.messages[-1].id if self.messages else 0

    @property
    def media(self) -> list[Media]:
        """The files in the messages."""
        return [media for message in self.messages for media in message.media]


@dataclass(frozen=True, slots=True)
class EditPage:
    """Messages of a channel or supergroup that were edited."""

    messages: list[ReadMessage]  # as they are now
    pts: int  # up to this event of the chat; 0 if its events cannot be read from there
    is_last: bool


class ChatHistory:
    """Reads chats with the user accounts."""

    def __init__(self, accounts: AccountSet) -> None:
        self._accounts = accounts
        self._on_change: Callable[[ChatChange], None] | None = None

    async def listen(self, names: Collection[str], on_change: Callable[[ChatChange], None]) -> None:
        """Call `on_change` as soon as Telegram pushes something new in any chat to one of these user
        accounts, and no longer for others. Call this again from time to time: accounts may log in again."""
        self._on_change = on_change
        for account in list(self._accounts):
            if account.is_bot or account.client is None or not account.ready:
                continue
            listener = self._on_push if account.name in names else None
            async with self._accounts.login_checked(account.name):
                with translated(account.name):
                    await account.client.listen(listener)

    def _on_push(self, pushed: Any) -> None:
        for change in changes_in(pushed):
            if self._on_change:
                self._on_change(change)

    async def chat_state(self, chat: str, only: Collection[str] = (), *, personal: bool = False) -> ChatState:
        """The current state of a chat, given by @name or -100…, as the first user account that can read it
        sees it. With `personal`, the chat may also be `me` (Saved Messages), a person (@name or id) or a
        basic group (-id). `only` and the errors are those of `Accounts.resolve`."""
        query = personal_state if personal else chat_state

        async def state(accounts: Collection[str]) -> ChatState:
            return await self._first_user(lambda reader: query(reader, chat), only=accounts)

        found = await state(only)
        if found.older_problem:
            for each in self._accounts:  # another account may have been in the older group
                if each.ready and not each.is_bot and each.name != found.account:
                    if only and each.name not in only:
                        continue
                    with suppress(TaskError):
                        if not (await state([each.name])).older_problem:
                            return replace(found, older_problem=None, older_reader=each.name)
        return found

    async def tops(self, name: str, chats: Mapping[int, str]) -> dict[int, ChatTop]:
        """Marked id -> newest message, of the chats that the account can see; empty if the account is not
        ready. `chats`: marked id -> username. Raises `Retryable`."""
        account = self._accounts.get(name)
        if account is None or account.reader is None or not account.ready:
            return {}
        async with self._accounts.login_checked(name):
            with translated(name):
                return await tops(account.reader, chats)

    async def messages_after(
        self,
        chat: int,
        seen: int,
        *,
        username: str = "",
        prefer: str = "",
        only: Collection[str] = (),
        extras: Collection[str] = (),
        on_reply: Callable[[int], None] | None = None,
    ) -> MessagePage:
        """The messages of a chat that follow the message `seen`, as the user account `prefer` sees them, or
        another one if it cannot, with these `media.Extra` files. `only` and the errors are those of
        `Accounts.resolve`. `on_reply` is called with the id of the last one before they are looked at; again
        if another account is asked."""
        return await self._first_user(
            lambda reader: messages_after(reader, chat, seen, username, extras, on_reply), prefer, only
        )

    async def messages_before(
        self, chat: int, before: int, *, username: str = "", prefer: str = "", only: Collection[str] = ()
    ) -> MessagePage:
        """The last messages of a chat before the message `before`, or the newest for 0; as
        `messages_after`."""
        return await self._first_user(
            lambda reader: messages_before(reader, chat, before, username), prefer, only
        )

    async def dialogs(self, account: str) -> list[Dialog]:
        """The chats of a user account ("": any), those with the newest messages first. Raises as
        `messages_after`."""
        only = [account] if account else []
        return await self._first_user(lambda reader: dialogs(reader.chats), account, only)

    async def comments_after(
        self,
        chat: int,
        post: int,
        seen: int,
        *,
        username: str = "",
        prefer: str = "",
        only: Collection[str] = (),
        extras: Collection[str] = (),
    ) -> MessagePage:
        """The comments on a post that follow the message `seen` of the discussion group; as
        `messages_after`."""
        return await self._first_user(
            lambda reader: comments_after(reader, chat, post, seen, username, extras), prefer, only
        )

    async def edits_after(
        self,
        chat: int,
        pts: int,
        *,
        username: str = "",
        prefer: str = "",
        only: Collection[str] = (),
        extras: Collection[str] = (),
    ) -> EditPage:
        """Messages that were edited after the event `pts` of a channel or supergroup; as `messages_after`."""
        return await self._first_user(
            lambda reader: edits_after(reader, chat, pts, username, extras), prefer, only
        )

    async def stories(
        self, chat: int, *, username: str = "", prefer: str = "", only: Collection[str] = ()
    ) -> MessagePage:
        """The current and the pinned stories of a channel, as messages with negative ids; as
        `messages_after`."""

        async def read(reader: MessageReader) -> MessagePage:
            found = await all_stories(reader.chats, chat, username)
            messages = [found.messages[each] for each in sorted(found.messages)]
            shown = await _read(reader, messages, found)
            return MessagePage(shown, len(shown), username, reader.account, found)

        return await self._first_user(read, prefer, only)

    async def profile_photos(
        self, chat: int, *, username: str = "", prefer: str = "", only: Collection[str] = ()
    ) -> MessagePage:
        """The profile photos of a person, and the current one of a channel if no message shows it, as
        messages with ids below those of stories; as `messages_after`."""

        async def read(reader: MessageReader) -> MessagePage:
            photos = partial(all_profile_photos, reader.chats, chat, username)
            found = await reader.chats.retry_without_cache(photos)
            messages = [found.messages[each] for each in sorted(found.messages)]
            shown = await _read(reader, messages, found)
            return MessagePage(shown, len(shown), username, reader.account, found)

        return await self._first_user(read, prefer, only)

    async def begin_takeout(self, account: str) -> int | TakeoutRefused:
        """Begin a takeout of an account. Returns its id, or why there is none. Raises as `messages_after`."""
        begun = await self._first_user(takeout.begin, account, [account])
        return begun.id if isinstance(begun, takeout.Takeout) else begun

    async def finish_takeout(self, account: str, takeout_id: int, *, success: bool) -> None:
        """End a takeout of an account. Raises as `messages_after`."""
        await self._first_user(
            lambda reader: takeout.finish(reader, takeout_id, success=success), account, [account]
        )

    async def topic_titles(
        self,
        chat: int,
        topics: Collection[int],
        *,
        username: str = "",
        prefer: str = "",
        only: Collection[str] = (),
    ) -> dict[int, str]:
        """The titles of these topics of a forum, at most 100, by id; without those that do not exist."""
        return await self._first_user(
            lambda reader: topic_titles(reader, chat, topics, username), prefer, only
        )

    async def estimate(self, state: ChatState) -> ChatEstimate:
        """The contents of a chat, by the account that has seen its state."""
        return await self._first_user(
            lambda reader: estimate(reader, state.id, state.username), state.account, [state.account]
        )

    async def existing(
        self,
        chat: int,
        numbers: Collection[int],
        *,
        username: str = "",
        prefer: str = "",
        only: Collection[str] = (),
    ) -> set[int]:
        """Those of these messages of a chat that exist; as `messages_after`."""
        return await self._first_user(lambda reader: existing(reader, chat, numbers, username), prefer, only)

    async def last_before(
        self, chat: int, date_ms: int, *, username: str = "", prefer: str = "", only: Collection[str] = ()
    ) -> int:
        """The id of the last message before a date; 0 if there is none. It takes one request."""
        return await self._first_user(
            lambda reader: last_before(reader, chat, date_ms, username), prefer, only
        )

    async def _first_user(
        self, query: Callable[[MessageReader], Awaitable[T]], prefer: str = "", only: Collection[str] = ()
    ) -> T:
        await self._accounts.started()
        if all(each.is_bot for each in self._accounts):
            advice = Text(USER_ADVICE, {"command": command(LOGIN)})
            raise NeedsLogin("A bot cannot watch chats. {advice}", advice=advice)
        return await self._accounts.first(query, prefer, without=[BOT], advice=USER_ADVICE, only=only)


async def messages_after(
    reader: MessageReader,
    chat: int,
    seen: int,
    username: str = "",
    extras: Collection[str] = (),
    on_reply: Callable[[int], None] | None = None,
) -> MessagePage:
    """The first `PAGE` messages of a chat that follow the message `seen`."""
    return await reader.chats.retry_without_cache(
        lambda: _messages_after(reader, chat, seen, username, extras, on_reply)
    )


async def _messages_after(
    reader: MessageReader,
    chat: int,
    seen: int,
    username: str,
    extras: Collection[str],
    on_reply: Callable[[int], None] | None,
) -> MessagePage:
    peer = await peer_of(reader, chat, username)
    # A page ends before `offset_id`; shifted by its own length towards newer messages, it begins there. With
    # an old `min_id` Telegram returns nothing, so older messages are filtered out here.
    request = history_request(peer, offset_id=seen + 1, add_offset=-PAGE, limit=PAGE)
    unparsed = await reader.chats.call_unparsed(request)
    if on_reply and unparsed.newest_message > seen:
        on_reply(unparsed.newest_message)
        for _ in range(_SEND_TURNS):
            await asyncio.sleep(0)
    reply = unparsed.parsed()
    messages = sorted((each for each in reply.messages if each.id > seen), key=lambda each: each.id)
    return MessagePage(
        messages=await _read(reader, messages, reply, extras),
        total=total_of(reply),
        username=public_names(reply).get(chat, ""),
        account=reader.account,
        reply=reply,
    )


async def messages_before(reader: MessageReader, chat: int, before: int, username: str = "") -> MessagePage:
    """The last `PAGE` messages of a chat before the message `before`, or the newest for 0."""

    async def read() -> MessagePage:
        peer = await peer_of(reader, chat, username)
        reply = await reader.chats.call(history_request(peer, offset_id=before, add_offset=0, limit=PAGE))
        return MessagePage(
            messages=await _read(reader, sorted(reply.messages, key=lambda each: each.id), reply),
            total=total_of(reply),
            username=public_names(reply).get(chat, ""),
            account=reader.account,
            reply=reply,
        )

    return await reader.chats.retry_without_cache(read)


async def comments_after(
    reader: MessageReader, chat: int, post: int, seen: int, username: str = "", extras: Collection[str] = ()
) -> MessagePage:
    """The first comments on a post that follow the message `seen`."""

    async def read() -> MessagePage:
        channel = await reader.chats.find(chat, username)
        reply = await replies_after(reader.chats, channel, post, seen)
        found = [] if reply is None else reply.messages
        messages = sorted((each for each in found if each.id > seen), key=lambda each: each.id)
        return MessagePage(
            messages=await _read(reader, messages, reply, extras) if messages else [],
            total=0 if reply is None else total_of(reply),
            username=username,
            account=reader.account,
            reply=reply,
        )

    return await reader.chats.retry_without_cache(read)


async def edits_after(
    reader: MessageReader, chat: int, pts: int, username: str = "", extras: Collection[str] = ()
) -> EditPage:
    """Messages that were edited after the event `pts`. If there are too many, Telegram names none."""

    async def read() -> EditPage:
        channel = await reader.chats.find(chat, username)
        no_filter = types.ChannelMessagesFilterEmpty()
        request = functions.updates.GetChannelDifferenceRequest(channel, no_filter, pts, _MAX_EVENTS)
        try:
            reply = await reader.chats.call(request)
        except (tg.PersistentTimestampInvalidError, tg.PersistentTimestampEmptyError):
            return EditPage([], 0, is_last=True)
        if isinstance(reply, types.updates.ChannelDifferenceTooLong):
            return EditPage([], reply.dialog.pts or 0, is_last=True)
        messages = await _read(reader, _edited(reply), reply, extras)
        return EditPage(messages, reply.pts, is_last=bool(reply.final))

    return await reader.chats.retry_without_cache(read)


def _edited(reply: Any) -> list[Any]:
    """The edited messages in a difference, in their last version. Hidden edits are reactions and the like."""
    if isinstance(reply, types.updates.ChannelDifferenceEmpty):
        return []
    edits = [each for each in reply.other_updates if isinstance(each, types.UpdateEditChannelMessage)]
    found = {each.id: each for each in (*reply.new_messages, *(edit.message for edit in edits))}
    return [each for each in found.values() if getattr(each, "edit_date", None) and not each.edit_hide]


async def topic_titles(
    reader: MessageReader, chat: int, topics: Collection[int], username: str = ""
) -> dict[int, str]:
    """The titles of some topics of a forum, by id; none if the chat is no forum any more."""

    async def read() -> dict[int, str]:
        peer = await peer_of(reader, chat, username)
        try:
            reply = await reader.chats.call(functions.messages.GetForumTopicsByIDRequest(peer, list(topics)))
        except tg.ChannelForumMissingError:
            return {}
        return {each.id: each.title for each in reply.topics if isinstance(each, types.ForumTopic)}

    return await reader.chats.retry_without_cache(read)


async def _read(
    reader: MessageReader, messages: list[Any], reply: Any, extras: Collection[str] = ()
) -> list[ReadMessage]:
    """The messages with their files, and with these `media.Extra` files."""
    with_media = [each for each in messages if _may_have_media(each)]
    files = await reader.files_of_each(with_media, reply, extras=extras)
    found = {message.id: each for message, each in zip(with_media, files, strict=True)}
    return [_described(message, found.get(message.id, ())) for message in messages]


def _may_have_media(message: Any) -> bool:
    return not isinstance(message, types.Message) or bool(message.media or message.rich_message)


def _described(message: Any, files: Sequence[Media] | FilesWithheld) -> ReadMessage:
    edited = getattr(message, "edit_date", None)
    withheld = files if isinstance(files, FilesWithheld) else None
    expired = None if withheld or files else reason_for_expired_file(message)
    return ReadMessage(
        id=message.id,
        date_ms=_ms(message.date),
        edited_ms=_ms(edited) if edited else 0,
        media=() if isinstance(files, FilesWithheld) else files,
        problem=withheld.text if withheld else expired,
        is_locked=isinstance(files, FilesLocked),
        is_expired=expired is not None,
        topic=_topic(message),
        raw=message,
        last_comment=_last_comment(message),
    )


def _topic(message: Any) -> int:
    """The topic that a message is in, by the message that it replies to, or that it opens."""
    if isinstance(getattr(message, "action", None), types.MessageActionTopicCreate):
        return int(message.id)
    reply: Any = getattr(message, "reply_to", None)
    if not getattr(reply, "forum_topic", None):
        return 0
    return int(reply.reply_to_top_id or reply.reply_to_msg_id or 0)


def _last_comment(message: Any) -> int:
    replies = getattr(message, "replies", None)
    return int(replies.max_id or 0) if replies and replies.comments and replies.replies else 0


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
