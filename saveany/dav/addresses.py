"""The addresses of the drive: the names of folders and of a file, percent-encoded below `/dav`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

#: The first part of all paths of the drive.
ROOT: Final = "dav"


def names_of(scope: Scope) -> list[str] | None:
    """The names in the path of a request below the drive's own; None for a request that is not for the drive.

    The path is split before it is decoded, so that `%2F` does not divide a name. Bytes that are not UTF-8
    become U+FFFD, which is in no name."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    names = [unquote_to_bytes(part).decode("utf-8", "replace") for part in raw.split(b"/") if part]
    return names[1:] if names[:1] == [ROOT] else None


def href(base: str, names: Sequence[str], *, is_folder: bool) -> str:
    """The absolute path of a file or folder. `base` is that of SaveAny, without a slash at the end."""
    path = "/".join(quote(name, safe="") for name in (ROOT, *names))
    return f"{base}/{path}/" if is_folder else f"{base}/{path}"
