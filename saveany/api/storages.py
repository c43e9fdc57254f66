"""Routes for storages. The API opens no storage itself; workers report on them and reply to queries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field

from saveany.api.auth import operator
from saveany.api.bodies import Strict
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
from saveany.errors import InvalidInput
from saveany.languages import localized
from saveany.planning.available import storage_problem
from saveany.planning.paths import folder
from saveany.service.storage_queries import ask, require_worker
from saveany.store import WorkerInfo
from saveany.timefmt import rfc3339
from storages.base import StorageOptions
from storages.listing import MAX_DEPTH

router = APIRouter(
    prefix="/api/v1/storages", tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)]
)

StorageName = Annotated[str, Path(max_length=255, description="Name of the storage.", examples=["local1"])]


class StorageUsage(Reply):
    """The space of a storage in bytes; null if it does not know it."""

    used: int | None
    free: int | None
    total: int | None


class CheckStorage(Strict):
    """Which saved files to look for."""

    limit: int = Field(default=200, ge=1, le=1000, description="Number of files to check.")
    cursor: str = Field(default="", max_length=8000, description="`next_cursor` of the previous reply.")


class CopyDifference(Reply):
    """A saved file whose copy is missing, or has another size."""

    file_id: str
    path: str = Field(examples=["films/a.mkv"])
    size: int = Field(description="Bytes of the saved file.")
    found: int | None = Field(description="Bytes of the copy; null: it is missing.")


class StorageCheck(Reply):
    """What the check has found so far."""

    checked: int = Field(description="Number of files that this request has checked.")
    differences: list[CopyDifference]
    next_cursor: str | None = Field(description="`cursor` of the next request; null at the end.")


class ScanStorage(Strict):
    """Which files to add."""

    path: str = Field(default="", max_length=4096, description="A folder; empty means the root.")
    user_id: int | None = Field(
        default=None, ge=1, lt=2**63, description="User of the files. Default: the first user."
    )
    after: str = Field(default="", max_length=8000, description="`next` of the previous reply.")
    limit: int = Field(default=1000, ge=1, le=5000, description="Number of files after which it replies.")


class StorageScan(Reply):
    """What this request has done."""

    added: int = Field(description="Files that are new in the list of saved files.")
    known: int = Field(description="Files that it had before.")
    next: str | None = Field(description="`after` of the next request; null at the end.")


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


@router.post(
    "/{name}/check",
    operation_id="checkStorage",
    summary="Check the saved files of a storage",
    responses=responses(404, 415, 503),
)
async def check(services: InjectedServices, name: StorageName, body: CheckStorage) -> StorageCheck:
    """Look for the copies of some saved files: which are missing, or have another size? Nothing is changed.
    A request with `next_cursor` checks the next ones."""
    from saveany.service import inventory  # loads the database library

    await require_worker(services.config, services.store, name)
    checked, found, cursor = await inventory.check_page(
        services.catalogue.inventory,
        name,
        partial(ask, services.store, name),
        cursor=body.cursor,
        limit=body.limit,
    )
    differences = [
        CopyDifference(file_id=each.file_id, path=each.path, size=each.size, found=each.found)
        for each in found
    ]
    return StorageCheck(checked=checked, differences=differences, next_cursor=cursor or None)


@router.post(
    "/{name}/scan",
    operation_id="scanStorage",
    summary="List the files of a storage as saved",
    responses=responses(404, 415, 503),
)
async def scan(services: InjectedServices, name: StorageName, body: ScanStorage) -> StorageScan:
    """Add some files that are already in a storage to the list of saved files. Nothing is moved or changed in
    the storage; files that are listed already stay as they are, and unfinished ones are left out. A request
    with `next` as `after` continues."""
    from saveany.service import inventory  # loads the database library

    try:
        path = folder(body.path)
    except InvalidInput as error:
        raise InvalidInput(error.text, "path") from error
    if body.after and not _is_below(body.after, path):
        raise InvalidInput("this is no path in the folder {path!r}", "after", path=path)
    user_id = _owner(services, body.user_id)
    await require_worker(services.config, services.store, name)
    done, last = await inventory.scan_page(
        services.catalogue.inventory,
        name,
        partial(ask, services.store, name),
        path,
        user_id,
        after=body.after,
        limit=body.limit,
        now_ms=await services.store.db.time_ms(),
    )
    return StorageScan(added=done.added, known=done.known, next=last or None)


def _is_below(path: str, folder: str) -> bool:
    parts = path.split("/")
    is_plain = len(parts) <= MAX_DEPTH + 1 and not {"", ".", ".."}.intersection(parts)
    return is_plain and (not folder or path.startswith(f"{folder}/"))


def _owner(services: ApiServices, user_id: int | None) -> int:
    """The user of files that a scan adds."""
    users = services.config.users
    if user_id is None and users:
        return users[0].id
    if user_id is None or services.config.user(user_id) is None:
        raise InvalidInput("there is no user {user}", "user_id", user=str(user_id))
    return user_id


async def _query(services: ApiServices, name: str, kind: str, **args: object) -> Any:
    await require_worker(services.config, services.store, name)
    return await ask(services.store, name, kind, **args)


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
