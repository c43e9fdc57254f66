"""Storages, as the workers see them: the API opens none itself."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from saveany.api.errors import responses
from saveany.api.models import Abilities, StorageList, StorageView
from saveany.api.routes import Route
from saveany.api.services import Use
from saveany.store import WorkerInfo
from storages.base import StorageOptions

router = APIRouter(prefix="/api/v1/storages", tags=["service"], route_class=Route)


@router.get("", operation_id="listStorages", summary="Storages", responses=responses())
async def list_storages(use: Use) -> StorageList:
    """All configured storages, and whether files can be saved there now."""
    workers = await use.store.workers.living()
    return StorageList(storages=[_view(storage, workers) for storage in use.config.storages])


def storage_problem(name: str, workers: Sequence[WorkerInfo]) -> str:
    """Why no living worker can use that storage; empty if one can."""
    told = [worker.storages[name] for worker in workers if name in worker.storages]
    if not told:
        return (
            "no running worker has this storage"
            if workers
            else "no worker is running; start `saveany worker`"
        )
    return min(told)  # an empty one comes first: it is ready somewhere


def _view(storage: StorageOptions, workers: Sequence[WorkerInfo]) -> StorageView:
    problem = storage_problem(storage.name, workers)
    return StorageView(
        name=storage.name,
        type=storage.type,
        ready=not problem,
        error=problem,
        capabilities=_abilities(storage.name, workers),
    )


def _abilities(name: str, workers: Sequence[WorkerInfo]) -> Abilities | None:
    for worker in workers:
        if name in worker.capabilities:
            return Abilities(**worker.capabilities[name])
    return None
