"""The last lines that the processes of a program have logged, in memory that they share.

The memory is a file without a name. Forked processes inherit it, and others get its number in an environment
variable. Each line is appended in one write, so that those of several processes do not mix. The oldest pages
are given back to the system.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from saveany.disk import libc_call

#: Bytes of lines that are kept, and after which older ones are given back.
KEPT = 256 * 1024
#: Environment variable with the file descriptor.
VARIABLE = "_SAVEANY_LOG_FD"

_NAME = "saveany-log"
_PAGE = 4096
_PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE of linux/falloc.h
_MAX_LINE = 16 * 1024
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class LogLines:
    """Lines of the log, oldest first. `end` is the position after them."""

    lines: list[str]
    end: int


class LogTail:
    """Appends lines, and reads the last ones."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._freed = 0

    @classmethod
    def open(cls) -> Self | None:
        """That of the program that has started this process, else a new one; None where the system has no
        such memory."""
        number = os.environ.get(VARIABLE, "")
        if number.isdigit() and _is_ours(int(number)):
            return cls(int(number))
        if not hasattr(os, "memfd_create"):
            return None
        fd = os.memfd_create(_NAME)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        os.environ[VARIABLE] = str(fd)
        return cls(fd)

    def write(self, line: str) -> None:
        """Append a line. Does nothing if that fails."""
        with suppress(OSError):
            os.write(self.fd, line[:_MAX_LINE].encode("utf-8", "replace") + b"\n")
            end = os.fstat(self.fd).st_size
            if end - self._freed > 2 * KEPT:
                self._freed = (end - KEPT) // _PAGE * _PAGE
                size = ctypes.c_int64(self._freed)
                libc_call("fallocate64", self.fd, _PUNCH_HOLE, ctypes.c_int64(0), size)

    def read(self, after: int = 0) -> LogLines:
        """The lines after the position `after`, at most the last `KEPT` bytes."""
        end = os.fstat(self.fd).st_size
        start = max(after if after <= end else 0, end - KEPT)
        data = os.pread(self.fd, end - start, start)
        if start != after:  # in the middle of a line
            data = data.partition(b"\n")[2] if start else data
        text = _COLOR.sub("", data.decode("utf-8", "replace"))
        return LogLines([line for line in text.split("\n") if line.strip("\0")], end)


def _is_ours(fd: int) -> bool:
    """Whether this descriptor is one of `LogTail`: a program in between may have closed it."""
    with suppress(OSError):
        return _NAME in str(Path(f"/proc/self/fd/{fd}").readlink())
    return False
