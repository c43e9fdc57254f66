"""Files in a folder that others write to: which of them are complete, and taking them away.

Whether a program has a file open for writing is found out with a lease, which Linux grants only if there is
none. Where there are no leases (network disks, files of other users), the open files of all processes that
this one may see are looked through.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from saveany.local_files import LeftOut, LocalFile, Patterns, Version, find, open_in, parent_below

#: What browsers and other programs call a file that is not complete yet.
_UNFINISHED = re.compile(
    r"\.(part|partial|crdownload|download|opdownload|unconfirmed|tmp|temp|!qb|!ut|!bt|bc!|aria2|"
    r"filepart|td|xltd|jc!|dctmp|swp|lock)$|~$|^~",
    re.IGNORECASE,
)
#: Programs that write to the final name have one of these files beside it.
_BESIDE: Final = (".aria2", ".part", ".!qB")
_NETWORK = re.compile(r"nfs|cifs|smb|9p|ceph|afs|fuse|davfs|glusterfs|lustre|ncp|virtiofs|vboxsf")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def complete_names(
    root: Path, patterns: Patterns, *, recursive: bool, without: Path | None
) -> Iterator[LocalFile | LeftOut]:
    """The files in a folder that match, unless they are called like unfinished or hidden ones, and what is
    left out. Nothing in the folder `without`. Raises `OSError` if the folder cannot be read."""
    inside = without is not None and without.is_relative_to(root)
    hidden = Patterns(exclude=[".*"], without=str(without.relative_to(root)) if without and inside else "")
    found = list(find(root, hidden, recursive=recursive))
    names = {each.below for each in found if isinstance(each, LocalFile)}
    for each in found:
        if isinstance(each, LeftOut) or _is_wanted(each.below, names, patterns):
            yield each


def _accepted(below: str, patterns: Patterns) -> bool:
    parts = below.split("/")
    folders = ("/".join(parts[:end]) for end in range(1, len(parts)))
    return patterns.accepts(below) and not any(map(patterns.excludes, folders))


def _is_wanted(below: str, names: set[str], patterns: Patterns) -> bool:
    return not _is_unfinished(below, names) and _accepted(below, patterns)


def _is_unfinished(below: str, names: set[str]) -> bool:
    return any(map(_UNFINISHED.search, below.split("/"))) or any(f"{below}{end}" in names for end in _BESIDE)


def settled(root: Path, file: LocalFile) -> os.stat_result | None:
    """What the system says about a file that nobody is writing to; None if somebody is, or if it has changed.
    Raises `OSError`."""
    with parent_below(root, file.below) as (folder, name):
        fd = open_in(folder, name)
        try:
            with _unwritten(fd) as is_unwritten:
                info = os.fstat(fd)
                return info if is_unwritten and Version.of(info) == file.version else None
        finally:
            os.close(fd)


def move_away(root: Path, below: str, version: Version, target: Path | None) -> bool:
    """Move a file of this version to the same place in the folder `target`, or delete it without one. Returns
    whether it is gone; a file that has changed, or is being written to, stays. Raises `OSError`."""
    try:
        with parent_below(root, below) as (folder, name):
            fd = open_in(folder, name)
            try:
                with _unwritten(fd) as is_unwritten:
                    info, named = os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if not is_unwritten or Version.of(info) != version or not os.path.samestat(info, named):
                        return False
                    if target:
                        _link_into(target, root, below, folder, name)
                    os.unlink(name, dir_fd=folder)
            finally:
                os.close(fd)
    except FileNotFoundError:
        pass  # an earlier attempt has moved it, or its owner has
    return True


def _link_into(target: Path, root: Path, below: str, folder: int, name: str) -> None:
    """Give a file another name in the folder `target`; `a_1.txt` if the name is taken."""
    if target.is_relative_to(root):  # then others may have made links in it
        target, below = root, f"{target.relative_to(root)}/{below}"
    with parent_below(target, below, create=True) as (new_folder, wanted):
        stem, extension = os.path.splitext(wanted)  # noqa: PTH122  # it is a name only
        for number in range(1_000_000):
            new = f"{stem}_{number}{extension}" if number else wanted
            try:
                os.link(name, new, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
            except FileExistsError:
                there = os.stat(new, dir_fd=new_folder, follow_symlinks=False)
                if os.path.samestat(there, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                    return  # an earlier attempt was interrupted
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                if not _exists(new, new_folder):  # a disk without hard links
                    os.rename(name, new, src_dir_fd=folder, dst_dir_fd=new_folder)
                    raise FileNotFoundError from None  # nothing is left to be removed
            else:
                return


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _unwritten(fd: int) -> Iterator[bool]:
    """Whether nobody has the file open for writing. With a lease, whoever wants to write waits until the end
    of the block."""
    try:
        # A broken lease is announced with a signal; by default with one that ends the process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        yield False
        return
    except (OSError, AttributeError):  # no leases here
        yield not _is_open_for_writing(os.fstat(fd))
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _is_open_for_writing(info: os.stat_result) -> bool:
    """Whether a process that this one may look into has a file open for writing."""
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for link in descriptors.iterdir():
                with suppress(OSError):
                    if os.path.samestat(link.stat(), info) and _writes(link):
                        return True
    return False


def _writes(descriptor: Path) -> bool:
    facts = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
    flags = re.search(r"^flags:\s*([0-7]+)", facts, re.MULTILINE)
    return flags is not None and bool(int(flags[1], 8) & (os.O_WRONLY | os.O_RDWR))


def is_on_network(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a folder is on a disk that does not report changes that other machines make."""
    kind, longest, folder = "", -1, folder.resolve()
    with suppress(OSError):
        for line in mounts.read_text(errors="surrogateescape").splitlines():
            fields, _, rest = line.partition(" - ")
            point = _ESCAPE.sub(lambda code: chr(int(code[1], 8)), fields.split(" ")[4])
            if folder.is_relative_to(point) and len(point) >= longest:
                kind, longest = rest.split(" ")[0], len(point)
    return bool(_NETWORK.match(kind))
