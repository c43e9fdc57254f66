"""Albums: files that were posted together, or that a storage groups, and that some storages show together.

Each file of such an album is uploaded and sealed by itself, and stays `finishing` until all of them are
there. Then `publish_album` makes them visible at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from saveany.models import Item, ItemStatus
from storages.base import AlbumFile, Receipt, Storage, UploadKey
from workers.transfer_context import TransferContext

replace = msgspec.structs.replace


def is_album_file(storage: Storage, item: Item) -> bool:
    """Whether the item waits for the other files of its album before it becomes visible in that storage."""
    return storage.capabilities.albums and bool(item.album or storage.album_size)


def album_of(storage: Storage, item: Item) -> object:
    """Identifies the album of an item. It does not depend on which other items are still to be saved."""
    return item.storage, item.album or item.index // storage.album_size


def album_file(key: UploadKey, item: Item) -> AlbumFile:
    """The item in the form in which a storage takes the files of an album."""
    return AlbumFile(key, item.final, item.size or 0, item.caption if item.album else None)


async def publish_album(context: TransferContext, items: Sequence[Item]) -> Sequence[Receipt] | None:
    """Make sealed files of one album visible together; the receipt of each. None if the storage has lost one
    of them: then each must be uploaded again. Raises what the storage raises, `Fenced` and
    `CancelRequested`."""
    storage = context.storage_of(items[0])
    await context.records.put(*items)
    receipts = await storage.publish_album([album_file(context.upload_key(item), item) for item in items])
    if receipts is None:
        await context.records.put(*(replace(item, status=ItemStatus.RUNNING, final="") for item in items))
        return None
    for item in items:
        await context.claim.release_name(item.index, storage.name, item.path)
    return receipts
