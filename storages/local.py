"""Files in a folder of this machine.

What lies on the disk:

    <base>/films/a.mkv                            a finished file
    <base>/films/.a.mkv.<task>-<item>.2.partial      the upload of that item by epoch 2
    <base>/films/.a.mkv.<task>-<item>.1.old.partial  what epoch 1 left, fenced by epoch 2
    <base>/.saveany-storage                       says which disk this is
    <base>/.saveany-…                             other names SaveAny keeps for itself

Nothing outside the base is ever touched: `storages/jail.py`.

The fence. A commit goes by the part's *name*: it is renamed to the final one, or linked where every rename
replaces. `finished` and `begin` of a later epoch first rename every part they find: from then on the earlier
writer's commit has no source and fails, whenever it wakes. A link made before that is seen by `finished`,
because part and final are then one inode. The new part is made before the old ones are removed, so an
unfinished upload has a part at every moment and a foreign file of the same size is not taken for its result;
and the folder is looked through once more after it is made, so of two claims that begin at once the later
sees the earlier's part, or the earlier learns that it is late.

Whose bytes. A fenced writer still has its descriptor, so as a rule `begin` makes a new inode: late bytes go
to a file that nothing will publish. Resuming keeps the inode, and the caller answers for it: it passes `keep`
only for the very same source, so what a fenced writer may still write is what belongs at that place anyway,
and it never cuts a file of the planned size. Bytes outside `keep` count as missing until they are written
again. The earlier writer of the *same* epoch would have the same part name, so its part is taken over only
when it is closed; one epoch belongs to one process, which opens a storage once.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import stat
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from pydantic import Field

from saveany.errors import Fenced, NameTaken, NoSpace, StorageError
from storages.base import (
    Capabilities,
    Entry,
    Range,
    Services,
    Storage,
    StorageOptions,
    Upload,
    UploadKey,
    Usage,
)
from storages.jail import (
    Disk,
    FolderHandle,
    SharedDescriptor,
    copy_all,
    copy_piece,
    has_hole,
    is_file,
    read_all,
    reserve,
    write_all,
)
from storages.parts import RESERVED, PartName, is_reserved, parse, part_name, split

T = TypeVar("T")

#: Bytes per piece of `read`.
PIECE = 1 << 20


class LocalOptions(StorageOptions):
    """Options of a `local` storage."""

    base_path: Path = Field(
        description="Folder the files go to; made if it is missing. Nothing outside it is ever touched. "
        "It must not have the configuration, data_dir or the program in it."
    )

    def folders_here(self) -> list[Path]:
        """The one folder."""
        return [self.base_path.expanduser().absolute()]


class LocalStorage(Storage):
    """A folder of this machine; the modes of new files and folders follow the umask."""

    capabilities = Capabilities(
        random_writes=True,
        reads_back=True,
        resumes=True,
        late_name=True,
        exclusive=True,
        fences=True,
        lists=True,
        reads=True,
        folders=True,
        moves=True,
        copies=True,
        usage=True,
        this_machine_only=True,
    )

    def __init__(self, options: LocalOptions, services: Services | None = None) -> None:
        self.name = options.name
        self._disk = Disk(options.name, options.base_path.expanduser().absolute())
        self._uploads: WeakValueDictionary[UploadKey, LocalUpload] = WeakValueDictionary()

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract. A known size is reserved on the disk: `NoSpace` comes before the first byte.

        Nothing is kept if the size is unknown.
        """
        before = self._uploads.get(key)
        upload = self._uploads[key] = LocalUpload(self._disk, key, path)
        resumable = _Resumable(size, tuple(keep), may_be_own=before is None or before.over)
        try:
            await self._disk.run(path, lambda: upload.open(size, resumable))
        except BaseException as error:
            # What was taken over is worth keeping for the next try, unless a later claim works on it.
            await (upload.__aexit__() if upload.kept and not isinstance(error, Fenced) else upload.abort())
            raise
        return upload

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> bool:
        """As in the contract. After it no earlier epoch can commit, whatever the answer."""
        name = _sibling(self._disk, path, final)

        def look() -> bool:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, _):
                leftovers = [str(part) for part in _fence(folder, key)]
                there = folder.stat(name)
                if there is None or not is_file(there) or there.st_size != size:
                    return False
                if leftovers and not any(_same(there, folder.stat(part)) for part in leftovers):
                    return False
                folder.unlink(leftovers)
                folder.sync()  # the earlier worker may have died, or the power gone, just before it did
                return True
            return False

        return await self._disk.run(final, look)

    async def discard(self, key: UploadKey, path: str) -> None:
        """As in the contract; folders stay."""

        def remove() -> None:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, _):
                folder.unlink([str(part) for part in _parts(folder, key) if part.epoch <= key.epoch])

        await self._disk.run(path, remove)

    async def probe(self) -> None:
        """As in the contract; makes the base folder if it is missing."""

        def echo(folder: FolderHandle, name: str, sent: bytes) -> bytes:
            fd = folder.create(name, 0o600)
            try:
                write_all(fd, 0, sent)
                os.fsync(fd)
                return read_all(fd, 0, len(sent))
            finally:
                os.close(fd)
                folder.unlink([name])

        def work() -> bool:
            sent = secrets.token_bytes(64)
            with self._disk.folder([], create=True) as folder:
                return echo(folder, f"{RESERVED}probe-{secrets.token_hex(8)}", sent) == sent

        if not await self._disk.run("", work):
            raise StorageError(f"storage {self.name!r}: the disk gave back other bytes than were written")

    async def identity(self) -> str | None:
        """As in the contract, from `.saveany-storage` in the base folder."""
        return await self._disk.run("", self._disk.identity)

    async def adopt(self, identity: str) -> None:
        """As in the contract; makes the base folder if it is missing. 1 to 64 letters, digits, `-` or `_`."""
        await self._disk.run("", lambda: self._disk.adopt(identity))

    async def stat(self, path: str) -> Entry | None:
        """As in the contract; links and devices count as nothing."""

        def look() -> Entry | None:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, name):
                there = folder.stat(name)
                return there and _entry(path.split("/")[:-1], name, there)
            return None

        return await self._disk.run(path, look)

    async def delete(self, path: str) -> None:
        """As in the contract."""

        def remove() -> None:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, name):
                folder.unlink([name])

        await self._disk.run(path, remove)

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """As in the contract, in pieces of up to 1 MiB; ends where the file does."""
        with ExitStack() as stack:
            fd = await self._disk.run(path, lambda: self._disk.open_file(path, stack))
            end = math.inf if size is None else offset + size
            while offset < end:
                piece = await self._disk.run(
                    path, partial(os.pread, fd, int(min(PIECE, end - offset)), offset)
                )
                if not piece:
                    return
                offset += len(piece)
                yield piece

    async def mkdir(self, path: str) -> None:
        """As in the contract."""

        def make() -> None:
            with self._disk.folder(split(path) if path else [], create=True):
                return

        await self._disk.run(path, make)

    async def move(self, path: str, to: str, *, replace: bool = False) -> None:
        """As in the contract; makes the folder of `to`."""

        def rename() -> None:
            with self._disk.parent(path) as (folder, name):
                _refuse_folder(folder.stat(name))
                with self._disk.parent(to, create=True) as (there, new):
                    self._give_name(folder, name, there, new, replace=replace)
                    there.sync()
                folder.sync()

        await self._disk.run(path, rename)

    async def copy(self, path: str, to: str, *, replace: bool = False) -> None:
        """As in the contract; on file systems that can, both share their blocks until one is changed."""

        def duplicate() -> None:
            with ExitStack() as stack:
                source = self._disk.open_file(path, stack)
                there, new = stack.enter_context(self._disk.parent(to, create=True))
                part = f"{RESERVED}copy-{secrets.token_hex(8)}"
                fd = there.create(part)
                stack.callback(os.close, fd)
                stack.callback(there.unlink, [part])
                copy_all(source, fd)
                os.fsync(fd)
                self._give_name(there, part, there, new, replace=replace)
                there.sync()

        await self._disk.run(path, duplicate)

    def _give_name(
        self, folder: FolderHandle, name: str, there: FolderHandle, new: str, *, replace: bool
    ) -> None:
        taken = there.stat(new)
        if taken and (not replace or not is_file(taken)):
            raise NameTaken(f"storage {self.name!r}: {new!r} exists already")
        try:
            if replace:
                folder.rename(name, new, there)
            else:
                folder.publish(name, new, there)
                folder.unlink([name])  # where it was linked
        except FileExistsError:
            raise NameTaken(f"storage {self.name!r}: {new!r} exists already") from None

    def copies_from(self, origin: Storage) -> bool:
        """Any folder of this machine."""
        return isinstance(origin, LocalStorage)

    async def usage(self) -> Usage:
        """As in the contract, of the whole disk: it has other users, too."""

        def look() -> Usage:
            with self._disk.folder([]) as folder:
                disk = os.fstatvfs(folder.fd)
            size = disk.f_frsize
            used = (disk.f_blocks - disk.f_bfree) * size
            return Usage(used=used, free=disk.f_bavail * size, total=disk.f_blocks * size)

        return await self._disk.run("", look)

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """As in the contract. Only files and folders: no links, devices, parts or names kept for SaveAny.

        A name that is not UTF-8 is shown with U+FFFD in it, and cannot be opened by that.
        """
        parts = split(path) if path else []

        def look() -> Iterable[Entry]:
            try:
                with self._disk.folder(parts) as folder, os.scandir(folder.fd) as found:
                    shown = (item for item in found if not is_reserved(item.name))
                    return [entry for item in shown if item.name > after and (entry := _listed(parts, item))]
            except FileNotFoundError:
                if parts:
                    raise
                return []  # nothing was saved yet

        return sorted(await self._disk.run(path, look), key=lambda entry: entry.name)[:limit]

    async def close(self) -> None:
        """Let the threads end; a call that hangs on a broken disk is not waited for."""
        self._disk.close()


class _Resumable(NamedTuple):
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

    def open(self, size: int | None, resumable: _Resumable) -> None:
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

    def _follow(self, folder: FolderHandle, resumable: _Resumable) -> None:
        newest = max(_fence(folder, self._key), key=lambda part: part.epoch, default=None)
        fd = newest and resumable.open(folder, newest, self._key.epoch)
        self._file = SharedDescriptor(folder.create(self._part) if fd is None else fd)
        if newest and fd is not None:
            folder.rename(str(newest), self._part)
            self.kept = resumable.keep
            self._written = _Spans(self.kept)
        folder.unlink(str(part) for part in _leftovers(folder, self._key) if str(part) != self._part)

    def _reserve(self, size: int) -> None:
        fd = self._open_file().fd
        disk, held = os.fstatvfs(fd), os.fstat(fd).st_blocks * 512
        free = disk.f_bavail * disk.f_frsize
        need = size - held
        if disk.f_blocks and free < need:  # some network disks say 0 blocks: they do not tell
            raise NoSpace(
                f"storage {self._disk.name!r}: {self._path!r} needs {_mib(need)}, {_mib(free)} are free"
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
        if not isinstance(origin, LocalStorage):
            raise StorageError(f"storage {self._disk.name!r} cannot copy from {origin.name!r} by itself")
        at = 0
        with ExitStack() as stack:
            source = await origin._disk.run(path, lambda: origin._disk.open_file(path, stack))
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

    async def commit(self, path: str, size: int, *, replace: bool) -> None:
        """As in the contract. A cancel comes either before the file is published or after all is done."""
        name = _sibling(self._disk, self._path, path)
        if self._sealed != size:
            await self.seal(size)
        await self._disk.run(path, lambda: self._publish(name, replace))

    async def seal(self, size: int) -> None:
        """As in the contract."""
        # The length alone proves nothing: where parts come out of order, a hole looks like data.
        if not self._written.cover(size):
            raise StorageError(
                f"storage {self._disk.name!r}: {self._path!r} must have {size} bytes, "
                f"written were {self._written}"
            )
        await self._disk.run_or_leave(self._path, self._use(lambda fd: self._settle(fd, size)))
        self._sealed = size

    def _settle(self, fd: int, size: int) -> None:
        """Check the length, give back room that was reserved beyond it, make the bytes durable."""
        if (there := os.fstat(fd).st_size) != size:
            raise StorageError(f"the part must have {size} bytes but has {there}: something else changed it")
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

    def _publish(self, name: str, replace: bool) -> None:
        with self._disk.parent(self._path) as (folder, _):
            try:
                if not self._owns_part(folder):
                    raise FileNotFoundError
                self._link(folder, name, replace)
            except FileNotFoundError:
                raise Fenced(f"{self._path!r}: another worker has taken this upload over") from None
            except FileExistsError:
                raise NameTaken(f"storage {self._disk.name!r}: {name!r} exists already") from None
            self._drop_part(folder)
            self._sync_folder(folder)
        self._close()

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
        return self._file is not None and _same(os.fstat(self._file.fd), folder.stat(self._part))

    def _use(self, work: Callable[[int], T]) -> Callable[[], T]:
        return self._open_file().lend(work)

    def _open_file(self) -> SharedDescriptor:
        if self._file is None:
            raise StorageError(f"storage {self._disk.name!r}: the upload of {self._path!r} is over")
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


def _sibling(disk: Disk, path: str, final: str) -> str:
    """The name of `final`, which must be in the folder of `path`."""
    *folder, _ = split(path)
    *there, name = split(final)
    if folder != there:
        raise StorageError(f"{final!r} is not in the folder of {path!r}")
    return name


def _parts(folder: FolderHandle, key: UploadKey) -> Iterator[PartName]:
    """The parts of that task and item, of every epoch."""
    for name in folder.names():
        part = parse(name)
        if part and part.belongs_to(key):
            yield part


def _leftovers(folder: FolderHandle, key: UploadKey) -> list[PartName]:
    """The parts of this upload; `Fenced` if one is of a later claim."""
    found = list(_parts(folder, key))
    if any(part.epoch > key.epoch for part in found):
        raise Fenced(f"task {key.task}: a later claim than {key.epoch} works on it")
    return found


def _fence(folder: FolderHandle, key: UploadKey) -> list[PartName]:
    """Rename all parts of this upload, so that none can be committed; returns them as they are now."""
    fenced = []
    for part in _leftovers(folder, key):
        with suppress(FileNotFoundError):  # committed or aborted just now: there is nothing left to fence
            new = part._replace(mark="old")
            folder.rename(str(part), str(new))
            fenced.append(new)
    return fenced


def _listed(parts: list[str], item: os.DirEntry[str]) -> Entry | None:
    """What a listing says of it, None to say nothing: special, a link, or gone meanwhile."""
    try:
        return _entry(parts, item.name, item.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def _entry(parts: list[str], raw: str, there: os.stat_result) -> Entry | None:
    is_dir = stat.S_ISDIR(there.st_mode)
    if not (is_dir or is_file(there)):
        return None
    name = os.fsencode(raw).decode(errors="replace")
    size = 0 if is_dir else there.st_size
    return Entry(name, "/".join([*parts, name]), size, is_dir, there.st_mtime_ns // 1_000_000)


def _refuse_folder(there: os.stat_result | None) -> None:
    if there is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not is_file(there):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _same(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and os.path.samestat(one, other)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
