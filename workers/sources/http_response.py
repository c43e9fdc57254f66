"""Reads the properties of a file from the headers of an HTTP response: name, size, version, and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from saveany.models import Item
from saveany.net.disposition import filename
from saveany.net.text import decoded
from saveany.planning.names import extension_for, safe_name
from saveany.ranges import parse_content_range

#: Content encodings, and the file names that are meant to be compressed that way: their encoding is part of
#: the file, whatever the server says.
_COMPRESSED_FILES = {
    "gzip": (".gz", ".tgz", ".svgz"),
    "x-gzip": (".gz", ".tgz", ".svgz"),
    "br": (".br",),
    "zstd": (".zst", ".tzst"),
    "compress": (".z",),
    "x-compress": (".z",),
    "bzip2": (".bz2", ".tbz", ".tbz2"),
    "xz": (".xz", ".txz"),
}
#: Values of Content-Encoding with which some servers describe a file that is not compressed.
_UNCOMPRESSED = ("", "identity", "none", "binary", "8bit", "utf-8", "utf8", "aws-chunked")
#: The keys that `identity` sets.
IDENTITY_KEYS = ("etag", "modified", "ranges", "bytes", "try")


def identity(response: httpx.Response, *, ranges: bool) -> dict[str, Any]:
    """Data for `Item.source` that tells this version of the file from others. Without `ranges` it differs for
    every attempt: each one begins with the first byte, so it must not find stored bytes of another one."""
    found = {
        "etag": response.headers.get("ETag", ""),
        "modified": response.headers.get("Last-Modified", ""),
        "ranges": ranges,
        "bytes": file_size(response),
        "try": "" if ranges else token_hex(8),
    }
    return {key: value for key, value in found.items() if value}


def supports_ranges(response: httpx.Response) -> bool:
    """Whether the server sends ranges of the file; `response` is the reply to a request for a range."""
    return response.status_code == 206 and not content_encoding(response)


def file_size(response: httpx.Response) -> int | None:
    """The size of the file in bytes, None if it is unknown."""
    if content_encoding(response):
        return None
    if response.status_code in (206, 416):
        return _number(response.headers.get("Content-Range", "").rpartition("/")[2])
    if "Transfer-Encoding" in response.headers:
        return None
    return _number(response.headers.get("Content-Length", ""))


def range_end(response: httpx.Response, start: int, item: Item) -> int | None:
    """The offset at which the received range ends. None if the response is not a range from `start` on of the
    version of the file that `item` describes."""
    found = parse_content_range(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or found is None or not _is_same_version(response, item.source):
        return None
    (first, end), size = found
    fits = first == start and end <= (item.size or 0) and size in (item.size, None)
    return end if fits else None


def suggested_name(response: httpx.Response) -> str:
    """The file name that the server suggests, else the one in the URL, with an extension if one is known."""
    suggested = filename(_latin1_header(response, b"content-disposition"))
    last = suggested.replace("\\", "/").rpartition("/")[2]
    name = safe_name(last) if suggested else name_of(str(response.url))
    if "." not in name:
        name = safe_name(name + extension_for(response.headers.get("Content-Type", "")))
    return name


def content_encoding(response: httpx.Response) -> str:
    """How the server has compressed the file for the transfer, although it was asked not to; "" if it has
    not."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in _UNCOMPRESSED:
        return ""
    is_of_file = suggested_name(response).lower().endswith(_COMPRESSED_FILES.get(encoding, ()))
    return "" if is_of_file else encoding


def name_of(url: str) -> str:
    """The name of the file at a URL: the last part of its path, else its host."""
    parts = urlsplit(url)
    last = unquoted(parts.path).rstrip("/").rpartition("/")[2]
    return safe_name(last or parts.hostname or "")


def unquoted(path: str) -> str:
    """The path of a URL without percent escapes; the character encoding of the server is guessed."""
    return decoded(unquote_to_bytes(path))


def _is_same_version(response: httpx.Response, source: Mapping[str, Any]) -> bool:
    """Whether the response is about the version of the file that `identity` described, as far as its headers
    show."""
    for header, key in (("ETag", "etag"), ("Last-Modified", "modified")):
        if header in response.headers and key in source:
            return bool(response.headers[header] == source[key])
    return True


def _latin1_header(response: httpx.Response, name: bytes) -> str:
    """The first header of that name, one character per byte. (`httpx.Headers` guesses the encoding.)"""
    return next((value.decode("latin-1") for key, value in response.headers.raw if key.lower() == name), "")


def _number(text: str) -> int | None:
    """A number of bytes, None if the text is none. More than 18 digits make no sense."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
