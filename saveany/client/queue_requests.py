"""Requests of the API: queue. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest

if TYPE_CHECKING:
    from saveany.client.models import LimitsView, MessageReply, NewLimits, QueueView


def get_queue() -> ApiRequest[QueueView]:
    """The queue.

    Whether the queue is paused, and the number of tasks in each state.
    """
    return ApiRequest("GET", "/api/v1/queue")


def pause_queue() -> ApiRequest[MessageReply]:
    """Pause the queue.

    Start no more tasks until the queue is resumed. New tasks are accepted, running tasks continue.
    """
    return ApiRequest("POST", "/api/v1/queue/pause")


def resume_queue() -> ApiRequest[MessageReply]:
    """Resume the queue.

    Start tasks again, except those that are paused individually.
    """
    return ApiRequest("POST", "/api/v1/queue/resume")


def get_limits() -> ApiRequest[LimitsView]:
    """Limits.

    The limits in force: as configured, unless they were changed.
    """
    return ApiRequest("GET", "/api/v1/limits")


def set_limits(body: NewLimits) -> ApiRequest[LimitsView]:
    """Change the limits.

    Change the limits of all workers within two seconds, also for running downloads. The change survives
    restarts; an empty object restores the configured limits.
    """
    return ApiRequest("PUT", "/api/v1/limits", body=body)
