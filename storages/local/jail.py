"""The jail of the `local` storage, and its edge to the operating system: nothing else there touches the disk.

A path is walked from the base one part at a time, each folder opened relative to the one before and never
through a symbolic link; the last part names a file relative to an open folder. So neither a link nor a folder
swapped in meanwhile leads outside. The base itself may be a link.

A disk may carry a marker, `<base>/.saveany-storage`. Once a `Disk` has seen it, nothing is done below the
base unless that very marker is there: what an unmounted disk leaves is an ordinary empty folder.

What blocks runs in threads, and an `OSError` leaves as an error of `saveany.errors`.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from saveany.errors import NoSpace, StorageError, StorageUnavailable, UnsafePath
from storages.parts import RESERVED, split

T = TypeVar("T")

#: Disk calls at once. Each storage has its own threads: a network disk that hangs must not stop the rest.
THREADS = 8
#: The file in the base that says which disk this is.
MARKER = f"{RESERVED}storage"

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK  # opening a named pipe must not wait for its writer
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

_IDENTITY: Final = re.compile(r"[\w-]{1,64}", re.ASCII)


class CannotLink(StorageError):
    """The file system can neither rename without replacing nor link."""


class Disk:
    """The folders inside a base, and threads for what blocks on them. `run` aside, every method blocks."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self._base = base
        self._identity: str | None = None  # the marker that must be there
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"storage-{name}")

    def close(self) -> None:
        """Let the threads end; none is waited for."""
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
        return kind(
            "storage {storage!r}: {path!r}: {problem}",
            storage=self.name,
            path=path or str(self._base),
            problem=text,
        )

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[FolderHandle, str]]:
        """The open folder a file is in, and the file's name in it."""
        *folders, name = split(path)
        with self.folder(folders, create=create) as folder:
            yield folder, name

    @contextmanager
    def folder(self, parts: list[str], *, create: bool = False) -> Iterator[FolderHandle]:
        """The open folder; missing ones are made if `create`, else they are a `FileNotFoundError`."""
        folder = self._open_base(create)
        try:
            self._check_marker(folder)
            for depth, part in enumerate(parts):
                deeper = self._step(folder, part, "/".join(parts[: depth + 1]), create)
                os.close(folder.fd)
                folder = deeper
            yield folder
        finally:
            os.close(folder.fd)

    def _open_base(self, create: bool) -> FolderHandle:
        try:
            if create and self._identity is None:
                self._base.mkdir(parents=True, exist_ok=True)
            return FolderHandle(os.open(self._base, os.O_RDONLY | os.O_DIRECTORY))
        except (FileExistsError, NotADirectoryError):
            raise self._unavailable(f"base_path {self._base} is not a folder") from None
        except FileNotFoundError:
            if self._identity is None:
                raise
            raise self._not_here(None) from None

    def _step(self, folder: FolderHandle, name: str, path: str, create: bool) -> FolderHandle:
        try:
            return FolderHandle(os.open(name, _FOLDER, dir_fd=folder.fd))
        except NotADirectoryError:
            there = folder.stat(name)
            if there and stat.S_ISLNK(there.st_mode):
                raise UnsafePath(
                    "storage {storage!r}: {path!r}: {problem}", storage=self.name, path=path, problem=_LINK
                ) from None
            raise StorageError(
                "storage {storage!r}: {path!r} is a file; a folder is needed there",
                storage=self.name,
                path=path,
            ) from None
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # another upload was faster
            os.mkdir(name, dir_fd=folder.fd)
        folder.sync()
        return FolderHandle(os.open(name, _FOLDER, dir_fd=folder.fd))

    def open_file(self, path: str, stack: ExitStack) -> int:
        """Open a regular file for reading; `stack` owns it from then on, so a cancel cannot lose it."""
        with self.parent(path) as (folder, name):
            fd = folder.open(name)
        stack.callback(os.close, fd)
        if not is_file(os.fstat(fd)):
            raise StorageError("storage {storage!r}: {path!r} is not a file", storage=self.name, path=path)
        return fd

    def identity(self) -> str | None:
        """What the marker says, None without one; makes nothing. The first seen is expected from then on."""
        try:
            base = FolderHandle(os.open(self._base, os.O_RDONLY | os.O_DIRECTORY))
        except FileNotFoundError:
            return None
        try:
            found = self._read_marker(base)
        finally:
            os.close(base.fd)
        self._identity = self._identity or found
        return found

    def adopt(self, identity: str) -> None:
        """Write the marker, durably, unless it is there; `StorageUnavailable` if it says something else.

        It is the one expected from then on, also after another was seen, as when the right disk is mounted
        at last. None is written where one was seen before: the disk is gone then.
        """
        if not _IDENTITY.fullmatch(identity):
            raise ValueError(f"not an identity: {identity!r}")
        base = self._open_base(create=True)
        try:
            found = self._read_marker(base)
            if found == identity == self._identity:
                return
            if found is None and self._identity is None:
                _write_marker(base, identity)
                found = self._read_marker(base)
            if found != identity:
                raise self._not_here(found)
            base.sync()  # whoever wrote the marker may have died before that
        finally:
            os.close(base.fd)
        self._identity = identity

    def _check_marker(self, base: FolderHandle) -> None:
        if self._identity is not None and (found := self._read_marker(base)) != self._identity:
            raise self._not_here(found)

    def _read_marker(self, base: FolderHandle) -> str | None:
        try:
            fd = base.open(MARKER)
        except FileNotFoundError:
            return None
        try:
            text = read_all(fd, 0, 100).decode(errors="replace").removesuffix("\n")
        finally:
            os.close(fd)
        if not _IDENTITY.fullmatch(text):
            raise self._unavailable(
                f"the marker {self._base / MARKER} is empty or damaged; put back the one from a backup, or "
                "remove it if this is the right disk, so that a new one is written"
            )
        return text

    def _not_here(self, found: str | None) -> StorageUnavailable:
        shown = f"another storage's marker ({found})" if found else "no marker"
        return self._unavailable(
            f"base_path {self._base} has {shown} {MARKER}: mount the disk, or correct base_path"
        )

    def _unavailable(self, text: str) -> StorageUnavailable:
        return StorageUnavailable("storage {storage!r}: {problem}", storage=self.name, problem=text)


class FolderHandle:
    """An open folder. A name is one part of a path; a link of that name is meant itself, never its target.

    What the operating system refuses is an `OSError` here; `Disk.run` gives it its meaning.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def names(self) -> list[str]:
        """All names, in no order."""
        return os.listdir(self.fd)  # noqa: PTH208  a descriptor: pathlib has nothing for it

    def stat(self, name: str) -> os.stat_result | None:
        """What stands under the name, None if nothing does."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def create(self, name: str, mode: int = 0o666) -> int:
        """A descriptor of a new file, to read and write."""
        return os.open(name, _NEW, mode, dir_fd=self.fd)

    def open(self, name: str, how: int = os.O_RDONLY) -> int:
        """A descriptor of what is there."""
        return os.open(name, how | _FILE, dir_fd=self.fd)

    def rename(self, old: str, new: str, to: FolderHandle | None = None) -> None:
        """Rename, into folder `to` if given; a file called `new` is replaced."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=(to or self).fd)

    def publish(self, old: str, new: str, to: FolderHandle | None = None) -> None:
        """Give the file the name `new`, here or in folder `to`, in one step, or raise `FileExistsError`;
        `old` may be gone then.

        By a rename where the file system has one that does not replace: it is atomic with renames of `old` by
        others. A link is not quite: Linux looks `old` up before it locks the folder, and the file gets the
        name even if `old` was renamed in between.
        """
        there = to or self
        try:
            _call("renameat2", self.fd, old.encode(), there.fd, new.encode(), _NO_REPLACE)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            self._link(old, new, there)

    def _link(self, old: str, new: str, to: FolderHandle) -> None:
        """For NFS and others where a rename always replaces."""
        try:
            os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=to.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            raise CannotLink(
                "this file system can neither rename safely nor link; set on_conflict to overwrite for it"
            ) from error

    def unlink(self, names: Iterable[str]) -> None:
        """Remove these, as far as they are there."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Make the entries durable, where the file system knows how (CIFS and some FUSE do not)."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


class SharedDescriptor:
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
        """For the owner: it is done."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            os.close(self.fd)


def is_file(there: os.stat_result) -> bool:
    """Whether it is a regular file: no link, folder, pipe or device."""
    return stat.S_ISREG(there.st_mode)


def write_all(fd: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte of `data`."""
    with memoryview(data).cast("B") as view:
        done = 0
        while done < len(view):  # Linux writes at most 2 GiB at once, and less when a disk fills up
            done += os.pwrite(fd, view[done:], offset + done)


def read_all(fd: int, offset: int, size: int) -> bytes:
    """`size` bytes, fewer only where the file ends."""
    pieces = []
    while size and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def copy_piece(source: int, target: int, at: int) -> int:
    """Copy some bytes of a file from `at` on, to the same place; how many, 0 at its end."""
    try:
        return os.copy_file_range(source, target, _COPY, at, at)
    except OSError as error:
        if error.errno not in (*_NOT_HERE, errno.EXDEV):
            raise
    piece = os.pread(source, 1 << 20, at)
    write_all(target, at, piece)
    return len(piece)


def has_hole(fd: int, start: int, end: int) -> bool:
    """Whether the file system knows that some of these bytes were never written; `end` is within the file."""
    try:
        return os.lseek(fd, start, os.SEEK_HOLE) < end
    except OSError:
        return False  # it does not keep track (some CIFS servers)


def reserve(fd: int, size: int) -> None:
    """Reserve room without changing the length. Only a lack of room is an error: the rest is lost comfort."""
    try:
        _call("fallocate64", fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise


def _write_marker(base: FolderHandle, identity: str) -> None:
    """Whole from its first moment; if somebody else's appears meanwhile, that one stays."""
    draft = f"{MARKER}-{secrets.token_hex(8)}"
    fd = base.create(draft, 0o644)
    try:
        write_all(fd, 0, f"{identity}\n".encode())
        os.fsync(fd)
        base.publish(draft, MARKER)
    except FileExistsError:
        return
    except CannotLink:
        base.rename(draft, MARKER)
    finally:
        os.close(fd)
        base.unlink([draft])


# Two Linux calls that Python's os lacks. `os.posix_fallocate` is no help: where the file system cannot
# reserve, glibc writes into each block instead, which takes minutes for a large file on a network disk.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h
_NO_REPLACE: Final = 1  # RENAME_NOREPLACE of linux/fs.h

#: How renameat2(2) and link(2) say that the file system, or a container's filter, does not have them.
#: Bytes that are copied at once: whoever waits for it can be cancelled in between.
_COPY: Final = 64 << 20
_NOT_HERE: Final = {errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


def _call(function: str, *args: object) -> None:
    call = getattr(_LIBC, function, None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(*args) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


_LINK: Final = "is a symbolic link; none is followed inside a storage"

#: What an error number means to the user: the class of our error, and what is wrong and what to do.
_MEANINGS: Final[dict[int, tuple[type[StorageError], str]]] = {
    errno.ENOSPC: (NoSpace, "the disk is full; free some space"),
    errno.EDQUOT: (NoSpace, "the disk quota is used up; free some space"),
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
