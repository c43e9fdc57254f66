"""Reads from the store what the reasons for waiting depend on."""

from __future__ import annotations

from collections.abc import Iterable

from saveany.config import Config
from saveany.models import Status, Task
from saveany.planning.waiting import WaitingReasons
from saveany.store import Store


async def read_waiting_reasons(config: Config, store: Store, tasks: Iterable[Task]) -> WaitingReasons:
    """The reasons why `tasks` wait. Reads no more than these tasks need."""
    live = [task for task in tasks if not task.status.ended]
    users = {task.spec.user_id for task in live if task.status is Status.QUEUED}
    if not live:
        return WaitingReasons(config)
    if not users:
        return WaitingReasons(config, workers=await store.workers.living())
    changed = await store.settings.changed()
    return WaitingReasons(
        config,
        now=await store.db.time_ms(),
        queue_paused=await store.settings.paused(),
        tasks_per_user=changed.get("tasks_per_user", config.limits.tasks_per_user),
        workers=await store.workers.living(),
        running=await store.tasks.running(users),
    )
