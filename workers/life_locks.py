"""Proof that a worker of this machine has died, so that its tasks need not wait for their leases.

A worker holds a lock on a file in `data_dir/locks` as long as it lives; the system releases it when the
process ends, however that happens. A frozen process keeps it. The file says which running system and which
file the lock was taken on: on another machine that uses the same folder, after a reboot, and in a copy of the
folder, a free lock proves nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from saveany.logs import get_logger

#: Seconds after which a free lock that proves nothing is removed.
_USELESS_SECONDS = 24 * 3600
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = get_logger("saveany.worker")


class _Holder(msgspec.Struct, frozen=True):
    """The content of a lock file."""

    worker: str
    boot: str  # id of the running system
    device: int  # of the lock file
    inode: int


class LifeLock:
    """The lock of one worker."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._worker = worker
        self._path: Path | None = None
        self._file = -1

    def acquire(self) -> None:
        """Hold the lock from now on, unless this system or the disk has no such locks."""
        if not (boot := _boot_id()):
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path = self._folder / f"{uuid4().hex}.lock"
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            info = os.fstat(self._file)
            os.write(self._file, msgspec.json.encode(_Holder(self._worker, boot, info.st_dev, info.st_ino)))
        except OSError as error:
            log.info("life_lock_unavailable", folder=str(self._folder), reason=error.strerror)

    def release(self) -> None:
        """The worker ends, and has left nothing behind."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    async def for_each_dead_worker(self, recover: Callable[[str], Awaitable[None]]) -> None:
        """Call `recover` with the id of each worker that is known to be dead, and forget it if that succeeds.
        Of several workers that start at the same time, one does it."""
        for path in sorted(self._folder.glob("*.lock")) if _boot_id() else ():
            if path == self._path or (file := _free_lock(path)) is None:
                continue
            try:
                worker = _dead_worker(file)
                if worker:
                    await recover(worker)
                if worker or time.time() - os.fstat(file).st_mtime > _USELESS_SECONDS:
                    path.unlink(missing_ok=True)
            finally:
                os.close(file)


def _free_lock(path: Path) -> int | None:
    """The open file, locked by this process; None if another process holds the lock."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # another worker has just forgotten it
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def _dead_worker(file: int) -> str:
    """The worker that has held this lock, which is free now; "" if that proves nothing."""
    try:
        holder = msgspec.json.decode(os.pread(file, 4096, 0), type=_Holder)
    except msgspec.MsgspecError:  # its worker has just made it, or died while it did
        return ""
    info = os.fstat(file)
    proves = (holder.boot, holder.device, holder.inode) == (_boot_id(), info.st_dev, info.st_ino)
    return holder.worker if proves else ""


def _boot_id() -> str:
    """The id of the running system, the same in all of its containers; "" if it has none."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""
