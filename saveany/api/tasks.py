"""Routes for creating, reading, canceling, pausing and retrying tasks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Query

from saveany.api.auth import InjectedCaller, TasksPrincipal
from saveany.api.bodies import NewTaskBody, TaskChange
from saveany.api.errors import responses
from saveany.api.models import (
    EXAMPLE_ID,
    Created,
    MessageReply,
    QueuedTask,
    RunningTask,
    TaskList,
    TaskView,
)
from saveany.api.requests import adapted, body_hash
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.views import ITEMS_PER_PAGE, progress_view, task_summary, task_view
from saveany.models import Status, Task
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], route_class=JsonRoute)

TaskId = Annotated[str, Path(description="Id of the task.", examples=[EXAMPLE_ID])]
UserId = Annotated[int | None, Query(ge=1, lt=2**53, description="Only tasks of this user.")]


async def _own_key(
    caller: InjectedCaller,
    key: Annotated[
        str,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[ -~]{1,255}$",
            description="Any text. For 24 hours a request with the same key and body gets the same reply and "
            "creates no second task; with a different body it is refused (422).",
        ),
    ] = "",
) -> str:
    user_id = caller.principal.user_id
    return f"{user_id}\n{key}" if key and user_id is not None else key  # no header has a line end


#: The idempotency key of a request, which belongs to its sender; empty if it has none.
IdempotencyKey = Annotated[str, Depends(_own_key)]

#: Tasks on a page of the list if the request has a cursor but no limit.
_PER_PAGE = 100


@router.post(
    "",
    status_code=201,
    operation_id="createTask",
    summary="Save a file",
    responses=responses(403, 404, 413, 415, 422),
)
async def create(
    services: InjectedServices,
    principal: TasksPrincipal,
    key: IdempotencyKey,
    body: Annotated[NewTaskBody, Body()],
) -> Created:
    """Create a task. What can be checked immediately is checked; other problems become the task's `error`."""
    new = adapted(services.config, body)
    fingerprint = body_hash(body) if key else ""
    with new.naming_fields():
        accepted = await services.tasks.submit(principal, new.request, key=key, body_hash=fingerprint)
    return Created(
        task_id=accepted.id,
        message="task created successfully",
        type=accepted.type,
        status="queued",
        created_at=rfc3339(accepted.created_at),
    )


@router.get("", operation_id="listTasks", summary="Queued and running tasks", responses=responses(404))
async def list_tasks(
    services: InjectedServices,
    principal: TasksPrincipal,
    user_id: UserId = None,
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="Maximum number of tasks. Default: all.")
    ] = None,
    cursor: Annotated[str, Query(max_length=64, description="`next_cursor` of the previous page.")] = "",
) -> TaskList:
    """Tasks that have not ended, oldest first: all of them, or a page if `limit` or `cursor` is given."""
    if limit is None and not cursor:
        return await _task_list(services, await services.tasks.list(principal, user_id))
    page = await services.tasks.page(principal, limit or _PER_PAGE, cursor, user_id)
    return await _task_list(services, page.tasks, page.cursor or None)


async def _task_list(services: ApiServices, tasks: list[Task], next_cursor: str | None = None) -> TaskList:
    reasons = await services.tasks.waiting_reasons(tasks)
    running = [task for task in tasks if task.status is Status.RUNNING]
    queued = [task for task in tasks if task.status is Status.QUEUED]
    return TaskList(
        queued=[QueuedTask(id=task.id, title=task.title) for task in queued],
        running=[
            RunningTask(id=task.id, title=task.title, progress=progress_view(task.progress))
            for task in running
        ],
        tasks=[task_summary(task, reasons.waiting_text(task)) for task in tasks],
        total=len(tasks),
        next_cursor=next_cursor,
    )


@router.get("/{task_id}", operation_id="getTask", summary="One task", responses=responses(404))
async def get_task(
    services: InjectedServices,
    principal: TasksPrincipal,
    task_id: TaskId,
    items_cursor: Annotated[
        int, Query(ge=0, le=10**9, description="`items_cursor` of the previous page.")
    ] = 0,
) -> TaskView:
    """The state of a task and its files."""
    task = await services.tasks.get(principal, task_id)
    items = await services.tasks.items(principal, task_id, items_cursor, ITEMS_PER_PAGE)
    reasons = await services.tasks.waiting_reasons([task])
    return task_view(task, items, items_cursor, reasons.waiting_text(task))


@router.patch(
    "/{task_id}",
    operation_id="changeTask",
    summary="Change a task",
    responses=responses(404, 409, 413, 415),
)
async def change(
    services: InjectedServices, principal: TasksPrincipal, task_id: TaskId, body: TaskChange
) -> TaskView:
    """Change the priority of a task that has not ended. A running task continues; the priority counts when
    it is queued again."""
    await services.tasks.prioritize(principal, task_id, body.priority)
    return await get_task(services, principal, task_id)


@router.delete(
    "/{task_id}", operation_id="cancelTask", summary="Cancel a task", responses=responses(404, 409)
)
async def cancel(services: InjectedServices, principal: TasksPrincipal, task_id: TaskId) -> MessageReply:
    """Cancel a queued or running task. Its unfinished files are removed."""
    await services.tasks.cancel(principal, task_id)
    return MessageReply(message="task canceled")


@router.post(
    "/{task_id}/pause", operation_id="pauseTask", summary="Pause a task", responses=responses(404, 409)
)
async def pause(services: InjectedServices, principal: TasksPrincipal, task_id: TaskId) -> MessageReply:
    """Pause a task: it is `queued` with the stage `paused` until it is resumed. A running task stops and
    keeps its unfinished files."""
    await services.tasks.pause(principal, task_id)
    return MessageReply(message="task paused")


@router.post(
    "/{task_id}/stop",
    operation_id="stopTask",
    summary="Stop a task and keep it",
    responses=responses(404, 409),
)
async def stop(services: InjectedServices, principal: TasksPrincipal, task_id: TaskId) -> MessageReply:
    """End a task as `completed` with the files that are saved. The others are listed as `failed`, and what
    has arrived of them is removed. A task without a saved file ends as `canceled`."""
    await services.tasks.stop(principal, task_id)
    return MessageReply(message="task stopped")


@router.post(
    "/{task_id}/resume", operation_id="resumeTask", summary="Resume a task", responses=responses(404, 409)
)
async def resume(services: InjectedServices, principal: TasksPrincipal, task_id: TaskId) -> MessageReply:
    """Continue a paused task where it stopped."""
    await services.tasks.resume(principal, task_id)
    return MessageReply(message="task resumed")


@router.post(
    "/{task_id}/retry",
    status_code=202,
    operation_id="retryTask",
    summary="Retry a task",
    responses=responses(404, 409),
)
async def retry(services: InjectedServices, principal: TasksPrincipal, task_id: TaskId) -> Created:
    """Queue a failed or canceled task again under the same id. Only unfinished files are downloaded."""
    task = await services.tasks.retry(principal, task_id)
    return Created(
        task_id=task.id,
        message="task queued again",
        type=task.spec.type,
        status=task.status.value,
        created_at=rfc3339(task.created_at),
    )
