"""Transfer: files of one storage into another, with the tree they lie in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from fnmatch import fnmatch

from msgspec.structs import replace

from saveany.errors import Permanent, Retryable, StorageError
from saveany.models import Item, OnConflict, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from storages.base import Entry, Range, Reader, Storage
from storages.parts import is_reserved
from workers.sources.base import Report, Source, Tools, Write


class TransferSource(Source):
    """`transfer`: a file, or what lies below a folder. Its content goes into the target folder, not the
    folder itself."""

    def __init__(self, tools: Tools) -> None:
        self._storage = tools.storage

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The file; or the files of the folder whose name or path matches, in order of their paths."""
        storage, (root,) = self._storage(spec.source_storage), spec.links
        if not storage.capabilities.reads:
            raise Permanent(f"storage {storage.name!r} cannot give its files back")
        found = [_found(storage, root, entry) async for entry in _files(storage, root, spec)]
        if not found:
            raise Permanent(f"there is no file to transfer in {storage.name}:/{root}")
        return found

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The size that the file has now."""
        storage, path = self._storage(item.source["storage"]), item.source["path"]
        entry = await storage.stat(path)
        if entry is None or entry.is_dir:
            raise Permanent(f"{storage.name}:/{path} is not there any more")
        return replace(item, size=entry.size, source=_source(storage, entry))

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Read the ranges that are missing, one after the other. Raises `Retryable` if the file is not the
        one that was prepared, or does not stay the same until all is read."""
        storage, size = self._storage(item.source["storage"]), item.size or 0
        async with await _opened(storage, item.source["path"]) as reader:
            if reader.size != size or _source(storage, reader) != item.source:
                raise Retryable("{name} has changed since the transfer began", name=item.name)
            for start, end in _holes(have, size):
                offset = start
                async with aclosing(_pieces(reader, start, end)) as pieces:
                    async for piece in pieces:
                        await write(offset, piece)
                        offset += len(piece)

    def origin(self, item: Item) -> tuple[Storage, str] | None:
        """Where the file lies."""
        return self._storage(item.source["storage"]), item.source["path"]

    def moves(self, spec: TaskSpec) -> bool:
        """As the request said."""
        return bool(spec.params.get("move"))

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """As in the contract: only a file that is still what was copied, and of which the copy is there."""
        storage, path = self._storage(item.source["storage"]), item.source["path"]
        entry = await storage.stat(path)
        if entry is None or (spec.storage, item.final) == (storage.name, path):
            return
        where = f"{storage.name}:/{path}"
        if entry.is_dir or entry.size != item.size or _source(storage, entry) != item.source:
            raise Permanent(f"{where} has changed since it was copied, and was left there")
        target = self._storage(spec.storage)
        copy = await target.stat(item.final)
        if copy is None or copy.size != item.size:
            raise Permanent(f"{where} was left there: its copy {spec.storage}:/{item.final} is gone")
        replaced = spec.on_conflict is OnConflict.OVERWRITE and target is not storage
        if replaced and copy.modified_at == entry.modified_at:
            # Two storages may show one folder: then what would be removed is what was saved.
            raise Permanent(f"{where} was left there: it cannot be told from its copy")
        await storage.delete(path)


async def _opened(storage: Storage, path: str) -> Reader:
    """The file, opened. An error of the storage is `Retryable`: a `StorageError` would be blamed on the
    storage that is written to."""
    try:
        return await storage.open(path)
    except StorageError as error:
        raise Retryable(error.text) from error


async def _pieces(reader: Reader, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """A range of the file, in pieces. Errors as of `_opened`."""
    try:
        async with aclosing(reader.read(start, end)) as pieces:
            async for piece in pieces:
                yield piece
    except StorageError as error:
        raise Retryable(error.text) from error


async def _files(storage: Storage, root: str, spec: TaskSpec) -> AsyncIterator[Entry]:
    """What is meant by `root`: a file, or the files in it."""
    entry = await storage.stat(root) if root else None
    if entry and not entry.is_dir:
        yield entry
        return
    if not storage.capabilities.lists:
        raise Permanent(f"storage {storage.name!r} cannot list a folder; give the path of a file")
    pattern, recursive = spec.params.get("pattern", ""), spec.params.get("recursive", True)
    entries = storage.walk(root) if recursive else _flat(storage, root)
    async for each in entries:
        below = each.path.removeprefix(root).strip("/")
        if not pattern or fnmatch(below, pattern) or fnmatch(each.name, pattern):
            yield each


async def _flat(storage: Storage, root: str) -> AsyncIterator[Entry]:
    for entry in await storage.list(root):
        if not entry.is_dir:
            yield entry


def _found(storage: Storage, root: str, entry: Entry) -> ResolvedFile:
    below = "" if entry.path == root else entry.path.removeprefix(root).strip("/")
    folders = [_kept(part) for part in below.split("/")[:-1]]
    return ResolvedFile(_kept(entry.name), entry.size, _source(storage, entry), "/".join(folders))


def _kept(name: str) -> str:
    """A safe name that begins with a dot if the file's own does: a tree stays as it is."""
    safe = safe_name(name)
    hidden = f".{safe}"
    return hidden if name.startswith(".") and not is_reserved(hidden) else safe


def _source(storage: Storage, entry: Entry | Reader) -> dict[str, str | int]:
    return {"storage": storage.name, "path": entry.path, "modified_at": entry.modified_at}


def _holes(have: Sequence[Range], size: int) -> list[Range]:
    """What is missing of a file of which `have` is there."""
    holes, at = [], 0
    for start, end in have:
        if at < start:
            holes.append((at, start))
        at = end
    return [*holes, (at, size)] if at < size else holes
