"""From updates to handlers: every letter once, in the order of its chat, whatever dies in between.

Letters are kept in Redis in one step with the position behind them, so none is lost or comes twice. From
there each is handled at least once. Files and links that come in a burst are one bundle, and a bundle is
kept as such before it is handled: after a restart it is the same one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from saveany.logs import get_logger
from saveany.store.bot import BotMemory
from saveany.store.db import TROUBLE
from saveany.store.loops import repeat
from saveany.store.records import decoder
from saveany.telegram.bot_client import BotClient
from saveany.telegram.update_types import CallbackQuery, ChatMessage, Update
from saveany.telegram.updates import Position

#: A burst is over when nothing came for so many seconds.
QUIET_SECONDS = 1.0
#: Nobody waits longer for the end of a burst.
_PATIENCE_SECONDS = 5.0
#: The most messages of one bundle.
BUNDLE = 100
_PAUSE_SECONDS = 1.0

T = TypeVar("T")

log = get_logger("saveany.bot")


class MessageGroup(msgspec.Struct, frozen=True, tag=True):
    """Messages with files or links that came together."""

    messages: tuple[ChatMessage, ...]


class _SingleUpdate(msgspec.Struct, frozen=True, tag=True):
    message: ChatMessage


class _CallbackQuery(msgspec.Struct, frozen=True, tag=True):
    press: CallbackQuery


_kept = decoder(MessageGroup | _SingleUpdate | _CallbackQuery)  # type: ignore[arg-type]  # a union is no type[T]
_position = decoder(Position)

Handle = Callable[[str, Update | MessageGroup], Awaitable[None]]
#: Whether a message is something to save, so that others may belong to it.
Collects = Callable[[ChatMessage], bool]
#: Whether a message answers a question: that may be a password, and its text is not kept.
Answers = Callable[[ChatMessage], bool]


class Inbox:
    """Takes letters in and hands them out. `handle(key, letter)` may be called again with the same, after a
    crash or if it raised `TROUBLE`; if it raises anything else the letter is gone."""

    def __init__(
        self, memory: BotMemory, talk: BotClient, collects: Collects, answers: Answers, handle: Handle
    ) -> None:
        self._memory = memory
        self._talk = talk
        self._collects = collects
        self._answers = answers
        self._handle = handle
        self._lanes: dict[tuple[int, bool], _Lane] = {}

    async def run(self) -> None:
        """For ever; while Redis is away nothing is read."""
        kept = await _until_done(self._memory.inbox)
        left = self._memory.readable("letter", kept, lambda pair: (pair[0], _decoded(pair[1])))
        for key, letter in sorted(left, key=_order):
            self._hand_out(key, letter)
        await repeat("updates", self._read, retry=_PAUSE_SECONDS)

    async def close(self) -> None:
        """Stop; what is not handled waits for the next start."""
        for lane in self._lanes.values():
            await lane.stop()

    async def _read(self) -> None:
        kept = await _until_done(self._memory.position)
        (since,) = self._memory.readable("position", {"": kept}, _since) or (None,)
        async for letters, position in self._talk.updates(since):
            fresh = {_key(letter): letter for letter in letters}
            await self._keep(fresh, msgspec.json.encode(position))
            for key, letter in fresh.items():
                self._hand_out(key, letter)

    async def _keep(self, letters: Mapping[str, Update], position: bytes) -> None:
        """Until it is kept nothing else is read: presses do not come again."""
        encoded = {key: _encoded(self._without_secret(letter)) for key, letter in letters.items()}
        await _until_done(lambda: self._memory.receive(encoded, position))

    def _without_secret(self, letter: Update) -> Update:
        if isinstance(letter, ChatMessage) and self._answers(letter):
            return msgspec.structs.replace(letter, text="", urls=())
        return letter

    def _hand_out(self, key: str, letter: Update | MessageGroup) -> None:
        chat = letter.messages[0].chat if isinstance(letter, MessageGroup) else letter.chat
        where = chat, isinstance(letter, CallbackQuery)  # Cancel does not wait until Telegram takes an answer
        if where not in self._lanes:
            self._lanes[where] = _Lane(self._memory, self._collects, self._handle)
        self._lanes[where].add(key, letter)


class _Lane:
    """The messages of one chat, or the presses, one after the other."""

    def __init__(self, memory: BotMemory, collects: Collects, handle: Handle) -> None:
        self._memory = memory
        self._collects = collects
        self._handle = handle
        self._waiting: deque[tuple[str, Update | MessageGroup]] = deque()
        self._came = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    def add(self, key: str, letter: Update | MessageGroup) -> None:
        self._waiting.append((key, letter))
        self._came.set()
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            try:
                await self._next()
            except Exception:  # what follows has its turn
                log.exception("a message could not be handled")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _next(self) -> None:
        key, letter = self._waiting[0]
        if isinstance(letter, ChatMessage) and self._collects(letter):
            key, letter = await self._bundled()
        else:
            self._waiting.popleft()
        try:
            await _until_done(partial(self._handle, key, letter))
        except Exception:
            log.exception("a message could not be handled")
        await _until_done(partial(self._memory.handled, key))

    async def _bundled(self) -> tuple[str, MessageGroup]:
        """The burst that begins with the first letter."""
        over = await self._is_over()
        burst = self._burst() if over else _without_last_album(self._burst(), self._waiting)
        for _ in burst:
            self._waiting.popleft()
        bundle = MessageGroup(tuple(message for _, message in burst))
        key = f"bundle/{burst[0][0]}"
        encoded = msgspec.json.encode(bundle)
        await _until_done(lambda: self._memory.bundle([key for key, _ in burst], key, encoded))
        return key, bundle

    async def _is_over(self) -> bool:
        """Wait for the end of the burst; False if it goes on, but was waited for long enough."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while len(self._burst()) == len(self._waiting):
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), QUIET_SECONDS)
            except TimeoutError:
                return True
            if time.monotonic() > give_up:
                return False
        return len(self._burst()) < BUNDLE

    def _burst(self) -> list[tuple[str, ChatMessage]]:
        burst: list[tuple[str, ChatMessage]] = []
        for key, letter in self._waiting:
            if not isinstance(letter, ChatMessage) or not self._collects(letter) or len(burst) == BUNDLE:
                break
            if burst and letter.sender.id != burst[0][1].sender.id:
                break
            burst.append((key, letter))
        return burst


def _without_last_album(
    burst: list[tuple[str, ChatMessage]], waiting: Sequence[tuple[str, Update | MessageGroup]]
) -> list[tuple[str, ChatMessage]]:
    """A burst that goes on ends before an album of which more may come."""
    album = burst[-1][1].album
    following = waiting[len(burst)][1] if len(waiting) > len(burst) else None
    if not album or (following is not None and getattr(following, "album", 0) != album):
        return burst
    return [each for each in burst if each[1].album != album] or burst


async def _until_done(step: Callable[[], Awaitable[T]]) -> T:
    """Do it, as often as it takes until Redis is there."""
    while True:
        try:
            return await step()
        except TROUBLE as error:
            log.warning("redis is away or full", error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)


def _key(letter: Update) -> str:
    return f"{letter.chat}/{letter.id}" if isinstance(letter, ChatMessage) else f"press/{letter.query}"


def _encoded(letter: Update) -> bytes:
    return msgspec.json.encode(
        _SingleUpdate(letter) if isinstance(letter, ChatMessage) else _CallbackQuery(letter)
    )


def _decoded(data: bytes) -> Update | MessageGroup:
    kept: MessageGroup | _SingleUpdate | _CallbackQuery = _kept(data)
    if isinstance(kept, MessageGroup):
        if not kept.messages:
            raise ValueError("a bundle of nothing")
        return kept
    return kept.message if isinstance(kept, _SingleUpdate) else kept.press


def _since(pair: tuple[str, bytes]) -> Position | None:
    return _position(pair[1]) if pair[1] else None


def _order(kept: tuple[str, Update | MessageGroup]) -> tuple[int, int]:
    """Bundles first: they are older than what is not in one yet."""
    letter = kept[1]
    if isinstance(letter, MessageGroup):
        return 0, letter.messages[0].id
    return 1, letter.id if isinstance(letter, ChatMessage) else letter.query
