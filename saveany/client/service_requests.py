"""Requests of the API: service. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        CheckStorage,
        FileList,
        Health,
        Info,
        LogLinesView,
        NewBackup,
        Ready,
        ScanStorage,
        StorageCheck,
        StorageList,
        StorageScan,
        StorageTest,
        StorageUsage,
        TaskTypes,
        WorkerList,
    )


def info() -> ApiRequest[Info]:
    """Information.

    What this SaveAny has done so far.
    """
    return ApiRequest("GET", "/api/info")


def list_storages() -> ApiRequest[StorageList]:
    """Storages.

    All configured storages, and whether files can be saved there now.
    """
    return ApiRequest("GET", "/api/v1/storages")


def list_files(
    name: str, *, path: str | None = None, after: str | None = None, limit: int | None = None
) -> ApiRequest[FileList]:
    """Files of a storage.

    The entries of a folder, sorted by name, as listed by a worker; 503 if no worker replies.

    name: Name of the storage.

    path: A folder; empty means the root.

    after: `next` of the previous page.

    limit: Maximum number of entries.
    """
    return ApiRequest(
        "GET", f"/api/v1/storages/{quoted(name)}/files", params={"path": path, "after": after, "limit": limit}
    )


def storage_usage(name: str) -> ApiRequest[StorageUsage]:
    """Space of a storage.

    The space of a storage, as reported by a worker. What a storage does not know is null.

    name: Name of the storage.
    """
    return ApiRequest("GET", f"/api/v1/storages/{quoted(name)}/usage")


def test_storage(name: str) -> ApiRequest[StorageTest]:
    """Test a storage.

    Have a worker write a small file, read it back and delete it. The message of a 503 is the reason.

    name: Name of the storage.
    """
    return ApiRequest("POST", f"/api/v1/storages/{quoted(name)}/test")


def check_storage(name: str, body: CheckStorage) -> ApiRequest[StorageCheck]:
    """Check the saved files of a storage.

    Look for the copies of some saved files: which are missing, or have another size? Nothing is changed.
    A request with `next_cursor` checks the next ones.

    name: Name of the storage.
    """
    return ApiRequest("POST", f"/api/v1/storages/{quoted(name)}/check", body=body)


def scan_storage(name: str, body: ScanStorage) -> ApiRequest[StorageScan]:
    """List the files of a storage as saved.

    Add some files that are already in a storage to the list of saved files. Nothing is moved or changed
    in the storage; files that are listed already stay as they are, and unfinished ones are left out. A
    request with `next` as `after` continues.

    name: Name of the storage.
    """
    return ApiRequest("POST", f"/api/v1/storages/{quoted(name)}/scan", body=body)


def make_backup(body: NewBackup) -> ApiRequest[bytes]:
    """Make a backup.

    The catalogue, Redis at the same moment, and the configuration with its passwords and tokens, as one
    file, which `saveany restore` brings back. Saved files are not part of it: they are in the storages.
    """
    return ApiRequest("POST", "/api/v1/backup", body=body, reply="bytes")


def list_task_types() -> ApiRequest[TaskTypes]:
    """Types of tasks.

    The types of tasks, their parameters, and whether a running worker can use them.
    """
    return ApiRequest("GET", "/api/v1/task-types")


def list_workers() -> ApiRequest[WorkerList]:
    """Workers.

    The worker processes that have reported within the last 15 seconds.
    """
    return ApiRequest("GET", "/api/v1/workers")


def health() -> ApiRequest[Health]:
    """Health.

    Confirms that this process is running. Checks nothing else and needs no token.
    """
    return ApiRequest("GET", "/health")


def ready() -> ApiRequest[Ready]:
    """Readiness.

    Whether files can be saved now. A 503 names what is missing: Redis, a worker, an account, a storage or
    the catalogue. Without the token the reply has no details.
    """
    return ApiRequest("GET", "/readyz")


def read_log(*, after: int | None = None, limit: int | None = None) -> ApiRequest[LogLinesView]:
    """Log.

    The last lines, about 256 KB, of the processes that were started together with this one, such as all
    of `saveany run`. Secrets of the configuration are masked. Processes on other machines are not
    included.

    after: `position` of the previous reply.

    limit: Maximum number of lines, the last ones.
    """
    return ApiRequest("GET", "/api/v1/logs", params={"after": after, "limit": limit})


def metrics() -> ApiRequest[str]:
    """Metrics for Prometheus.

    All metrics. Gauges are current; counters of workers are up to five seconds old.
    """
    return ApiRequest("GET", "/metrics", reply="str")
