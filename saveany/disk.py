"""Two Linux calls that are missing in `os`."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h


def libc_call(function: str, *args: object) -> None:
    """Call a function of the C library. Raises `OSError` if it fails, or does not exist."""
    call = getattr(_LIBC, function, None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(*args) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def reserve(fd: int, size: int) -> None:
    """Reserve space without changing the length. Only a lack of space is an error.

    `os.posix_fallocate` cannot be used: if the file system cannot reserve space, glibc writes to each block
    instead, which takes minutes for a large file on a network disk.
    """
    try:
        libc_call("fallocate64", fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
