"""Server-sent events: what happens to all tasks, or to one.

The type of an event is its `event`: `task.queued`, `task.running`, `task.updated`, `task.progress`,
`task.completed`, `task.failed`, `task.canceled`, and of this stream itself:

    snapshot  the task as it is now
    reset     events were missed and cannot be had any more; a snapshot follows, or the connection ends
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header
from starlette.exceptions import HTTPException

from saveany.api.errors import responses
from saveany.api.hub import EncodedEvent, End, Subscription
from saveany.api.routes import JsonRoute
from saveany.api.services import Use
from saveany.api.sse import PING, STREAMED, EventStream, encode
from saveany.api.tasks import TaskId
from saveany.errors import StoreUnavailable
from saveany.models import ENDED, Task
from saveany.service import OPERATOR
from saveany.store import Event, Store
from saveany.store.events import event_key

router = APIRouter(prefix="/api/v1", tags=["events"], route_class=JsonRoute)

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,15}-[0-9]{1,15}$",
        description="Id of the last event you saw, to go on from there. Browsers send it by themselves.",
    ),
]


async def _all_tasks(use: Use) -> AsyncIterator[Subscription]:
    # Subscribed before the answer begins: whoever sees its first byte misses nothing from then on.
    with use.hub.subscription() as client:
        yield client


async def _one_task(
    use: Use, task_id: TaskId, last_event_id: LastEventId = None
) -> AsyncIterator[Subscription]:
    task = await use.tasks.get(OPERATOR, task_id)
    if last_event_id and task.status.ended and await _seen_to_the_end(use.store, task_id, last_event_id):
        raise HTTPException(204)  # browsers come back after the end of a stream, unless they are told so
    with use.hub.subscription(task_id) as client:
        yield client


@router.get(
    "/events",
    operation_id="streamEvents",
    summary="What happens to all tasks",
    response_class=EventStream,
    responses={**responses(429), 200: STREAMED},
)
async def all_events(
    use: Use, client: Annotated[Subscription, Depends(_all_tasks)], last_event_id: LastEventId = None
) -> EventStream:
    """A stream of events, for ever: `task.queued`, `task.running`, `task.updated`, `task.progress`,
    `task.completed`, `task.failed`, `task.canceled`. The data is JSON: `task_id, status, stage, at`, and
    where they apply `title`, `error` and `progress`. Progress comes at most twice a second per task and has
    no id. After a `Last-Event-ID` that is too old comes `reset`, then a `snapshot` of each task that has not
    ended.
    """
    return EventStream(_stream(use.store, client, "", last_event_id or ""))


@router.get(
    "/tasks/{task_id}/events",
    operation_id="streamTaskEvents",
    summary="What happens to one task",
    response_class=EventStream,
    responses={
        **responses(404, 429),
        200: STREAMED,
        204: {"description": "The task has ended and its last event was seen."},
    },
)
async def task_events(
    use: Use,
    task_id: TaskId,
    client: Annotated[Subscription, Depends(_one_task)],
    last_event_id: LastEventId = None,
) -> EventStream:
    """As the stream of all tasks, but it begins with a `snapshot`, or after a `Last-Event-ID` with what was
    missed, and closes when the task has ended.
    """
    return EventStream(_stream(use.store, client, task_id, last_event_id or ""))


async def _seen_to_the_end(store: Store, task_id: str, last_id: str) -> bool:
    if await _is_lost(store, last_id):
        return False
    return all([event.task_id != task_id async for event in _after(store, last_id)])


async def _stream(
    store: Store, client: Subscription, task_id: str, last_id: str
) -> AsyncGenerator[bytes, None]:
    """What one client is sent, in order and each event once: the past from the store, then what comes in."""
    seen = (0, 0)
    try:
        async for event in _past(store, task_id, last_id):
            seen = event_key(event.id) if event.id else seen
            if not task_id or event.task_id in ("", task_id):
                yield encode(event)
                if task_id and event.status in ENDED:
                    return
    except StoreUnavailable as error:
        yield encode(_reset(error.message))
        return
    ended = False
    while not ended:
        pieces, ended = _news(await client.next(), seen, task_id)
        yield b"".join(pieces) or PING


def _news(
    waiting: Sequence[EncodedEvent | End], seen: tuple[int, int], task_id: str
) -> tuple[list[bytes], bool]:
    """What of this is new to the client, and whether nothing follows."""
    pieces: list[bytes] = []
    for told in waiting:
        if isinstance(told, End):
            return [*pieces, encode(_reset(told.reason))] if told.reason else pieces, True
        event = told.event
        if not event.id or event_key(event.id) > seen:
            pieces.append(told.wire)
            if task_id and event.status in ENDED:
                return pieces, True
    return pieces, False


async def _past(store: Store, task_id: str, last_id: str) -> AsyncIterator[Event]:
    """What was missed after `last_id`, of all tasks; where that is not known, the present in its place."""
    if last_id and not await _is_lost(store, last_id):
        async for event in _after(store, last_id):
            yield event
    elif last_id or task_id:
        now = await store.events.last_id()
        tasks = await store.tasks.get_many([task_id]) if task_id else await store.tasks.live()
        events = [_reset("the events after your Last-Event-ID are gone")] if last_id else []
        events += [_snapshot(task) for task in tasks]
        # Only the last one carries an id: who loses the connection before it starts over.
        for event in events[:-1]:
            yield event
        yield msgspec.structs.replace(events[-1], id=now)


async def _is_lost(store: Store, event_id: str) -> bool:
    """Whether nobody can tell what happened after that event: it was trimmed, or is of another store."""
    newest = await store.events.last_id()
    return event_key(event_id) > event_key(newest) or await store.events.trimmed(event_id)


async def _after(store: Store, event_id: str) -> AsyncIterator[Event]:
    while page := await store.events.after(event_id):
        for event in page:
            yield event
        event_id = page[-1].id


def _snapshot(task: Task) -> Event:
    return Event(
        type="snapshot",
        task_id=task.id,
        user_id=task.spec.user_id,
        at=task.updated_at,
        status=task.status.value,
        stage=task.stage.value,
        title=task.title,
        error=task.error,
        progress=task.progress,
    )


def _reset(reason: str) -> Event:
    return Event(type="reset", task_id="", user_id=0, error=reason)
