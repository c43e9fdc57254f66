"""Loads messages of chats in batches: loads that wait at the same time are sent as one request.

A batch is sent as soon as no other request for its chat is in flight, or when it is full (Nagle's algorithm).
So a single load is sent at once, and many loads cost one request per `BATCH` messages, without any timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from telethon.tl import types

#: Maximum number of messages in one reply from Telegram.
BATCH = 100
#: Maximum number of requests for messages of one chat that are in flight.
IN_FLIGHT = 4

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class LoadedMessages:
    """Messages, with the users and chats that came with them. It may hold more than was asked for."""

    requested: frozenset[int]  # the ids that were sent to Telegram
    messages: dict[int, Any]  # those that exist, by id
    users: list[Any]
    chats: list[Any]

    def __or__(self, other: LoadedMessages) -> LoadedMessages:
        """Both together."""
        return LoadedMessages(
            self.requested | other.requested,
            self.messages | other.messages,
            self.users + other.users,
            self.chats + other.chats,
        )


@dataclass(slots=True, eq=False)
class _Load:
    ids: frozenset[int]
    extra: tuple[int, ...]
    result: asyncio.Future[LoadedMessages]


@dataclass(slots=True, eq=False)
class _Queue:
    """The loads of one chat."""

    waiting: list[_Load] = field(default_factory=list)
    in_flight: dict[frozenset[int], list[_Load]] = field(
        default_factory=dict
    )  # by the ids that were requested
    sending: bool = False  # `_send_batches` will run
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def next_batch(self) -> tuple[frozenset[int], list[_Load]]:
        """Remove the oldest loads that fit into one request; extra messages fill what room is left."""
        ids: set[int] = set()
        batch: list[_Load] = []
        while self.waiting and len(ids | self.waiting[0].ids) <= BATCH:
            batch.append(self.waiting.pop(0))
            ids |= batch[-1].ids
        for number in (number for load in batch for number in load.extra):
            if len(ids) == BATCH:
                break
            ids.add(number)
        batch += [load for load in self.waiting if load.ids <= ids]
        self.waiting = [load for load in self.waiting if not load.ids <= ids]
        return frozenset(ids), batch


class MessageLoader(Generic[C]):
    """Loads messages with one account."""

    def __init__(
        self, request: Callable[[C, list[int]], Awaitable[Any]], key: Callable[[C], Hashable]
    ) -> None:
        """`request` sends one request for messages of a chat, and returns Telegram's reply. Chats with the
        same `key` share requests."""
        self._request = request
        self._key = key
        self._queues: dict[Hashable, _Queue] = {}

    async def load(self, chat: C, ids: Collection[int], extra: Iterable[int] = ()) -> LoadedMessages:
        """The messages `ids` of a chat, at most `BATCH`; also those of `extra` for which the request has
        room. Raises what `request` raises."""
        wanted = frozenset(ids)
        if len(wanted) > BATCH:
            raise ValueError(f"more than {BATCH} messages")
        queue = self._queues.setdefault(self._key(chat), _Queue())
        load = _Load(wanted, tuple(extra), asyncio.get_running_loop().create_future())
        for requested, loads in queue.in_flight.items():
            if wanted <= requested:
                loads.append(load)
                return await load.result
        queue.waiting.append(load)
        if not queue.sending:
            # In the next iteration of the event loop: everything that is ready now shares the request.
            queue.sending = True
            asyncio.get_running_loop().call_soon(self._send_batches, chat, queue)
        return await load.result

    def _send_batches(self, chat: C, queue: _Queue) -> None:
        """Send as many requests as may be sent now."""
        queue.sending = False
        queue.waiting = [
            load for load in queue.waiting if not load.result.done()
        ]  # their callers were canceled
        while queue.waiting and len(queue.in_flight) < IN_FLIGHT:
            if queue.in_flight and sum(len(load.ids) for load in queue.waiting) < BATCH:
                break
            requested, batch = queue.next_batch()
            queue.in_flight[requested] = batch
            task = asyncio.create_task(self._send(chat, queue, requested))
            queue.tasks.add(task)
            task.add_done_callback(queue.tasks.discard)
        key = self._key(chat)
        if not queue.waiting and not queue.in_flight and self._queues.get(key) is queue:
            del self._queues[key]

    async def _send(self, chat: C, queue: _Queue, requested: frozenset[int]) -> None:
        try:
            reply = await self._request(chat, sorted(requested))
            loaded = _loaded(requested, reply)
        except asyncio.CancelledError:
            for load in queue.in_flight.pop(requested):
                load.result.cancel()
            raise
        except Exception as error:
            for load in queue.in_flight.pop(requested):
                if not load.result.done():
                    load.result.set_exception(error)
        else:
            for load in queue.in_flight.pop(requested):
                if not load.result.done():
                    load.result.set_result(loaded)
        self._send_batches(chat, queue)


def _loaded(requested: frozenset[int], reply: Any) -> LoadedMessages:
    existing = {m.id: m for m in reply.messages if not isinstance(m, types.MessageEmpty)}
    return LoadedMessages(requested, existing, list(reply.users), list(reply.chats))
