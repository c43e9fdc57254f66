"""File names: safe on every storage, and telling even where Telegram gives none."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from saveany.planning.characters import JOINERS, is_hidden

#: File systems take 255 bytes; the rest is for the prefix and suffix of a part file.
MAX_BYTES = 240
MAX_CAPTION = 64  # characters of a caption that become a name
FALLBACK = "file"

_FORBIDDEN = re.compile(r'[\\/:*?"<>|]')  # by Linux the slash, by Windows and SMB the others
_EDGES = ". " + JOINERS  # neither begin nor end a name

# A suffix of up to 16 characters is an extension, and so is the .tar before it.
_EXTENSION = re.compile(r"(?:\.tar)?\.[^.\s]{1,16}$", re.IGNORECASE)
# What Windows keeps for itself, with any extension.
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)", re.IGNORECASE
)

# What Telegram sends. The tables of Python come after it; those of the machine would make names differ.
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
    """`raw` as a name that Linux, macOS, Windows, SMB and every storage take; `file` if nothing is left.

    One part of a path, NFC, at most `MAX_BYTES` bytes of UTF-8 (the extension survives the cut), not
    hidden, not reserved, without invisible or forbidden characters. A safe name stays as it is.
    """
    return cleaned(raw) or FALLBACK


def cleaned(raw: str) -> str:
    """As `safe_name`, but "" if nothing is left."""
    visible = "".join(" " if c.isspace() else c for c in raw if c.isspace() or not is_hidden(c))
    # A leading dot would hide the file, or make it one of the storage's own.
    name = unicodedata.normalize("NFC", _FORBIDDEN.sub("_", visible)).strip(_EDGES)
    if _RESERVED.match(name):
        name = f"_{name}"
    return _fit(*split(name))


def split(name: str) -> tuple[str, str]:
    """A name as its stem and its extension, with the dot; "" for none."""
    match = _EXTENSION.search(name)
    return (name[: match.start()], match[0]) if match else (name, "")


def name_for(
    *, original: str | None, caption: str, date_ms: int, message_id: int, mime_type: str, kind: str
) -> str:
    """The name of a file from a message, always safe.

    Its own name; else the first line of the caption; else `<kind>_<date>_<time>_<message id>` in UTC. An
    extension that is missing comes from the MIME type. `kind` is a word such as `photo`.
    """
    extension = extension_for(mime_type)
    if own := cleaned(original or ""):
        return own if split(own)[1] else safe_name(own + extension)
    line = next(filter(None, map(str.strip, caption.splitlines())), "")
    if title := cleaned(line[:MAX_CAPTION]):
        return title if extension and title.lower().endswith(extension) else safe_name(title + extension)
    date = datetime.fromtimestamp(date_ms / 1000, UTC)
    return safe_name(f"{kind}_{date:%Y-%m-%d_%H-%M-%S}_{message_id}{extension}")


def extension_for(mime_type: str) -> str:
    """The usual extension with its dot, "" for bytes of an unknown kind."""
    essence = mime_type.partition(";")[0].strip().lower()
    known = _EXTENSIONS.get(essence)
    return known if known is not None else _PYTHON_TYPES.guess_extension(essence) or ""


def numbered(name: str, n: int) -> str:
    """The n-th other name for a safe `name`: `a.tar.gz`, 1 -> `a_1.tar.gz`; 0 is the name itself."""
    if n == 0:
        return name
    stem, extension = split(name)
    return _fit(stem, f"_{n}{extension}")


def distinct(names: Sequence[str], folders: Sequence[str] | None = None) -> list[str]:
    """`names` with numbers where one would collide with an earlier one in the same folder, upper and lower
    case being equal. Without `folders` all lie in one.

    What a name becomes depends on the names before it only.
    """
    return list(_distinct(zip(folders or [""] * len(names), names, strict=True)))


def _distinct(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    taken: set[tuple[str, str]] = set()
    tried: dict[tuple[str, str], int] = {}  # so that a thousand equal names are not probed from 0 each
    for folder, name in named:
        place = folder.casefold()
        n = tried.get((place, name.casefold()), 0)
        while (key := (place, (candidate := numbered(name, n)).casefold())) in taken:
            n += 1
        tried[place, name.casefold()] = n + 1
        taken.add(key)
        yield candidate


def _fit(stem: str, ending: str) -> str:
    """`stem` cut at a character so that with `ending` it keeps within `MAX_BYTES`."""
    room = MAX_BYTES - len(ending.encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(_EDGES)
    return stem + ending
