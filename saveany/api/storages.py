"""Routes for storages. The API opens no storage itself; workers report on them and reply to queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from saveany.api.auth import operator
from saveany.api.errors import responses
from saveany.api.models import (
    CapabilitiesView,
    FileEntry,
    FileList,
    Reply,
    StorageList,
    StorageTest,
    StorageView,
)
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.errors import InvalidInput, NotFound, RequestError, Unavailable
from saveany.languages import localized
from saveany.planning.available import storage_problem
from saveany.planning.paths import folder
from saveany.store import WorkerInfo
from saveany.texts import Text
from saveany.timefmt import rfc3339
from storages.base import StorageOptions

router = APIRouter(
    prefix="/api/v1/storages", tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)]
)

StorageName = Annotated[str, Path(max_length=255, description="Name of the storage.", examples=["local1"])]


class StorageUsage(Reply):
    """The space of a storage in bytes; null if it does not know it."""

    used: int | None
    free: int | None
    total: int | None


@router.get("", operation_id="listStorages", summary="Storages", responses=responses())
async def list_storages(services: InjectedServices) -> StorageList:
    """All configured storages, and whether files can be saved there now."""
    workers = await services.store.workers.living()
    return StorageList(storages=[_view(storage, workers) for storage in services.config.storages])


@router.get(
    "/{name}/files",
    operation_id="listFiles",
    summary="Files of a storage",
    responses=responses(404, 503),
)
async def list_files(
    services: InjectedServices,
    name: StorageName,
    path: Annotated[str, Query(max_length=4096, description="A folder; empty means the root.")] = "",
    after: Annotated[str, Query(max_length=255, description="`next` of the previous page.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of entries.")] = 100,
) -> FileList:
    """The entries of a folder, sorted by name, as listed by a worker; 503 if no worker replies."""
    try:
        normalized = folder(path)
    except InvalidInput as error:
        raise InvalidInput(error.text, "path") from error
    found = await _query(services, name, "list", path=normalized, after=after, limit=limit)
    entries = [_entry(each) for each in found]
    return FileList(
        path=normalized, entries=entries, next=entries[-1].name if len(entries) == limit else None
    )


@router.get(
    "/{name}/usage", operation_id="storageUsage", summary="Space of a storage", responses=responses(404, 503)
)
async def usage(services: InjectedServices, name: StorageName) -> StorageUsage:
    """The space of a storage, as reported by a worker. What a storage does not know is null."""
    return StorageUsage(**await _query(services, name, "usage"))


@router.post(
    "/{name}/test", operation_id="testStorage", summary="Test a storage", responses=responses(404, 503)
)
async def test_storage(services: InjectedServices, name: StorageName) -> StorageTest:
    """Have a worker write a small file, read it back and delete it. The message of a 503 is the reason."""
    return StorageTest(seconds=await _query(services, name, "probe"))


async def _query(services: ApiServices, name: str, kind: str, **args: object) -> Any:
    if services.config.storage(name) is None:
        raise NotFound("there is no storage {name!r}", name=name)
    workers = await services.store.workers.living()
    if not any(name in worker.storages for worker in workers):
        problem = storage_problem(name, workers) or Text("no worker has it")
        raise Unavailable("storage {name!r}: {problem}", name=name, problem=problem)
    reply = await services.store.queries.send(name, kind, args)
    if reply.error:
        raise _ERRORS.get(reply.error, Unavailable)(reply.text)
    return reply.result


_ERRORS: dict[str, type[RequestError]] = {
    "InvalidInput": InvalidInput,
    "UnsafePath": InvalidInput,
    "NotFound": NotFound,
}


def _entry(entry: dict[str, Any]) -> FileEntry:
    at = entry.pop("modified_at")
    return FileEntry(**entry, modified_at=rfc3339(at) if at else None)


def _view(storage: StorageOptions, workers: Sequence[WorkerInfo]) -> StorageView:
    problem = storage_problem(storage.name, workers)
    return StorageView(
        name=storage.name,
        type=storage.type,
        ready=not problem,
        error=localized(problem),
        capabilities=_capabilities(storage.name, workers),
    )


def _capabilities(name: str, workers: Sequence[WorkerInfo]) -> CapabilitiesView | None:
    for worker in workers:
        if name in worker.capabilities:
            return CapabilitiesView(**worker.capabilities[name])
    return None
