"""Checks of paths, and the names of parts: unfinished files in the folder of their final path."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from saveany.errors import UnsafePath
from storages.base import UploadKey

#: Maximum bytes of a name on common file systems.
NAME_BYTES: Final = 255
#: Prefix of the names that SaveAny reserves, in every folder.
RESERVED: Final = ".saveany-"

#: Bytes of the final name in the name of a part: some file systems allow 143 bytes per name (eCryptfs).
STEM_BYTES: Final = 64

_SUFFIX: Final = ".partial"
_PART: Final = re.compile(
    r"(?P<stem>\..*)\.(?P<upload>[\w-]+-\d+)\.(?P<epoch>\d+)(?:\.(?P<mark>[a-z][0-9a-z]*))?\.partial",
    re.DOTALL | re.ASCII,
)


def split(path: str) -> list[str]:
    """The names in a path. Raises `UnsafePath` unless the path is relative and can be stored unchanged."""
    parts = path.split("/")
    for part in parts:
        if why := _unsafe(part) or (is_reserved(part) and "the name is reserved for SaveAny"):
            raise UnsafePath("path {path!r}: {reason}", path=path, reason=why)
    return parts


def is_reserved(name: str) -> bool:
    """Whether the name is reserved for SaveAny."""
    return name.casefold().startswith(RESERVED) or _PART.fullmatch(name) is not None


def _unsafe(part: str) -> str:
    if part in ("", ".", ".."):
        return "must be relative, without empty names, '.' or '..'"
    if "\0" in part:
        return "contains a NUL character"
    try:
        encoded = part.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return f"{part[:20]!r}… is longer than {NAME_BYTES} bytes" if len(encoded) > NAME_BYTES else ""


class PartName(NamedTuple):
    """The name of a part, parsed: `.<stem>.<task>-<item>.<epoch>[.<mark>].partial`.

    The mark distinguishes parts of the same epoch: fenced ones, and those of different attempts. The suffix
    is not `.part`, because Nextcloud and ownCloud refuse such names.
    """

    stem: str
    upload: str
    epoch: int
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.stem}.{self.upload}.{self.epoch}{'.' if self.mark else ''}{self.mark}.partial"

    def belongs_to(self, key: UploadKey) -> bool:
        """Whether it belongs to the key's task and item, in any epoch."""
        return self.upload == upload_name(key)


def upload_name(key: UploadKey) -> str:
    """The name of an upload in the names of its parts, in all epochs."""
    return f"{key.task}-{key.item}"


def part_name(key: UploadKey, name: str, mark: str = "") -> PartName:
    """The name of the part for an upload of the file `name`."""
    stem = name.encode()[:STEM_BYTES].decode(errors="ignore")
    part = PartName(f".{stem}", upload_name(key), key.epoch, mark)
    if parse(str(part)) != part:
        raise ValueError(f"not a task id: {key.task!r}")
    return part


def parse(name: str) -> PartName | None:
    """The name of a part, parsed; None for other names."""
    match = _PART.fullmatch(name) if name.endswith(_SUFFIX) else None  # which is quick in a large folder
    return match and PartName(match["stem"], match["upload"], int(match["epoch"]), match["mark"] or "")
