"""Uploads to a disk."""

from __future__ import annotations

import os
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple, TypeVar

from saveany.errors import Fenced, NameTaken, NoSpace, StorageError
from storages.base import (
    Range,
    Receipt,
    Storage,
    Upload,
    UploadKey,
)
from storages.local.files import fence, leftovers_of, mebibytes, same_file, sibling_name, version
from storages.local.jail import (
    Disk,
    FolderHandle,
    SharedDescriptor,
    copy_piece,
    has_hole,
    is_file,
    read_all,
    reserve,
    write_all,
)
from storages.parts import PartName, part_name, split

T = TypeVar("T")


class ResumablePart(NamedTuple):
    """What a part must have to be taken over."""

    size: int | None
    keep: tuple[Range, ...]
    may_be_own: bool  # whether a part of the same epoch has no writer any more

    def open(self, folder: FolderHandle, part: PartName, epoch: int) -> int | None:
        """A descriptor of the part if all of `keep` is there, and nothing of another length or owner."""
        there = folder.stat(str(part))
        if there is None or not self._fits(there) or (part.epoch == epoch and not self.may_be_own):
            return None
        fd = folder.open(str(part), os.O_RDWR)
        if any(has_hole(fd, start, end) for start, end in self.keep):
            os.close(fd)
            return None
        return fd

    def _fits(self, there: os.stat_result) -> bool:
        if self.size is None or not self.keep or not is_file(there) or there.st_nlink != 1:
            return False
        return max(end for _, end in self.keep) <= there.st_size <= self.size


class LocalUpload(Upload):
    """A part file, and which bytes of it were written. `LocalStorage.begin` makes it."""

    def __init__(self, disk: Disk, key: UploadKey, path: str) -> None:
        self._disk = disk
        self._key = key
        self._path = path
        self._part = str(part_name(key, split(path)[-1]))
        self._file: SharedDescriptor | None = None  # None before `open`, and when the upload is over
        self._written = _Spans()
        self._reserved = 0
        self._sealed: int | None = None  # the size that was found right, and durable
        self._lost: OSError | None = None  # what the disk said when it could not keep what was written
        self.over = False  # nothing can be written or committed any more

    def open(self, size: int | None, resumable: ResumablePart) -> None:
        """Make or take over the part, fence and remove the rest, reserve room. For `begin`; blocks."""
        with self._disk.parent(self._path, create=True) as (folder, name):
            folder.stat(name)  # refuses a name too long for this disk now, not after a long transfer
            # Before epoch 1 there can only be an earlier try of the same claim, whose part had the same name:
            # a folder of 100,000 files is not read for each new one.
            if self._key.epoch == 1 and folder.stat(self._part) is None:
                self._file = SharedDescriptor(folder.create(self._part))
            else:
                self._follow(folder, resumable)
        if size:
            self._reserve(size)

    def _follow(self, folder: FolderHandle, resumable: ResumablePart) -> None:
        newest = max(fence(folder, self._key), key=lambda part: part.epoch, default=None)
        fd = newest and resumable.open(folder, newest, self._key.epoch)
        self._file = SharedDescriptor(folder.create(self._part) if fd is None else fd)
        if newest and fd is not None:
            folder.rename(str(newest), self._part)
            self.kept = resumable.keep
            self._written = _Spans(self.kept)
        folder.unlink(str(part) for part in leftovers_of(folder, self._key) if str(part) != self._part)

    def _reserve(self, size: int) -> None:
        fd = self._open_file().fd
        disk, held = os.fstatvfs(fd), os.fstat(fd).st_blocks * 512
        free = disk.f_bavail * disk.f_frsize
        need = size - held
        if disk.f_blocks and free < need:  # some network disks say 0 blocks: they do not tell
            raise NoSpace(
                "storage {storage!r}: {path!r} needs {need}, {free} are free",
                storage=self._disk.name,
                path=self._path,
                need=mebibytes(need),
                free=mebibytes(free),
            )
        self._reserved = size
        reserve(fd, size)

    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """As in the contract. When it ends, even by a cancel, nothing reads `data` any more."""
        await self._disk.run(self._path, self._use(lambda fd: write_all(fd, offset, data)))
        self._written.add(offset, offset + memoryview(data).nbytes)
        self._sealed = None

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """As in the contract, piece by piece. File systems that can share the blocks do."""
        disk = getattr(origin, "disk", None)
        if not isinstance(disk, Disk):
            raise StorageError(
                "storage {storage!r} cannot copy from {name!r} by itself",
                storage=self._disk.name,
                name=origin.name,
            )
        at = 0
        with ExitStack() as stack:
            source = await disk.run(path, lambda: disk.open_file(path, stack))
            while size := await self._disk.run(self._path, self._use(partial(copy_piece, source, at=at))):
                self._written.add(at, at + size)
                at += size
                report(size)

    async def read(self, offset: int, size: int) -> bytes:
        """As in the contract; short where the file ends."""
        return await self._disk.run(self._path, self._use(lambda fd: read_all(fd, offset, size)))

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """As in the contract. A cancel does not wait for the disk; after an error no commit is possible."""
        await self._disk.run_or_leave(self._path, self._use(lambda fd: self._flush(os.fdatasync, fd)))
        return written

    async def commit(self, path: str, size: int, *, replace: bool) -> Receipt:
        """As in the contract. A cancel comes either before the file is published or after all is done."""
        name = sibling_name(self._disk, self._path, path)
        if self._sealed != size:
            await self.seal(size)
        mark = await self._disk.run(path, lambda: self._publish(name, replace))
        return Receipt(path, size, mark)

    async def seal(self, size: int) -> None:
        """As in the contract."""
        # The length alone proves nothing: where parts come out of order, a hole looks like data.
        if not self._written.cover(size):
            raise StorageError(
                "storage {storage!r}: {path!r} must have {size} bytes, but these were written: {written}",
                storage=self._disk.name,
                path=self._path,
                size=size,
                written=str(self._written),
            )
        await self._disk.run_or_leave(self._path, self._use(lambda fd: self._settle(fd, size)))
        self._sealed = size

    def _settle(self, fd: int, size: int) -> None:
        """Check the length, give back room that was reserved beyond it, make the bytes durable."""
        if (there := os.fstat(fd).st_size) != size:
            raise StorageError(
                "the part must have {size} bytes but has {there}: something else changed it",
                size=size,
                there=there,
            )
        if size < self._reserved:  # else never: a later claim may have taken the file over, and be writing
            os.ftruncate(fd, size)
        self._flush(os.fsync, fd)

    def _flush(self, flush: Callable[[int], None], fd: int) -> None:
        # Linux tells once that bytes were lost and then takes them for written: asking again proves nothing.
        if self._lost:
            raise OSError(self._lost.errno, "lost before")
        try:
            flush(fd)
        except OSError as error:
            self._lost = error
            raise

    def _publish(self, name: str, replace: bool) -> str:
        """Give the part its final name; returns the version of the file."""
        with self._disk.parent(self._path) as (folder, _):
            try:
                if not self._owns_part(folder):
                    raise FileNotFoundError
                self._link(folder, name, replace)
            except FileNotFoundError:
                raise Fenced("{path!r}: another worker has taken this upload over", path=self._path) from None
            except FileExistsError:
                raise NameTaken(
                    "storage {storage!r}: {path!r} already exists", storage=self._disk.name, path=name
                ) from None
            self._drop_part(folder)
            self._sync_folder(folder)
        mark = version(os.fstat(self._open_file().fd))
        self._close()
        return mark

    def _link(self, folder: FolderHandle, name: str, replace: bool) -> None:
        if replace:
            folder.rename(self._part, name)
        else:
            folder.publish(self._part, name)

    def _drop_part(self, folder: FolderHandle) -> None:
        folder.unlink([self._part])

    def _sync_folder(self, folder: FolderHandle) -> None:
        folder.sync()

    async def abort(self) -> None:
        """As in the contract. Leaves alone what a later claim has made."""

        def remove() -> None:
            try:
                with suppress(FileNotFoundError), self._disk.parent(self._path) as (folder, _):
                    if self._owns_part(folder):
                        self._drop_part(folder)
            finally:
                self._close()

        await self._disk.run(self._path, remove if self._file else self._close)

    async def __aexit__(self, *exc: object) -> None:
        """Close the part; it stays."""
        await self._disk.run(self._path, self._close)

    def _owns_part(self, folder: FolderHandle) -> bool:
        """Whether the part's name still means the file this upload writes to."""
        return self._file is not None and same_file(os.fstat(self._file.fd), folder.stat(self._part))

    def _use(self, work: Callable[[int], T]) -> Callable[[], T]:
        return self._open_file().lend(work)

    def _open_file(self) -> SharedDescriptor:
        if self._file is None:
            raise StorageError(
                "storage {storage!r}: the upload of {path!r} is over",
                storage=self._disk.name,
                path=self._path,
            )
        return self._file

    def _close(self) -> None:
        """Blocks: a network disk writes out what it holds when a file is closed."""
        file, self._file = self._file, None
        if file:
            file.give_back()
        self.over = True


class _Spans:
    """Which bytes were written: disjoint spans in order, neighbours joined."""

    def __init__(self, spans: Iterable[Range] = ()) -> None:
        self._spans: list[Range] = []
        for span in spans:
            self.add(*span)

    def add(self, start: int, end: int) -> None:
        if start == end:
            return
        apart = []
        for span in self._spans:
            if span[1] < start or end < span[0]:
                apart.append(span)
            else:
                start, end = min(start, span[0]), max(end, span[1])
        insort(apart, (start, end))
        self._spans = apart

    def cover(self, size: int) -> bool:
        """Whether exactly the bytes from 0 to `size` were written."""
        return self._spans == ([(0, size)] if size else [])

    def __str__(self) -> str:
        return ", ".join(f"{start} to {end}" for start, end in self._spans) or "none"
