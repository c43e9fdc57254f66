"""Reads the updates of a bot from a position on: none lost, none twice, in order.

Pushed updates are only used as a signal, since they may be lost, repeated or out of order. The updates are
read with getDifference (https://core.telegram.org/api/updates#recovering-gaps) from a position that the
caller stores. Private chats and small groups share one sequence; each supergroup has a separate one. The
exception is button presses: they are not part of any difference, so a bot that is not connected when one is
pushed never receives it.

After Telegram has begun a new session (new_session_created) it pushes nothing until the bot sends a request,
so the bot reads the difference at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from telethon import errors as tg
from telethon import utils
from telethon.tl import functions, types

from saveany.errors import NeedsLogin, TaskError
from saveany.logs import get_logger
from saveany.telegram import incoming
from saveany.telegram.chats import ChatNotVisible
from saveany.telegram.client import Backoff, MtprotoClient
from saveany.telegram.errors import ErrorKind, describe, kind_of, translated
from saveany.telegram.incoming import KnownPeers
from saveany.telegram.messages import MessageReader
from saveany.telegram.peers import peers_in
from saveany.telegram.pushes import single_updates
from saveany.telegram.update_types import TelegramUser, Update

#: Seconds without a push after which the bot polls for updates.
_POLL_SECONDS = 300.0
#: Maximum number of events of a group in one request; if there are more, Telegram sends only the newest
#: messages.
_MAX_EVENTS = 100_000
#: The same for a group whose position is unknown: enough for recent messages. If there are more, Telegram
#: replies with the newest messages and the current position.
_FIRST_EVENTS = 100
#: Number of recent callback queries that are remembered to recognize repeated pushes.
_MAX_REMEMBERED = 1000

#: Errors that mean that the bot can no longer see a group.
_GONE = (tg.ChannelPrivateError, tg.ChannelInvalidError, tg.ChatForbiddenError)
#: Updates that concern known messages.
_ABOUT_KNOWN_MESSAGES = (
    types.UpdateEditMessage,
    types.UpdateDeleteMessages,
    types.UpdateEditChannelMessage,
    types.UpdateDeleteChannelMessages,
)
_BAD_POSITION = (tg.PersistentTimestampInvalidError, tg.PersistentTimestampEmptyError)

_log = get_logger(__name__)


class Position(msgspec.Struct, frozen=True):
    """The position up to which a bot has read its updates."""

    pts: int  # of private chats and small groups
    qts: int
    date: int  # seconds since 1970, by Telegram's clock
    channels: dict[int, int] = {}  # id of a supergroup -> its pts


Batch = tuple[list[Update], Position]


class Feed:
    """Reads the updates of a bot with a client that receives pushed updates."""

    def __init__(self, client: MtprotoClient, me: TelegramUser) -> None:
        self._client = client
        self._me = me
        self._reader = MessageReader(client)
        self._read_all = True  # read everything: the connection is new, or was lost
        self._read_private = False  # read private chats and small groups
        self._groups: dict[int, int] = {}  # groups to read -> minimum date of their messages
        self._started = 0  # date of the position from which everything was last read
        self._complete: dict[int, int] = {}  # group -> date of the position when it was last read completely
        self._first_pts: dict[int, int] = {}  # group -> pts before the first update that was pushed
        self._queries: list[Update] = []
        self._recent_queries: deque[int] = deque(maxlen=_MAX_REMEMBERED)

    async def updates(self, position: Position | None) -> AsyncGenerator[Batch, None]:
        """All updates from `position` on, without end, in batches with the position after each; store the two
        together. Without a position it starts now, and the first batch is empty.

        Raises `NeedsLogin` when the login is dead; any other failure is retried.
        """
        backoff = Backoff()
        while True:
            await backoff.pause()
            try:
                with translated(self._client.name, is_bot=True):
                    updates, after = await self._next(position)
            except NeedsLogin:
                raise
            except TaskError as error:
                _log.warning("updates_failed", reason=error.message)
                backoff.failed()
                await asyncio.sleep(error.after)
                continue
            backoff.succeeded()
            if updates or after != position:
                position = after
                yield updates, after

    async def _next(self, position: Position | None) -> Batch:
        """The next batch, which may be empty. Pushed updates are processed first."""
        if position is None:
            return [], await self._now({})
        while not self._client.pushed.empty():
            self._mark_chats(self._client.pushed.get_nowait(), position)
        if self._queries:
            queries, self._queries = self._queries, []
            return queries, position
        if self._first_pts.keys() - position.channels.keys():
            return [], _changed(position, channels=self._first_pts | position.channels)
        if self._read_all:
            self._read_all, self._read_private = False, True
            self._started = position.date
            self._groups |= dict.fromkeys(position.channels, 0)
        if self._read_private:
            return await self._read_private_chats(position)
        for group in self._groups:
            return await self._read_group(position, group)
        await self._wait_for_push(position)
        return [], position

    async def _wait_for_push(self, position: Position) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                self._mark_chats(await self._client.pushed.get(), position)
        except TimeoutError:
            self._read_private = True

    # Pushed updates.

    def _mark_chats(self, pushed: Any, position: Position) -> None:
        """Mark the chats that a pushed update asks to read."""
        if isinstance(pushed, types.UpdatesTooLong):
            self._read_all = True
        elif not getattr(pushed, "_self_outgoing", False):  # not caused by this client
            self._client.session.process_entities(pushed)
            known = peers_in(pushed)
            for update in single_updates(pushed):
                self._handle_pushed(update, known, position)

    def _handle_pushed(self, update: Any, known: KnownPeers, position: Position) -> None:
        if isinstance(update, types.UpdateBotCallbackQuery):
            if update.query_id not in self._recent_queries:
                self._recent_queries.append(update.query_id)
                self._queries.append(incoming.callback_query(update, known))
        elif isinstance(update, types.UpdateNewChannelMessage):
            group = utils.resolve_id(utils.get_peer_id(update.message.peer_id))[0]
            self._groups.setdefault(group, 0)
            self._first_pts.setdefault(group, max(1, update.pts - update.pts_count))
        elif isinstance(update, types.UpdateChannelTooLong):
            self._mark_for_reading(update.channel_id, position)
        elif not isinstance(update, _ABOUT_KNOWN_MESSAGES):
            self._read_private = True

    def _mark_for_reading(self, group: int, position: Position) -> None:
        """Queue a supergroup. Without a position, only messages after its last complete reading are kept."""
        self._groups.setdefault(group, 0 if group in position.channels else self._unread_since(group))

    def _unread_since(self, group: int) -> int:
        """The time up to which a group was read. `position.date` may be later than its oldest unread
        message."""
        return self._complete.get(group, self._started)

    # Reading.

    async def _now(self, channels: dict[int, int]) -> Position:
        state = await self._client.call(functions.updates.GetStateRequest())
        return _position(state, channels)

    async def _read_private_chats(self, position: Position) -> Batch:
        """The next updates of private chats and small groups."""
        since = datetime.fromtimestamp(position.date, UTC)
        try:
            reply = await self._client.call(
                functions.updates.GetDifferenceRequest(position.pts, since, position.qts)
            )
        except _BAD_POSITION:
            _log.warning("updates_position_invalid")
            now = await self._now(position.channels)
            self._started = now.date  # the position may be another bot's: everything starts anew
            return [], now
        if isinstance(reply, types.updates.DifferenceTooLong):
            _log.warning("updates_lost")
            return [], _changed(position, pts=reply.pts)
        complete = not isinstance(reply, types.updates.DifferenceSlice)
        if isinstance(reply, types.updates.DifferenceEmpty):
            updates, after = [], _changed(position, date=_seconds(reply.date))
        else:
            for update in reply.other_updates:
                if isinstance(update, types.UpdateChannelTooLong):
                    self._mark_for_reading(update.channel_id, position)
            updates = await self._to_updates(reply.new_messages, reply)
            after = _position(reply.state if complete else reply.intermediate_state, position.channels)
        self._read_private = not complete
        return updates, after

    async def _read_group(self, position: Position, group: int) -> Batch:
        """The next updates of a supergroup."""
        since = self._groups[group] = self._groups.pop(group)  # to the end of the queue, in case this fails
        try:
            reply = await self._client.retry_with_new_hash(
                lambda: self._difference(group, position.channels.get(group))
            )
        except tg.RPCError as error:
            if kind_of(type(error)) is not ErrorKind.FAIL:
                raise
            return [], self._skip(position, group, error)
        if isinstance(reply, types.updates.ChannelDifferenceEmpty):
            updates, after = [], reply.pts
        elif isinstance(reply, types.updates.ChannelDifferenceTooLong):
            newest = sorted(reply.messages, key=lambda each: each.id)
            updates, after = await self._to_updates(newest, reply, since), reply.dialog.pts
        else:
            updates, after = await self._to_updates(reply.new_messages, reply, since), reply.pts
        if reply.final:
            del self._groups[group]
            self._complete[group] = position.date
        return updates, _changed(position, channels=position.channels | {group: after})

    def _skip(self, position: Position, group: int, error: tg.RPCError) -> Position:
        """Skip a group that cannot be read, so that it does not block the others. A group whose position is
        invalid is read again from the time of its last complete reading."""
        _log.warning("group_skipped", group=group, reason=str(describe(error)))
        if isinstance(error, _BAD_POSITION) and group in position.channels:
            self._groups[group] = self._unread_since(group)
        else:
            del self._groups[group]
        if not isinstance(error, (*_GONE, *_BAD_POSITION)):
            return position
        self._first_pts.pop(group, None)
        return _changed(position, channels={k: v for k, v in position.channels.items() if k != group})

    async def _difference(self, group: int, pts: int | None) -> Any:
        limit = _FIRST_EVENTS if pts is None else _MAX_EVENTS
        marked = utils.get_peer_id(types.PeerChannel(group))
        channel = types.InputChannel(group, await self._client.session.access_hash(marked) or 0)
        no_filter = types.ChannelMessagesFilterEmpty()
        return await self._client.call(
            functions.updates.GetChannelDifferenceRequest(channel, no_filter, pts or 1, limit)
        )

    async def _to_updates(self, messages: Sequence[Any], reply: Any, since: int = 0) -> list[Update]:
        """The messages that users wrote. In a group, replies to the bot's messages are marked `for_me`."""
        known = peers_in(reply)
        found = [
            incoming.message(each, known, self._me)
            for each in messages
            if _is_from_user(each, known) and _seconds(each.date) >= since
        ]
        replies: dict[int, list[int]] = defaultdict(list)
        for each in found:
            if each.reply_to and not each.for_me:
                replies[each.chat].append(each.reply_to)
        own = {
            (chat, number)
            for chat, numbers in replies.items()
            for number in await self._own_messages(chat, numbers)
        }
        return [
            msgspec.structs.replace(each, for_me=True) if (each.chat, each.reply_to) in own else each
            for each in found
        ]

    async def _own_messages(self, chat: int, numbers: Sequence[int]) -> set[int]:
        """The ids of those messages of a chat that the bot wrote."""
        try:
            messages, _ = await self._reader.read(chat, numbers)
        except ChatNotVisible:
            return set()
        return {number for number, message in messages.items() if message.out}


def _position(state: types.updates.State, channels: dict[int, int]) -> Position:
    return Position(state.pts, state.qts, _seconds(state.date), channels)


def _changed(position: Position, **changes: Any) -> Position:
    return msgspec.structs.replace(position, **changes)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _is_from_user(message: Any, known: KnownPeers) -> bool:
    """Whether a user wrote the message: not this bot, another bot, or a chat in its own name."""
    if not isinstance(message, types.Message) or message.out:
        return False
    sender = message.from_id or message.peer_id
    if not isinstance(sender, types.PeerUser):
        return False
    return not getattr(known.get(sender.user_id), "bot", False)
