"""The file name in a Content-Disposition header (RFC 6266), in the forms that servers send in practice."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

from saveany.net.text import decoded

_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$&+.^_`|~*-]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)')
_EXTENDED = re.compile(r"([A-Za-z0-9_-]*)'[^']*'(.*)", re.DOTALL)
#: Encoded words of mail headers (RFC 2047), which are not valid here, but common.
_ENCODED_WORDS = re.compile(r"=\?[A-Za-z0-9_-]+\?[BbQq]\?[^?]*\?=")
_CHARSETS = (
    "utf-8",
    "iso-8859-1",
    "windows-1252",
    "windows-1251",
    "koi8-r",
    "gb2312",
    "gbk",
    "gb18030",
    "big5",
    "shift_jis",
    "euc-jp",
    "iso-2022-jp",
    "euc-kr",
)


def filename(header: str) -> str:
    """The file name; "" if the header has none. It is not safe: it may be a whole path.

    `filename*` takes precedence over `filename` (RFC 6266, 4.3). The encoding of non-ASCII bytes, which are
    read from an HTTP header as Latin-1, is guessed.
    """
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(";" + header.partition(";")[2]):
        found.setdefault(name.lower(), value)
    return _extended(found.get("filename*", "")) or _plain(found.get("filename", ""))


def _extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value.strip().strip('"'))
    if match is None:
        return ""
    return _text(unquote_to_bytes(match[2].encode("utf-8", "replace")), match[1] or "utf-8")


def _text(raw: bytes, charset: str) -> str:
    charset = charset.lower()
    return raw.decode(charset if charset in _CHARSETS else "utf-8", "replace")


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
    text = decoded(raw)
    return _of_mail(text) if _ENCODED_WORDS.search(text) else text


def _of_mail(text: str) -> str:
    """The name in encoded words such as `=?utf-8?B?5L2g5aW9?=`."""
    try:
        parts = decode_header(text)
    except (HeaderParseError, ValueError):
        return text
    return "".join(
        part if isinstance(part, str) else _text(part, charset or "ascii") for part, charset in parts
    )
