"""Events of tasks as they happen, whatever happens to the connection.

They come as server-sent events. A stream that breaks is taken up again where it was; if streams do not work
at all (some proxies swallow them), the tasks are looked at every second instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from saveany.cli.client import ApiClient, Json, ServerEvent
from saveany.errors import SaveAnyError, Unavailable

T = TypeVar("T")

#: Streams in a row that end without an event, though the API answers, before the tasks are polled.
_TRIES = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_POLL_SECONDS = 1.0
#: Polls in a row without an answer before we give up.
_PATIENCE = 60
#: Tasks followed at a time; the others have their turn when one of these ends.
_AT_ONCE = 50


async def follow_all(api: ApiClient) -> AsyncGenerator[ServerEvent, None]:
    """What happens to all tasks, for ever; first a `snapshot` of each that is there.

    After a `reset` events are missing; a `snapshot` of each live task follows.
    """
    for events in (_stream(api, "", lambda: _live(api)), _poll(_look_at_all(api))):
        async with aclosing(events):
            async for event in events:
                yield event


async def follow_tasks(api: ApiClient, ids: Sequence[str]) -> AsyncGenerator[ServerEvent, None]:
    """What happens to these tasks, until all have ended."""
    arrived: asyncio.Queue[ServerEvent | SaveAnyError | None] = asyncio.Queue()
    slots = asyncio.Semaphore(_AT_ONCE)

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
    """What happens to one task, its end last."""
    for events in (_stream(api, task_id, _nothing), _poll(_look_at_one(api, task_id))):
        async with aclosing(events):
            async for event in events:
                if event.type != "reset":  # a snapshot follows it
                    yield event
                if event.ended:
                    return


async def _stream(
    api: ApiClient, task_id: str, begin: Callable[[], Awaitable[list[ServerEvent]]]
) -> AsyncGenerator[ServerEvent, None]:
    """Events from the API's stream, over any number of connections; ends when streams do not work.

    `begin` tells what comes first on a connection that does not continue an earlier one.
    """
    last_id, failures = "", 0
    while failures < _TRIES:
        failures += 1
        try:
            async with aclosing(api.events(task_id, last_id)) as events:
                async for event in events:
                    if event.type == "open":
                        for first in [] if last_id else await begin():
                            yield first
                        continue
                    failures, last_id = 0, event.id or last_id
                    yield event
        except Unavailable:
            if not await _answers(api):  # it is down, which says nothing about its streams
                failures = 0
                await _patiently(lambda: api.get("queue"))
        await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures))


async def _answers(api: ApiClient) -> bool:
    try:
        await api.get("queue")
    except Unavailable:
        return False
    return True


async def _poll(look: Callable[[], Awaitable[list[ServerEvent]]]) -> AsyncGenerator[ServerEvent, None]:
    """What has changed since the last look, for ever. Raises `Unavailable` when nobody answers for long."""
    known: dict[str, ServerEvent] = {}
    while True:
        for event in await _patiently(look):
            if known.get(event.task_id) != event:
                known[event.task_id] = event
                yield event
        await asyncio.sleep(_POLL_SECONDS)


async def _patiently(look: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_PATIENCE):
        try:
            return await look()
        except Unavailable:
            await asyncio.sleep(_POLL_SECONDS)
    return await look()


def _look_at_one(api: ApiClient, task_id: str) -> Callable[[], Awaitable[list[ServerEvent]]]:
    async def look() -> list[ServerEvent]:
        return [_snapshot(await api.task(task_id))]

    return look


def _look_at_all(api: ApiClient) -> Callable[[], Awaitable[list[ServerEvent]]]:
    seen: set[str] = set()

    async def look() -> list[ServerEvent]:
        live = await _live(api)
        ids = {event.task_id for event in live}
        ended = [_snapshot(await api.task(task_id)) for task_id in sorted(seen - ids)]
        seen.clear()
        seen.update(ids)
        return live + ended

    return look


async def _live(api: ApiClient) -> list[ServerEvent]:
    return [_snapshot(task) for task in await api.live()]


async def _nothing() -> list[ServerEvent]:
    return []  # the stream of one task begins with its snapshot


def _snapshot(task: Json) -> ServerEvent:
    names = ("task_id", "status", "stage", "title", "error", "progress")
    return ServerEvent("snapshot", {name: task[name] for name in names} | {"at": task["updated_at"]})
