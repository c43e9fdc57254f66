"""The file name that an HTTP answer suggests: Content-Disposition by RFC 6266, as servers really write it."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$&+.^_`|~*-]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)')
_EXTENDED = re.compile(r"([A-Za-z0-9_-]*)'[^']*'(.*)", re.DOTALL)


def filename(header: str) -> str:
    """The name, "" if there is none. Not yet safe: it may be a whole path, or anything else.

    `filename*` goes before `filename` (RFC 6266, 4.3). Bytes beyond ASCII are taken for UTF-8, else for
    Latin-1, which is how they come out of an HTTP header.
    """
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(";" + header.partition(";")[2]):
        found.setdefault(name.lower(), value)
    return _extended(found.get("filename*", "")) or _plain(found.get("filename", ""))


def _extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value.strip().strip('"'))
    if match is None:
        return ""
    charset, raw = match[1].lower() or "utf-8", unquote_to_bytes(match[2].encode("utf-8", "replace"))
    if charset not in ("utf-8", "iso-8859-1", "gbk", "gb18030", "shift_jis", "windows-1252"):
        charset = "utf-8"
    return raw.decode(charset, "replace")


def _plain(value: str) -> str:
    value = value.strip()
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value.removeprefix('"').removesuffix('"'), flags=re.DOTALL)
    try:
        raw = value.encode("latin-1")
    except UnicodeEncodeError:
        return value
    if b"%" in raw and re.fullmatch(rb"[\x21-\x7e]+", raw):  # not in the standard, but common
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
