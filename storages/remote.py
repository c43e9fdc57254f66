"""The base of storages on servers that can write, rename and list files (WebDAV, SFTP, FTP, rclone, …).

A backend inherits `RemoteStorage` and implements the few calls below. Everything else is here: how an upload
stays invisible, and how it is fenced, resumed, finished and discarded.

A file is written under the name of a part, in the folder of its final path (`storages/parts.py`), and renamed
when it is complete. A later epoch removes or renames the parts that it finds; the rename of an earlier writer
then finds no part, so it can no longer commit what it has sealed. A part that is still being written may
appear after that. Therefore these storages do not declare `fences`, and the caller checks its claim between
`seal` and `commit`.
"""

from __future__ import annotations

import abc
import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress

from saveany.errors import Fenced, NameTaken, StorageError
from storages.base import Entry, Range, Reader, Receipt, Storage, Upload, UploadKey
from storages.chunks import Chunk, ChunkChannel, Chunks, single_chunk
from storages.listing import plausible
from storages.listings import SharedListings
from storages.parts import RESERVED, PartName, is_reserved, parse, part_name, split, upload_name
from storages.sequential import SequentialUpload

#: Prefix of the mark of a part that its writer can no longer commit.
_FENCED = "old"
#: Parts of discarded uploads that are removed at the same time.
_REMOVALS = 4


class RemoteStorage(Storage):
    """A storage that needs only the abstract calls below.

    Their paths are those of the contract, already checked; the backend adds its base folder. They raise
    `FileNotFoundError` and `NameTaken` where their docstrings say so, and otherwise errors of the contract:
    the backend translates those of its library.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._begun: dict[UploadKey, str] = {}  # the newest part of each upload of this process
        self._listings = SharedListings(self._list_parts)
        self._removals = asyncio.Semaphore(_REMOVALS)

    @abc.abstractmethod
    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        """Write a file from `offset` on (0 unless the storage `resumes`) until the chunks end.

        The folder exists. `size` is the length of the whole file, None if it is unknown. Returns when the
        server has confirmed that it has everything; an error may leave a shorter file. A chunk must not be
        used after the next one was requested. If `chunks` raises, abort the request and let the error
        through.
        """

    @abc.abstractmethod
    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        """Give a file another path, in an existing folder. Raises `FileNotFoundError` if the file does not
        exist, and `NameTaken` if the new path does: with `replace` only for a folder."""

    @abc.abstractmethod
    async def _remove(self, path: str) -> None:
        """Remove a file, if it exists."""

    @abc.abstractmethod
    async def _make_folder(self, path: str) -> None:
        """Make a folder ("" is the base itself) and those above it, as far as they are missing."""

    @abc.abstractmethod
    async def _scan(self, path: str) -> list[Entry]:
        """All entries of a folder, in any order. Raises `FileNotFoundError` if it does not exist."""

    @abc.abstractmethod
    async def _stat(self, path: str) -> Entry | None:
        """The file or folder at a path, None if there is none."""

    def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `start` up to, not including, `end`, in pieces (capability `reads`). `end`
        is at most the size. Raises `FileNotFoundError` if the file is gone."""
        raise NotImplementedError(f"{type(self).__name__} cannot read")

    async def _copy(self, path: str, to: str) -> None:
        """Copy a file to the path of a part, in an existing folder (capability `copies`). Raises
        `FileNotFoundError` if the file does not exist; an error may leave a shorter copy."""
        raise NotImplementedError(f"{type(self).__name__} cannot copy")

    async def _pull(self, url: str, path: str) -> None:
        """Have the service fetch a URL to the path of a part (storages that `pulls`); an error may leave a
        shorter file."""
        raise NotImplementedError(f"{type(self).__name__} cannot fetch files")

    async def _durable(self, path: str) -> int:
        """Number of bytes of a part that the server has made durable (storages with `resumes`)."""
        entry = await self._stat(path)
        return entry.size if entry else 0

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract."""
        *folders, name = split(path)
        if size is None and self.capabilities.needs_size:
            raise StorageError(
                "storage {storage!r} needs the size of {path!r} in advance", storage=self.name, path=path
            )
        folder = "/".join(folders)
        await self._make_folder(folder)
        mark = f"t{secrets.token_hex(4)}"
        part = _join(folder, str(part_name(key, name, mark)))
        start = await self._take_over(key, folder, part, size, keep)
        self._begun[key] = part
        return RemoteUpload(self, key, path, part, size, start)

    async def _take_over(
        self, key: UploadKey, folder: str, part: str, size: int | None, keep: Sequence[Range]
    ) -> int:
        """Remove the parts of earlier attempts, or rename one to the new part; returns the bytes it has."""
        if key.epoch == 1 and key not in self._begun:
            # There was no earlier attempt, and listing a folder of 100,000 files for each new one is slow.
            return 0
        entries = await self._parts(folder, key)
        if any(name.epoch > key.epoch for name, _ in entries):
            raise Fenced("task {task}: a claim later than {epoch} is running", task=key.task, epoch=key.epoch)
        kept = 0
        for name, entry in sorted(entries, key=lambda each: (each[0].epoch, each[1].size), reverse=True):
            old = _join(folder, str(name))
            if not kept and self.capabilities.resumes and _fits(entry, size, keep):
                await self._rename(old, part, replace=False)
                kept = keep[0][1]
            else:
                await self._remove(old)
        return kept

    async def _parts(self, folder: str, key: UploadKey) -> list[tuple[PartName, Entry]]:
        """The parts of a task's item, of all epochs."""
        return (await self._listings.of(folder)).get(upload_name(key), [])

    async def _list_parts(self, folder: str) -> dict[str, list[tuple[PartName, Entry]]]:
        """All parts in a folder, by the names of their uploads."""
        found: dict[str, list[tuple[PartName, Entry]]] = {}
        with suppress(FileNotFoundError):
            for entry in await self._scan(folder):
                if name := parse(entry.name):
                    found.setdefault(name.upload, []).append((name, entry))
        return found

    async def _receipt(self, path: str, size: int) -> Receipt:
        """The receipt of a file that was just given its path. Raises nothing: the file is saved."""
        return Receipt(path, size)

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> Receipt | None:
        """As in the contract, for uploads that were sealed."""
        folder = _folder(path, final)
        found = [name for name, _ in await self._parts(folder, key) if name.epoch <= key.epoch]
        for name in found:
            # Renamed, not removed: while a part exists, a foreign file of the same size is not taken for
            # ours.
            if not name.mark.startswith(_FENCED):
                fenced = name._replace(mark=f"{_FENCED}{secrets.token_hex(4)}")
                with suppress(FileNotFoundError):  # it was committed or aborted meanwhile
                    await self._rename(_join(folder, str(name)), _join(folder, str(fenced)), replace=False)
        if found or await self.size(final) != size:
            return None
        return await self._receipt(final, size)

    async def discard(self, key: UploadKey, path: str) -> None:
        """As in the contract. Folders stay."""
        folder = _folder(path, path)
        for name, _ in await self._parts(folder, key):
            if name.epoch <= key.epoch:
                async with self._removals:
                    await self._remove(_join(folder, str(name)))
        self._begun.pop(key, None)

    async def probe(self) -> None:
        """As in the contract. Also renames the file, as uploads do, and makes the base folder if missing."""
        sent, part = secrets.token_bytes(64), f"{RESERVED}probe-{secrets.token_hex(8)}"
        name = f"{part}-named"
        await self._make_folder("")
        try:
            await self._put(part, single_chunk(sent), len(sent))
            await self._rename(part, name, replace=False)
            back = await self._read_back(name) if self.capabilities.reads else sent
        except FileNotFoundError:
            back = b""
        finally:
            for each in (part, name):
                await self._remove(each)
        if back != sent:
            raise StorageError(
                "storage {storage!r} returned other bytes than were written to it", storage=self.name
            )

    async def _read_back(self, path: str) -> bytes:
        if not (file := await self._stat(path)):
            return b""
        async with aclosing(self._read(file, 0, file.size)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def stat(self, path: str) -> Entry | None:
        """As in the contract."""
        split(path)
        entry = await self._stat(path)
        if entry and not (entry := plausible(entry)):
            raise StorageError(
                "storage {storage!r}: the server reports impossible values for {path!r}",
                storage=self.name,
                path=path,
            )
        return entry

    async def delete(self, path: str) -> None:
        """As in the contract."""
        split(path)
        entry = await self._stat(path)
        if entry and entry.is_dir:
            raise StorageError("storage {storage!r}: {path!r} is a folder", storage=self.name, path=path)
        await self._remove(path)

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """As in the contract, without parts and names that SaveAny reserves."""
        if path:
            split(path)
        try:
            entries = await self._scan(path)
        except FileNotFoundError:
            if path:
                raise self._missing(path) from None
            return []  # the base folder is made by the first upload
        real = (entry for each in entries if (entry := plausible(each)))
        shown = (entry for entry in real if not is_reserved(entry.name) and entry.name > after)
        return sorted(shown, key=lambda entry: entry.name)[:limit]

    async def open(self, path: str) -> Reader:
        """As in the contract."""
        if not self.capabilities.reads:
            return await super().open(path)
        entry = await self.stat(path)
        if entry is None:
            raise self._missing(path)
        if entry.is_dir:
            raise StorageError("storage {storage!r}: {path!r} is a folder", storage=self.name, path=path)
        return RemoteReader(self, entry)

    async def mkdir(self, path: str) -> None:
        """As in the contract."""
        if path:
            split(path)
        await self._make_folder(path)

    async def move(self, path: str, to: str, *, replace: bool = False) -> Receipt:
        """As in the contract. Makes the folder of `to`."""
        entry = await self._file(path)
        await self._make_folder("/".join(split(to)[:-1]))
        with self._must_exist(path):
            await self._rename(path, to, replace=replace)
        return await self._receipt(to, entry.size)

    async def _swap(self, path: str, to: str) -> None:
        """Replace a file on a server that renames to free names only: the old file is renamed first, and gets
        its name back if the second rename fails."""
        aside = _join("/".join(split(to)[:-1]), f"{RESERVED}old-{secrets.token_hex(8)}")
        await self._rename(to, aside, replace=False)
        try:
            await self._rename(path, to, replace=False)
        except BaseException:
            try:
                await self._rename(aside, to, replace=False)
            except NameTaken:  # the second rename was done, and only the reply was lost
                await self._remove(aside)
            raise
        await self._remove(aside)

    async def _file(self, path: str) -> Entry:
        split(path)
        entry = await self._stat(path)
        if entry is None or entry.is_dir:
            raise self._no_file(path)
        return entry

    @contextmanager
    def _must_exist(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise self._no_file(path) from None

    def _missing(self, path: str) -> StorageError:
        return StorageError("storage {storage!r}: {path!r} does not exist", storage=self.name, path=path)

    def _no_file(self, path: str) -> StorageError:
        return StorageError("storage {storage!r}: there is no file {path!r}", storage=self.name, path=path)


class RemoteReader(Reader):
    """Reads ranges of a file, and compares its size and time after each of them to detect changes."""

    def __init__(self, storage: RemoteStorage, file: Entry) -> None:
        super().__init__(storage.name, file.path, file.size, file.modified_at)
        self._remote = storage
        self._file = file

    async def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._remote._read(self._file, start, end)) as pieces:
                async for piece in pieces:
                    yield piece
        except FileNotFoundError:
            raise self.changed() from None

    async def _check_unchanged(self) -> None:
        if await self._remote.stat(self.path) != self._file:
            raise self.changed()


class RemoteUpload(SequentialUpload):
    """An upload to a part. The put runs in a task of its own, to which `write` hands one chunk at a time."""

    _storage: RemoteStorage

    def __init__(
        self, storage: RemoteStorage, key: UploadKey, path: str, part: str, size: int | None, start: int
    ) -> None:
        super().__init__(storage, path, start)
        self._key = key
        self._part = part
        self._size = size
        self._start = start
        self._chunks = ChunkChannel()
        self._putting: asyncio.Task[None] | None = None

    async def _send(self, data: Chunk) -> None:
        """Wait until the put has taken the chunk. A put that ends before has failed."""
        handing, putting = self._chunks.give(data), self._put()
        await asyncio.wait([handing, putting], return_when=asyncio.FIRST_COMPLETED)
        if putting.done():
            putting.result()
            raise self._upload_error("the storage did not take all of {path!r}")

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """As in the contract, to the part."""
        self._check_open()
        entry = await self._storage._file(path)
        with self._storage._must_exist(path):
            self._putting = asyncio.create_task(self._storage._copy(path, self._part))
            await self._putting
        self._written = entry.size
        report(entry.size)

    async def pull(self, url: str) -> None:
        """As in the contract, to the part."""
        self._check_open()
        self._putting = asyncio.create_task(self._storage._pull(url, self._part))
        await self._putting
        entry = await self._storage._stat(self._part)
        self._written = entry.size if entry else 0

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """As in the contract: the bytes of the part that the server has made durable."""
        if not self._storage.capabilities.resumes:
            return ()
        if self._putting is not None and self._putting.done() and not self._over:
            self._putting.result()  # after a failed put the part may have gaps
        durable = min(self._written, await self._storage._durable(self._part))
        return ((0, durable),) if durable else ()

    async def _finish(self, size: int) -> None:
        self._chunks.end()
        await self._put()
        entry = await self._storage._stat(self._part)
        if entry is None:
            raise self._taken_over()
        if entry.size != size:
            raise self._upload_error(
                "{path!r} must have {size} bytes, but {arrived} arrived", size=size, arrived=entry.size
            )

    async def _publish(self, path: str, size: int, *, replace: bool) -> Receipt:
        try:
            await self._storage._rename(self._part, path, replace=replace)
        except FileNotFoundError:
            raise self._taken_over() from None
        self._over = True
        self._storage._begun.pop(self._key, None)
        return await self._storage._receipt(path, size)

    async def _stop(self) -> None:
        if self._putting is not None:
            self._putting.cancel()
            await asyncio.gather(self._putting, return_exceptions=True)

    async def _remove(self) -> None:
        await self._storage._remove(self._part)

    async def _leave(self) -> None:
        """A part that can be resumed stays, and so does a sealed one: it proves that no commit happened."""
        if not self._storage.capabilities.resumes and not self._sealed:
            with suppress(StorageError):
                await self._remove()

    def _taken_over(self) -> Fenced:
        return Fenced("{path!r}: another worker has taken this upload over", path=self._path)

    def _put(self) -> asyncio.Task[None]:
        if self._putting is None:
            put = self._storage._put(self._part, self._chunks, self._size, self._start)
            self._putting = asyncio.create_task(put)
        return self._putting

    def _check_open(self) -> None:
        super()._check_open()
        if self._putting is not None and self._putting.done():
            self._putting.result()  # raises the error of a put that has failed


def _fits(entry: Entry, size: int | None, keep: Sequence[Range]) -> bool:
    """Whether a part has the bytes to keep, from the start of the file."""
    if size is None or len(keep) != 1 or keep[0][0] != 0:
        return False
    return keep[0][1] <= entry.size <= size


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _folder(path: str, final: str) -> str:
    """The folder of `path`, which must be that of `final`."""
    folder, final_folder = "/".join(split(path)[:-1]), "/".join(split(final)[:-1])
    if folder != final_folder:
        raise StorageError("{final!r} is not in the folder of {path!r}", final=final, path=path)
    return folder
