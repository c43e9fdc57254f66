"""Uploads to a disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple, TypeVar

from saveany.descriptor import SharedDescriptor
from saveany.disk import reserve
from saveany.errors import Fenced, NoSpace, StorageError
from saveany.ranges import RangeSet
from storages.base import (
    Range,
    Receipt,
    Storage,
    Upload,
    UploadKey,
)
from storages.errors import name_taken
from storages.local.commits import Commit, Commits
from storages.local.files import fence, leftovers_of, mebibytes, same_file, sibling_name, version
from storages.local.jail import (
    Disk,
    FolderHandle,
    copy_piece,
    has_hole,
    is_file,
    read_all,
    scan,
    write_all,
)
from storages.parts import PartName, part_name, split

T = TypeVar("T")

#: Seconds without a write after which this process may have been frozen, and another one may have the part.
_MAYBE_FROZEN = 0.5


class ResumablePart(NamedTuple):
    """The conditions under which an old part is reused."""

    size: int | None
    keep: tuple[Range, ...]
    may_be_own: bool  # whether the writer of a part of the same epoch has closed it

    def open(self, folder: FolderHandle, part: PartName, epoch: int) -> int | None:
        """Open the part; None unless it has all bytes in `keep`, a suitable length and no other writer."""
        info = folder.stat(str(part))
        if info is None or not self._fits(info) or (part.epoch == epoch and not self.may_be_own):
            return None
        fd = folder.open(str(part), os.O_RDWR)
        if any(has_hole(fd, start, end) for start, end in self.keep):
            os.close(fd)
            return None
        return fd

    def _fits(self, info: os.stat_result) -> bool:
        if self.size is None or not self.keep or not is_file(info) or info.st_nlink != 1:
            return False
        return max(end for _, end in self.keep) <= info.st_size <= self.size


class LocalUpload(Upload):
    """An upload to a part on a disk. `LocalStorage.begin` makes it."""

    def __init__(self, disk: Disk, commits: Commits, key: UploadKey, path: str) -> None:
        self._disk = disk
        self._commits = commits
        self._key = key
        self._path = path
        self._part = str(part_name(key, split(path)[-1]))
        self._file: SharedDescriptor | None = None  # None before `open`, and after the end
        self._written = RangeSet()
        self._reserved = 0
        self._sealed: int | None = None  # the size, once it was checked and all bytes are durable
        self._written_at = time.monotonic()  # the last write, or the begin
        self._lost: OSError | None = None  # the error with which the disk lost written bytes
        self.over = False  # nothing can be written or committed anymore

    def open(self, size: int | None, resumable: ResumablePart) -> None:
        """Make the part or reuse an old one, fence and remove the others, and reserve space. Blocks."""
        with self._disk.parent(self._path, create=True) as (folder, name):
            folder.stat(name)  # refuses a name that is too long for the disk before the transfer
            # Before epoch 1 there can only be an earlier attempt of this claim, with a part of the same name.
            # Reading a folder of 100,000 files for each new one would be slow.
            if self._key.epoch == 1 and folder.stat(self._part) is None:
                self._file = SharedDescriptor(folder.create(self._part))
            else:
                self._take_over(folder, resumable)
        if size:
            self._reserve(size)

    def _take_over(self, folder: FolderHandle, resumable: ResumablePart) -> None:
        newest = max(fence(folder, self._key), key=lambda part: part.epoch, default=None)
        fd = newest and resumable.open(folder, newest, self._key.epoch)
        self._file = SharedDescriptor(folder.create(self._part) if fd is None else fd)
        if newest and fd is not None:
            folder.rename(str(newest), self._part)
            self.kept = resumable.keep
            self._written = RangeSet(self.kept)
        folder.unlink(str(part) for part in leftovers_of(folder, self._key) if str(part) != self._part)

    def _reserve(self, size: int) -> None:
        fd = self._open_file().fd
        disk, held = os.fstatvfs(fd), os.fstat(fd).st_blocks * 512
        free = disk.f_bavail * disk.f_frsize
        need = size - held
        if disk.f_blocks and free < need:  # some network disks report 0 blocks: unknown
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
        """As in the contract. Even if it is canceled, nothing reads `data` after it has ended."""
        await self._disk.run(self._path, self._use_to_write(lambda fd: write_all(fd, offset, data)))
        self._written.add(offset, offset + memoryview(data).nbytes)
        self._sealed = None

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """As in the contract, piece by piece. Some file systems share the blocks instead of copying."""
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
            piece = partial(copy_piece, source)
            while size := await self._disk.run(self._path, self._use_to_write(partial(piece, at=at))):
                self._written.add(at, at + size)
                at += size
                report(size)

    async def read(self, offset: int, size: int) -> bytes:
        """As in the contract."""
        return await self._disk.run(self._path, self._use(lambda fd: read_all(fd, offset, size)))

    async def scan(self, offset: int, size: int, take: Callable[[bytes | memoryview], object]) -> None:
        """As in the contract, in a thread. Even if it is canceled, `take` is not called after it has
        ended."""
        await self._disk.run(self._path, self._use(lambda fd: scan(fd, offset, size, take)))

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """As in the contract. A cancellation does not wait for the disk. After an error no commit is
        possible."""
        await self._disk.run_or_leave(self._path, self._use(lambda fd: self._flush(os.fdatasync, fd)))
        return written

    async def commit(self, path: str, size: int, *, replace: bool) -> Receipt:
        """As in the contract. A cancellation takes effect before the file is published, or after the
        commit."""
        name = sibling_name(self._disk, self._path, path)
        if self._sealed != size:
            await self.seal(size)
        work = Commit(path, partial(self._publish, name, replace), self._sync_folder, self._finish)
        return Receipt(path, size, await self._commits.run(work))

    async def seal(self, size: int) -> None:
        """As in the contract."""
        # The length proves nothing: if parts arrive out of order, holes look like data.
        if not self._written.is_exactly(size):
            raise StorageError(
                "storage {storage!r}: {path!r} must have {size} bytes, but these were written: {written}",
                storage=self._disk.name,
                path=self._path,
                size=size,
                written=str(self._written),
            )
        await self._disk.run_or_leave(self._path, self._use(lambda fd: self._make_durable(fd, size)))
        self._sealed = size

    def _make_durable(self, fd: int, size: int) -> None:
        """Check the length, release space reserved beyond it, and make the bytes durable."""
        if (found := os.fstat(fd).st_size) != size:
            raise StorageError(
                "the part must have {size} bytes but has {found}: another program has changed it",
                size=size,
                found=found,
            )
        if size < self._reserved:  # not otherwise: a later claim may be writing to the file
            os.ftruncate(fd, size)
        self._flush(os.fsync, fd)

    def _flush(self, flush: Callable[[int], None], fd: int) -> None:
        # Linux reports lost bytes once, and then treats them as written: a second flush proves nothing.
        if self._lost:
            raise OSError(self._lost.errno, "bytes were lost before")
        try:
            flush(fd)
        except OSError as error:
            self._lost = error
            raise

    def _publish(self, name: str, replace: bool, folder: FolderHandle) -> None:
        """Give the part its final name."""
        try:
            if not self._owns_part(folder):
                raise FileNotFoundError
            self._link(folder, name, replace)
        except FileNotFoundError:
            raise self._taken_over() from None
        except FileExistsError:
            raise name_taken(self._disk.name, name) from None
        self._drop_part(folder)

    def _finish(self) -> str:
        """Close the file; returns its version."""
        file_version = version(os.fstat(self._open_file().fd))
        self._close()
        return file_version

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
        """As in the contract. Spares the part of a later claim."""

        def remove() -> None:
            try:
                with suppress(FileNotFoundError), self._disk.parent(self._path) as (folder, _):
                    if self._owns_part(folder):
                        self._drop_part(folder)
            finally:
                self._close()

        await self._disk.run(self._path, remove if self._file else self._close)

    async def __aexit__(self, *exc: object) -> None:
        """Close the part, and leave it on the disk."""
        if self._file:
            await self._disk.run(self._path, self._close)

    def _owns_part(self, folder: FolderHandle) -> bool:
        """Whether the part still has its name, and is the file that this upload writes to."""
        return self._file is not None and same_file(os.fstat(self._file.fd), folder.stat(self._part))

    def _use(self, work: Callable[[int], T]) -> Callable[[], T]:
        return self._open_file().lend(work)

    def _use_to_write(self, work: Callable[[int], T]) -> Callable[[], T]:
        """As `_use`. A later claim continues with the same file: nothing is written to it any more."""

        def checked(fd: int) -> T:
            now = time.monotonic()
            if now - self._written_at > _MAYBE_FROZEN:
                with suppress(FileNotFoundError), self._disk.parent(self._path) as (folder, _):
                    if not self._owns_part(folder):
                        raise self._taken_over()
            self._written_at = now
            return work(fd)

        return self._use(checked)

    def _taken_over(self) -> Fenced:
        return Fenced("{path!r}: another worker has taken this upload over", path=self._path)

    def _open_file(self) -> SharedDescriptor:
        if self._file is None:
            raise StorageError(
                "storage {storage!r}: the upload of {path!r} is over",
                storage=self._disk.name,
                path=self._path,
            )
        return self._file

    def _close(self) -> None:
        """Close the file. Blocks, because a network disk may write its cache then."""
        file, self._file = self._file, None
        if file:
            file.release()
        self.over = True
