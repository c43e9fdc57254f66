"""Folders inside a storage, as users write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

from saveany.errors import InvalidInput
from saveany.planning.characters import is_hidden
from saveany.planning.names import numbered
from storages.parts import is_reserved

#: Limits of Linux: bytes in one part of a path, and in all of it.
MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096

_DRIVE = re.compile(r"[A-Za-z]:")


def folder(dir_path: str) -> str:
    """The folder that `dir_path` means: relative to the storage, POSIX style, "" for its root.

    A leading slash is the root of the storage, so `/downloads` and `downloads` are the same. Raises
    `InvalidInput` (field `folder`) for whatever could leave the storage or could not be stored.
    """
    parts = [part for part in dir_path.split("/") if part not in ("", ".")]
    if "\\" in dir_path:
        raise _refused('has a backslash; separate folders with "/"')
    if any(is_hidden(character) for character in dir_path):
        raise _refused("has control or invisible characters; remove them")
    if parts and _DRIVE.match(parts[0]):
        raise _refused('begins with a drive letter; give a folder inside the storage, such as "downloads"')
    for part in parts:
        _check_part(part)
    path = "/".join(parts)
    if len(path.encode()) > MAX_PATH_BYTES:
        raise _refused(f"is longer than {MAX_PATH_BYTES} bytes")
    return path


def join(folder: str, name: str) -> str:
    """The path of the file `name` in a folder that `folder()` returned."""
    return f"{folder}/{name}" if folder else name


def sibling(path: str, name: str) -> str:
    """The path of the file `name` in the folder in which `path` lies."""
    return join(path.rpartition("/")[0], name)


def distinct_from(others: Iterable[str], path: str) -> str:
    """`path`, with a number if one of the others is the same, upper and lower case being equal."""
    taken = {other.casefold() for other in others}
    name = path.rpartition("/")[2]
    candidates = (sibling(path, numbered(name, n)) for n in count())
    return next(each for each in candidates if each.casefold() not in taken)


def _check_part(part: str) -> None:
    # Windows and SMB drop trailing dots and spaces: ".. " and "..." would mean "..", or nothing, there.
    if not part.strip(". "):
        raise _refused('has a part of dots or spaces only; ".." cannot lead out of the storage')
    if is_reserved(part):
        raise _refused(f"has a part that SaveAny keeps for itself ({part[:40]}); choose another name")
    if len(part.encode()) > MAX_PART_BYTES:
        raise _refused(f"has a part longer than {MAX_PART_BYTES} bytes")


def _refused(reason: str) -> InvalidInput:
    return InvalidInput(f"The folder {reason}.", field="folder")
