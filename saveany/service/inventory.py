"""Compares the files in a storage with the catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from saveany.catalogue.cursors import make_cursor, parse_cursor
from saveany.catalogue.inventory import FoundCopy, Inventory, SavedCopy
from saveany.errors import InvalidInput, StorageError, StorageUnavailable
from storages.listing import MAX_DEPTH, endless_listing
from storages.parts import is_reserved

if TYPE_CHECKING:
    from storages.base import Storage

#: Number of copies that are added in one transaction.
_BATCH = 500
#: Number of folders whose listings are remembered: copies are checked by path.
_FOLDERS = 200
#: Number of queries to a worker at the same time, and of entries that one of them lists.
_QUERIES, _ENTRIES = 16, 1000
#: Seconds after which a page of a scan ends: a proxy in between may end longer requests.
_PAGE_SECONDS = 5.0

#: Asks a worker about a storage: `query(kind, **args)`, as in `workers.storage_queries`.
Query = Callable[..., Awaitable[Any]]


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


async def scan_page(
    inventory: Inventory,
    storage: str,
    query: Query,
    path: str,
    user_id: int,
    *,
    after: str,
    limit: int,
    now_ms: int,
) -> tuple[Scanned, str]:
    """`scan` of about `limit` files after the path `after`, in a storage that a worker lists. Returns what
    was done, and the path to continue after: "" at the end."""
    clock = asyncio.get_running_loop().time
    until, found, last = clock() + _PAGE_SECONDS, list[FoundCopy](), ""
    async for entry in walk(query, storage, path, after.removeprefix(f"{path}/") if path else after):
        if is_saved_file(entry):
            found.append(FoundCopy(entry["path"], entry["size"], entry["modified_at"] or now_ms))
        if len(found) >= limit or clock() > until:
            last = entry["path"]
            break
    added = await inventory.add(storage, found, user_id) if found else 0
    return Scanned(added, len(found) - added), last


async def check_page(
    inventory: Inventory, storage: str, query: Query, *, cursor: str, limit: int
) -> tuple[int, list[Difference], str]:
    """`check` of at most `limit` files after `cursor`, in a storage where a worker looks for them. Returns
    their number, the differences, and the cursor of the next page: "" at the end."""
    key = parse_cursor(cursor, str)
    last = (str(key[0]), key[1]) if key else ("", "")
    copies: list[SavedCopy] = []
    async for copy in inventory.copies(storage, last=last):
        copies.append(copy)
        if len(copies) == limit:
            break
    sizes: list[int | None] = []
    for start in range(0, len(copies), _QUERIES):
        some = copies[start : start + _QUERIES]
        sizes += await asyncio.gather(*(query("size", path=copy.path) for copy in some))
    differences = [
        Difference(copy.id, copy.path, copy.size, found)
        for copy, found in zip(copies, sizes, strict=True)
        if found != copy.size
    ]
    is_last = len(copies) < limit
    return len(copies), differences, "" if is_last else make_cursor((copies[-1].path, copies[-1].id))


async def walk(
    query: Query, storage: str, folder: str, after: str = ""
) -> AsyncGenerator[dict[str, Any], None]:
    """The entries below a folder, sorted by name, after the path `after` in it. A folder comes after what is
    in it, so each entry is a place to continue after."""
    if folder.count("/") >= MAX_DEPTH:
        raise endless_listing(storage, folder)
    name, _, rest = after.partition("/")
    if rest:
        below = f"{folder}/{name}" if folder else name
        async for each in walk(query, storage, below, rest):
            yield each
    is_last = False
    while not is_last:
        entries = await query("list", path=folder, after=name, limit=_ENTRIES)
        for entry in entries:
            if entry["is_dir"]:
                async for each in walk(query, storage, entry["path"]):
                    yield each
            yield entry
        is_last = len(entries) < _ENTRIES
        name = entries[-1]["name"] if entries else ""


def is_saved_file(entry: dict[str, Any]) -> bool:
    """Whether an entry of `walk` is a complete file."""
    return not entry["is_dir"] and not _is_left_out(entry["name"])


def _is_left_out(name: str) -> bool:
    """Whether a file of that name is unfinished, or SaveAny's own."""
    return is_reserved(name) or name.endswith(".partial")


def _require_listing(storage: Storage) -> Storage:
    if not storage.capabilities.lists:
        raise InvalidInput("storage {storage!r} cannot list its files", "storage", storage=storage.name)
    return storage


async def _batches(storage: Storage, path: str, now_ms: int) -> AsyncIterator[list[FoundCopy]]:
    batch: list[FoundCopy] = []
    async for entry in storage.walk(path):
        if _is_left_out(entry.name):
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
