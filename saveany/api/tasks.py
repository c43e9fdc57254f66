"""Creating, reading, canceling, pausing and retrying tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from saveany.api.errors import responses
from saveany.api.models import (
    EXAMPLE_ID,
    Created,
    MessageReply,
    NewTask,
    NewTaskBody,
    QueuedTask,
    RunningTask,
    TaskChange,
    TaskList,
    TaskView,
    TypedTask,
)
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, Use
from saveany.api.views import ITEMS_PER_PAGE, progress_view, task_summary, task_view
from saveany.config import Config
from saveany.errors import InvalidInput, NotFound
from saveany.models import OnConflict, Status, Task, TaskSpec
from saveany.planning.intake import TaskRequest, plan_request, source_of
from saveany.planning.waiting import read_outlook
from saveany.sources import Params, ParamsModel, SourceSpec
from saveany.store.preferences import Preferences
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], route_class=JsonRoute)

TaskId = Annotated[str, Path(description="Id of the task.", examples=[EXAMPLE_ID])]
UserId = Annotated[int | None, Query(ge=1, lt=2**53, description="Only tasks of this user.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[ -~]{1,255}$",
        description="Any text of your own. For 24 hours a request with the same key and body gets the same "
        "answer and makes no second task; with another body it is refused (422).",
    ),
]

#: Tasks on a page of the list, where only its cursor was given.
_PER_PAGE = 100
#: The fields of a typed body by their names in the plain one.
_TYPED_NAMES = {
    "storage_name": "storage",
    "dir_path": "path",
    "webhook_url": "webhook",
}


@router.post(
    "",
    status_code=201,
    operation_id="createTask",
    summary="Save a file",
    responses=responses(403, 404, 413, 415, 422),
)
async def create(
    use: Use, body: Annotated[NewTaskBody, Body()], idempotency_key: IdempotencyKey = None
) -> Created:
    """Accept a task. What can be told at once is checked; the rest becomes the task's `error`."""
    spec = _spec(use.config, body, await _prefs(use, body.user_id))
    body_hash = _hash(body) if idempotency_key else ""
    accepted = await use.queue.submit(spec, key=idempotency_key or "", body_hash=body_hash)
    return Created(
        task_id=accepted.id,
        message="task created successfully",
        type=spec.type,
        status="queued",
        created_at=rfc3339(accepted.created_at),
    )


@router.get("", operation_id="listTasks", summary="Queued and running tasks", responses=responses())
async def list_tasks(
    use: Use,
    user_id: UserId = None,
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="At most so many. Left out: all of them.")
    ] = None,
    cursor: Annotated[str, Query(max_length=64, description="`next_cursor` of the page before.")] = "",
) -> TaskList:
    """All tasks that have not ended, oldest first; with `limit` or `cursor` a page of them."""
    if limit is None and not cursor:
        return await _task_list(use, await use.store.tasks.live(user_id))
    page = await use.store.tasks.page(user_id, limit or _PER_PAGE, cursor)
    return await _task_list(use, page.tasks, page.cursor or None)


async def _task_list(use: ApiServices, tasks: list[Task], next_cursor: str | None = None) -> TaskList:
    outlook = await read_outlook(use.config, use.store, tasks)
    running = [task for task in tasks if task.status is Status.RUNNING]
    queued = [task for task in tasks if task.status is Status.QUEUED]
    return TaskList(
        queued=[QueuedTask(id=task.id, title=task.title) for task in queued],
        running=[
            RunningTask(id=task.id, title=task.title, progress=progress_view(task.progress))
            for task in running
        ],
        tasks=[task_summary(task, outlook.waiting(task)) for task in tasks],
        total=len(tasks),
        next_cursor=next_cursor,
    )


@router.get("/{task_id}", operation_id="getTask", summary="One task", responses=responses(404))
async def get_task(
    use: Use,
    task_id: TaskId,
    items_cursor: Annotated[
        int, Query(ge=0, le=10**9, description="From `items_cursor` of the answer before.")
    ] = 0,
) -> TaskView:
    """How the task is, and where its files are."""
    task = await use.store.tasks.get(task_id)
    if task is None:
        raise NotFound(f"there is no task {task_id}")
    items = await use.store.tasks.items(task_id, items_cursor, ITEMS_PER_PAGE)
    outlook = await read_outlook(use.config, use.store, [task])
    return task_view(task, items, items_cursor, outlook.waiting(task))


@router.patch(
    "/{task_id}",
    operation_id="changeTask",
    summary="Change a task",
    responses=responses(404, 409, 413, 415),
)
async def change(use: Use, task_id: TaskId, body: TaskChange) -> TaskView:
    """Change the priority of a task that has not ended. A running one goes on, and has it when it waits
    again."""
    await use.queue.prioritize(task_id, body.priority)
    return await get_task(use, task_id)


@router.delete(
    "/{task_id}", operation_id="cancelTask", summary="Cancel a task", responses=responses(404, 409)
)
async def cancel(use: Use, task_id: TaskId) -> MessageReply:
    """End a queued or running task as `canceled`; what it had written of unfinished files is removed."""
    await use.queue.cancel(task_id)
    return MessageReply(message="task canceled")


@router.post(
    "/{task_id}/pause", operation_id="pauseTask", summary="Pause a task", responses=responses(404, 409)
)
async def pause(use: Use, task_id: TaskId) -> MessageReply:
    """Have a task wait, `queued` with the stage `paused`, until it is resumed. A running one stops and keeps
    what it has of its files."""
    await use.queue.pause(task_id)
    return MessageReply(message="task paused")


@router.post(
    "/{task_id}/resume", operation_id="resumeTask", summary="Resume a task", responses=responses(404, 409)
)
async def resume(use: Use, task_id: TaskId) -> MessageReply:
    """Let a paused task go on where it was."""
    await use.queue.resume(task_id)
    return MessageReply(message="task resumed")


@router.post(
    "/{task_id}/retry",
    status_code=202,
    operation_id="retryTask",
    summary="Try again",
    responses=responses(404, 409),
)
async def retry(use: Use, task_id: TaskId) -> Created:
    """Queue a failed or canceled task again, under the same id; only files that are not done are fetched."""
    task = await use.queue.retry(task_id)
    return Created(
        task_id=task.id,
        message="task queued again",
        type=task.spec.type,
        status=task.status.value,
        created_at=rfc3339(task.created_at),
    )


async def _prefs(use: ApiServices, user_id: int | None) -> Preferences:
    """What the user of the task likes; left out is the first configured one, as `TaskRequest` has it."""
    users = [user.id for user in use.config.users[:1]] if user_id is None else [user_id]
    return await use.store.preferences.recent(users[0]) if users else Preferences()


def _spec(config: Config, body: NewTask | TypedTask, prefs: Preferences) -> TaskSpec:
    if isinstance(body, TypedTask):
        return _typed_spec(config, body, prefs)
    names = {"telegram_url": "url"} if body.url else {}
    if body.type:
        _check_takes_a_link(source_of(config, body.type))
    return _renamed(names, config, _wish(body), prefs)


def _check_takes_a_link(source: SourceSpec) -> None:
    fields = source.params.model_fields.items()
    if needed := [name for name, field in fields if field.is_required() and name != source.params.link_field]:
        raise InvalidInput(
            f"{source.type} needs more than a link: send params with {', '.join(needed)}", "type"
        )


def _renamed(names: Mapping[str, str], config: Config, wish: TaskRequest, prefs: Preferences) -> TaskSpec:
    """`plan_request`, speaking of fields by the names they have in this body."""
    try:
        return plan_request(config, wish, prefs)
    except InvalidInput as error:
        raise InvalidInput(error.message, names.get(error.field, error.field)) from error


def _wish(body: NewTask) -> TaskRequest:
    return TaskRequest(
        type=body.type or ("tgfiles" if body.telegram_url else ""),
        links=[body.telegram_url or body.url],
        user_id=body.user_id,
        storage=body.storage_name,
        folder=body.dir_path if "dir_path" in body.model_fields_set else "",
        filename=body.filename,
        on_conflict=_policy(body),
        priority=body.priority,
        webhook_url=body.webhook_url,
    )


def _policy(body: NewTask | TypedTask) -> OnConflict | None:
    return OnConflict(body.on_conflict) if "on_conflict" in body.model_fields_set else None


def _typed_spec(config: Config, body: TypedTask, prefs: Preferences) -> TaskSpec:
    model = source_of(config, body.type).params
    params = _params(model, body)
    names = {**_TYPED_NAMES, **dict.fromkeys(("telegram_url", "url"), f"params.{model.link_field}")}
    extras = params.extras()
    wish = TaskRequest(
        type=body.type,
        links=params.links(),
        user_id=body.user_id,
        storage=extras.pop("target_storage", "") or body.storage,
        folder=extras.pop("target_path", "") or body.path,
        filename=body.filename,
        on_conflict=_policy(body),
        priority=body.priority,
        webhook_url=body.webhook,
        params=extras,
    )
    return _renamed(names, config, wish, prefs)


def _params(model: ParamsModel, body: TypedTask) -> Params:
    """What is in `params`, checked by the model of its source."""
    try:
        return model.model_validate(body.params, strict=True)
    except ValidationError as error:
        found: list[Any] = error.errors(include_url=False)
        known = {"known": list(model.model_fields)}
        raise RequestValidationError(
            [
                {
                    **e,
                    "loc": ("body", "typed", "params", *e["loc"]),
                    "ctx": known if len(e["loc"]) == 1 else {},
                }
                for e in found
            ]
        ) from error


def _hash(body: NewTask | TypedTask) -> str:
    """The same for two bodies that ask for the same."""
    return hashlib.sha256(f"{router.prefix}\n{body.model_dump_json()}".encode()).hexdigest()
