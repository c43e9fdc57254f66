"""The route for the types of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Depends

from saveany.api.auth import requires
from saveany.api.errors import responses
from saveany.api.models import TaskType, TaskTypes
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.config import Config
from saveany.languages import localized
from saveany.planning.available import source_problem
from saveany.sources import SourceSpec, sources
from saveany.store import WorkerInfo

router = APIRouter(
    prefix="/api/v1/task-types",
    tags=["service"],
    route_class=JsonRoute,
    dependencies=[Depends(requires("tasks"))],
)


@router.get("", operation_id="listTaskTypes", summary="Types of tasks", responses=responses())
async def list_task_types(services: InjectedServices) -> TaskTypes:
    """The types of tasks, their parameters, and whether a running worker can use them."""
    workers = await services.store.workers.living()
    details = [
        _view(services.config, source, workers) for source in sources().values() if not source.internal
    ]
    return TaskTypes(types=[each.type for each in details if each.available], details=details)


def _view(config: Config, source: SourceSpec, workers: Sequence[WorkerInfo]) -> TaskType:
    problem = source_problem(config, source, workers)
    return TaskType(
        type=source.type,
        title=source.title,
        available=not problem,
        error=localized(problem),
        params=source.params.model_json_schema(),
    )
