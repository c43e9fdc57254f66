"""Recovery from interrupted attempts: published files are found again, and everything else is removed.

A file is published under a name that was recorded before (`ItemStatus.FINISHING`). If its worker dies
then, only the storage knows whether the file became visible. Every later step asks it first.
"""

from __future__ import annotations

import asyncio

import msgspec

from saveany.models import Item, ItemStatus
from saveany.sources import LIVE
from saveany.store import Store
from storages.base import Receipt, Storage, UploadKey
from workers.albums import album_file, is_album_file
from workers.transfer_context import TransferContext

replace = msgspec.structs.replace


async def saved_before(context: TransferContext, item: Item) -> Receipt | None:
    """The receipt of an earlier attempt that published the file of an item which is not recorded as
    completed, None if there was none."""
    storage = context.storage_of(item)
    receipt = await _published(storage, context.upload_key(item), item)
    if receipt is None and await _was_moved(context, storage, item):
        return Receipt(item.final, item.size or 0)
    return receipt


def completed(item: Item, receipt: Receipt) -> Item:
    """The item as completed, with what the storage has recorded of its file."""
    item = replace(
        item,
        status=ItemStatus.COMPLETED,
        url=receipt.page,
        reference=dict(receipt.reference),
        note=receipt.note,
    )
    return replace(item, size=receipt.size, sha256="") if receipt.altered else item


async def roll_back(context: TransferContext, item: Item, *, keep: bool = False) -> None:
    """Remove what an unfinished item has left in its storage, and record the item as queued.

    A file that an earlier attempt has moved is never deleted, because no other copy of it
    exists; the item is recorded as completed. With `keep` that also holds for a file that turns out to be
    published. Raises `Fenced` if the claim is lost.
    """
    storage, key = context.storage_of(item), context.upload_key(item)
    if item.status is ItemStatus.FAILED or (item.status is ItemStatus.QUEUED and key.epoch == 1):
        return  # it was rolled back before, or never begun
    if await _was_moved(context, storage, item):
        await context.records.reset(replace(item, status=ItemStatus.COMPLETED))
        return
    receipt = await _published(storage, key, item)
    if receipt and keep:
        await context.records.reset(completed(item, receipt))
        return
    if receipt:
        await context.records.confirm(item)
        await storage.remove(receipt)
        item = replace(item, undone=item.undone + 1)
    item = replace(item, final="", sha256="", duplicate=None)
    if context.records.may_have_parts(item.index):
        # Before the parts are removed: afterwards another task may publish its file under the recorded name.
        # It stays recorded as begun until they are gone, so that a later clean-up looks for them.
        await context.records.reset(replace(item, status=ItemStatus.RUNNING))
        await storage.discard(context.upload_key(item), item.path)
    await context.records.reset(replace(item, status=ItemStatus.QUEUED))


async def take_back(context: TransferContext, item: Item, status: ItemStatus) -> None:
    """Remove the file of a completed item from its storage, and record the item with this status. Raises what
    the storage raises; after a crash it can be done again."""
    await context.records.confirm(item)
    await context.storage_of(item).remove(_receipt(item))
    changed = replace(item, status=status, final="", url="", reference={}, note=None, undone=item.undone + 1)
    await context.records.reset(changed)


def _receipt(item: Item) -> Receipt:
    """That of a completed item."""
    return Receipt(item.final or item.path, item.size or 0, page=item.url, reference=item.reference)


async def remove_leftovers(store: Store, storage: Storage, task_id: str, epoch: int) -> None:
    """Remove what a canceled task has left in a storage, if its worker died in claim `epoch` or it had none.

    Raises `StorageError` if something could not be removed, and `Fenced` if the task has been retried.
    """
    task = await store.tasks.get(task_id)
    if task is None:
        return

    async def remove(item: Item) -> None:
        key = UploadKey(task_id, item.index, epoch, item.undone)
        receipt = _receipt(item) if item.status.done else await _published(storage, key, item)
        if receipt:  # once no record names the file, nobody would find it after an outage
            await storage.stat(receipt.path)
        # The record first, because no claim protects the task: its user may retry it at any moment.
        if receipt and await store.workers.clear_final_path(task_id, epoch, item):
            await storage.remove(receipt)
        await storage.discard(key, item.path)

    # The files of a recording are pieces of one.
    keeps_nothing = task.spec.type == LIVE
    here = [
        i for i in await store.tasks.all_items(task_id) if storage.name == (i.storage or task.spec.storage)
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for item in here:
                is_left = item.status is ItemStatus.COMPLETED and keeps_nothing
                if is_left or not (item.status.done or _was_never_begun(item, epoch)):
                    group.create_task(remove(item))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _was_never_begun(item: Item, epoch: int) -> bool:
    """Whether no claim up to `epoch` has begun to save an item. To look for its parts is slow in a large
    folder."""
    return epoch == 1 and item.status is ItemStatus.QUEUED and not item.undone


async def _published(storage: Storage, key: UploadKey, item: Item) -> Receipt | None:
    """The receipt of the file of an item that is recorded as finishing, None if it did not become visible."""
    if item.status is not ItemStatus.FINISHING:
        return None
    if is_album_file(storage, item):
        receipts = await storage.publish_album([album_file(key, item)])
        return receipts[0] if receipts else None
    return await storage.finished(key, item.path, item.final, item.size or 0)


async def _was_moved(context: TransferContext, storage: Storage, item: Item) -> bool:
    """Whether an earlier attempt moved the file to its final path."""
    if not item.final or item.status is ItemStatus.FINISHING:
        return False
    if not (before := context.place_before_move(item, storage)):
        return False
    origin, path = before
    return await origin.stat(path) is None and await storage.size(item.final) == item.size
