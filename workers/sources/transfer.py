"""Transfer: files from one storage to another, with their folders."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from fnmatch import fnmatch

from msgspec.structs import replace

from saveany.errors import Permanent, Retryable, StorageError
from saveany.models import Item, OnConflict, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.ranges import missing
from storages.base import Entry, Range, Reader, Storage
from storages.parts import is_reserved
from workers.sources.base import Report, Source, Tools, Write


class TransferSource(Source):
    """`transfer`: a file, or the files in a folder. The target folder gets the contents of that folder, not
    the folder itself."""

    def __init__(self, tools: Tools) -> None:
        self._storage = tools.storage

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The file, or those in the folder whose name or path matches the pattern, in order of path."""
        storage, (root,) = self._storage(spec.source_storage), spec.links
        if not storage.capabilities.reads:
            raise Permanent("storage {storage!r} cannot read its files", storage=storage.name)
        files = [_resolved_file(storage, root, entry) async for entry in _entries(storage, root, spec)]
        if not files:
            raise Permanent("{path} has no files to transfer", path=f"{storage.name}:/{root}")
        return files

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item with the size and version that the file has now."""
        storage, path = self._storage(item.source["storage"]), item.source["path"]
        entry = await storage.stat(path)
        if entry is None or entry.is_dir:
            raise Permanent("{path} does not exist any more", path=f"{storage.name}:/{path}")
        return replace(item, size=entry.size, source=item.source | version_of(storage, entry))

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Read the ranges that are missing, one after the other. Raises `Retryable` if the file is not the
        one that was prepared, or does not stay the same until all is read."""
        storage, size = self._storage(item.source["storage"]), item.size or 0
        async with await _opened(storage, item.source["path"]) as reader:
            if reader.size != size or not _is_version(item, storage, reader):
                raise Retryable("{name} has changed since the transfer began", name=item.name)
            for start, end in missing(have, size):
                offset = start
                async with aclosing(_chunks(reader, start, end)) as chunks:
                    async for data in chunks:
                        await write(offset, data)
                        offset += len(data)

    def origin(self, item: Item) -> tuple[Storage, str] | None:
        """The source storage, and the path of the file in it."""
        return self._storage(item.source["storage"]), item.source["path"]

    def moves(self, spec: TaskSpec) -> bool:
        """Whether the request says so."""
        return bool(spec.params.get("move"))

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """Remove the original if it is still the version that was copied, and its copy exists."""
        storage, path = self._storage(item.source["storage"]), item.source["path"]
        entry = await storage.stat(path)
        name = item.storage or spec.storage
        if entry is None or (name, item.final) == (storage.name, path):
            return
        original = f"{storage.name}:/{path}"
        if entry.is_dir or entry.size != item.size or not _is_version(item, storage, entry):
            raise Permanent(
                "{original} was not removed, because it has changed since it was copied", original=original
            )
        target = self._storage(name)
        copy = await target.stat(item.final)
        if copy is None or copy.size != item.size:
            raise Permanent(
                "{original} was not removed, because its copy {copy} does not exist any more",
                original=original,
                copy=f"{name}:/{item.final}",
            )
        replaced = spec.on_conflict is OnConflict.OVERWRITE and target is not storage
        if replaced and copy.modified_at == entry.modified_at:
            # Two storages may show the same folder: then the original and the copy are the same file.
            raise Permanent(
                "{original} was not removed, because it may be the same file as its copy", original=original
            )
        await storage.delete(path)


async def _opened(storage: Storage, path: str) -> Reader:
    """The file, opened. Errors of the source storage become `Retryable`, because a `StorageError` means that
    the target storage has failed."""
    try:
        return await storage.open(path)
    except StorageError as error:
        raise Retryable(error.text) from error


async def _chunks(reader: Reader, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """A range of the file, in chunks. Raises the same errors as `_opened`."""
    try:
        async with aclosing(reader.read(start, end)) as chunks:
            async for data in chunks:
                yield data
    except StorageError as error:
        raise Retryable(error.text) from error


async def _entries(storage: Storage, root: str, spec: TaskSpec) -> AsyncIterator[Entry]:
    """The file at `root`, or the files in the folder `root` that the task selects."""
    entry = await storage.stat(root) if root else None
    if entry and not entry.is_dir:
        yield entry
        return
    if not storage.capabilities.lists:
        raise Permanent(
            "storage {storage!r} cannot list folders; send the path of a file", storage=storage.name
        )
    pattern, recursive = spec.params.get("pattern", ""), spec.params.get("recursive", True)
    entries = storage.walk(root) if recursive else _flat(storage, root)
    async for found in entries:
        below = found.path.removeprefix(root).strip("/")
        if not pattern or fnmatch(below, pattern) or fnmatch(found.name, pattern):
            yield found


async def _flat(storage: Storage, root: str) -> AsyncIterator[Entry]:
    for entry in await storage.list(root):
        if not entry.is_dir:
            yield entry


def _resolved_file(storage: Storage, root: str, entry: Entry) -> ResolvedFile:
    below = "" if entry.path == root else entry.path.removeprefix(root).strip("/")
    folders = [_safe_name(part) for part in below.split("/")[:-1]]
    return ResolvedFile(_safe_name(entry.name), entry.size, version_of(storage, entry), "/".join(folders))


def _safe_name(name: str) -> str:
    """A safe name that keeps the dot of a hidden file, so that the copy of a tree looks like the tree."""
    safe = safe_name(name)
    hidden = f".{safe}"
    return hidden if name.startswith(".") and not is_reserved(hidden) else safe


def version_of(storage: Storage, entry: Entry | Reader) -> dict[str, str | int]:
    """What finds this version of a file again."""
    return {"storage": storage.name, "path": entry.path, "modified_at": entry.modified_at}


def _is_version(item: Item, storage: Storage, entry: Entry | Reader) -> bool:
    """Whether this is the version of the file that was prepared."""
    return version_of(storage, entry).items() <= item.source.items()
