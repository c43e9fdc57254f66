"""The route for worker processes."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from saveany.api.auth import operator
from saveany.api.errors import responses
from saveany.api.models import InboxView, WorkerList, WorkerView
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.languages import localized
from saveany.texts import loaded
from saveany.timefmt import rfc3339

router = APIRouter(
    prefix="/api/v1/workers", tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)]
)


@router.get("", operation_id="listWorkers", summary="Workers", responses=responses())
async def list_workers(services: InjectedServices) -> WorkerList:
    """The worker processes that have reported within the last 15 seconds."""
    return WorkerList(
        workers=[
            WorkerView(
                id=worker.id,
                host=worker.host,
                pid=worker.pid,
                started_at=rfc3339(worker.started_at),
                tasks=worker.tasks,
                inboxes=[
                    InboxView(folder=folder, problem=localized(loaded(problem)))
                    for folder, problem in worker.inboxes.items()
                ],
            )
            for worker in await services.store.workers.living()
        ]
    )
