"""Removes the copies of deleted files from a storage."""

from __future__ import annotations

import asyncio

import msgspec

from saveany.errors import StorageError, StorageUnavailable
from saveany.logs import get_logger
from saveany.store.removals import LOCK_MS, Removal, Removals
from storages.base import Receipt, Storage

#: Seconds that a storage has to remove a copy: less than others wait for it.
_SECONDS = LOCK_MS / 1000 - 15

log = get_logger("saveany.worker")


async def remove_copies(removals: Removals, storage: Storage) -> int:
    """Remove copies that no file needs any more; returns how many were found. What fails remains, and the
    rest is left for later."""
    found = await removals.ready(storage.name)
    for removal in found:
        remove = _remove_messages if removal.reference else _remove
        if await removals.take(removal) and not await remove(removals, storage, removal):
            break
    return len(found)


async def _remove(removals: Removals, storage: Storage, removal: Removal) -> bool:
    """Whether the copy is gone, or was replaced by another file, which is left alone."""
    try:
        async with asyncio.timeout(_SECONDS):
            size = await storage.size(removal.path)
            if size == removal.size:
                await storage.delete(removal.path)
    except TimeoutError:  # it may still be removed: the lock has to expire by itself
        log.warning("copy_not_removed", storage=storage.name, path=removal.path, reason="no response in time")
        return False
    except StorageError as error:
        log.warning("copy_not_removed", storage=storage.name, path=removal.path, reason=error.message)
        await removals.end(removal, done=False)
        return False
    if size not in (None, removal.size):
        log.warning("copy_was_replaced", storage=storage.name, path=removal.path, size=size)
    await removals.end(removal, done=True)
    return True


async def _remove_messages(removals: Removals, storage: Storage, removal: Removal) -> bool:
    """Whether the messages of a copy are gone, or stay because Telegram refuses to delete them."""
    receipt = Receipt(removal.path, removal.size, reference=msgspec.json.decode(removal.reference))
    try:
        async with asyncio.timeout(_SECONDS):
            await storage.remove(receipt)
    except (TimeoutError, StorageUnavailable) as error:  # the next attempt is when the lock has expired
        log.warning("message_not_deleted", storage=storage.name, path=removal.path, reason=str(error))
        return False
    except StorageError as error:
        log.warning("message_stays", storage=storage.name, path=removal.path, reason=error.message)
    await removals.end(removal, done=True)
    return True
