"""Why tasks that are followed do not go on: asked for beside their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

import typer

from saveany.cli.client import ApiClient, Json, ServerEvent
from saveany.errors import RequestError, Unavailable

#: Seconds between two questions.
_QUIET_SECONDS = 2.5
#: Tasks that are asked for at a time.
_AT_ONCE = 20
_PAGE = 200
_LIVE = ("queued", "running")

Look = Callable[[Sequence[str]], Awaitable[list[Json]]]
_Heard = asyncio.Queue[ServerEvent | Exception | None]


async def with_reasons(
    events: AsyncGenerator[ServerEvent, None], look: Look
) -> AsyncGenerator[ServerEvent, None]:
    """The events, and `waiting` events between them: why a task does not get on, once per change.

    An API that does not answer is told on stderr, once per outage. `look` gives tasks, some of those that
    have not ended as far as is known.
    """
    live: dict[str, str] = {}  # task -> what was said of it
    heard: _Heard = asyncio.Queue()

    working = [asyncio.create_task(_listen(events, heard)), asyncio.create_task(_ask(look, live, heard))]
    try:
        while (event := await heard.get()) is not None:
            if isinstance(event, Exception):
                raise event
            if _is_news(event, live):
                yield event
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _listen(events: AsyncGenerator[ServerEvent, None], heard: _Heard) -> None:
    try:
        async with aclosing(events):
            async for event in events:
                heard.put_nowait(event)
        heard.put_nowait(None)
    except Exception as error:  # raised where the events are read
        heard.put_nowait(error)


async def _ask(look: Look, live: Mapping[str, str], heard: _Heard) -> None:
    try:
        await _ask_on(look, live, heard)
    except Exception as error:  # as above
        heard.put_nowait(error)


async def _ask_on(look: Look, live: Mapping[str, str], heard: _Heard) -> None:
    answers = True
    while True:
        await asyncio.sleep(_QUIET_SECONDS)
        try:
            tasks = await look(list(live))
        except Unavailable as error:
            if answers:
                typer.echo(f"the API does not answer; trying again: {error.message}", err=True)
            answers = False
            continue
        except RequestError:
            continue  # a task was removed: the stream tells
        answers = True
        for task in (each for each in tasks if each["status"] in _LIVE):
            told = {name: task[name] for name in ("task_id", "status")}
            told["waiting"] = task.get("waiting", "")
            heard.put_nowait(ServerEvent("waiting", told))


def _is_news(event: ServerEvent, live: dict[str, str]) -> bool:
    """Whether to pass an event on; remembers which tasks have not ended, and what was said of each."""
    task_id = event.task_id
    if event.type == "waiting":
        if task_id not in live or live[task_id] == event.data["waiting"]:
            return False
        live[task_id] = event.data["waiting"]
    elif event.data.get("status") in _LIVE:
        live.setdefault(task_id, "")
    elif task_id:
        live.pop(task_id, None)
    elif event.type == "reset":
        live.clear()
    return True


def each_of(api: ApiClient) -> Look:
    """Looks at the first of the tasks, one by one."""

    async def look(ids: Sequence[str]) -> list[Json]:
        if not ids:
            await api.get("queue")  # only whether it answers
        return [await api.get(f"tasks/{task_id}") for task_id in ids[:_AT_ONCE]]

    return look


def all_of(api: ApiClient) -> Look:
    """Looks at the first page of the list."""

    async def look(ids: Sequence[str]) -> list[Json]:
        tasks: list[Json] = (await api.get("tasks", limit=_PAGE if ids else 1))["tasks"]
        return tasks

    return look
