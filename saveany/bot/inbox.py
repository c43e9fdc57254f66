"""From updates to handlers: every letter once, in the order of its chat, whatever dies in between.

Letters are kept in Redis in one step with the position behind them, so none is lost or comes twice. From
there each is handled at least once. Files and links that come in a burst are one bundle, and a bundle is
kept as such before it is handled: after a restart it is the same one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from saveany.errors import Retryable, TaskError
from saveany.logs import get_logger
from saveany.store.bot import BotMemory
from saveany.store.db import TROUBLE
from saveany.telegram.letters import Letter, Message, Press
from saveany.telegram.talk import Talk
from saveany.telegram.updates import Position

#: A burst is over when nothing came for so many seconds.
QUIET_SECONDS = 1.0
#: Nobody waits longer for the end of a burst.
_PATIENCE_SECONDS = 5.0
#: The most messages of one bundle.
BUNDLE = 100
_PAUSE_SECONDS = 1.0

log = get_logger("saveany.bot")


class Bundle(msgspec.Struct, frozen=True, tag=True):
    """Messages with files or links that came together."""

    messages: tuple[Message, ...]


class _One(msgspec.Struct, frozen=True, tag=True):
    message: Message


class _Press(msgspec.Struct, frozen=True, tag=True):
    press: Press


_kept = msgspec.json.Decoder(Bundle | _One | _Press)
_position = msgspec.json.Decoder(Position)

Handle = Callable[[str, Letter | Bundle], Awaitable[None]]
#: Whether a message is something to save, so that others may belong to it.
Collects = Callable[[Message], bool]
#: Whether a message answers a question: that may be a password, and its text is not kept.
Answers = Callable[[Message], bool]


class Inbox:
    """Takes letters in and hands them out. After a crash `handle(key, letter)` may be called again with the
    same; it must not raise, for then the letter is gone."""

    def __init__(
        self, memory: BotMemory, talk: Talk, collects: Collects, answers: Answers, handle: Handle
    ) -> None:
        self._memory = memory
        self._talk = talk
        self._collects = collects
        self._answers = answers
        self._handle = handle
        self._chats: dict[int, _Chat] = {}

    async def run(self) -> None:
        """For ever; while Redis is away nothing is read."""
        for key, letter in sorted((await self._left()).items(), key=_order):
            self._hand_out(key, letter)
        while True:
            try:
                await self._read()
            except TROUBLE as error:
                log.warning("redis is away or full, reading no updates", error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
            except TaskError as error:
                wait = error.after if isinstance(error, Retryable) else 0.0
                log.warning("updates cannot be read", reason=error.message)
                await asyncio.sleep(max(_PAUSE_SECONDS, wait))

    async def close(self) -> None:
        """Stop; what is not handled waits for the next start."""
        for chat in self._chats.values():
            await chat.stop()

    async def _read(self) -> None:
        kept = await self._memory.position()
        async for letters, position in self._talk.letters(_position.decode(kept) if kept else None):
            fresh = {_key(letter): letter for letter in letters}
            encoded = {key: _encoded(self._without_secret(letter)) for key, letter in fresh.items()}
            await self._memory.receive(encoded, msgspec.json.encode(position))
            for key, letter in fresh.items():
                self._hand_out(key, letter)

    def _without_secret(self, letter: Letter) -> Letter:
        if isinstance(letter, Message) and self._answers(letter):
            return msgspec.structs.replace(letter, text="", urls=())
        return letter

    async def _left(self) -> dict[str, Letter | Bundle]:
        return {key: _decoded(value) for key, value in (await self._memory.inbox()).items()}

    def _hand_out(self, key: str, letter: Letter | Bundle) -> None:
        where = letter.messages[0].chat if isinstance(letter, Bundle) else letter.chat
        if where not in self._chats:
            self._chats[where] = _Chat(self._memory, self._collects, self._handle)
        self._chats[where].add(key, letter)


class _Chat:
    """The letters of one chat, one after the other."""

    def __init__(self, memory: BotMemory, collects: Collects, handle: Handle) -> None:
        self._memory = memory
        self._collects = collects
        self._handle = handle
        self._waiting: deque[tuple[str, Letter | Bundle]] = deque()
        self._came = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    def add(self, key: str, letter: Letter | Bundle) -> None:
        self._waiting.append((key, letter))
        self._came.set()
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._working is not None:
            self._working.cancel()
            with suppress(asyncio.CancelledError):
                await self._working

    async def _work(self) -> None:
        while self._waiting:
            key, letter = self._waiting[0]
            if isinstance(letter, Message) and self._collects(letter):
                key, letter = await self._bundled()
            else:
                self._waiting.popleft()
            try:
                await self._handle(key, letter)
            except Exception:
                log.exception("a message could not be handled")
            await self._until_done(lambda key=key: self._memory.handled(key))  # type: ignore[misc]

    async def _bundled(self) -> tuple[str, Bundle]:
        """The burst that begins with the first letter."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while len(burst := self._burst()) < BUNDLE and len(burst) == len(self._waiting):
                    self._came.clear()
                    await asyncio.wait_for(self._came.wait(), QUIET_SECONDS)
        burst = self._burst()
        for _ in burst:
            self._waiting.popleft()
        bundle = Bundle(tuple(message for _, message in burst))
        key = f"bundle/{burst[0][0]}"
        encoded = msgspec.json.encode(bundle)
        await self._until_done(lambda: self._memory.bundle([key for key, _ in burst], key, encoded))
        return key, bundle

    def _burst(self) -> list[tuple[str, Message]]:
        burst: list[tuple[str, Message]] = []
        for key, letter in self._waiting:
            if not isinstance(letter, Message) or not self._collects(letter) or len(burst) == BUNDLE:
                break
            if burst and letter.sender.id != burst[0][1].sender.id:
                break
            burst.append((key, letter))
        return _without_split_album(burst, self._waiting)

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await step()
            except TROUBLE as error:
                log.warning("redis is away or full", error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)


def _without_split_album(
    burst: list[tuple[str, Message]], waiting: Sequence[tuple[str, Letter | Bundle]]
) -> list[tuple[str, Message]]:
    """A full bundle ends before an album that would not fit in whole."""
    if len(burst) < BUNDLE or len(waiting) == len(burst):
        return burst
    following, last = waiting[len(burst)][1], burst[-1][1]
    if not (isinstance(following, Message) and last.album and following.album == last.album):
        return burst
    return [each for each in burst if each[1].album != last.album]


def _key(letter: Letter) -> str:
    return f"{letter.chat}/{letter.id}" if isinstance(letter, Message) else f"press/{letter.query}"


def _encoded(letter: Letter) -> bytes:
    return msgspec.json.encode(_One(letter) if isinstance(letter, Message) else _Press(letter))


def _decoded(data: bytes) -> Letter | Bundle:
    kept = _kept.decode(data)
    if isinstance(kept, Bundle):
        return kept
    return kept.message if isinstance(kept, _One) else kept.press


def _order(kept: tuple[str, Letter | Bundle]) -> tuple[int, int]:
    """Bundles first: they are older than what is not in one yet."""
    letter = kept[1]
    if isinstance(letter, Bundle):
        return 0, letter.messages[0].id
    return 1, letter.id if isinstance(letter, Message) else letter.query
