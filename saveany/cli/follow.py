"""Events of tasks as they happen, across broken connections.

The events arrive as server-sent events. A broken stream is continued after the last event received. If
streams do not work at all (some proxies block them), the tasks are polled every second instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from saveany.cli.client import ApiClient, Json
from saveany.client.server_events import ServerEvent
from saveany.errors import SaveAnyError, Unavailable

T = TypeVar("T")

#: Consecutive streams that may end without an event, while the API replies, before the tasks are polled.
_MAX_EMPTY_STREAMS = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_POLL_SECONDS = 1.0
#: Consecutive polls that may fail before the command gives up.
_MAX_FAILED_POLLS = 60
#: Maximum number of tasks followed at the same time; the next one starts when one of them ends.
_MAX_FOLLOWED = 50


async def follow_all(api: ApiClient) -> AsyncGenerator[ServerEvent, None]:
    """Events of all tasks, without end. They begin with a `snapshot` of each queued or running task.

    After a `reset`, which means that events were lost, a `snapshot` of each of them follows again.
    """
    for events in (_stream(api, "", lambda: _live(api)), _poll(_all_tasks(api))):
        async with aclosing(events):
            async for event in events:
                yield event


async def follow_tasks(api: ApiClient, ids: Sequence[str]) -> AsyncGenerator[ServerEvent, None]:
    """Events of these tasks, until all of them have ended."""
    arrived: asyncio.Queue[ServerEvent | SaveAnyError | None] = asyncio.Queue()
    slots = asyncio.Semaphore(_MAX_FOLLOWED)

    async def follow(task_id: str) -> None:
        try:
            async with slots, aclosing(_follow_task(api, task_id)) as events:
                async for event in events:
                    arrived.put_nowait(event)
            arrived.put_nowait(None)
        except SaveAnyError as error:
            arrived.put_nowait(error)

    following = [asyncio.create_task(follow(task_id)) for task_id in ids]
    try:
        left = len(following)
        while left:
            match await arrived.get():
                case None:
                    left -= 1
                case ServerEvent() as event:
                    yield event
                case SaveAnyError() as error:
                    raise error
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _follow_task(api: ApiClient, task_id: str) -> AsyncGenerator[ServerEvent, None]:
    """Events of one task; the last one is its end."""
    for events in (_stream(api, task_id, _nothing), _poll(_one_task(api, task_id))):
        async with aclosing(events):
            async for event in events:
                if event.type != "reset":  # a snapshot follows
                    yield event
                if event.ended:
                    return


async def _stream(
    api: ApiClient, task_id: str, first_events: Callable[[], Awaitable[list[ServerEvent]]]
) -> AsyncGenerator[ServerEvent, None]:
    """Events from the API's stream, over any number of connections. Ends when streams do not work.

    `first_events` returns the events to begin with on a connection that does not continue an earlier one.
    """
    last_id, failures = "", 0
    while failures < _MAX_EMPTY_STREAMS:
        failures += 1
        try:
            async with aclosing(api.events(task_id, last_id)) as events:
                async for event in events:
                    if event.type == "open":
                        for first in [] if last_id else await first_events():
                            yield first
                        continue
                    failures, last_id = 0, event.id or last_id
                    yield event
        except Unavailable:
            if not await _is_available(api):  # so its streams may work
                failures = 0
                await _retried(lambda: api.get("queue"))
        await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures))


async def _is_available(api: ApiClient) -> bool:
    try:
        await api.get("queue")
    except Unavailable:
        return False
    return True


async def _poll(fetch: Callable[[], Awaitable[list[ServerEvent]]]) -> AsyncGenerator[ServerEvent, None]:
    """Changes since the last poll, without end. Raises `Unavailable` if the API does not reply for a
    minute."""
    known: dict[str, ServerEvent] = {}
    while True:
        for event in await _retried(fetch):
            if known.get(event.task_id) != event:
                known[event.task_id] = event
                yield event
        await asyncio.sleep(_POLL_SECONDS)


async def _retried(request: Callable[[], Awaitable[T]]) -> T:
    """The reply to a request, which is repeated while the API is unavailable."""
    for _ in range(_MAX_FAILED_POLLS):
        try:
            return await request()
        except Unavailable:
            await asyncio.sleep(_POLL_SECONDS)
    return await request()


def _one_task(api: ApiClient, task_id: str) -> Callable[[], Awaitable[list[ServerEvent]]]:
    async def fetch() -> list[ServerEvent]:
        return [_snapshot(await api.task(task_id))]

    return fetch


def _all_tasks(api: ApiClient) -> Callable[[], Awaitable[list[ServerEvent]]]:
    seen: set[str] = set()

    async def fetch() -> list[ServerEvent]:
        live = await _live(api)
        ids = {event.task_id for event in live}
        ended = [_snapshot(await api.task(task_id)) for task_id in sorted(seen - ids)]
        seen.clear()
        seen.update(ids)
        return live + ended

    return fetch


async def _live(api: ApiClient) -> list[ServerEvent]:
    return [_snapshot(task) for task in await api.live()]


async def _nothing() -> list[ServerEvent]:
    return []  # the API begins the stream of one task with its snapshot


def _snapshot(task: Json) -> ServerEvent:
    names = ("task_id", "status", "stage", "title", "error", "progress")
    return ServerEvent("snapshot", {name: task[name] for name in names} | {"at": task["updated_at"]})
