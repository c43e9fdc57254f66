"""The folder of a machine with uploaded files, and with those that are being received.

    <data_dir>/uploads/<id>                   a complete file; the task of this id moves it to its storage. It
                                              may be another name of a file of a user (`UploadsFolder.link`)
    <data_dir>/uploads/.saveany-<id>.part     a file that is being received
    <data_dir>/uploads/.saveany-<id>.json     what a resumable upload is to become (`saveany.uploads.tus`)
    <data_dir>/uploads/.saveany-id            the id of this machine

To workers the folder is a storage (`saveany.storage_set.uploads_of`), which does not show the reserved names.
Whoever writes to a part holds a lock on it, which the system releases when the process ends: a part without a
lock belongs to nobody.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from saveany.disk import reserve
from saveany.errors import InsufficientSpace, UploadBusy, UploadLocked

T = TypeVar("T")
#: Bytes that are collected before they are written. A hundred uploads at once have as many of these.
_PIECE: Final = 1 << 18
#: Space that uploads leave free, in bytes and as a share of the disk: the catalogue and Redis write there.
_SPARE_BYTES, _SPARE_SHARE = 256 << 20, 0.05
#: Seconds after which a part without a lock is an abandoned one. The lock follows the making of the part.
_ABANDONED_SECONDS: Final = 60.0
_ID = re.compile(r"[0-9a-v]{20}")
_PART = re.compile(r"\.saveany-([0-9a-v]{20})\.part")


def uploads_folder(data_dir: Path) -> Path:
    """The folder of the machine with this `data_dir`."""
    return data_dir.absolute() / "uploads"


def machine_id(data_dir: Path) -> str:
    """An id of the machine with this `data_dir`: made at the first call, the same for all of its processes.
    Raises `OSError`."""
    path = uploads_folder(data_dir) / ".saveany-id"
    with suppress(FileNotFoundError):
        return path.read_text()
    make_private_folder(path.parent)
    draft = path.with_name(f"{path.name}-{secrets.token_hex(8)}")
    draft.write_text(secrets.token_hex(6))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was faster
    finally:
        draft.unlink()
    return path.read_text()


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner can read, unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


class IncomingFile:
    """A file that is being received. Made by `UploadsFolder`; `close` it in the end."""

    def __init__(self, folder: UploadsFolder, id_: str, fd: int) -> None:
        self.id = id_
        self._folder = folder
        self._fd = fd
        self._buffer = bytearray()
        self._hash: Any = hashlib.sha256()  # None if this object has not received all bytes
        self._sha1: Any = None  # unless it is wanted
        #: Bytes that were received, of earlier attempts too.
        self.size = os.fstat(fd).st_size
        self._written = self.size
        if self.size:
            self._hash = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises `InsufficientSpace`."""
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Write the bytes that were collected."""
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            await _in_thread(lambda: self._append(data))

    async def truncate(self, size: int) -> None:
        """Forget what was received behind the first `size` bytes."""
        self._buffer.clear()
        await _in_thread(lambda: os.ftruncate(self._fd, size))
        self.size = self._written = size
        self._hash = self._sha1 = None

    async def complete(self) -> None:
        """Make the file complete and durable."""
        await self.flush()
        await _in_thread(self._publish)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written; "" if this object has not received all of it."""
        return self._hash.hexdigest() if self._hash else ""

    def want_sha1(self) -> None:
        """Compute the SHA-1, too; to be called before the first byte."""
        self._sha1 = hashlib.sha1(usedforsecurity=False)

    @property
    def sha1(self) -> str:
        """The SHA-1 of what was written; "" if it was not wanted."""
        return self._sha1.hexdigest() if self._sha1 else ""

    async def sync(self) -> None:
        """Make all bytes durable."""
        await self.flush()
        await _in_thread(lambda: os.fsync(self._fd))

    def discard(self) -> None:
        """Remove the file."""
        self._folder.part(self.id).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock. An incomplete file stays as it is, without the bytes that are not flushed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytearray) -> None:
        self._folder.check_space(0)
        with _space_errors(), memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.pwrite(self._fd, view[done:], self._written + done)
        if self._hash:
            self._hash.update(data)
        if self._sha1:
            self._sha1.update(data)
        self._written += len(data)

    def _publish(self) -> None:
        os.fsync(self._fd)
        self._folder.part(self.id).rename(self._folder.path / self.id)
        self._folder.sync()


class UploadsFolder:
    """The uploaded files of this machine. All methods but those of `IncomingFile` block shortly."""

    def __init__(self, data_dir: Path) -> None:
        self.path = uploads_folder(data_dir)

    def part(self, id_: str) -> Path:
        """The path of a file that is being received."""
        return self.path / f".saveany-{id_}.part"

    def create(self, id_: str, size: int | None) -> IncomingFile:
        """Begin to receive a file, with room for `size` bytes. Raises `InsufficientSpace`."""
        make_private_folder(self.path)
        self.check_space(size or 0)
        with _space_errors():
            fd = os.open(self.part(id_), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            file = IncomingFile(self, id_, _locked(fd))
            try:
                reserve(fd, size or 0)
            except BaseException:
                file.discard()
                file.close()
                raise
        return file

    def resume(self, id_: str) -> IncomingFile | None:
        """Continue to receive a file; None if there is none that is incomplete. Raises `UploadBusy` if
        somebody else does so."""
        try:
            fd = os.open(self.part(id_), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        file = IncomingFile(self, id_, _locked(fd))
        if os.fstat(fd).st_nlink == 0 or not self.part(id_).exists():  # completed or removed before the lock
            file.close()
            return None
        return file

    def received(self, id_: str) -> int | None:
        """The bytes that an incomplete file has; None if there is none."""
        with suppress(FileNotFoundError):
            return self.part(id_).stat().st_size
        return None

    def has(self, id_: str) -> bool:
        """Whether there is a complete file with this id."""
        return (self.path / id_).exists()

    def can_link(self, info: os.stat_result) -> bool:
        """Whether `link` will work with this file, as far as its properties show."""
        try:
            folder = self.path.stat()
        except OSError:
            return False
        is_readable = info.st_uid == folder.st_uid or bool(info.st_mode & stat.S_IROTH)
        return is_readable and info.st_dev == folder.st_dev

    def link(self, id_: str, path: Path, info: os.stat_result) -> None:
        """Complete an upload that has begun with a file of this machine, which gets a second name instead of
        being copied. `info` is what the file at `path` must be. If that is not possible, the upload stays as
        it is. Nobody writes to complete files, and a task fails whose file has changed."""
        name, part = self.path / id_, self.part(id_)
        try:
            if not self.can_link(info) or not part.exists():
                return  # without the part, this is another machine
            os.link(path, name, follow_symlinks=False)
            linked = name.lstat()
            if (linked.st_dev, linked.st_ino) != (info.st_dev, info.st_ino):
                name.unlink()
                return
            self.sync()
            part.unlink()
        except OSError:  # another disk, one without such names, or another user's file
            return

    def linked(self, id_: str) -> tuple[int, int] | None:
        """Size, and time of the last change in milliseconds, of a complete file that has another name."""
        info = (self.path / id_).stat()
        return (info.st_size, info.st_mtime_ns // 1_000_000) if info.st_nlink > 1 else None

    def remove(self, id_: str) -> None:
        """Remove a complete file."""
        (self.path / id_).unlink(missing_ok=True)

    def complete_files(self) -> list[tuple[str, float]]:
        """Id and age in seconds of each complete file."""
        found = [(path.name, _age(path)) for path in self._paths() if _ID.fullmatch(path.name)]
        return [(id_, age) for id_, age in found if age is not None]

    def parts(self) -> list[str]:
        """Ids of the files that are being received, or were."""
        return [found[1] for path in self._paths() if (found := _PART.fullmatch(path.name))]

    def remove_abandoned(self, id_: str, seconds: float = _ABANDONED_SECONDS) -> bool:
        """Remove an incomplete file if nobody has written to it for so many seconds; returns whether it is
        gone."""
        age = _age(self.part(id_))
        if age is None:
            return True
        if age < seconds:
            return False
        try:
            file = self.resume(id_)
        except UploadBusy:
            return False
        if file is not None:
            file.discard()
            file.close()
        return True

    def check_space(self, size: int) -> None:
        """Raise `InsufficientSpace` unless the disk has room for so many bytes, and some more."""
        disk = os.statvfs(self.path)
        if not disk.f_blocks:  # some network disks report nothing
            return
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if free - size < min(_SPARE_BYTES, total * _SPARE_SHARE):
            raise InsufficientSpace("there is not enough free space on the disk of data_dir for this upload")

    def sync(self) -> None:
        """Make the names in the folder durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _paths(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from self.path.iterdir()


async def _in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, which runs to its end even if the caller is canceled: afterwards its descriptor
    may be closed."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    canceled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            canceled = error
    if canceled:
        raise canceled
    return future.result()


def _locked(fd: int) -> int:
    """The descriptor, with a lock on its file. Raises `UploadLocked` if somebody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UploadLocked from None
    except OSError:
        return fd  # this disk has no locks
    return fd


@contextmanager
def _space_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InsufficientSpace("there is no space left on the disk of data_dir for this upload") from error


def _age(path: Path) -> float | None:
    """Seconds since a file was written to; None if there is none."""
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return None
