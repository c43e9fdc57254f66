"""What a bot is told, from a position on: nothing lost, nothing twice, in order.

What Telegram pushes is only a doorbell: it may be lost, doubled or out of order. The letters are read with
getDifference (https://core.telegram.org/api/updates#recovering-gaps) from a position that the caller keeps.
Private talks and small groups are numbered together, each supergroup by itself. The exception are presses of
buttons: they stand in no difference, so a bot that is not connected when one is pushed never hears of it.

After Telegram has begun a new session (new_session_created) it pushes nothing until the bot asks for
something, so the bot reads the difference at once.
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

from saveany.errors import NeedsLogin, Retryable, TaskError
from saveany.logs import get_logger
from saveany.telegram import incoming
from saveany.telegram.client import Backoff, Client
from saveany.telegram.errors import ErrorKind, describe, kind, translated
from saveany.telegram.incoming import Around
from saveany.telegram.messages import NotHere, Reader, around
from saveany.telegram.update_types import TelegramUser, Update

#: Who has heard nothing for so long asks.
_EVERY = 300.0
#: The most events of a group that a bot may ask for at once; after more only the newest messages come.
_MOST = 100_000
#: The same for a group whose position is not known: enough for what was said a moment ago. If there are more,
#: Telegram answers with the newest messages and the current position.
_FIRST_LOOK = 100
#: So many presses are remembered, so that one which is pushed twice is one.
_REMEMBERED = 1000

_GONE = (tg.ChannelPrivateError, tg.ChannelInvalidError, tg.ChatForbiddenError)
#: What happens to messages that are known.
_NO_LETTERS = (
    types.UpdateEditMessage,
    types.UpdateDeleteMessages,
    types.UpdateEditChannelMessage,
    types.UpdateDeleteChannelMessages,
)
_BAD_POSITION = (tg.PersistentTimestampInvalidError, tg.PersistentTimestampEmptyError)

_log = get_logger(__name__)


class Position(msgspec.Struct, frozen=True):
    """Up to where a bot has read."""

    pts: int  # in private talks and small groups
    qts: int
    date: int  # seconds since 1970, by Telegram's clock
    channels: dict[int, int] = {}  # id of a supergroup -> its pts


Batch = tuple[list[Update], Position]


class Feed:
    """Reads letters with a client that listens."""

    def __init__(self, client: Client, me: TelegramUser) -> None:
        self._client = client
        self._me = me
        self._reader = Reader(client)
        self._all = True  # read everything: the connection was lost, or is new
        self._behind = False  # read private talks and small groups
        self._groups: dict[int, int] = {}  # to be read, and from when on what is said there counts
        self._met: dict[int, int] = {}  # pts before what was pushed first of a group
        self._presses: list[Update] = []
        self._pressed: deque[int] = deque(maxlen=_REMEMBERED)

    async def updates(self, position: Position | None) -> AsyncGenerator[Batch, None]:
        """For ever: letters, with the position after them, which is to be kept together with them. Without a
        position it begins now, and the first batch is empty.

        Raises `NeedsLogin` when the login is dead; everything else is tried again.
        """
        backoff = Backoff()
        while True:
            await backoff.pause()
            try:
                with translated(self._client.name, is_bot=True):
                    letters, after = await self._next(position)
            except NeedsLogin:
                raise
            except TaskError as error:
                _log.warning("updates could not be read", reason=error.message)
                backoff.failed()
                await asyncio.sleep(error.after if isinstance(error, Retryable) else 0)
                continue
            backoff.succeeded()
            if letters or after != position:
                position = after
                yield letters, after

    async def _next(self, position: Position | None) -> Batch:
        """The nearest thing to do; what was pushed meanwhile is noted first."""
        if position is None:
            return [], await self._now({})
        while not self._client.pushed.empty():
            self._note(self._client.pushed.get_nowait(), position)
        if self._presses:
            presses, self._presses = self._presses, []
            return presses, position
        if self._met.keys() - position.channels.keys():
            return [], _but(position, channels=self._met | position.channels)
        if self._all:
            self._all, self._behind = False, True
            self._groups |= dict.fromkeys(position.channels, 0)
        if self._behind:
            return await self._read_talks(position)
        for group in self._groups:
            return await self._read_group(position, group)
        await self._ring(position)
        return [], position

    async def _ring(self, position: Position) -> None:
        try:
            async with asyncio.timeout(_EVERY):
                self._note(await self._client.pushed.get(), position)
        except TimeoutError:
            self._behind = True

    # What is pushed.

    def _note(self, pushed: Any, position: Position) -> None:
        """Look where there is something to read."""
        if isinstance(pushed, types.UpdatesTooLong):
            self._all = True
        elif not getattr(pushed, "_self_outgoing", False):  # what the client itself has done
            self._client.session.process_entities(pushed)
            known = around(pushed)
            for update in _updates(pushed):
                self._note_one(update, known, position)

    def _note_one(self, update: Any, known: Around, position: Position) -> None:
        if isinstance(update, types.UpdateBotCallbackQuery):
            if update.query_id not in self._pressed:
                self._pressed.append(update.query_id)
                self._presses.append(incoming.press(update, known))
        elif isinstance(update, types.UpdateNewChannelMessage):
            group = utils.resolve_id(utils.get_peer_id(update.message.peer_id))[0]
            self._groups.setdefault(group, 0)
            self._met.setdefault(group, max(1, update.pts - update.pts_count))
        elif isinstance(update, types.UpdateChannelTooLong):
            self._has_news(update, position)
        elif not isinstance(update, _NO_LETTERS):
            self._behind = True

    def _has_news(self, update: types.UpdateChannelTooLong, position: Position) -> None:
        """A supergroup may be met here for the first time; it then has only a date to begin from."""
        group = update.channel_id
        self._groups.setdefault(group, 0 if group in position.channels else position.date)

    # What is read.

    async def _now(self, channels: dict[int, int]) -> Position:
        state = await self._client.call(functions.updates.GetStateRequest())
        return _position(state, channels)

    async def _read_talks(self, position: Position) -> Batch:
        """The next part of what was said in private talks and small groups."""
        since = datetime.fromtimestamp(position.date, UTC)
        try:
            answer = await self._client.call(
                functions.updates.GetDifferenceRequest(position.pts, since, position.qts)
            )
        except _BAD_POSITION:
            _log.warning("Telegram does not know the position of the updates; beginning now")
            return [], await self._now(position.channels)
        if isinstance(answer, types.updates.DifferenceTooLong):
            _log.warning("Telegram has forgotten some updates")
            return [], _but(position, pts=answer.pts)
        whole = not isinstance(answer, types.updates.DifferenceSlice)
        if isinstance(answer, types.updates.DifferenceEmpty):
            letters, after = [], _but(position, date=_seconds(answer.date))
        else:
            for update in answer.other_updates:
                if isinstance(update, types.UpdateChannelTooLong):
                    self._has_news(update, position)
            letters = await self._letters(answer.new_messages, answer)
            after = _position(answer.state if whole else answer.intermediate_state, position.channels)
        self._behind = not whole
        return letters, after

    async def _read_group(self, position: Position, group: int) -> Batch:
        """The next part of what was said in a supergroup."""
        since = self._groups[group] = self._groups.pop(group)  # the last in the row now, should this fail
        try:
            answer = await self._client.afresh(lambda: self._difference(group, position.channels.get(group)))
        except tg.RPCError as error:
            if kind(type(error)) is not ErrorKind.FAIL:
                raise
            return [], self._refused(position, group, error)
        if isinstance(answer, types.updates.ChannelDifferenceEmpty):
            letters, after = [], answer.pts
        elif isinstance(answer, types.updates.ChannelDifferenceTooLong):
            newest = sorted(answer.messages, key=lambda each: each.id)
            letters, after = await self._letters(newest, answer, since), answer.dialog.pts
        else:
            letters, after = await self._letters(answer.new_messages, answer, since), answer.pts
        if answer.final:
            del self._groups[group]
        return letters, _but(position, channels=position.channels | {group: after})

    def _refused(self, position: Position, group: int, error: tg.RPCError) -> Position:
        """A group that cannot be read holds no other up. Where its position means nothing, it begins anew."""
        _log.warning("a group cannot be read", group=group, reason=describe(error))
        if isinstance(error, _BAD_POSITION) and group in position.channels:
            self._groups[group] = position.date
        else:
            del self._groups[group]
        if not isinstance(error, (*_GONE, *_BAD_POSITION)):
            return position
        self._met.pop(group, None)
        return _but(position, channels={k: v for k, v in position.channels.items() if k != group})

    async def _difference(self, group: int, pts: int | None) -> Any:
        most = _FIRST_LOOK if pts is None else _MOST
        marked = utils.get_peer_id(types.PeerChannel(group))
        channel = types.InputChannel(group, await self._client.session.access_hash(marked) or 0)
        everything = types.ChannelMessagesFilterEmpty()
        return await self._client.call(
            functions.updates.GetChannelDifferenceRequest(channel, everything, pts or 1, most)
        )

    async def _letters(self, messages: Sequence[Any], answer: Any, since: int = 0) -> list[Update]:
        """Those that somebody wrote; in a group, what answers the bot is for it too."""
        known = around(answer)
        found = [
            incoming.message(each, known, self._me)
            for each in messages
            if _is_letter(each, known) and _seconds(each.date) >= since
        ]
        answered: dict[int, list[int]] = defaultdict(list)
        for each in found:
            if each.reply_to and not each.for_me:
                answered[each.chat].append(each.reply_to)
        mine = {
            (chat, number) for chat, numbers in answered.items() for number in await self._mine(chat, numbers)
        }
        return [
            msgspec.structs.replace(each, for_me=True) if (each.chat, each.reply_to) in mine else each
            for each in found
        ]

    async def _mine(self, chat: int, numbers: Sequence[int]) -> set[int]:
        """Which messages of a chat the bot wrote."""
        try:
            messages, _ = await self._reader.read(chat, numbers)
        except NotHere:
            return set()
        return {number for number, message in messages.items() if message.out}


def _updates(pushed: Any) -> Sequence[Any]:
    """The single updates; the short forms of a message stand for themselves."""
    if isinstance(pushed, types.Updates | types.UpdatesCombined):
        return list(pushed.updates)
    return [pushed.update if isinstance(pushed, types.UpdateShort) else pushed]


def _position(state: types.updates.State, channels: dict[int, int]) -> Position:
    return Position(state.pts, state.qts, _seconds(state.date), channels)


def _but(position: Position, **changes: Any) -> Position:
    return msgspec.structs.replace(position, **changes)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _is_letter(message: Any, known: Around) -> bool:
    """Whether a person wrote it, and not the bot itself, another one, or a chat in its own name."""
    if not isinstance(message, types.Message) or message.out:
        return False
    sender = message.from_id or message.peer_id
    if not isinstance(sender, types.PeerUser):
        return False
    return not getattr(known.get(sender.user_id), "bot", False)
