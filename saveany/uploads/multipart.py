"""The first file of a multipart/form-data body (RFC 7578), in the pieces in which it arrives."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from email.message import Message
from typing import Final

from saveany.errors import InvalidInput
from saveany.net.disposition import filename

#: Maximum size of the headers of a part, and of all parts before the file, in bytes.
_MAX_HEADERS, _MAX_BEFORE = 16 << 10, 1 << 20
_MAX_BOUNDARY: Final = 70
#: Maximum length of a Content-Type: the time of Python's parser grows with its square.
_MAX_TYPE: Final = 1_000
_FILE = re.compile(r"form-data\s*;(?:.*;)?\s*filename\*?\s*=", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file in a form: its name and type as the sender states them, and its bytes."""

    name: str
    content_type: str
    content: AsyncIterator[bytes]


def boundary_of(content_type: str) -> bytes:
    """The boundary in a Content-Type. Raises `InvalidInput` if there is none."""
    header = Message()
    header["content-type"] = content_type if len(content_type) <= _MAX_TYPE else ""
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise InvalidInput("the Content-Type multipart/form-data needs a boundary")
    return boundary.encode()


async def first_file(body: AsyncIterator[bytes], boundary: bytes) -> FormFile:
    """The first part with a file name; the others are ignored. Its bytes are read from `body` as they are
    read from the part.

    Raises `InvalidInput` if the body has no file; so does reading the part if the body ends in it.
    """
    reader = _Reader(body, boundary)
    await reader.skip(b"--" + boundary)  # the text in front of the first boundary is ignored
    while await reader.next_part():
        headers = _headers(await reader.until(b"\r\n\r\n", _MAX_HEADERS))
        if (name := _file_name(headers)) is not None:
            return FormFile(name, headers.get("content-type", ""), reader.content())
        async for _ in reader.content(_MAX_BEFORE):
            pass
    raise InvalidInput(
        "the form has no file: send it as a part with a filename, as `curl -F file=@name` does"
    )


class _Reader:
    """A body, of which only what cannot be told from a delimiter yet is held."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        self._body = body
        # A body may begin with its first boundary; then there is no line break before it.
        self._delimiter = b"\r\n--" + boundary
        self._data = bytearray()

    async def _more(self) -> None:
        async for piece in self._body:
            if piece:
                self._data += piece
                return
        raise InvalidInput("the form ends before its last boundary")

    async def skip(self, text: bytes) -> None:
        """Go on behind the first occurrence of `text`."""
        await self.until(text, _MAX_BEFORE)

    async def until(self, text: bytes, limit: int) -> bytes:
        """The bytes up to `text`, and go on behind it."""
        searched = 0
        while (at := self._data.find(text, searched)) < 0:
            if len(self._data) > limit:
                raise InvalidInput("the form has too much in front of its file")
            searched = max(0, len(self._data) - len(text) + 1)
            await self._more()
        found = bytes(self._data[:at])
        del self._data[: at + len(text)]
        return found

    async def next_part(self) -> bool:
        """Behind a boundary: go on behind the end of its line. Returns whether a part follows."""
        while len(self._data) < 2:
            await self._more()
        if self._data.startswith(b"--"):
            return False
        await self.until(b"\r\n", _MAX_HEADERS)
        # So that a part without headers, which begins with an empty line, is one, too.
        self._data[:0] = b"\r\n"
        return True

    async def content(self, limit: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes up to the next boundary, and go on behind it. Raises `InvalidInput` after `limit`
        bytes (0: no limit)."""
        size = 0
        at = -1
        while at < 0:
            at = self._data.find(self._delimiter)
            if at < 0 and len(self._data) < len(self._delimiter):
                await self._more()
                continue
            piece = bytes(self._data[: at if at >= 0 else len(self._data) - len(self._delimiter) + 1])
            del self._data[: len(piece)]
            size += len(piece)
            if limit and size > limit:
                raise InvalidInput("the form has too much in front of its file")
            if piece:
                yield piece
            if at < 0:
                await self._more()
        del self._data[: len(self._delimiter)]


def _headers(raw: bytes) -> dict[str, str]:
    """The headers of a part, with lower-case names; their bytes as Latin-1."""
    lines = raw.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _file_name(headers: dict[str, str]) -> str | None:
    """The name of the file in a part, "" if it has none; None if the part is not a file."""
    disposition = headers.get("content-disposition", "")
    return filename(disposition) if _FILE.match(disposition) else None
