"""Properties of files and folders: requests for them, and the replies (RFC 4918, PROPFIND)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote
from xml.parsers import expat

from saveany.net.http import date_ms
from storages.base import Entry
from storages.webdav.names import decode_name


class Resource:
    """The values in a `response` element (RFC 4918, 14.24)."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.is_dir = False

    @property
    def _path(self) -> str:
        """The path in `href`, which is a URL or a path; some servers do not encode it."""
        return re.sub("^[a-zA-Z]+://[^/]*", "", self.values.get("href", "")).rstrip("/")

    @property
    def depth(self) -> int:
        """The number of slashes in its path."""
        return self._path.count("/")

    @property
    def name(self) -> str:
        """Its name, decoded."""
        name = self._path.rpartition("/")[2]
        encoded = re.fullmatch(r"(?:[!-$&-~]|%[0-9a-fA-F]{2})*", name)
        return decode_name(unquote(name) if encoded else name)

    def count(self, tag: str) -> int | None:
        """A number of bytes; None if it is missing or negative, which means no limit in Nextcloud."""
        text = self.values.get(tag, "")
        return int(text) if re.fullmatch("[0-9]{1,20}", text) else None

    def entry(self, path: str) -> Entry:
        """The entry of a listing, at that path of the storage."""
        size = 0 if self.is_dir else self.count("getcontentlength") or 0
        modified = date_ms(self.values.get("getlastmodified", "")) or 0
        return Entry(path.rpartition("/")[2], path, size, self.is_dir, modified)


class Multistatus:
    """Parses the reply to a PROPFIND while it arrives, because a folder may have very many files.

    A document type is refused: WebDAV has none, and it could define entities.
    """

    def __init__(self) -> None:
        self.found: list[Resource] = []
        self._text = ""
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.CharacterDataHandler = self._data
        self._parser.EndElementHandler = self._end

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Parse the next bytes. Raises `ExpatError` if they are not such a reply."""
        self._parser.Parse(data, last)

    def _refuse(self, *_: object) -> None:
        raise expat.ExpatError("a document type")

    def _start(self, tag: str, _: object) -> None:
        self._text = ""
        if tag == "DAV: response":
            self.found.append(Resource())
        elif tag == "DAV: collection" and self.found:
            self.found[-1].is_dir = True

    def _data(self, text: str) -> None:
        if len(self._text) + len(text) > _MAX_TEXT:
            raise expat.ExpatError("a value longer than any path")
        self._text += text

    def _end(self, tag: str) -> None:
        if tag in _TAGS and self.found and self._text.strip():
            self.found[-1].values.setdefault(tag.removeprefix("DAV: "), self._text.strip())
        self._text = ""


_MAX_TEXT: Final = 1 << 16
PROPFIND: Final = '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>%s</prop></propfind>'
ENTRY: Final = "<resourcetype/><getcontentlength/><getlastmodified/>"
QUOTA: Final = "<quota-used-bytes/><quota-available-bytes/>"
_TAGS: Final = {
    f"DAV: {tag}"
    for tag in (
        "href",
        "getcontentlength",
        "getlastmodified",
        "quota-used-bytes",
        "quota-available-bytes",
    )
}
