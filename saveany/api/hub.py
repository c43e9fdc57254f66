"""Distributes events to the clients of this process.

One reader follows the event stream and one subscription receives progress, for all clients together; each
event is encoded once. Each client has a bounded queue. A client that reads too slowly loses progress
events first; if state changes do not fit either, its stream ends with `reset`. During an outage of Redis
clients stay connected, and receive the missed events afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import msgspec

from saveany.errors import TooMany
from saveany.loops import repeat
from saveany.models import Status
from saveany.store import Event
from saveany.store.events import Events, event_key

#: Maximum number of events waiting for one client; progress may use half of it.
QUEUE_SIZE = 1000
#: Minimum number of seconds between two progress events of a task.
PROGRESS_INTERVAL = 0.5
#: Maximum number of seconds without data on a stream.
PING_SECONDS = 15.0
#: Seconds before a failed step is repeated.
_RETRY_DELAY = 0.5
#: Number of ended tasks that are remembered.
_ENDED_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event and its encoded form, which is the same for all clients."""

    event: Event
    wire: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The end of a subscription. With a `reason` the client has missed events."""

    reason: str = ""


class Subscription:
    """The events that one client has not received yet."""

    def __init__(self, task_id: str, user_id: int | None = None) -> None:
        self._task_id = task_id
        self._user_id = user_id
        self._waiting: deque[EncodedEvent | End] = deque()
        self._ended = False
        self._arrived = asyncio.Event()

    def offer(self, encoded: EncodedEvent) -> None:
        """Add an event if it is for this client and there is room."""
        event = encoded.event
        if self._ended or self._task_id not in ("", event.task_id):
            return
        if self._user_id not in (None, event.user_id):
            return
        if len(self._waiting) >= QUEUE_SIZE:
            self.end("this client reads too slowly and has missed events")
        elif event.id or len(self._waiting) < QUEUE_SIZE // 2:
            self._waiting.append(encoded)
            self._arrived.set()

    def end(self, reason: str = "") -> None:
        """Add no more events; with a `reason` also drop those that wait."""
        if reason:
            self._waiting.clear()
        if not self._ended:
            self._ended = True
            self._waiting.append(End(reason))
            self._arrived.set()

    def ping(self) -> None:
        """Make `next` return even without an event: proxies close silent connections."""
        self._arrived.set()

    async def next(self) -> list[EncodedEvent | End]:
        """All waiting events, none after a `ping`. Must not be called again after an `End`."""
        if not self._waiting:
            await self._arrived.wait()
        self._arrived.clear()
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting


class Hub:
    """Passes the events of the store on to the subscriptions, while `running`."""

    def __init__(self, events: Events, encode: Callable[[Event], bytes], max_clients: int = 1000) -> None:
        self._events = events
        self._encode = encode
        self._max_clients = max_clients
        self._clients: set[Subscription] = set()
        self._position = ""  # id of the latest distributed event; "" before the first read
        self._progress: dict[str, Event] = {}  # task id -> latest progress that was not distributed yet
        self._has_progress = asyncio.Event()
        self._ended: dict[str, None] = {}  # ids of the tasks that ended last, oldest first
        self._closed = False

    @contextmanager
    def subscription(self, task_id: str = "", user_id: int | None = None) -> Iterator[Subscription]:
        """A subscription to future events: of all tasks or of one, of all users or of one. Raises
        `TooMany`."""
        if len(self._clients) >= self._max_clients:
            raise TooMany(
                "the maximum of {limit} event streams is reached; close some, or follow all tasks with the "
                "single stream /api/v1/events",
                self._max_clients,
                limit=self._max_clients,
            )
        client = Subscription(task_id, user_id)
        self._clients.add(client)
        if self._closed:
            client.end()
        try:
            yield client
        finally:
            self._clients.discard(client)

    def close(self) -> None:
        """End all present and future streams, because the server is about to stop."""
        self._closed = True
        for client in self._clients:
            client.end()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read and distribute events within this context."""
        tasks = [
            asyncio.create_task(repeat("events", step, _RETRY_DELAY))
            for step in (self._follow, self._listen, self._distribute_progress, self._ping)
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
            self._distribute(event)

    def _remember(self, event: Event) -> None:
        """Remember ended tasks: their progress, which arrives separately, must not follow their end."""
        self._ended.pop(event.task_id, None)
        if event.status and Status(event.status).ended:
            self._ended[event.task_id] = None
            self._progress.pop(event.task_id, None)
        if len(self._ended) > _ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]

    async def _find_position(self) -> None:
        """Set the position to read from, after the start or an outage."""
        newest = await self._events.last_id()
        if not self._position:
            self._position = newest
        elif event_key(newest) < event_key(self._position) or await self._events.trimmed(self._position):
            self._position = newest
            for client in self._clients:
                client.end("events were lost while the task store (Redis) was unavailable")

    async def _listen(self) -> None:
        async for event in self._events.progress():
            if event.task_id not in self._ended:
                self._progress[event.task_id] = msgspec.structs.replace(event, at=time.time_ns() // 1_000_000)
                self._has_progress.set()

    async def _distribute_progress(self) -> None:
        while True:
            await self._has_progress.wait()
            self._has_progress.clear()
            newest, self._progress = self._progress, {}
            for event in newest.values():
                self._distribute(event)
            await asyncio.sleep(PROGRESS_INTERVAL)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            for client in self._clients:
                client.ping()

    def _distribute(self, event: Event) -> None:
        if not self._clients:
            return
        encoded = EncodedEvent(event, self._encode(event))
        for client in self._clients:
            client.offer(encoded)
