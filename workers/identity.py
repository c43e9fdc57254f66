"""Whether the disk of a storage is the one it was: a mount point is not to be filled in its place."""

from __future__ import annotations

from uuid import uuid4

from saveany.errors import StorageUnavailable
from saveany.store import Store
from storages.base import Storage


async def check_identity(store: Store, storage: Storage) -> None:
    """Compare the mark on the disk with the one Redis knows; the first disk that is seen gets a mark.

    Raises `StorageUnavailable` if this disk is not the storage's, and nothing is written to it then.
    """
    if not storage.capabilities.this_machine_only:
        return
    shown = await storage.identity()
    expected, established = await store.workers.storage_identity(storage.name, shown or uuid4().hex)
    if not established and shown is None:
        await storage.adopt(expected)
        shown = expected
    if shown != expected:
        raise StorageUnavailable(
            f"storage {storage.name!r} is not on this machine: its folder "
            + ("has no mark" if shown is None else "has the mark of another storage")
            + f"; is the disk mounted? If the folder is right, write {expected} into its .saveany-storage"
        )
    if not established:
        await store.workers.establish_storage(storage.name, expected)
