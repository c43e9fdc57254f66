"""Routes for server-sent events: the changes of all tasks, or of one.

The types of events are `task.queued`, `task.running`, `task.updated`, `task.progress`, `task.completed`,
`task.failed`, `task.canceled`, `archive_complete`, `archive_problem`, and two that only streams have:

    snapshot  the current state of a task
    reset     missed events are no longer available; snapshots follow, or the connection ends
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header
from starlette.exceptions import HTTPException

from saveany.api.auth import InjectedCaller, TasksPrincipal
from saveany.api.errors import responses
from saveany.api.hub import EncodedEvent, End, Subscription
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.sse import PING, STREAMED, EventStream, encode
from saveany.api.tasks import TaskId
from saveany.errors import NotFound, RequestError
from saveany.models import ENDED, Task
from saveany.service import Principal
from saveany.store import Event, Store
from saveany.store.events import event_key

router = APIRouter(prefix="/api/v1", tags=["events"], route_class=JsonRoute)

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,15}-[0-9]{1,15}$",
        description="Id of the last received event; the stream continues after it. Browsers send it.",
    ),
]


async def _all_tasks(
    services: InjectedServices, principal: TasksPrincipal, caller: InjectedCaller
) -> AsyncIterator[Subscription]:
    # Subscribed before the response starts, so that a client misses nothing after its first byte.
    with services.hub.subscription(user_id=principal.visible_user(None)) as client:
        async with services.authenticator.until_revoked(caller, client.end):
            yield client


async def _one_task(
    services: InjectedServices,
    principal: TasksPrincipal,
    caller: InjectedCaller,
    task_id: TaskId,
    last_event_id: LastEventId = None,
) -> AsyncIterator[Subscription]:
    task = await services.tasks.get(principal, task_id)
    if (
        last_event_id
        and task.status.ended
        and await _has_seen_the_end(services.store, task_id, last_event_id)
    ):
        raise HTTPException(204)  # browsers reconnect at the end of a stream, unless they get this
    with services.hub.subscription(task_id) as client:
        async with services.authenticator.until_revoked(caller, client.end):
            yield client


@router.get(
    "/events",
    operation_id="streamEvents",
    summary="Events of all tasks",
    response_class=EventStream,
    responses={**responses(429), 200: STREAMED},
)
async def all_events(
    services: InjectedServices,
    principal: TasksPrincipal,
    client: Annotated[Subscription, Depends(_all_tasks)],
    last_event_id: LastEventId = None,
) -> EventStream:
    """An endless stream of the events of all tasks that the caller may see: `task.queued`, `task.running`,
    `task.updated`, `task.progress`, `task.completed`, `task.failed`, `task.canceled`. The data is JSON with
    `task_id`, `status`, `stage`, `at`, and if they apply `title`, `error` and `progress`. Progress is sent
    at most twice a second per task and has no id. The events of archives are `archive_complete` and
    `archive_problem`, with `archive_id`, `title`, `at` and `error`. If `Last-Event-ID` is too old,
    `reset` is sent, then a `snapshot` of each task that has not ended."""
    return EventStream(_stream(services, principal, client, "", last_event_id or ""))


@router.get(
    "/tasks/{task_id}/events",
    operation_id="streamTaskEvents",
    summary="Events of one task",
    response_class=EventStream,
    responses={
        **responses(404, 429),
        200: STREAMED,
        204: {"description": "The task has ended and its last event was received."},
    },
)
async def task_events(
    services: InjectedServices,
    principal: TasksPrincipal,
    task_id: TaskId,
    client: Annotated[Subscription, Depends(_one_task)],
    last_event_id: LastEventId = None,
) -> EventStream:
    """Like the stream of all tasks, but it starts with a `snapshot`, or with the events after
    `Last-Event-ID`, and ends when the task has ended."""
    return EventStream(_stream(services, principal, client, task_id, last_event_id or ""))


async def _has_seen_the_end(store: Store, task_id: str, last_id: str) -> bool:
    if await _is_lost(store, last_id):
        return False
    return all([event.task_id != task_id async for event in _after(store, last_id)])


async def _stream(
    services: ApiServices, principal: Principal, client: Subscription, task_id: str, last_id: str
) -> AsyncGenerator[bytes, None]:
    """The events for one client, in order and without duplicates: past ones from the store, then new ones."""
    seen = (0, 0)
    try:
        async for event in _past(services, principal, task_id, last_id):
            seen = event_key(event.id) if event.id else seen
            visible = task_id in ("", event.task_id) and principal.may_access(event.user_id)
            if visible or event.type == "reset":
                yield encode(event)
                if task_id and event.status in ENDED:
                    return
    except RequestError as error:
        yield encode(_reset(error.message))
        return
    ended = False
    while not ended:
        pieces, ended = _new_events(await client.next(), seen, task_id)
        yield b"".join(pieces) or PING


def _new_events(
    waiting: Sequence[EncodedEvent | End], seen: tuple[int, int], task_id: str
) -> tuple[list[bytes], bool]:
    """The encoded events that the client has not received, and whether the stream ends with them."""
    pieces: list[bytes] = []
    for each in waiting:
        if isinstance(each, End):
            return [*pieces, encode(_reset(each.reason))] if each.reason else pieces, True
        event = each.event
        if not event.id or event_key(event.id) > seen:
            pieces.append(each.wire)
            if task_id and event.status in ENDED:
                return pieces, True
    return pieces, False


async def _past(
    services: ApiServices, principal: Principal, task_id: str, last_id: str
) -> AsyncIterator[Event]:
    """The events after `last_id`; if they are no longer known, a snapshot of each task."""
    store = services.store
    if last_id and not await _is_lost(store, last_id):
        async for event in _after(store, last_id):
            yield event
    elif last_id or task_id:
        now = await store.events.last_id()
        user = principal.visible_user(None)
        tasks = await services.reader.get_many([task_id]) if task_id else await store.tasks.live(user)
        events = [_reset("the events after your Last-Event-ID are no longer available")] if last_id else []
        if task_id and not tasks:
            raise NotFound("this task was removed")
        events += [_snapshot(task) for task in tasks]
        # Only the last one has an id, so that a client that loses the connection before it starts over.
        for event in events[:-1]:
            yield event
        yield msgspec.structs.replace(events[-1], id=now)


async def _is_lost(store: Store, event_id: str) -> bool:
    """Whether the events after this one are unknown: they were trimmed, or the id is of another store."""
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
