"""Converts the types of `saveany.models` into replies."""

from __future__ import annotations

from typing import Any

from saveany.api.models import (
    ArchiveEventView,
    DuplicateView,
    EventView,
    ItemView,
    ProgressView,
    TaskSummary,
    TaskView,
    WebhookView,
)
from saveany.languages import localized
from saveany.models import Duplicate, Item, Progress, Task
from saveany.store import Event
from saveany.texts import Text
from saveany.timefmt import rfc3339

#: Files of a task in one reply.
ITEMS_PER_PAGE = 100


def progress_view(progress: Progress) -> ProgressView:
    """The progress of a task, summed over its files."""
    return ProgressView(
        total_bytes=progress.total_bytes,
        downloaded_bytes=progress.downloaded_bytes,
        uploaded_bytes=progress.uploaded_bytes,
        total_files=progress.total_files,
        done_files=progress.done_files,
        downloaded_files=progress.done_files,
        percent=progress.percent,
        speed_bps=round(progress.speed_bps, 1),
        speed_mbps=round(progress.speed_bps / 2**20, 2),
        eta_seconds=progress.eta_seconds,
    )


def task_summary(task: Task, waiting: Text | None = None) -> TaskSummary:
    """A task without its files; `waiting` is why it makes no progress."""
    return TaskSummary(**_summary(task), waiting=localized(waiting))


def task_view(task: Task, items: list[Item], start: int, waiting: Text | None) -> TaskView:
    """A task with `items`, which start at index `start`; `waiting` is why it makes no progress."""
    end = start + ITEMS_PER_PAGE
    return TaskView(
        **_summary(task),
        waiting=localized(waiting),
        items=[_item_view(item) for item in items],
        items_total=task.items_total,
        items_cursor=end if end < task.items_total else None,
        webhook=WebhookView(**task.webhook) if task.webhook else None,
    )


def event_view(event: Event) -> EventView:
    """The data of a server-sent event."""
    return EventView(
        task_id=event.task_id,
        status=event.status,
        stage=event.stage,
        title=event.title,
        error=event.error,
        progress=progress_view(event.progress) if event.progress else None,
        at=rfc3339(event.at),
    )


def archive_event_view(event: Event) -> ArchiveEventView:
    """The data of a server-sent event of an archive."""
    return ArchiveEventView(
        archive_id=event.archive_id, title=event.title, error=event.error, at=rfc3339(event.at)
    )


def _summary(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "status": task.status.value,
        "title": task.title,
        "created_at": rfc3339(task.created_at),
        "error": localized(task.error_text or task.error),
        "type": task.spec.type,
        "stage": task.stage.value,
        "storage": task.spec.storage,
        "path": f"/{task.spec.path}",
        "user_id": task.spec.user_id,
        "progress": progress_view(task.progress),
        "priority": task.spec.priority,
        "attempts": task.attempts,
        "started_at": None if task.started_at is None else rfc3339(task.started_at),
        "updated_at": rfc3339(task.updated_at),
        "finished_at": None if task.finished_at is None else rfc3339(task.finished_at),
    }


def duplicate_view(found: Duplicate) -> DuplicateView:
    """The view of a file that was saved before."""
    return DuplicateView(file_id=found.file_id, name=found.name, storage=found.storage, path=found.path)


def _item_view(item: Item) -> ItemView:
    return ItemView(
        name=item.name,
        size=item.size,
        status=item.status.value,
        path=item.copy_path,
        storage=item.copy_storage,
        sha256=item.sha256,
        url=item.url,
        duplicate=duplicate_view(item.duplicate) if item.duplicate else None,
        error=localized(item.error_text or item.error),
        note=localized(item.note or ""),
    )
