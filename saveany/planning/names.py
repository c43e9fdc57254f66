"""File names that are safe on every storage, and meaningful even where Telegram sends none."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from saveany.planning.characters import JOINERS, is_hidden

if TYPE_CHECKING:
    from saveany.telegram.media import Media

#: Maximum length in bytes. File systems allow 255; the rest is for the prefix and suffix of a part file.
MAX_BYTES = 240
#: Maximum number of characters of a caption that become a name.
MAX_CAPTION = 64
FALLBACK = "file"

_FORBIDDEN = re.compile(r'[\\/:*?"<>|]')  # Linux forbids the slash; Windows and SMB forbid all of them
_EDGES = ". " + JOINERS  # not allowed at the start or the end of a name

# A suffix of up to 16 characters is an extension, and so is the .tar before it.
_EXTENSION = re.compile(r"(?:\.tar)?\.[^.\s]{1,16}$", re.IGNORECASE)
# Names that Windows reserves, with any extension.
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)", re.IGNORECASE
)

# MIME types that Telegram sends. Others come from Python's own table: the table of the machine would make the
# names depend on where a worker runs.
_PYTHON_TYPES = mimetypes.MimeTypes()
_EXTENSIONS = {
    "application/gzip": ".gz",
    "application/octet-stream": "",
    "application/pdf": ".pdf",
    "application/vnd.android.package-archive": ".apk",
    "application/x-7z-compressed": ".7z",
    "application/x-rar-compressed": ".rar",
    "application/x-tgsticker": ".tgs",
    "application/x-tgwallpattern": ".tgv",
    "application/zip": ".zip",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/x-flac": ".flac",
    "audio/x-m4a": ".m4a",
    "audio/x-wav": ".wav",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/plain": ".txt",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
}


def safe_name(raw: str) -> str:
    """`raw` as a name that Linux, macOS, Windows, SMB and every storage accept; `file` if nothing is left.

    The result is one part of a path: NFC, at most `MAX_BYTES` bytes of UTF-8 (shortened before the
    extension), not hidden, not reserved, without invisible or forbidden characters. A safe name is returned
    unchanged.
    """
    return clean_name(raw) or FALLBACK


def clean_name(raw: str) -> str:
    """Like `safe_name`, but "" if nothing is left."""
    visible = "".join(" " if c.isspace() else c for c in raw if c.isspace() or not is_hidden(c))
    # A leading dot would hide the file, or give it the name of one of the storage's own files.
    name = unicodedata.normalize("NFC", _FORBIDDEN.sub("_", visible)).strip(_EDGES)
    if _RESERVED.match(name):
        name = f"_{name}"
    return _fit(*split_extension(name))


def split_extension(name: str) -> tuple[str, str]:
    """The stem and the extension, which has its dot; "" for no extension."""
    match = _EXTENSION.search(name)
    return (name[: match.start()], match[0]) if match else (name, "")


def name_for(
    *, original: str | None, caption: str, date_ms: int, message_id: int, mime_type: str, kind: str
) -> str:
    """A safe name for a file of a message.

    That is its original name, else the first line of the caption, else `<kind>_<date>_<time>_<message id>`
    in UTC. A missing extension is taken from the MIME type. `kind` is a word such as `photo`.
    """
    extension = extension_for(mime_type)
    if own := clean_name(original or ""):
        return own if split_extension(own)[1] else safe_name(own + extension)
    line = next(filter(None, map(str.strip, caption.splitlines())), "")
    if title := clean_name(line[:MAX_CAPTION]):
        return title if extension and title.lower().endswith(extension) else safe_name(title + extension)
    date = datetime.fromtimestamp(date_ms / 1000, UTC)
    return safe_name(f"{kind}_{date:%Y-%m-%d_%H-%M-%S}_{abs(message_id)}{extension}")


def name_of(media: Media) -> str:
    """The name with which a file in a message is saved, or offered."""
    return name_for(
        original=media.name,
        caption=media.caption,
        date_ms=media.date_ms,
        message_id=media.message_id,
        mime_type=media.mime_type,
        kind=media.kind,
    )


def extension_for(mime_type: str) -> str:
    """The usual extension, with its dot, of a MIME type; "" if it is unknown."""
    essence = mime_type.partition(";")[0].strip().lower()
    known = _EXTENSIONS.get(essence)
    return known if known is not None else _PYTHON_TYPES.guess_extension(essence) or ""


def numbered(name: str, n: int) -> str:
    """The n-th alternative to a safe `name`: `a.tar.gz`, 1 -> `a_1.tar.gz`; for 0 the name itself."""
    if n == 0:
        return name
    stem, extension = split_extension(name)
    return _fit(stem, f"_{n}{extension}")


def make_distinct(names: Sequence[str], folders: Sequence[str] | None = None) -> list[str]:
    """`names`, numbered where one equals an earlier name in the same folder, ignoring case.

    Without `folders` all are in one folder. The result for a name depends only on the names before it.
    """
    return list(_distinct(zip(folders or [""] * len(names), names, strict=True)))


def _distinct(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    taken: set[tuple[str, str]] = set()
    next_number: dict[tuple[str, str], int] = {}  # so that equal names do not each count up from 0
    for folder, name in named:
        folder_key = folder.casefold()
        n = next_number.get((folder_key, name.casefold()), 0)
        while (key := (folder_key, (candidate := numbered(name, n)).casefold())) in taken:
            n += 1
        next_number[folder_key, name.casefold()] = n + 1
        taken.add(key)
        yield candidate


def _fit(stem: str, ending: str) -> str:
    """`stem` and `ending`; `stem` is cut at a character so that both fit into `MAX_BYTES`."""
    room = MAX_BYTES - len(ending.encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(_EDGES)
    return stem + ending
