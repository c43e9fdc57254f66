"""Adds events with the reason why a task waits to those of followed tasks. The API is polled for the
reasons."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

import typer

from saveany.cli.client import ApiClient, Json
from saveany.client.server_events import ServerEvent
from saveany.errors import RequestError, Unavailable

_POLL_SECONDS = 2.5
#: Maximum number of tasks in one poll.
_MAX_TASKS = 20
_PAGE = 200
_LIVE = ("queued", "running")

#: Fetches tasks that have not ended, given the ids of those that are followed.
FetchTasks = Callable[[Sequence[str]], Awaitable[list[Json]]]
_Received = asyncio.Queue[ServerEvent | Exception | None]


async def with_reasons(
    events: AsyncGenerator[ServerEvent, None], fetch: FetchTasks
) -> AsyncGenerator[ServerEvent, None]:
    """The events, with a `waiting` event after each change of the reason why a task waits.

    Prints a line on stderr when the API stops replying, once per outage.
    """
    reasons: dict[str, str] = {}  # task that has not ended -> last reason reported
    received: _Received = asyncio.Queue()

    running = [
        asyncio.create_task(_receive(events, received)),
        asyncio.create_task(_poll(fetch, reasons, received)),
    ]
    try:
        while (event := await received.get()) is not None:
            if isinstance(event, Exception):
                raise event
            if _is_new(event, reasons):
                yield event
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _receive(events: AsyncGenerator[ServerEvent, None], received: _Received) -> None:
    try:
        async with aclosing(events):
            async for event in events:
                received.put_nowait(event)
        received.put_nowait(None)
    except Exception as error:  # `with_reasons` raises it
        received.put_nowait(error)


async def _poll(fetch: FetchTasks, reasons: Mapping[str, str], received: _Received) -> None:
    try:
        await _poll_forever(fetch, reasons, received)
    except Exception as error:  # `with_reasons` raises it
        received.put_nowait(error)


async def _poll_forever(fetch: FetchTasks, reasons: Mapping[str, str], received: _Received) -> None:
    available = True
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        try:
            tasks = await fetch(list(reasons))
        except Unavailable as error:
            if available:
                typer.echo(f"{error.message}; trying again", err=True)
            available = False
            continue
        except RequestError:
            continue  # a task was removed; its events say so
        available = True
        for task in tasks:
            if task["status"] in _LIVE:
                data = {name: task[name] for name in ("task_id", "status")}
                received.put_nowait(ServerEvent("waiting", {**data, "waiting": task.get("waiting", "")}))


def _is_new(event: ServerEvent, reasons: dict[str, str]) -> bool:
    """Whether to pass an event on. Records which tasks have not ended, and the last reason of each."""
    task_id = event.task_id
    if event.type == "waiting":
        if task_id not in reasons or reasons[task_id] == event.data["waiting"]:
            return False
        reasons[task_id] = event.data["waiting"]
    elif event.data.get("status") in _LIVE:
        reasons.setdefault(task_id, "")
    elif task_id:
        reasons.pop(task_id, None)
    elif event.type == "reset":
        reasons.clear()
    return True


def first_tasks(api: ApiClient) -> FetchTasks:
    """Fetches the first of the followed tasks, one by one."""

    async def fetch(ids: Sequence[str]) -> list[Json]:
        if not ids:
            await api.get("queue")  # only to learn whether the API replies
        return [await api.get(f"tasks/{task_id}") for task_id in ids[:_MAX_TASKS]]

    return fetch


def first_page(api: ApiClient) -> FetchTasks:
    """Fetches the first page of the list of tasks."""

    async def fetch(ids: Sequence[str]) -> list[Json]:
        tasks: list[Json] = (await api.get("tasks", limit=_PAGE if ids else 1))["tasks"]
        return tasks

    return fetch
