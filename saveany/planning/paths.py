"""Folders inside a storage, as users write them."""

from __future__ import annotations

import re

from saveany.errors import InvalidInput
from saveany.planning.characters import is_hidden
from storages.parts import is_reserved

#: Linux's maximum lengths of one part of a path and of a whole path, in bytes.
MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096

#: Maximum number of characters of a part that an error message quotes.
_SHOWN_PART = 40

_DRIVE = re.compile(r"[A-Za-z]:")


def folder(path: str) -> str:
    """The normalized form of `path`: relative to the storage, separated by "/", "" for its root.

    A leading slash means the root of the storage, so `/downloads` and `downloads` are equal. Raises
    `InvalidInput` (field `folder`) for a path that could leave the storage or that cannot be stored.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if "\\" in path:
        raise InvalidInput('the folder contains a backslash; separate folders with "/"', "folder")
    if any(is_hidden(character) for character in path):
        raise InvalidInput("the folder contains control or invisible characters; remove them", "folder")
    if parts and _DRIVE.match(parts[0]):
        raise InvalidInput(
            'the folder starts with a drive letter; give a folder inside the storage, such as "downloads"',
            "folder",
        )
    for part in parts:
        _check_part(part)
    normalized = "/".join(parts)
    if len(normalized.encode()) > MAX_PATH_BYTES:
        raise InvalidInput("the folder is longer than {limit} bytes", "folder", limit=MAX_PATH_BYTES)
    return normalized


def join(folder: str, name: str) -> str:
    """The path of the file `name` in `folder`, as returned by `folder()`."""
    return f"{folder}/{name}" if folder else name


def sibling(path: str, name: str) -> str:
    """The path of the file `name` in the folder that contains `path`."""
    return join(path.rpartition("/")[0], name)


def _check_part(part: str) -> None:
    # Windows and SMB drop trailing dots and spaces: there ".. " and "..." mean ".." or nothing.
    if not part.strip(". "):
        raise InvalidInput(
            'a part of the folder consists of dots or spaces; ".." cannot lead out of the storage', "folder"
        )
    if is_reserved(part):
        raise InvalidInput(
            "a part of the folder, {part}, is reserved by SaveAny; choose another name",
            "folder",
            part=part[:_SHOWN_PART],
        )
    if len(part.encode()) > MAX_PART_BYTES:
        raise InvalidInput(
            "a part of the folder is longer than {limit} bytes", "folder", limit=MAX_PART_BYTES
        )
