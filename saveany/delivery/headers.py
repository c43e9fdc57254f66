"""The headers of a response that delivers a file."""

from __future__ import annotations

import re
from email.utils import formatdate
from urllib.parse import quote

from saveany.delivery.content import Content

#: Types that a browser shows without running scripts. Everything else is downloaded, whatever was asked.
_SAFE_INLINE = re.compile(
    r"(?:video|audio)/.+|image/(?!svg).+|text/(?:plain|vtt)|application/pdf", re.IGNORECASE
)
_MAX_NAME = 255  # bytes; more are refused by file systems
#: What may not stand in the plain form of a name: browsers interpret `%41` and backslashes differently.
_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')
#: Characters that cannot be part of a name, or make it look like another one (bidirectional controls).
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f/\\\\\u200e\u200f\u202a-\u202e\u2066-\u2069]")

#: Pages of other sites may read the files, as everybody may who has the link; browsers send no cookies then.
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": (
        "Accept-Ranges, Content-Length, Content-Range, Content-Disposition, ETag"
    ),
    "cross-origin-resource-policy": "cross-origin",
}
_COMMON = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
    "x-accel-buffering": "no",  # nginx would buffer up to 1 GB
    **_CORS,
}
#: The headers of a thumbnail.
PICTURE = {
    **_COMMON,
    "cache-control": "private, max-age=3600",
    "content-security-policy": "default-src 'none'",
}
#: The headers of a redirect to a storage.
REDIRECT = {**_COMMON, "cache-control": "no-store"}
#: The reply to a browser that asks whether a page of another site may read a file.
PREFLIGHT = {
    **_CORS,
    "access-control-allow-methods": "GET, HEAD",
    "access-control-allow-headers": "Range, If-Range, If-None-Match, If-Modified-Since",
    "access-control-max-age": "86400",
}


def headers_of(content: Content, *, inline: bool, cache: str = "private, no-cache") -> dict[str, str]:
    """The headers that every response for the file has, except those of its body."""
    shown = inline and bool(_SAFE_INLINE.fullmatch(content.mime))
    headers = {
        **_COMMON,
        "accept-ranges": "bytes" if content.ranges else "none",
        "content-type": content_type(content.mime),
        "content-disposition": disposition(content.name, inline=shown),
        "etag": content.etag,
        "cache-control": cache,
    }
    if content.modified:
        headers["last-modified"] = formatdate(content.modified, usegmt=True)
    if content.mime != "application/pdf":  # a sandbox would stop the browser's viewer
        headers["content-security-policy"] = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'"
    return headers


def disposition(name: str, *, inline: bool) -> str:
    """The Content-Disposition of a file name (RFC 6266): a plain form for old clients, and all characters in
    that of RFC 8187."""
    kind = "inline" if inline else "attachment"
    name = _shortened(shown_name(name))
    plain = _NOT_PLAIN.sub("_", name)
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def shown_name(name: str) -> str:
    """A name without what cannot be part of one, or makes it look like another one."""
    return _FORBIDDEN.sub("_", name.encode("utf-8", "replace").decode()).strip(" .") or "file"


def _shortened(name: str) -> str:
    """The name in at most 255 bytes, with its extension."""
    if len(name.encode()) <= _MAX_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    end = f".{suffix}" if dot and len(suffix.encode()) <= 20 else ""
    room = _MAX_NAME - len(end.encode())
    return (stem if end else name).encode()[:room].decode(errors="ignore") + end


def content_type(mime: str) -> str:
    """The Content-Type of a file of this type."""
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", mime, re.ASCII):
        return "application/octet-stream"
    return f"{mime}; charset=utf-8" if mime in ("text/plain", "text/vtt") else mime
