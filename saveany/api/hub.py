"""Events for the clients of this process: one reader of the stream and one subscription to progress for all.
Each event is encoded once, for all clients.

Each client has a bounded queue. A client that does not keep up loses progress first; when even its state
changes do not fit it is sent away with `reset`, and resumes or starts over when it comes back. When Redis is
gone for a while the clients stay, and then get what they missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import msgspec

from saveany.errors import TooMany
from saveany.models import Status
from saveany.store import Event
from saveany.store.events import Events, event_key
from saveany.store.loops import repeat

#: Events that may wait for one client; progress takes no more than half of it.
QUEUE_SIZE = 1000
#: Progress of one task is told at most this often, in seconds.
PROGRESS_INTERVAL = 0.5
#: A stream is never silent for longer, in seconds.
PING_SECONDS = 15.0
_RETRY_DELAY = 0.5
_ENDED_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event, and how it is sent to every client."""

    event: Event
    wire: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The last thing a subscription gives. With a reason the client has missed something."""

    reason: str = ""


class Subscription:
    """What one client has not seen yet."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self._waiting: deque[EncodedEvent | End] = deque()
        self._ended = False
        self._arrived = asyncio.Event()

    def offer(self, told: EncodedEvent) -> None:
        """Put an event in, if it is for this client and there is room."""
        event = told.event
        if self._ended or self._task_id not in ("", event.task_id):
            return
        if len(self._waiting) >= QUEUE_SIZE:
            self.end("this client reads too slowly and has missed events")
        elif event.id or len(self._waiting) < QUEUE_SIZE // 2:
            self._waiting.append(told)
            self._arrived.set()

    def end(self, reason: str = "") -> None:
        """Give nothing more; with a `reason`, forget what waits too."""
        if reason:
            self._waiting.clear()
        if not self._ended:
            self._ended = True
            self._waiting.append(End(reason))
            self._arrived.set()

    def ping(self) -> None:
        """Have something sent if nothing else is: who sits between us and the client ends what is silent."""
        self._arrived.set()

    async def next(self) -> list[EncodedEvent | End]:
        """All that has come, maybe nothing after a `ping`; after an `End` do not ask again."""
        if not self._waiting:
            await self._arrived.wait()
        self._arrived.clear()
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting


class Hub:
    """Hands the events of the store to subscriptions while `running`."""

    def __init__(self, events: Events, encode: Callable[[Event], bytes], most_clients: int = 1000) -> None:
        self._events = events
        self._encode = encode
        self._most_clients = most_clients
        self._clients: set[Subscription] = set()
        self._position = ""  # id of the newest event that was handed out; empty before the first look
        self._progress: dict[str, Event] = {}  # the newest of each task that was not handed out yet
        self._has_progress = asyncio.Event()
        self._ended: dict[str, None] = {}  # the last tasks that ended, oldest first
        self._closed = False

    @contextmanager
    def subscription(self, task_id: str = "") -> Iterator[Subscription]:
        """Events from now on, of one task if it is given. Raises `TooMany`."""
        if len(self._clients) >= self._most_clients:
            raise TooMany(
                f"there are {self._most_clients} event streams already; close some, or follow all tasks "
                "with one, /api/v1/events",
                self._most_clients,
            )
        client = Subscription(task_id)
        self._clients.add(client)
        if self._closed:
            client.end()
        try:
            yield client
        finally:
            self._clients.discard(client)

    def close(self) -> None:
        """End every stream, now and later: the server is about to stop."""
        self._closed = True
        for client in self._clients:
            client.end()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read events in here."""
        tasks = [
            asyncio.create_task(repeat("events", step, _RETRY_DELAY))
            for step in (self._follow, self._listen, self._tell_progress, self._ping)
        ]
        try:
            yield
        finally:
            self.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        await self._find_position()
        async for event in self._events.follow(self._position):
            self._position = event.id
            self._remember(event)
            self._hand_out(event)

    def _remember(self, event: Event) -> None:
        """Progress comes another way and may be late: none may follow the end of its task."""
        self._ended.pop(event.task_id, None)
        if Status(event.status).ended:
            self._ended[event.task_id] = None
            self._progress.pop(event.task_id, None)
        if len(self._ended) > _ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]

    async def _find_position(self) -> None:
        """Where to go on reading, after a start or an outage."""
        newest = await self._events.last_id()
        if not self._position:
            self._position = newest
        elif event_key(newest) < event_key(self._position) or await self._events.trimmed(self._position):
            self._position = newest
            for client in self._clients:
                client.end("events were lost while the store was away")

    async def _listen(self) -> None:
        async for event in self._events.progress():
            if event.task_id not in self._ended:
                self._progress[event.task_id] = msgspec.structs.replace(event, at=time.time_ns() // 1_000_000)
                self._has_progress.set()

    async def _tell_progress(self) -> None:
        while True:
            await self._has_progress.wait()
            self._has_progress.clear()
            newest, self._progress = self._progress, {}
            for event in newest.values():
                self._hand_out(event)
            await asyncio.sleep(PROGRESS_INTERVAL)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            for client in self._clients:
                client.ping()

    def _hand_out(self, event: Event) -> None:
        if not self._clients:
            return
        told = EncodedEvent(event, self._encode(event))
        for client in self._clients:
            client.offer(told)
