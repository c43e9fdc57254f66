"""Delivers updates to handlers: each at least once, in the order of their chat, despite crashes.

Updates are stored in Redis in one step with the position after them, so none is lost and none is received
twice. Files and links that arrive in quick succession form a group. A group is stored before it is handled,
so that it is the same one after a restart.
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
from saveany.loops import repeat, wait_for_store
from saveany.store.bot import BotMemory
from saveany.store.records import decoder
from saveany.telegram.bot_client import BotClient
from saveany.telegram.update_types import CallbackQuery, ChatMessage, Update
from saveany.telegram.updates import Position

#: A group is complete when no message has arrived for this time, in seconds.
QUIET_SECONDS = 1.0
#: Maximum time to wait for a group to become complete, in seconds.
_MAX_GROUP_SECONDS = 5.0
#: Maximum number of messages in a group.
MAX_GROUP = 100
#: Pause after a failure, in seconds.
_PAUSE_SECONDS = 1.0

T = TypeVar("T")

log = get_logger("saveany.bot")


class MessageGroup(msgspec.Struct, frozen=True, tag="Bundle"):
    """Messages with files or links that arrived in quick succession."""

    messages: tuple[ChatMessage, ...]


class _StoredMessage(msgspec.Struct, frozen=True, tag="_One"):
    message: ChatMessage


class _StoredQuery(msgspec.Struct, frozen=True, tag="_Press"):
    query: CallbackQuery = msgspec.field(name="press")


_decode_record = decoder(MessageGroup | _StoredMessage | _StoredQuery)  # type: ignore[arg-type]  # no type[T]
_decode_position = decoder(Position)

Handle = Callable[[str, Update | MessageGroup], Awaitable[None]]
#: Whether a message contains something to save, so that it may become part of a group.
IsSavable = Callable[[ChatMessage], bool]
#: Whether a message replies to a question. The reply may be a password, so its text is not stored.
IsReply = Callable[[ChatMessage], bool]


class Inbox:
    """Receives updates and passes them to a handler.

    `handle(key, update)` is called again with the same update after a crash, or if it raised an error in
    `Unavailable`. An update whose handler raises any other error is dropped.
    """

    def __init__(
        self, memory: BotMemory, client: BotClient, is_savable: IsSavable, is_reply: IsReply, handle: Handle
    ) -> None:
        self._memory = memory
        self._client = client
        self._is_savable = is_savable
        self._is_reply = is_reply
        self._handle = handle
        self._queues: dict[tuple[int, bool], _UpdateQueue] = {}

    async def run(self) -> None:
        """Receive updates until canceled. During an outage of Redis none are read."""
        stored = await _until_stored(self._memory.inbox)
        unhandled = self._memory.readable("update", stored, lambda pair: (pair[0], _decode(pair[1])))
        for key, update in sorted(unhandled, key=_order):
            self._enqueue(key, update)
        await repeat("updates", self._read, retry=_PAUSE_SECONDS)

    async def close(self) -> None:
        """Stop handling updates. Those that were not handled are handled after the next start."""
        for queue in self._queues.values():
            await queue.stop()

    async def _read(self) -> None:
        stored = await _until_stored(self._memory.position)
        (since,) = self._memory.readable("position", {"": stored}, _position) or (None,)
        async for updates, position in self._client.updates(since):
            batch = {_key(update): update for update in updates}
            await self._store(batch, msgspec.json.encode(position))
            for key, update in batch.items():
                self._enqueue(key, update)

    async def _store(self, batch: Mapping[str, Update], position: bytes) -> None:
        """Store a batch and the position after it. Nothing else is read until that has succeeded: Telegram
        does not send button presses again."""
        encoded = {key: _encode(self._without_secret(update)) for key, update in batch.items()}
        await _until_stored(lambda: self._memory.receive(encoded, position))

    def _without_secret(self, update: Update) -> Update:
        if isinstance(update, ChatMessage) and self._is_reply(update):
            return msgspec.structs.replace(update, text="", urls=())
        return update

    def _enqueue(self, key: str, update: Update | MessageGroup) -> None:
        chat = update.messages[0].chat if isinstance(update, MessageGroup) else update.chat
        # Button presses have a queue of their own, so that Cancel does not wait for a flood wait of the chat.
        queue = chat, isinstance(update, CallbackQuery)
        if queue not in self._queues:
            self._queues[queue] = _UpdateQueue(self._memory, self._is_savable, self._handle)
        self._queues[queue].add(key, update)


class _UpdateQueue:
    """Handles the messages of one chat, or its button presses, one after the other."""

    def __init__(self, memory: BotMemory, is_savable: IsSavable, handle: Handle) -> None:
        self._memory = memory
        self._is_savable = is_savable
        self._handle = handle
        self._waiting: deque[tuple[str, Update | MessageGroup]] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def add(self, key: str, update: Update | MessageGroup) -> None:
        self._waiting.append((key, update))
        self._arrived.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            try:
                await self._handle_next()
            except Exception:  # the following updates must be handled all the same
                log.exception("update_dropped")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _handle_next(self) -> None:
        key, update = self._waiting[0]
        if isinstance(update, ChatMessage) and self._is_savable(update):
            key, update = await self._take_group()
        else:
            self._waiting.popleft()
        try:
            await _until_stored(partial(self._handle, key, update))
        except Exception:
            log.exception("update_dropped", update=key)
        await _until_stored(partial(self._memory.handled, key))

    async def _take_group(self) -> tuple[str, MessageGroup]:
        """Remove the group that begins with the first message from the queue, and store it."""
        complete = await self._wait_for_group()
        messages = (
            self._group_messages() if complete else _without_last_album(self._group_messages(), self._waiting)
        )
        for _ in messages:
            self._waiting.popleft()
        group = MessageGroup(tuple(message for _, message in messages))
        key = f"bundle/{messages[0][0]}"
        encoded = msgspec.json.encode(group)
        await _until_stored(lambda: self._memory.group([key for key, _ in messages], key, encoded))
        return key, group

    async def _wait_for_group(self) -> bool:
        """Wait until the first group is complete; False if messages keep arriving for too long, or if it has
        reached its maximum size."""
        deadline = time.monotonic() + _MAX_GROUP_SECONDS
        while len(self._group_messages()) == len(self._waiting):
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), QUIET_SECONDS)
            except TimeoutError:
                return True
            if time.monotonic() > deadline:
                return False
        return len(self._group_messages()) < MAX_GROUP

    def _group_messages(self) -> list[tuple[str, ChatMessage]]:
        group: list[tuple[str, ChatMessage]] = []
        for key, update in self._waiting:
            if not isinstance(update, ChatMessage) or not self._is_savable(update) or len(group) == MAX_GROUP:
                break
            if group and update.sender.id != group[0][1].sender.id:
                break
            group.append((key, update))
        return group


def _without_last_album(
    group: list[tuple[str, ChatMessage]], waiting: Sequence[tuple[str, Update | MessageGroup]]
) -> list[tuple[str, ChatMessage]]:
    """The group without an album at its end that may have more messages; all of it if it is only that
    album."""
    album = group[-1][1].album
    following = waiting[len(group)][1] if len(waiting) > len(group) else None
    if not album or (following is not None and getattr(following, "album", 0) != album):
        return group
    return [each for each in group if each[1].album != album] or group


async def _until_stored(call: Callable[[], Awaitable[T]]) -> T:
    """The result of `call`, repeated until Redis is available."""
    return await wait_for_store("inbox", call, _PAUSE_SECONDS)


def _key(update: Update) -> str:
    return f"{update.chat}/{update.id}" if isinstance(update, ChatMessage) else f"press/{update.query}"


def _encode(update: Update) -> bytes:
    record = _StoredMessage(update) if isinstance(update, ChatMessage) else _StoredQuery(update)
    return msgspec.json.encode(record)


def _decode(data: bytes) -> Update | MessageGroup:
    record: MessageGroup | _StoredMessage | _StoredQuery = _decode_record(data)
    if isinstance(record, MessageGroup):
        if not record.messages:
            raise ValueError("a group without messages")
        return record
    return record.message if isinstance(record, _StoredMessage) else record.query


def _position(pair: tuple[str, bytes]) -> Position | None:
    return _decode_position(pair[1]) if pair[1] else None


def _order(pair: tuple[str, Update | MessageGroup]) -> tuple[int, int]:
    """Sort key: groups first, because they are older than messages that are not in a group yet."""
    update = pair[1]
    if isinstance(update, MessageGroup):
        return 0, update.messages[0].id
    return 1, update.id if isinstance(update, ChatMessage) else update.query
