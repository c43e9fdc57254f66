"""Routes for the queue as a whole and for the limits."""

from __future__ import annotations

from fastapi import APIRouter

from saveany.api.auth import OperatorPrincipal
from saveany.api.bodies import NewLimits
from saveany.api.errors import responses
from saveany.api.models import LimitsView, MessageReply, QueueView
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices

router = APIRouter(prefix="/api/v1", tags=["queue"], route_class=JsonRoute)


@router.get("/queue", operation_id="getQueue", summary="The queue", responses=responses())
async def get_queue(services: InjectedServices, principal: OperatorPrincipal) -> QueueView:
    """Whether the queue is paused, and the number of tasks in each state."""
    sizes = await services.queue.counts()
    return QueueView(
        paused=await services.queue.is_paused(),
        queued_tasks=sizes["queued"],
        paused_tasks=sizes["paused"],
        running_tasks=sizes["running"],
    )


@router.post("/queue/pause", operation_id="pauseQueue", summary="Pause the queue", responses=responses())
async def pause(services: InjectedServices, principal: OperatorPrincipal) -> MessageReply:
    """Start no more tasks until the queue is resumed. New tasks are accepted, running tasks continue."""
    await services.queue.pause(principal)
    return MessageReply(message="queue paused")


@router.post("/queue/resume", operation_id="resumeQueue", summary="Resume the queue", responses=responses())
async def resume(services: InjectedServices, principal: OperatorPrincipal) -> MessageReply:
    """Start tasks again, except those that are paused individually."""
    await services.queue.resume(principal)
    return MessageReply(message="queue resumed")


@router.get("/limits", operation_id="getLimits", summary="Limits", responses=responses())
async def get_limits(services: InjectedServices, principal: OperatorPrincipal) -> LimitsView:
    """The limits in force: as configured, unless they were changed."""
    limits = await services.queue.limits()
    return LimitsView(
        tasks_per_user=limits.tasks_per_user,
        bytes_per_second=limits.bytes_per_second,
        bytes_per_second_per_user=limits.bytes_per_second_per_user,
        archives_per_user=limits.archives_per_user,
    )


@router.put("/limits", operation_id="setLimits", summary="Change the limits", responses=responses(413, 415))
async def set_limits(services: InjectedServices, principal: OperatorPrincipal, body: NewLimits) -> LimitsView:
    """Change the limits of all workers within two seconds, also for running downloads. The change survives
    restarts; an empty object restores the configured limits."""
    await services.queue.set_limits(principal, body.model_dump())
    return await get_limits(services, principal)
