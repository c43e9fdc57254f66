"""Ends tasks: the status, the last files and the webhooks of a task are written in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from saveany.errors import CancelRequested, Fenced
from saveany.ids import new_token
from saveany.logs import get_logger
from saveany.models import Delivery, Item, ItemStatus, Progress, Status, Task
from saveany.sources import LIVE
from saveany.store import Claim
from saveany.texts import Text

log = get_logger("saveany.worker")


class BuildDeliveries(Protocol):
    """Builds the webhooks of an event (`saveany.webhooks.builder.DeliveryBuilder`)."""

    def wants(self, task: Task, event: str) -> bool:
        """Whether anybody gets webhooks about this event of the task."""

    async def __call__(self, task: Task, items: list[Item], event: str) -> list[Delivery]:
        """The deliveries to be written together with the change; none if nobody subscribed to the event."""


async def end_task(
    claim: Claim,
    build_deliveries: BuildDeliveries,
    status: Status,
    error: Text | None = None,
    *,
    task: Task | None = None,
    items: list[Item] | None = None,
    last: Sequence[Item] = (),
    progress: Progress | None = None,
) -> None:
    """End a claimed task. Raises `Fenced` if the claim is lost, and `CancelRequested` if the user canceled
    the task before (and `status` is not `canceled`).

    `task` and `items` are the task and its items as they are now; by default, as they were claimed. `last`
    are items that change in the same step: a cancel comes either before all of this or after all of it.
    """
    task = task or claim.task
    items = list(claim.items if items is None else items)
    last, deliveries = await with_file_deliveries(build_deliveries, task, last)
    for item in last:
        items[item.index] = item
    ended = msgspec.structs.replace(task, status=status, error=str(error or ""), error_text=error)
    deliveries += await build_deliveries(ended, items, f"task.{status}")
    if task.spec.type == LIVE and status is Status.COMPLETED:
        deliveries += await build_deliveries(ended, items, "recording_finished")
    await claim.finish(status, error or "", items=last, progress=progress, deliveries=deliveries)


async def fail_unstarted(claim: Claim, build_deliveries: BuildDeliveries, error: Text) -> None:
    """End a task without a job as failed, or as canceled if the user canceled it before."""
    log.warning("task_unrunnable", task=claim.task.id, reason=str(error))
    try:
        await end_task(claim, build_deliveries, Status.FAILED, error)
    except CancelRequested:
        await cancel_unstarted(claim, build_deliveries)
    except Fenced:
        log.info("claim_lost", task=claim.task.id)


async def cancel_unstarted(claim: Claim, build_deliveries: BuildDeliveries) -> None:
    """End a task without a job as canceled. Leftovers of earlier claims are removed by workers that have its
    storages (`workers.janitor`)."""
    try:
        await end_task(claim, build_deliveries, Status.CANCELED)
    except Fenced:
        log.info("claim_lost", task=claim.task.id)


async def with_file_deliveries(
    build_deliveries: BuildDeliveries, task: Task, items: Sequence[Item]
) -> tuple[list[Item], list[Delivery]]:
    """The items, and the `file_uploaded` webhooks of those that are completed.

    The webhooks name links, whose tokens are recorded with the items: the recorder makes these links. An item
    that is saved again keeps its token. A converted file replaces one that was announced before, and
    `recording_finished` reports a recording.
    """
    if task.spec.type in ("convert", LIVE) or not build_deliveries.wants(task, "file_uploaded"):
        return list(items), []
    linked, deliveries = [], []
    for item in items:
        if item.status is ItemStatus.COMPLETED:
            item = msgspec.structs.replace(item, link=item.link or new_token())
            deliveries += await build_deliveries(task, [item], "file_uploaded")
        linked.append(item)
    return linked, deliveries
