"""Paths as every storage takes them, and the names under which unfinished files lie beside their place."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from saveany.errors import UnsafePath
from storages.base import UploadKey

#: Longest name in bytes on the file systems in use.
NAME_BYTES: Final = 255
#: Start of the names SaveAny keeps for itself, in the base and in every folder.
RESERVED: Final = ".saveany-"

#: Bytes of the final name kept in the part's name, so that parts fit where names end at 143 bytes (eCryptfs).
STEM_BYTES: Final = 64

_PART: Final = re.compile(
    r"(?P<stem>\..*)\.(?P<upload>[\w-]+-\d+)\.(?P<epoch>\d+)(?:\.(?P<mark>[a-z][0-9a-z]*))?\.partial",
    re.DOTALL | re.ASCII,
)


def split(path: str) -> list[str]:
    """The parts of a path; `UnsafePath` if it is not relative, plain and writable as it stands."""
    parts = path.split("/")
    for part in parts:
        if why := _unsafe(part) or (is_reserved(part) and "is a name SaveAny keeps for itself"):
            raise UnsafePath(f"path {path!r}: {why}")
    return parts


def is_reserved(name: str) -> bool:
    """Whether SaveAny keeps files of that name for itself."""
    return name.casefold().startswith(RESERVED) or _PART.fullmatch(name) is not None


def _unsafe(part: str) -> str:
    if part in ("", ".", ".."):
        return "must be relative, without empty parts, '.' or '..'"
    if "\0" in part:
        return "contains a NUL character"
    try:
        encoded = part.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return f"{part[:20]!r}… is longer than {NAME_BYTES} bytes" if len(encoded) > NAME_BYTES else ""


class PartName(NamedTuple):
    """The name of a part, taken apart: `.<stem>.<task>-<item>.<epoch>[.<mark>].partial`.

    The mark tells parts of one epoch apart: those that were fenced, or belong to different tries. The ending
    is not `.part`, as Nextcloud and ownCloud refuse such names.
    """

    stem: str
    upload: str
    epoch: int
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.stem}.{self.upload}.{self.epoch}{'.' if self.mark else ''}{self.mark}.partial"

    def belongs_to(self, key: UploadKey) -> bool:
        """Whether it is of that task and item, of whatever epoch."""
        return self.upload == f"{key.task}-{key.item}"


def part_name(key: UploadKey, name: str, mark: str = "") -> PartName:
    """The part of an upload that will become the file `name`."""
    stem = name.encode()[:STEM_BYTES].decode(errors="ignore")
    part = PartName(f".{stem}", f"{key.task}-{key.item}", key.epoch, mark)
    if parse(str(part)) != part:
        raise ValueError(f"not a task id: {key.task!r}")
    return part


def parse(name: str) -> PartName | None:
    """The part that a name is of, None if it is no part's."""
    match = _PART.fullmatch(name)
    return match and PartName(match["stem"], match["upload"], int(match["epoch"]), match["mark"] or "")
