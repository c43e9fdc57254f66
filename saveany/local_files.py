"""Files of this machine that somebody else writes: finding them, and opening them without surprises.

A name is a sequence of bytes; one that is not UTF-8 is a `str` with surrogates here, as in `os`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = "a symbolic link"
_OUTSIDE = "a symbolic link that leads out of its folder"
_SPECIAL = "not a file: a pipe, a socket or a device"


@dataclass(frozen=True, slots=True)
class Version:
    """What changes when a file is written to."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, info: os.stat_result) -> Version:
        """The version that `info` describes."""
        return cls(info.st_size, info.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file."""

    path: Path
    below: str  # path in the folder that was searched, separated by "/"
    version: Version

    @property
    def place(self) -> str:
        """The path without symbolic links and "..", except that the name may be that of a link: equal for all
        ways to write it."""
        return str(Path(os.path.realpath(self.path.parent), self.path.name))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not a readable file, and why."""

    path: Path
    reason: str
    is_error: bool = False

    @classmethod
    def because(cls, path: Path, error: OSError) -> LeftOut:
        """What cannot be read, with the reason of the system."""
        return cls(path, os.strerror(error.errno or errno.EIO), is_error=True)


@dataclass(frozen=True, slots=True)
class Patterns:
    """Which files are wanted, as patterns of the shell for a file's name or its path in the folder."""

    include: Sequence[str] = ()  # none: all files
    exclude: Sequence[str] = ()  # also for folders, of which nothing is wanted then
    without: str = ""  # the path of one folder

    def excludes(self, below: str) -> bool:
        """Whether a file or folder is unwanted."""
        return below == self.without or _matches(self.exclude, below)

    def accepts(self, below: str) -> bool:
        """Whether a file is wanted."""
        return (not self.include or _matches(self.include, below)) and not self.excludes(below)


def _matches(patterns: Sequence[str], below: str) -> bool:
    name = below.rpartition("/")[2]
    return any(fnmatchcase(below, pattern) or fnmatchcase(name, pattern) for pattern in patterns)


def find(
    root: Path, patterns: Patterns, *, recursive: bool = True, follow_links: bool = False
) -> Iterator[LocalFile | LeftOut]:
    """The files in a folder, sorted by name, and what is left out. Links are followed only if that is wanted,
    and never out of the folder. Raises `OSError` if the folder itself cannot be read."""
    real_root = os.path.realpath(root)
    with os.scandir(root) as found:
        entries = sorted(found, key=lambda entry: entry.name, reverse=True)
    open_folders = {real_root}  # that contain the entry of now: a link to one of them would lead in a circle
    pending: list[tuple[os.DirEntry[str] | str, str]] = [(entry, "") for entry in entries]
    while pending:
        entry, folder = pending.pop()
        if isinstance(entry, str):
            open_folders.discard(entry)
            continue
        below = f"{folder}/{entry.name}" if folder else entry.name
        if patterns.excludes(below):
            continue
        try:
            real = _followed(entry, real_root, follow_links=follow_links)
            if isinstance(real, LeftOut):
                yield real
            elif entry.is_dir():
                if recursive and real not in open_folders:
                    open_folders.add(real)
                    pending.append((real, ""))
                    with os.scandir(entry.path) as found:
                        inner = sorted(found, key=lambda each: each.name, reverse=True)
                    pending += [(each, below) for each in inner]
            elif patterns.accepts(below):
                info = entry.stat()
                is_file = stat.S_ISREG(info.st_mode)
                yield (
                    LocalFile(Path(entry.path), below, Version.of(info))
                    if is_file
                    else special(Path(entry.path))
                )
        except FileNotFoundError:
            continue  # it was there a moment ago
        except OSError as error:
            yield LeftOut.because(Path(entry.path), error)


def special(path: Path) -> LeftOut:
    """What is neither a file nor a folder."""
    return LeftOut(path, _SPECIAL)


def link(path: Path) -> LeftOut:
    """A link that is not followed."""
    return LeftOut(path, _LINK)


def _followed(entry: os.DirEntry[str], real_root: str, *, follow_links: bool) -> str | LeftOut:
    """The real path of an entry, unless it is a link that is not followed."""
    if not entry.is_symlink():
        return os.path.realpath(entry.path) if follow_links else entry.path
    if not follow_links:
        return link(Path(entry.path))
    real = os.path.realpath(entry.path)
    return real if os.path.commonpath((real, real_root)) == real_root else LeftOut(Path(entry.path), _OUTSIDE)


def open_file(path: Path, *, follow_links: bool = False) -> int:
    """A descriptor of a regular file. Never waits for the other end of a pipe. Raises `OSError`."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
    return fd


def decoded(name: str) -> str:
    """A name as text: one that is not UTF-8 is read as Latin-1."""
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def open_below(root: Path, below: str) -> int:
    """A descriptor of a regular file in a folder, which is never reached through a link, whoever changes the
    folders meanwhile. Raises `OSError`."""
    with parent_below(root, below) as (folder, name):
        return open_in(folder, name)


def open_in(folder: int, name: str) -> int:
    """A descriptor of a regular file in an open folder. Raises `OSError`."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return fd


@contextmanager
def parent_below(root: Path, below: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that contains a file, and the name of the file in it. Folders are made with
    `create`. Raises `OSError`."""
    *parts, name = below.split("/")
    if create:
        root.mkdir(parents=True, exist_ok=True)
    folder = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in parts:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        yield folder, name
    finally:
        os.close(folder)
