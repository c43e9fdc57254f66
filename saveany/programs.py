"""Finding, starting and ending other programs, such as rclone, aria2, yt-dlp and ffmpeg; also properties of
this process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: prctl(2): the kernel sends the child a signal when the thread that started it ends.
_PR_SET_PDEATHSIG = 1
#: mallopt(3): the size from which a block is mapped separately, and the free bytes at the end of the heap
#: that are returned to the system if there are more.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
#: Parts of files are shorter, in bytes, and this many free bytes are kept for them.
_BLOCK, _FREE_BYTES = 4 << 20, 24 << 20
#: Formats of media that contain all they need: a playlist could make ffmpeg request other addresses.
SELF_CONTAINED_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mp3,flac,wav,aac,h264,hevc"
)
#: Seconds that a program may take to end after SIGTERM.
_END_SECONDS = 5.0
#: Seconds for which the result of `is_installed` is remembered: it is asked for with every task.
_REMEMBERED_SECONDS = 5.0

#: (name, PATH) -> whether the program was found, and the time (monotonic) of the next look.
_installed: dict[tuple[str, str], tuple[bool, float]] = {}


def find_program(name: str) -> str | None:
    """The path of a program: beside our Python, where pip installs it, or on PATH. None if it is not there.

    The folder of our Python goes first, because the version that the system provides is often too old.
    """
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return shutil.which(name, path=os.pathsep.join(folders))


def is_installed(name: str) -> bool:
    """Whether `find_program` finds the program, now or within the last seconds."""
    key, now = (name, os.environ.get("PATH", "")), time.monotonic()
    found, until = _installed.get(key, (False, 0.0))
    if now >= until:
        found = find_program(name) is not None
        _installed[key] = found, now + _REMEMBERED_SECONDS
    return found


def die_with_parent(signum: int) -> Callable[[], None] | None:
    """A `preexec_fn` that makes the kernel send `signum` to the child when its parent ends.

    The parent is the thread that starts the child, so start children from a thread that lives as long as the
    process. None on systems other than Linux, which do not offer this.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # the parent ended before prctl: no signal will come
            os._exit(1)

    return arm


def reuse_memory() -> None:
    """Keep the memory of parts of files for the next parts, up to a limit, instead of returning it to the
    system, which would supply every page of it again. Only with glibc."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _BLOCK)
        libc.mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)


def set_command_line(*words: str) -> None:
    """Show these words as the command line of this process, as far as they fit; only on Linux."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
        shown = "\0".join(words).encode()[: end - start - 1]
        ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


async def end_group(process: asyncio.subprocess.Process, seconds: float = _END_SECONDS) -> None:
    """End a program that leads its own session, and all programs that it started: SIGTERM, then SIGKILL after
    `seconds`, even if the caller is canceled."""
    try:
        signal_group(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), seconds)
    finally:
        signal_group(process.pid, signal.SIGKILL)
        await process.wait()


def signal_group(pid: int, signum: signal.Signals) -> None:
    """Send a signal to a program and all programs in its session; nothing if it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signum)
