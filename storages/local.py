"""Files in a folder of this machine.

What lies on the disk:

    <base>/films/a.mkv                            a finished file
    <base>/films/.a.mkv.<task>-<item>.2.part      the upload of that item by epoch 2
    <base>/films/.a.mkv.<task>-<item>.1.old.part  what epoch 1 left, fenced by epoch 2
    <base>/.saveany-…                             names SaveAny keeps for itself

The jail. A path is walked from the base one part at a time, each folder opened relative to the one before and
never through a symbolic link; the last part names a file relative to an open folder. So neither a link nor a
folder swapped in meanwhile leads outside. The base itself may be a link.

The fence. A commit goes by the part's *name*: `link(part, final)`, or `rename` to replace a file. `finished`
and `begin` of a later epoch first rename every part they find: from then on the earlier writer's commit has
no source and fails, whenever it wakes. A link made before that rename is seen by `finished`, because part and
final are then one inode. A fenced writer still has its descriptor, so `begin` always makes a new inode: late
bytes go to a file that nothing will publish. The new part is made before the old ones are removed, so an
unfinished upload has a part at every moment and a foreign file of the same size is not taken for its result.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import math
import os
import re
import secrets
import stat
import threading
from bisect import insort
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from pydantic import Field

from saveany.errors import Fenced, NameTaken, NoSpace, StorageError, StorageUnavailable, UnsafePath
from storages.base import Capabilities, Entry, Storage, StorageOptions, Upload, UploadKey

T = TypeVar("T")

#: Disk calls at once. Each storage has its own threads: a network disk that hangs must not stop the rest.
THREADS = 8
#: Bytes per piece of `read`.
PIECE = 1 << 20
#: Bytes of the final name kept in the part's name, so that parts fit where names end at 143 bytes (eCryptfs).
STEM_BYTES = 64
#: Longest name in bytes on the file systems in use.
NAME_BYTES = 255
#: Start of the names SaveAny keeps for itself, in the base and in every folder.
RESERVED = ".saveany-"

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE: Final = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
)  # opening a named pipe must not wait for its writer
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class LocalOptions(StorageOptions):
    """Options of a `local` storage."""

    base_path: Path = Field(
        description="Folder the files go to; made if it is missing. Nothing outside it is ever touched."
    )


class LocalStorage(Storage):
    """A folder of this machine; the modes of new files and folders follow the umask."""

    capabilities = Capabilities(
        random_writes=True, reads_back=True, lists=True, reads=True, this_machine_only=True
    )

    def __init__(self, options: LocalOptions) -> None:
        self.name = options.name
        self._disk = _Disk(options.name, options.base_path.expanduser().absolute())

    async def begin(self, key: UploadKey, path: str, size: int | None) -> Upload:
        """As in the contract. A known size is reserved on the disk: `NoSpace` comes before the first byte."""
        upload = LocalUpload(self._disk, key, path)
        try:
            await self._disk.run(path, lambda: upload.open(size))
        except BaseException:
            await upload.abort()
            raise
        return upload

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> bool:
        """As in the contract. After it no earlier epoch can commit, whatever the answer."""
        name = _sibling(path, final)

        def look() -> bool:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, _):
                leftovers = _fence(folder, key)
                there = _stat(folder, name)
                if there is None or not _is_file(there) or there.st_size != size:
                    return False
                if leftovers and not any(_same(there, _stat(folder, part)) for part in leftovers):
                    return False
                _unlink(folder, leftovers)
                _sync(folder)  # the earlier worker may have died, or the power gone, just before it did
                return True
            return False

        return await self._disk.run(final, look)

    async def discard(self, key: UploadKey, path: str) -> None:
        """As in the contract; folders stay."""

        def remove() -> None:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, _):
                _unlink(folder, [part.name for part in _parts(folder, key) if part.epoch <= key.epoch])

        await self._disk.run(path, remove)

    async def probe(self) -> None:
        """As in the contract; makes the base folder if it is missing."""

        def echo(folder: int, name: str, sent: bytes) -> bytes:
            fd = os.open(name, _NEW, 0o600, dir_fd=folder)
            try:
                _write_all(fd, 0, sent)
                os.fsync(fd)
                return _read_all(fd, 0, len(sent))
            finally:
                os.close(fd)
                _unlink(folder, [name])

        def work() -> bool:
            sent = secrets.token_bytes(64)
            with self._disk.folder([]) as folder:
                return echo(folder, f"{RESERVED}probe-{secrets.token_hex(8)}", sent) == sent

        if not await self._disk.run("", work):
            raise StorageError(f"storage {self.name!r}: the disk gave back other bytes than were written")

    async def size(self, path: str) -> int | None:
        """As in the contract; what is not a regular file counts as none."""

        def look() -> int | None:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, name):
                there = _stat(folder, name)
                return there.st_size if there and _is_file(there) else None
            return None

        return await self._disk.run(path, look)

    async def delete(self, path: str) -> None:
        """As in the contract."""

        def remove() -> None:
            with suppress(FileNotFoundError), self._disk.parent(path) as (folder, name):
                _unlink(folder, [name])

        await self._disk.run(path, remove)

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
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

    async def list(self, path: str) -> list[Entry]:
        """As in the contract. Only files and folders: no links, devices, parts or names kept for SaveAny.

        A name that is not UTF-8 is shown with U+FFFD in it, and cannot be opened by that.
        """
        parts = _split(path) if path else []

        def look() -> Iterable[Entry]:
            with self._disk.folder(parts) as folder, os.scandir(folder) as found:
                return [entry for item in found if (entry := _entry(parts, item))]

        return sorted(await self._disk.run(path, look), key=lambda entry: entry.name)

    async def close(self) -> None:
        """Let the threads end; a call that hangs on a broken disk is not waited for."""
        self._disk.close()


class LocalUpload(Upload):
    """A part file, and which bytes of it were written. `LocalStorage.begin` makes it."""

    def __init__(self, disk: _Disk, key: UploadKey, path: str) -> None:
        self._disk = disk
        self._key = key
        self._path = path
        self._part = _Part.of(key, _split(path)[-1]).name
        self._file: _Lent | None = None  # None before `open`, and when the upload is over
        self._written = _Spans()

    def open(self, size: int | None) -> None:
        """Make the part, fence and remove those of earlier claims, reserve room. For `begin`; blocks."""
        with self._disk.parent(self._path, create=True) as (folder, name):
            _stat(folder, name)  # refuses a name too long for this disk now, not after a long transfer
            # Before epoch 1 there can only be an earlier try of the same claim, whose part had the same name:
            # a folder of 100,000 files is not read for each new one.
            first = self._key.epoch == 1 and _stat(folder, self._part) is None
            leftovers = [] if first else _fence(folder, self._key)
            fd = os.open(self._part, _NEW, 0o666, dir_fd=folder)
            self._file = _Lent(fd)
            _unlink(folder, leftovers)
        if size:
            self._reserve(fd, size)

    def _reserve(self, fd: int, size: int) -> None:
        disk = os.fstatvfs(fd)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and free < size:  # some network disks say 0 blocks: they do not tell
            raise NoSpace(
                f"storage {self._disk.name!r}: {self._path!r} needs {_mib(size)}, {_mib(free)} are free"
            )
        _preallocate(fd, size)

    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """As in the contract. When it ends, even by a cancel, nothing reads `data` any more."""
        await self._disk.run(self._path, self._use(lambda fd: _write_all(fd, offset, data)))
        self._written.add(offset, offset + memoryview(data).nbytes)

    async def read(self, offset: int, size: int) -> bytes:
        """As in the contract; short where the file ends."""
        return await self._disk.run(self._path, self._use(lambda fd: _read_all(fd, offset, size)))

    async def sync(self) -> None:
        """As in the contract. A cancel does not wait for the disk."""
        await self._disk.run_or_leave(self._path, self._use(os.fdatasync))

    async def commit(self, path: str, size: int, *, replace: bool) -> None:
        """As in the contract. A cancel comes either before the file is published or after all is done."""
        name = _sibling(self._path, path)
        # The length alone proves nothing: where parts come out of order, a hole looks like data.
        if not self._written.cover(size):
            raise StorageError(
                f"storage {self._disk.name!r}: {self._path!r} must have {size} bytes, "
                f"written were {self._written}"
            )
        await self._disk.run_or_leave(self._path, self._use(lambda fd: _settle(fd, size)))
        await self._disk.run(path, lambda: self._publish(name, replace))

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

    def _link(self, folder: int, name: str, replace: bool) -> None:
        if replace:
            return os.rename(self._part, name, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            os.link(self._part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _rename_new(folder, self._part, name)

    def _drop_part(self, folder: int) -> None:
        _unlink(folder, [self._part])

    def _sync_folder(self, folder: int) -> None:
        _sync(folder)

    async def abort(self) -> None:
        """As in the contract. Leaves alone what a later claim has made."""

        def remove() -> None:
            try:
                with suppress(FileNotFoundError), self._disk.parent(self._path) as (folder, _):
                    if self._owns_part(folder):
                        self._drop_part(folder)
            finally:
                self._close()

        if self._file:
            await self._disk.run(self._path, remove)

    async def __aexit__(self, *exc: object) -> None:
        """Close the part; it stays."""
        await self._disk.run(self._path, self._close)

    def _owns_part(self, folder: int) -> bool:
        """Whether the part's name still means the file this upload writes to."""
        return self._file is not None and _same(os.fstat(self._file.fd), _stat(folder, self._part))

    def _use(self, work: Callable[[int], T]) -> Callable[[], T]:
        if self._file is None:
            raise StorageError(f"storage {self._disk.name!r}: the upload of {self._path!r} is over")
        return self._file.lend(work)

    def _close(self) -> None:
        """Blocks: a network disk writes out what it holds when a file is closed."""
        file, self._file = self._file, None
        if file:
            file.give_back()


class _Lent:
    """A descriptor that is closed when its owner and every thread it is lent to are done with it.

    Closed under a thread's hands, its number could be another file's by the time the thread writes.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._users = 1
        self._lock = threading.Lock()

    def lend(self, work: Callable[[int], T]) -> Callable[[], T]:
        """`work` with this descriptor; what is returned must be called, once."""
        with self._lock:
            self._users += 1

        def job() -> T:
            try:
                return work(self.fd)
            finally:
                self.give_back()

        return job

    def give_back(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            os.close(self.fd)


class _Disk:
    """The jail and the edge: walks folders inside the base, runs what blocks in threads, maps `OSError`."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self._base = base
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"storage-{name}")

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def run(self, path: str, work: Callable[[], T]) -> T:
        """Run `work` to its end, even if cancelled meanwhile: what it holds can then be closed or reused."""
        future = self._start(work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled:
            raise cancelled
        return self._result(path, future)

    async def run_or_leave(self, path: str, work: Callable[[], T]) -> T:
        """Run `work`, which must own all it uses; when cancelled, leave it to its thread and go."""
        future = self._start(work)
        await asyncio.wait([future])
        return self._result(path, future)

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # of one left: not "lost"
        return future

    def _result(self, path: str, future: asyncio.Future[T]) -> T:
        try:
            return future.result()
        except OSError as error:
            raise self._refusal(path, error) from error

    def _refusal(self, path: str, error: OSError) -> StorageError:
        kind, text = _MEANINGS.get(error.errno or 0, (StorageError, os.strerror(error.errno or 0)))
        return kind(f"storage {self.name!r}: {path or str(self._base)!r}: {text}")

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder a file is in, and the file's name in it."""
        *folders, name = _split(path)
        with self.folder(folders, create=create) as fd:
            yield fd, name

    @contextmanager
    def folder(self, parts: list[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the folder; missing ones are made if `create`, the base always."""
        fd = self._open_base()
        try:
            for depth, part in enumerate(parts):
                deeper = self._step(fd, part, "/".join(parts[: depth + 1]), create)
                os.close(fd)
                fd = deeper
            yield fd
        finally:
            os.close(fd)

    def _open_base(self) -> int:
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            return os.open(self._base, os.O_RDONLY | os.O_DIRECTORY)
        except (FileExistsError, NotADirectoryError):
            raise StorageUnavailable(
                f"storage {self.name!r}: base_path {self._base} is not a folder"
            ) from None

    def _step(self, fd: int, name: str, path: str, create: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=fd)
        except NotADirectoryError:
            there = _stat(fd, name)
            if there and stat.S_ISLNK(there.st_mode):
                raise UnsafePath(f"storage {self.name!r}: {path!r}: {_LINK}") from None
            raise StorageError(
                f"storage {self.name!r}: {path!r} is a file; a folder is needed there"
            ) from None
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # another upload was faster
            os.mkdir(name, dir_fd=fd)
        _sync(fd)
        return os.open(name, _FOLDER, dir_fd=fd)

    def open_file(self, path: str, stack: ExitStack) -> int:
        """Open a regular file for reading; `stack` owns it from then on, so a cancel cannot lose it."""
        with self.parent(path) as (folder, name):
            fd = os.open(name, _FILE, dir_fd=folder)
        stack.callback(os.close, fd)
        if not _is_file(os.fstat(fd)):
            raise StorageError(f"storage {self.name!r}: {path!r} is not a file")
        return fd


class _Part(NamedTuple):
    """The name of a part file, taken apart."""

    stem: str
    upload: str
    epoch: int
    fenced: bool

    @property
    def name(self) -> str:
        return f"{self.stem}.{self.upload}.{self.epoch}{'.old' if self.fenced else ''}.part"

    @classmethod
    def of(cls, key: UploadKey, name: str) -> _Part:
        stem = name.encode()[:STEM_BYTES].decode(errors="ignore")
        part = cls(f".{stem}", f"{key.task}-{key.item}", key.epoch, fenced=False)
        if cls.parse(part.name) != part:
            raise ValueError(f"not a task id: {key.task!r}")
        return part

    @classmethod
    def parse(cls, name: str) -> _Part | None:
        match = _PART.fullmatch(name)
        return match and cls(match["stem"], match["upload"], int(match["epoch"]), bool(match["old"]))


_PART: Final = re.compile(
    r"(?P<stem>\..*)\.(?P<upload>[\w-]+-\d+)\.(?P<epoch>\d+)(?P<old>\.old)?\.part", re.DOTALL | re.ASCII
)


class _Spans:
    """Which bytes were written: disjoint spans in order, neighbours joined."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

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


def _split(path: str) -> list[str]:
    """The parts of a path; `UnsafePath` if it is not relative, plain and writable as it stands."""
    parts = path.split("/")
    for part in parts:
        if why := _unsafe(part):
            raise UnsafePath(f"path {path!r}: {why}")
    return parts


def _unsafe(part: str) -> str:
    if part in ("", ".", ".."):
        return "must be relative, without empty parts, '.' or '..'"
    if "\0" in part:
        return "contains a NUL character"
    try:
        encoded = part.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    if len(encoded) > NAME_BYTES:
        return f"{part[:20]!r}… is longer than {NAME_BYTES} bytes"
    return "is a name SaveAny keeps for itself" if _reserved(part) else ""


def _reserved(name: str) -> bool:
    return name.casefold().startswith(RESERVED) or _Part.parse(name) is not None


def _sibling(path: str, final: str) -> str:
    """The name of `final`, which must be in the folder of `path`."""
    *folder, _ = _split(path)
    *there, name = _split(final)
    if folder != there:
        raise StorageError(f"{final!r} is not in the folder of {path!r}")
    return name


def _parts(folder: int, key: UploadKey) -> Iterator[_Part]:
    """The parts of that task and item, of every epoch."""
    for name in os.listdir(folder):
        part = _Part.parse(name)
        if part and part.upload == f"{key.task}-{key.item}":
            yield part


def _fence(folder: int, key: UploadKey) -> list[str]:
    """Rename all parts of this upload, so that none can be committed; returns the names they have now."""
    found = list(_parts(folder, key))
    if any(part.epoch > key.epoch for part in found):
        raise Fenced(f"task {key.task}: a later claim than {key.epoch} works on it")
    fenced = []
    for part in found:
        with suppress(FileNotFoundError):  # committed or aborted just now: there is nothing left to fence
            new = part._replace(fenced=True).name
            os.rename(part.name, new, src_dir_fd=folder, dst_dir_fd=folder)
            fenced.append(new)
    return fenced


def _entry(parts: list[str], item: os.DirEntry[str]) -> Entry | None:
    """What a listing says of it, None to say nothing: reserved, special, a link, or gone meanwhile."""
    try:
        there = item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    is_dir = stat.S_ISDIR(there.st_mode)
    if _reserved(item.name) or not (is_dir or _is_file(there)):
        return None
    name = os.fsencode(item.name).decode(errors="replace")
    size = 0 if is_dir else there.st_size
    return Entry(name, "/".join([*parts, name]), size, is_dir, there.st_mtime_ns // 1_000_000)


def _stat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_file(there: os.stat_result) -> bool:
    return stat.S_ISREG(there.st_mode)


def _same(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and os.path.samestat(one, other)


def _unlink(folder: int, names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _sync(folder: int) -> None:
    """Make the folder's entries durable, where the file system knows how (CIFS and some FUSE do not)."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _write_all(fd: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    with memoryview(data).cast("B") as view:
        done = 0
        while done < len(view):  # Linux writes at most 2 GiB at once, and less when a disk fills up
            done += os.pwrite(fd, view[done:], offset + done)


def _read_all(fd: int, offset: int, size: int) -> bytes:
    pieces = []
    while size and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def _settle(fd: int, size: int) -> None:
    """Check the length, give back room that was reserved beyond it, make the bytes durable."""
    if (there := os.fstat(fd).st_size) != size:
        raise StorageError(f"the part must have {size} bytes but has {there}: something else changed it")
    os.ftruncate(fd, size)
    os.fsync(fd)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


# Two Linux calls that Python's os lacks. `os.posix_fallocate` is no help: where the file system cannot
# reserve, glibc writes into each block instead, which takes minutes for a large file on a network disk.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h
_NO_REPLACE: Final = 1  # RENAME_NOREPLACE of linux/fs.h

#: How link(2) says that the file system has no hard links.
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


def _call(function: str, *args: object) -> None:
    call = getattr(_LIBC, function, None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(*args) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _preallocate(fd: int, size: int) -> None:
    """Reserve room without changing the length. Only a lack of room is an error: the rest is lost comfort."""
    try:
        _call("fallocate64", fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise


def _rename_new(folder: int, old: str, new: str) -> None:
    """Rename unless `new` exists (`FileExistsError`), in one step: for FAT and others without hard links."""
    try:
        _call("renameat2", folder, old.encode(), folder, new.encode(), _NO_REPLACE)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            raise StorageError(
                "this file system can neither link nor rename safely; set on_conflict to overwrite for it"
            ) from error
        raise


_LINK: Final = "is a symbolic link; none is followed inside a storage"

#: What an error number means to the user: the class of our error, and what is wrong and what to do.
_MEANINGS: Final[dict[int, tuple[type[StorageError], str]]] = {
    errno.ENOSPC: (NoSpace, "the disk is full; make some room"),
    errno.EDQUOT: (NoSpace, "the disk quota is used up; make some room"),
    errno.EFBIG: (StorageError, "too large for this file system (FAT32 ends at 4 GiB)"),
    errno.EACCES: (
        StorageUnavailable,
        "no permission; give the folder to the user SaveAny runs as (chown, or PUID and PGID in Docker)",
    ),
    errno.EROFS: (StorageUnavailable, "the disk is mounted read-only"),
    errno.EIO: (StorageUnavailable, "the disk reports an input/output error; see the system log"),
    errno.ESTALE: (StorageUnavailable, "the network disk has lost this file or folder; mount it again"),
    errno.ENOENT: (StorageError, "does not exist"),
    errno.ENOTDIR: (StorageError, "a file stands where a folder is needed"),
    errno.EISDIR: (StorageError, "a folder stands where a file is needed"),
    errno.ENAMETOOLONG: (UnsafePath, "the name is too long for this disk"),
    errno.ELOOP: (UnsafePath, _LINK),
}
_MEANINGS[errno.EPERM] = _MEANINGS[errno.EACCES]
for _gone in (errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT):
    _MEANINGS[_gone] = (StorageUnavailable, "the disk cannot be reached; is it mounted?")
