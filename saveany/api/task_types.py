"""What can be asked for."""

from __future__ import annotations

from fastapi import APIRouter

from saveany.api.errors import responses
from saveany.api.models import TaskType, TaskTypes
from saveany.api.routes import Route
from saveany.sources import SOURCES

router = APIRouter(prefix="/api/v1/task-types", tags=["service"], route_class=Route)


@router.get("", operation_id="listTaskTypes", summary="Kinds of tasks", responses=responses())
async def list_task_types() -> TaskTypes:
    """The names that `type` may have, and those that later versions will take."""
    return TaskTypes(
        types=[source.type for source in SOURCES if source.available],
        details=[TaskType(type=s.type, title=s.title, available=s.available) for s in SOURCES],
    )
