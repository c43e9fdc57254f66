"""The body of a webhook about a task."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from saveany.models import Item, Task
from saveany.sources import LIVE
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.store.archives import Archive

#: Maximum number of items in a body: receivers expect at most 20 kB (Standard Webhooks). The API lists all.
MAX_ITEMS = 100


def task_payload(task: Task, items: Sequence[Item], event: str, finished_at_ms: int | None) -> str:
    """The body as JSON: the five keys of seed 002, followed by more; for `file_uploaded` also
    those of seed 000.

    The status is that of `event` (`task.<status>`), because `task` may still have its status before the
    change; in an event about a file it is the status of the task. `finished_at_ms` is None for an event that
    does not end the task. The first `MAX_ITEMS` items are listed; `items_total` counts all.
    """
    uploaded = _uploaded(task, items[0]) if event == "file_uploaded" else {}
    if task.spec.type == LIVE:
        uploaded = {
            "event": event,
            "chat": task.spec.links[0],
            "chat_title": task.spec.params.get("title", ""),
        }
    return msgspec.json.encode(
        {
            **uploaded,
            "task_id": task.id,
            "status": event.removeprefix("task.") if event.startswith("task.") else task.status,
            "title": task.title,
            "created_at": rfc3339(task.created_at),
            "error": task.error,
            "event": event,
            "type": task.spec.type,
            "storage": task.spec.storage,
            "items": [_item(item) for item in items[:MAX_ITEMS]],
            "items_total": len(items),
            "finished_at": None if finished_at_ms is None else rfc3339(finished_at_ms),
        }
    ).decode()


def link_payload(token: str, user_id: int, name: str, created_at_ms: int) -> str:
    """The body as JSON for a link to a message that was not saved: the keys of seed 000, and the time."""
    uploaded = {"event": "file_uploaded", "file_id": token, "user_id": user_id, "filename": name}
    return msgspec.json.encode({**uploaded, "created_at": rfc3339(created_at_ms)}).decode()


def archive_payload(archive: Archive, event: str, counts: Mapping[str, int], problem: str, at_ms: int) -> str:
    """The body as JSON for an archive. `counts` are those of the API."""
    body: dict[str, Any] = {
        "event": event,
        "archive_id": archive.id,
        "user_id": archive.user_id,
        "chat": archive.name,
        "title": archive.title,
        "created_at": rfc3339(at_ms),
    }
    if problem:
        return msgspec.json.encode(body | {"error": problem}).decode()
    return msgspec.json.encode(body | {"counts": counts}).decode()


def _uploaded(task: Task, item: Item) -> dict[str, Any]:
    """The keys of seed 000. `file_id` is the token of a link."""
    name = posixpath.basename(item.final or item.path)
    return {"event": "file_uploaded", "file_id": item.link, "user_id": task.spec.user_id, "filename": name}


def _item(item: Item) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": item.name,
        "size": item.size,
        "status": item.status,
        "path": item.copy_path,
    }
    more = {"storage": item.copy_storage, "sha256": item.sha256, "url": item.url, "error": item.error}
    if same := item.duplicate:
        found = {"file_id": same.file_id, "name": same.name, "storage": same.storage, "path": same.path}
        described["duplicate"] = found
    return described | {key: value for key, value in more.items() if value}
