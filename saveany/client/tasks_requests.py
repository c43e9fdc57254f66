"""Requests of the API: tasks. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        Created,
        HistoryPageView,
        MessageReply,
        NewTask,
        Removed,
        ResolvedView,
        SavedListView,
        TaskChange,
        TaskList,
        TaskView,
        TypedTask,
    )


def list_tasks(
    *, user_id: int | None = None, limit: int | None = None, cursor: str | None = None
) -> ApiRequest[TaskList]:
    """Queued and running tasks.

    Tasks that have not ended, oldest first: all of them, or a page if `limit` or `cursor` is given.

    user_id: Only tasks of this user.

    limit: Maximum number of tasks. Default: all.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest("GET", "/api/v1/tasks", params={"user_id": user_id, "limit": limit, "cursor": cursor})


def create_task(body: NewTask | TypedTask, *, idempotency_key: str | None = None) -> ApiRequest[Created]:
    """Save a file.

    Create a task. What can be checked immediately is checked; other problems become the task's `error`.

    idempotency_key: Any text. For 24 hours a request with the same key and body gets the same reply and
    creates no second task; with a different body it is refused (422).
    """
    return ApiRequest("POST", "/api/v1/tasks", body=body, headers={"Idempotency-Key": idempotency_key})


def get_task(task_id: str, *, items_cursor: int | None = None) -> ApiRequest[TaskView]:
    """One task.

    The state of a task and its files.

    task_id: Id of the task.

    items_cursor: `items_cursor` of the previous page.
    """
    return ApiRequest("GET", f"/api/v1/tasks/{quoted(task_id)}", params={"items_cursor": items_cursor})


def change_task(task_id: str, body: TaskChange) -> ApiRequest[TaskView]:
    """Change a task.

    Change the priority of a task that has not ended. A running task continues; the priority counts when
    it is queued again.

    task_id: Id of the task.
    """
    return ApiRequest("PATCH", f"/api/v1/tasks/{quoted(task_id)}", body=body)


def cancel_task(task_id: str) -> ApiRequest[MessageReply]:
    """Cancel a task.

    Cancel a queued or running task. Its unfinished files are removed.

    task_id: Id of the task.
    """
    return ApiRequest("DELETE", f"/api/v1/tasks/{quoted(task_id)}")


def pause_task(task_id: str) -> ApiRequest[MessageReply]:
    """Pause a task.

    Pause a task: it is `queued` with the stage `paused` until it is resumed. A running task stops and
    keeps its unfinished files.

    task_id: Id of the task.
    """
    return ApiRequest("POST", f"/api/v1/tasks/{quoted(task_id)}/pause")


def stop_task(task_id: str) -> ApiRequest[MessageReply]:
    """Stop a task and keep it.

    End a task as `completed` with the files that are saved. The others are listed as `failed`, and what
    has arrived of them is removed. A task without a saved file ends as `canceled`.

    task_id: Id of the task.
    """
    return ApiRequest("POST", f"/api/v1/tasks/{quoted(task_id)}/stop")


def resume_task(task_id: str) -> ApiRequest[MessageReply]:
    """Resume a task.

    Continue a paused task where it stopped.

    task_id: Id of the task.
    """
    return ApiRequest("POST", f"/api/v1/tasks/{quoted(task_id)}/resume")


def retry_task(task_id: str) -> ApiRequest[Created]:
    """Retry a task.

    Queue a failed or canceled task again under the same id. Only unfinished files are downloaded.

    task_id: Id of the task.
    """
    return ApiRequest("POST", f"/api/v1/tasks/{quoted(task_id)}/retry")


def create_tasks_from_list(
    content: bytes,
    *,
    user_id: int | None = None,
    column: str | None = None,
    type_: str | None = None,
    storage_name: str | None = None,
    dir_path: str | None = None,
    filename: str | None = None,
    on_conflict: Literal["rename", "overwrite", "skip"] | None = None,
    on_duplicate: Literal["save", "skip", "link"] | None = None,
    priority: int | None = None,
    webhook_url: str | None = None,
    idempotency_key: str | None = None,
) -> ApiRequest[SavedListView]:
    """Save a list of links.

    Create tasks for the links of a list, each with up to 10,000 of them. A link that occurs again is
    taken once, a line that is wrong is reported, and the others are saved. Of an export, the messages
    with files are saved. The options are those of all links.

    user_id: Default: the caller, else the first configured user.

    column: The column of CSV with the links. Default: `link` or `url`.

    type_: As in `POST /api/v1/tasks`, for all links.

    storage_name: Default: chosen by the user's rules or default, else the user's first storage.

    dir_path: Folder inside the storage; `/` is its root. Default: chosen by the user's rules or default.

    filename: Name for the file, if the list has a single link.

    on_conflict: What to do if a file with this name exists. Default: the user's setting.

    on_duplicate: What to do if the user has saved the same file. Default: the user's setting.

    priority: Tasks of one user with a higher priority start first.

    webhook_url: Receives a webhook when one of the tasks ends.

    idempotency_key: Any text. For 24 hours a request with the same key and body gets the same reply and
    creates no second task; with a different body it is refused (422).
    """
    return ApiRequest(
        "POST",
        "/api/v1/tasks/list",
        content=content,
        params={
            "user_id": user_id,
            "column": column,
            "type": type_,
            "storage_name": storage_name,
            "dir_path": dir_path,
            "filename": filename,
            "on_conflict": on_conflict,
            "on_duplicate": on_duplicate,
            "priority": priority,
            "webhook_url": webhook_url,
        },
        headers={"Idempotency-Key": idempotency_key},
    )


def resolve_links(body: NewTask | TypedTask) -> ApiRequest[ResolvedView]:
    """See what would be saved.

    The files that a task with this body would save: their names by the user's template and rules, sizes
    and kinds, and which of them the user has saved before. No task is created.

    A link to a whole chat is no task: the reply shows what `POST /api/v1/archives` would save.

    A worker looks the links up; a 404 says why there is nothing to save. A link that works only once is
    used up by this.
    """
    return ApiRequest("POST", "/api/v1/resolve", body=body)


def list_history(
    *,
    status: Literal["completed", "failed", "canceled"] | None = None,
    type_: str | None = None,
    user_id: int | None = None,
    storage: str | None = None,
    q: str | None = None,
    from_: str | None = None,
    to: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> ApiRequest[HistoryPageView]:
    """Ended tasks.

    Ended tasks, newest first. A page may be short, even empty, and still have a `next_cursor`.

    type_: Such as `tgfiles`.

    q: Part of title or error, ignoring case.

    from_: Ended at or after.

    to: Ended before.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest(
        "GET",
        "/api/v1/history",
        params={
            "status": status,
            "type": type_,
            "user_id": user_id,
            "storage": storage,
            "q": q,
            "from": from_,
            "to": to,
            "limit": limit,
            "cursor": cursor,
        },
    )


def clear_history(*, user_id: int | None = None) -> ApiRequest[Removed]:
    """Remove all ended tasks.

    Remove all ended tasks that the caller may see, or those of one user, and their webhooks, including
    undelivered ones. The operator removes those of all users unless `user_id` names one. The saved files
    are kept. A canceled task is kept until a worker has removed its unfinished files.

    user_id: Only tasks of this user.
    """
    return ApiRequest("DELETE", "/api/v1/history", params={"user_id": user_id})


def remove_from_history(task_id: str) -> ApiRequest[Removed]:
    """Remove an ended task.

    Remove one ended task and its webhooks. The saved files are kept.

    task_id: Id of the task.
    """
    return ApiRequest("DELETE", f"/api/v1/history/{quoted(task_id)}")
