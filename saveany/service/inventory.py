"""Compares the files in a storage with the catalogue."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from saveany.catalogue.inventory import FoundCopy, Inventory
from saveany.errors import InvalidInput, StorageError, StorageUnavailable
from storages.parts import is_reserved

if TYPE_CHECKING:
    from storages.base import Storage

#: Number of copies that are added in one transaction.
_BATCH = 500
#: Number of folders whose listings are remembered: copies are checked by path.
_FOLDERS = 200


class Scanned(msgspec.Struct, frozen=True):
    """What a scan has done so far."""

    added: int = 0
    known: int = 0
    hashed: int = 0


class Difference(msgspec.Struct, frozen=True):
    """A saved file whose copy is missing, or has another size."""

    file_id: str
    path: str
    size: int
    found: int | None  # bytes of the copy; None: there is none


async def scan(
    inventory: Inventory, storage: Storage, path: str, user_id: int, *, with_hash: bool, now_ms: int
) -> AsyncGenerator[Scanned, None]:
    """Add the files below a folder of the storage to the catalogue, for a user. Yields after each batch, and
    at the end.

    What is known already stays as it is, so an interrupted scan can be repeated. `with_hash` reads the copies
    whose SHA-256 is not known. A file without a time of its own was added `now_ms`."""
    done = Scanned()
    async for batch in _batches(_require_listing(storage), path, now_ms):
        added = await inventory.add(storage.name, batch, user_id)
        done = Scanned(done.added + added, done.known + len(batch) - added)
        yield done
    if with_hash:
        async for copy in inventory.copies(storage.name, path):
            if not copy.sha256:
                await inventory.set_sha256(copy.id, await _hash(storage, copy.path))
                done = msgspec.structs.replace(done, hashed=done.hashed + 1)
    yield done


async def check(inventory: Inventory, storage: Storage) -> AsyncIterator[Difference]:
    """The saved files whose copies in the storage are missing or have another size."""
    _require_listing(storage)
    folders: dict[str, dict[str, int]] = {}
    async for copy in inventory.copies(storage.name):
        folder, name = posixpath.split(copy.path)
        if folder not in folders:
            if len(folders) >= _FOLDERS:
                folders.clear()
            folders[folder] = await _sizes(storage, folder)
        if (found := folders[folder].get(name)) != copy.size:
            # The listing may be older than the record.
            found = await storage.size(copy.path)
        if found != copy.size:
            yield Difference(copy.id, copy.path, copy.size, found)


def _require_listing(storage: Storage) -> Storage:
    if not storage.capabilities.lists:
        raise InvalidInput("storage {storage!r} cannot list its files", "storage", storage=storage.name)
    return storage


async def _batches(storage: Storage, path: str, now_ms: int) -> AsyncIterator[list[FoundCopy]]:
    batch: list[FoundCopy] = []
    async for entry in storage.walk(path):
        if is_reserved(entry.name) or entry.name.endswith(".partial"):
            continue
        batch.append(FoundCopy(entry.path, entry.size, entry.modified_at or now_ms))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _sizes(storage: Storage, folder: str) -> dict[str, int]:
    """Name -> size of the files in a folder; none if the folder is missing."""
    try:
        return {entry.name: entry.size for entry in await storage.list(folder) if not entry.is_dir}
    except StorageUnavailable:
        raise
    except StorageError:
        return {}


async def _hash(storage: Storage, path: str) -> str:
    digest = hashlib.sha256()
    async with await storage.open(path) as reader:
        async for piece in reader.read():
            digest.update(piece)
    return digest.hexdigest()
