"""What interrupted attempts leave behind: published files are found again, everything else is removed.

A file is published under a name that was recorded before (`ItemStatus.FINISHING`). If its worker dies
then, only the storage knows whether the file became visible. Every later step asks it first.
"""

from __future__ import annotations

import msgspec

from saveany.errors import StorageError
from saveany.logs import get_logger
from saveany.models import Item, ItemStatus
from saveany.store import Store
from storages.base import Storage, UploadKey
from workers.albums import album_file, is_album_file
from workers.transfer_context import TransferContext

replace = msgspec.structs.replace
log = get_logger("saveany.recovery")


async def is_saved(context: TransferContext, item: Item) -> bool:
    """Whether an earlier attempt published the file of an item that is not recorded as completed."""
    storage = context.storage_of(item)
    published = await _is_published(storage, context.upload_key(item), item)
    return published or await _was_moved(context, storage, item)


async def completed(storage: Storage, item: Item) -> Item:
    """The item as completed, with the URL of its page where the storage has one. The file is saved whether
    the URL can be found out or not."""
    item = replace(item, status=ItemStatus.COMPLETED)
    try:
        return replace(item, url=await storage.page(item.final))
    except StorageError as error:
        log.info("page_unknown", path=item.final, reason=error.message)
        return item


async def roll_back(context: TransferContext, item: Item, *, keep: bool = False) -> None:
    """Remove what an unfinished item has left in its storage, and record the item as queued.

    A file that an earlier attempt has moved within its storage is never deleted, because no other copy of it
    exists; the item is recorded as completed. With `keep` that also holds for a file that turns out to be
    published. Raises `Fenced` if the claim is lost.
    """
    storage, key = context.storage_of(item), context.upload_key(item)
    if await _was_moved(context, storage, item):
        await context.records.reset(replace(item, status=ItemStatus.COMPLETED))
        return
    published = await _is_published(storage, key, item)
    if published and keep:
        await context.records.reset(await completed(storage, item))
        return
    if published:
        await context.records.confirm(item)
        await storage.delete(item.final)
        item = replace(item, undone=item.undone + 1)
    # Before the parts are removed: afterwards another task may publish its file under the recorded name.
    await context.records.reset(replace(item, status=ItemStatus.QUEUED, final="", sha256=""))
    await storage.discard(context.upload_key(item), item.path)


async def remove_leftovers(store: Store, storage: Storage, task_id: str, epoch: int) -> None:
    """Remove what a canceled task has left in a storage after its worker died in claim `epoch`.

    Raises `StorageError` if something could not be removed, and `Fenced` if the task was retried meanwhile.
    """
    task = await store.tasks.get(task_id)
    if task is None:
        return
    for item in await store.tasks.all_items(task_id):
        if item.status.done or storage.name != (item.storage or task.spec.storage):
            continue
        key = UploadKey(task_id, item.index, epoch, item.undone)
        # The record first: nobody holds the claim, so the user may retry the task at any moment.
        if await _is_published(storage, key, item) and await store.workers.disown(task_id, epoch, item):
            await storage.delete(item.final)
        await storage.discard(key, item.path)


async def _is_published(storage: Storage, key: UploadKey, item: Item) -> bool:
    """Whether the file of an item that is recorded as finishing became visible."""
    if item.status is not ItemStatus.FINISHING:
        return False
    if is_album_file(storage, item):
        return await storage.gather([album_file(key, item)])
    return await storage.finished(key, item.path, item.final, item.size or 0)


async def _was_moved(context: TransferContext, storage: Storage, item: Item) -> bool:
    """Whether an earlier attempt moved the file to its final path, within its storage."""
    if not item.final or item.status is ItemStatus.FINISHING:
        return False
    if not (before := context.path_before_move(item, storage)):
        return False
    return await storage.stat(before) is None and await storage.size(item.final) == item.size
