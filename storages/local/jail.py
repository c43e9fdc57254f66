"""Access to the disk of a `local` storage, confined to its base folder. No other module touches the disk.

A path is followed from the base one name at a time: each folder is opened relative to its parent, never
through a symbolic link, and the last name is a file relative to an open folder. So neither links nor folders
that are swapped meanwhile lead outside. The base itself may be a link.

A disk may have a marker, `<base>/.saveany-storage`. After a `Disk` has read it, it does nothing below the
base unless the same marker is there: the folder of an unmounted disk looks like an ordinary empty one.

Blocking calls run in threads, and every `OSError` is translated to an error of `saveany.errors`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from saveany.disk import libc_call
from saveany.errors import StorageError, StorageUnavailable, UnsafePath
from saveany.texts import Field, Text
from storages.local.errors import LINK, MEANINGS
from storages.parts import RESERVED, split

T = TypeVar("T")
#: Concurrent disk calls of a storage. Storages share no threads: one that hangs must not block the others.
THREADS = 8
#: The file in the base folder that identifies the disk.
MARKER = f"{RESERVED}storage"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK  # opening a named pipe must not wait for its writer
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_PIECE: Final = 256 << 10  # bytes that are scanned at once: they stay in the processor's cache
_IDENTITY: Final = re.compile(r"[\w-]{1,64}", re.ASCII)


_call = libc_call


class CannotLink(StorageError):
    """The file system can neither rename without replacing nor link."""


class Disk:
    """The folders below a base, and threads for blocking calls. All methods but `run` and `run_or_leave`
    block."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self._base = base
        self._identity: str | None = None  # the marker that must be there
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"storage-{name}")

    def close(self) -> None:
        """End the threads, without waiting for them."""
        self._threads.shutdown(wait=False)

    async def run(self, path: str, work: Callable[[], T]) -> T:
        """Run `work` to its end, even if canceled: afterwards its buffers and descriptors can be reused."""
        future = self._start(work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled:
            raise cancelled
        return self.result(path, future)

    async def run_or_leave(self, path: str, work: Callable[[], T]) -> T:
        """Run `work`; if canceled, return at once while it continues. It must own everything it uses."""
        future = self._start(work)
        await asyncio.wait([future])
        return self.result(path, future)

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Mark an error as retrieved, for asyncio, if nobody waits for it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def result(self, path: str, future: asyncio.Future[T]) -> T:
        """The result of work in a thread that has ended, with its `OSError` translated."""
        try:
            return future.result()
        except OSError as error:
            raise self._refusal(path, error) from error

    def _refusal(self, path: str, error: OSError) -> StorageError:
        kind, text = MEANINGS.get(error.errno or 0, (StorageError, Text(os.strerror(error.errno or 0))))
        return kind(
            "storage {storage!r}: {path!r}: {problem}",
            storage=self.name,
            path=path or str(self._base),
            problem=text,
        )

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[FolderHandle, str]]:
        """The open folder of a file, and the name of the file."""
        *folders, name = split(path)
        with self.folder(folders, create=create) as folder:
            yield folder, name

    @contextmanager
    def folder(self, parts: list[str], *, create: bool = False) -> Iterator[FolderHandle]:
        """An open folder. Missing folders are made with `create`, and raise `FileNotFoundError` without."""
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
            raise self._unavailable("base_path {folder} is not a folder", folder=str(self._base)) from None
        except FileNotFoundError:
            if self._identity is None:
                raise
            raise self._wrong_disk(None) from None

    def _step(self, folder: FolderHandle, name: str, path: str, create: bool) -> FolderHandle:
        try:
            return FolderHandle(os.open(name, _FOLDER, dir_fd=folder.fd))
        except NotADirectoryError:
            info = folder.stat(name)
            if info and stat.S_ISLNK(info.st_mode):
                raise UnsafePath(
                    "storage {storage!r}: {path!r}: {problem}", storage=self.name, path=path, problem=LINK
                ) from None
            raise StorageError(
                "storage {storage!r}: {path!r} is a file; a folder is needed there",
                storage=self.name,
                path=path,
            ) from None
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # another upload has just made it
            os.mkdir(name, dir_fd=folder.fd)
        folder.sync()
        return FolderHandle(os.open(name, _FOLDER, dir_fd=folder.fd))

    def open_file(self, path: str, stack: ExitStack) -> int:
        """Open a regular file for reading. `stack` closes it, so that a cancellation cannot leak it."""
        with self.parent(path) as (folder, name):
            fd = folder.open(name)
        stack.callback(os.close, fd)
        if not is_file(os.fstat(fd)):
            raise StorageError("storage {storage!r}: {path!r} is not a file", storage=self.name, path=path)
        return fd

    def identity(self) -> str | None:
        """The id in the marker, None without one. Writes nothing. The first id becomes the expected one."""
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
        """Write the marker, durably, unless it exists. Raises `StorageUnavailable` if it has another id.

        The id becomes the expected one, even after another was read, for example when the right disk was
        mounted at last. No marker is written if one was read before: then the disk is gone.
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
                raise self._wrong_disk(found)
            base.sync()  # the process that wrote the marker may have died before this
        finally:
            os.close(base.fd)
        self._identity = identity

    def _check_marker(self, base: FolderHandle) -> None:
        if self._identity is not None and (found := self._read_marker(base)) != self._identity:
            raise self._wrong_disk(found)

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
                "the marker {marker} is empty or damaged; put back the one from a backup, or remove "
                "it if this is "
                "the right disk, so that a new one is written",
                marker=str(self._base / MARKER),
            )
        return text

    def _wrong_disk(self, found: str | None) -> StorageUnavailable:
        if not found:
            return self._unavailable(
                "base_path {folder} has no marker {marker}: mount the disk, or correct base_path",
                folder=str(self._base),
                marker=MARKER,
            )
        return self._unavailable(
            "base_path {folder} has another storage's marker ({found}) {marker}: mount the disk, or correct "
            "base_path",
            folder=str(self._base),
            found=found,
            marker=MARKER,
        )

    def _unavailable(self, template: str, **fields: Field) -> StorageUnavailable:
        return StorageUnavailable(
            "storage {storage!r}: {problem}", storage=self.name, problem=Text(template, fields)
        )


class FolderHandle:
    """An open folder. Names are single names, not paths; a link stands for itself, never for its target.

    Methods raise `OSError`, which `Disk.run` translates.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def names(self) -> list[str]:
        """All names, in any order."""
        return os.listdir(self.fd)  # noqa: PTH208  a descriptor: pathlib has nothing for it

    def stat(self, name: str) -> os.stat_result | None:
        """The properties of a file or folder, None if there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def create(self, name: str, mode: int = 0o666) -> int:
        """Create a file; returns a descriptor for reading and writing."""
        return os.open(name, _NEW, mode, dir_fd=self.fd)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open an existing file; returns its descriptor."""
        return os.open(name, flags | _FILE, dir_fd=self.fd)

    def rename(self, old: str, new: str, to: FolderHandle | None = None) -> None:
        """Rename, into folder `to` if given. Replaces a file with the name `new`."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=(to or self).fd)

    def publish(self, old: str, new: str, to: FolderHandle | None = None) -> None:
        """Give a file the name `new`, here or in folder `to`, in one step. Raises `FileExistsError` if it is
        taken. The name `old` may remain.

        Renames where the file system can rename without replacing: that is atomic with other renames of
        `old`. A link is not: Linux finds `old` before it locks the folder, and the file gets the new name
        even if `old` was renamed in between.
        """
        target = to or self
        try:
            _call("renameat2", self.fd, old.encode(), target.fd, new.encode(), _NO_REPLACE)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._link(old, new, target)

    def _link(self, old: str, new: str, to: FolderHandle) -> None:
        """For NFS and other file systems where a rename always replaces."""
        try:
            os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=to.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            raise CannotLink(
                "this file system can neither rename safely nor link; set on_conflict to overwrite for it"
            ) from error

    def unlink(self, names: Iterable[str]) -> None:
        """Remove files, as far as they exist."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Make the entries durable, if the file system can (CIFS and some FUSE ones cannot)."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def is_file(info: os.stat_result) -> bool:
    """Whether `info` describes a regular file, and not a link, folder, pipe or device."""
    return stat.S_ISREG(info.st_mode)


def write_all(fd: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte of `data`."""
    with memoryview(data).cast("B") as view:
        done = 0
        while done < len(view):  # Linux writes at most 2 GiB per call, and less if the disk fills up
            done += os.pwrite(fd, view[done:], offset + done)


def scan(fd: int, offset: int, size: int, take: Callable[[bytes | memoryview], object]) -> None:
    """Call `take` with `size` bytes in pieces, fewer only at the end of the file. It must not keep them."""
    piece = memoryview(bytearray(min(size, _PIECE)))
    while size and (count := os.preadv(fd, [piece[: min(size, len(piece))]], offset)):
        take(piece[:count])
        offset, size = offset + count, size - count


def read_all(fd: int, offset: int, size: int) -> bytes:
    """Read `size` bytes; fewer only at the end of the file."""
    pieces = []
    while size and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def copy_piece(source: int, target: int, at: int) -> int:
    """Copy bytes of a file, from `at` on, to the same offset; returns how many, 0 at the end."""
    try:
        return os.copy_file_range(source, target, _COPY, at, at)
    except OSError as error:
        if error.errno not in (*_UNSUPPORTED, errno.EXDEV):
            raise
    piece = os.pread(source, 1 << 20, at)
    write_all(target, at, piece)
    return len(piece)


def has_hole(fd: int, start: int, end: int) -> bool:
    """Whether the file system knows that some of these bytes were never written. `end` is within the file."""
    try:
        return os.lseek(fd, start, os.SEEK_HOLE) < end
    except OSError:
        return False  # it does not record holes (some CIFS servers)


def _write_marker(base: FolderHandle, identity: str) -> None:
    """Write the marker in one step. A marker that another process has written in the meantime stays."""
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


_NO_REPLACE: Final = 1  # RENAME_NOREPLACE of linux/fs.h
#: Bytes copied per call; a cancellation takes effect between calls.
_COPY: Final = 64 << 20
#: Errors of renameat2(2) and link(2) if the file system, or a container's filter, does not support them.
_UNSUPPORTED: Final = {errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
