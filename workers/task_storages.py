"""The storages of one task: where its files go, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping

from saveany.errors import Permanent, SaveAnyError, StorageUnavailable
from saveany.models import Item, TaskSpec
from saveany.storage_set import StorageHandle
from storages.base import Storage


class TaskStorages:
    """The storages of this worker, looked up by items of one task."""

    def __init__(self, spec: TaskSpec, handles: Mapping[str, StorageHandle]) -> None:
        self._spec = spec
        self._handles = handles

    def find(self, item: Item | None) -> StorageHandle | None:
        """The storage that an item goes to, None if this worker does not have it. Without an item it is the
        storage of the task."""
        return self._handles.get((item and item.storage) or self._spec.storage)

    def get(self, item: Item | None) -> StorageHandle:
        """As `find`, but raises `Permanent` if this worker does not have the storage."""
        if handle := self.find(item):
            return handle
        raise Permanent(
            "a rule sends this file to storage {storage!r}, which this worker does not have",
            storage=(item and item.storage) or self._spec.storage,
        )

    def storage_of(self, item: Item) -> Storage:
        """The storage that an item goes to. Raises as `get`, and `StorageUnavailable` if it is the choice of
        a rule and does not work now; a worker checks the task's own storage before it begins the task."""
        handle = self.get(item)
        if item.storage and not handle.is_present:
            raise StorageUnavailable(handle.problem or "the storage cannot be reached")
        return handle.storage

    def suspects(self, error: SaveAnyError, item: Item | None) -> list[StorageHandle]:
        """The storages that may have caused an error by being unavailable. An error while reading from the
        source storage does not show that it came from there, so that one is always among them."""
        target = [self.get(item)] if isinstance(error, StorageUnavailable) else []
        origin = self._handles.get(self._spec.source_storage)
        if origin is None or not error.retryable:
            return target
        return [*target, origin]
