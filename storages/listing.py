"""What listings of folders contain, and limits that stop broken and hostile servers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from saveany.errors import StorageError


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder in a listing."""

    name: str
    path: str
    size: int  # bytes; 0 for a folder
    is_dir: bool
    modified_at: int  # milliseconds since the epoch; 0 if the storage does not record it


#: Limits for what a server may report, to stop broken and hostile ones: bytes of a file, and the latest time
#: in milliseconds since the epoch (the end of the year 9999).
_MAX_BYTES, _MAX_TIME = 1 << 62, 253_402_300_799_999
#: The same for listings: entries of a folder, and folders within folders.
MAX_ENTRIES, MAX_DEPTH = 1_000_000, 100


def endless_listing(name: str, path: str) -> StorageError:
    """The error for a listing that exceeds `MAX_ENTRIES` or `MAX_DEPTH`."""
    return StorageError(
        "storage {storage!r}: the server's listing of {path!r} does not end", storage=name, path=path or "/"
    )


def plausible(entry: Entry) -> Entry | None:
    """An entry of a server's listing, without an impossible time; None if no such file or folder can
    exist."""
    try:
        named = entry.name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    if entry.name in ("", ".", "..") or b"/" in named or b"\0" in named or not 0 <= entry.size <= _MAX_BYTES:
        return None
    return entry if 0 <= entry.modified_at <= _MAX_TIME else replace(entry, modified_at=0)


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a storage is, in bytes; None where it does not report a value."""

    used: int | None = None
    free: int | None = None
    total: int | None = None
