"""The body of a webhook about a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from saveany.models import Item, Task
from saveany.timefmt import rfc3339

#: Receivers expect small bodies (the specification says 20 kB); the API has the rest.
MAX_ITEMS = 100


def task_payload(task: Task, items: Sequence[Item], event: str, finished_at_ms: int | None) -> str:
    """JSON: the five keys of seed 002, and more after them.

    The status that is told is the one in `event` (`task.<status>`), as `task` may still be as it was before
    the change; an event about a file tells the task's. `finished_at_ms` is None for an event that does not
    end the task. The first 100 items are listed, `items_total` counts all.
    """
    return msgspec.json.encode(
        {
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


def _item(item: Item) -> dict[str, Any]:
    described = {
        "name": item.name,
        "size": item.size,
        "status": item.status,
        "path": item.final or item.path,
    }
    return described | {
        key: value for key in ("storage", "sha256", "url", "error") if (value := getattr(item, key))
    }
