"""Properties of files on the disk, and the parts of uploads in a folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress

from saveany.errors import Fenced, StorageError
from storages.base import (
    Entry,
    UploadKey,
)
from storages.local.jail import (
    Disk,
    FolderHandle,
    is_file,
)
from storages.parts import PartName, parse, split, upload_name


def sibling_name(disk: Disk, path: str, final: str) -> str:
    """The name of `final`. Raises `StorageError` unless it is in the folder of `path`."""
    *folder, _ = split(path)
    *final_folder, name = split(final)
    if folder != final_folder:
        raise StorageError("{final!r} is not in the folder of {path!r}", final=final, path=path)
    return name


def parts_in(folder: FolderHandle) -> dict[str, list[PartName]]:
    """All parts in a folder, by the names of their uploads."""
    found: dict[str, list[PartName]] = {}
    for part in filter(None, map(parse, folder.names())):
        found.setdefault(part.upload, []).append(part)
    return found


def leftovers_of(
    folder: FolderHandle, key: UploadKey, listed: Mapping[str, list[PartName]] | None = None
) -> list[PartName]:
    """The parts of an upload, among those `listed` if the folder was read before. Raises `Fenced` if one
    belongs to a later claim."""
    found = (parts_in(folder) if listed is None else listed).get(upload_name(key), [])
    if any(part.epoch > key.epoch for part in found):
        raise Fenced("task {task}: a claim later than {epoch} is running", task=key.task, epoch=key.epoch)
    return found


def fence(
    folder: FolderHandle, key: UploadKey, listed: Mapping[str, list[PartName]] | None = None
) -> list[PartName]:
    """Rename all parts of an upload, so that none can be committed; returns their new names."""
    fenced = []
    for part in leftovers_of(folder, key, listed):
        with suppress(FileNotFoundError):  # it was committed or aborted meanwhile
            new = part._replace(mark="old")
            folder.rename(str(part), str(new))
            fenced.append(new)
    return fenced


def listed(parts: list[str], item: os.DirEntry[str]) -> Entry | None:
    """The entry of a listing; None for links, devices, and files that no longer exist."""
    try:
        return entry_of(parts, item.name, item.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def entry_of(parts: list[str], raw: str, info: os.stat_result) -> Entry | None:
    """The entry of the file or folder `raw` in the folder `parts`; None for links and devices."""
    is_dir = stat.S_ISDIR(info.st_mode)
    if not (is_dir or is_file(info)):
        return None
    name = os.fsencode(raw).decode(errors="replace")
    size = 0 if is_dir else info.st_size
    return Entry(name, "/".join([*parts, name]), size, is_dir, info.st_mtime_ns // 1_000_000)


def version(file: os.stat_result) -> str:
    """A value that changes with the content of a file, as far as the file system records changes."""
    return f"{file.st_mtime_ns:x}-{file.st_size:x}"


def require_file(info: os.stat_result | None) -> os.stat_result:
    """`info`, unchanged. Raises `OSError` if it is None, or does not describe a regular file."""
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not is_file(info):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return info


def same_file(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Whether both describe one inode."""
    return other is not None and os.path.samestat(one, other)


def mebibytes(size: int) -> str:
    """A number of bytes as text for a user."""
    return f"{size / 2**20:,.1f} MiB"
