"""The file behind a link, wherever its bytes are."""

from __future__ import annotations

import abc
import base64
import mimetypes
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from storages.base import Lend, Reader

if TYPE_CHECKING:
    from saveany.telegram.media import Media

#: Types that Python's table lacks, names differently on some systems, or takes from the machine.
_TYPES: Final = {
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mka": "audio/x-matroska",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".ts": "video/mp2t",
    ".vtt": "text/vtt",
    ".webm": "video/webm",
    ".webp": "image/webp",
}
_UNKNOWN: Final = "application/octet-stream"

Piece = bytes | memoryview
#: Reads a file in Telegram from one position to another.
ReadMedia = Callable[["Media", int, int], AsyncGenerator[Piece, None]]


class Content(abc.ABC):
    """A file that is read from any position. All bytes belong to the version that `etag` identifies."""

    #: Whether it can be read from any position; if not, only as a whole.
    ranges = True

    def __init__(self, name: str, size: int, mime: str, etag: str, modified: int = 0) -> None:
        self.name = name
        self.size = size  # bytes
        self.mime = mime
        self.etag = etag  # a strong one, with quotes (RFC 9110, section 8.8.3)
        self.modified = modified  # seconds since the epoch; 0 if unknown

    #: Whether the kernel can pass it to a socket: `send` works, as that of `Reader`.
    sends = False

    async def send(self, lend: Lend, start: int, end: int) -> int:
        """See `Reader.send`."""
        raise NotImplementedError

    @abc.abstractmethod
    def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """The bytes from `start` up to, not including, `end`, in pieces; all of them, or an error of
        `saveany.errors`."""

    async def url(self, seconds: int, headers: Mapping[str, str]) -> str:
        """A URL at which anyone can read it for so many seconds; "" if there is none. Its response has these
        headers."""
        return ""

    async def close(self) -> None:
        """Release handles."""
        return  # most hold none


#: As `Storage.url`, for one file.
MakeUrl = Callable[[int, Mapping[str, str]], Awaitable[str]]


class StoredContent(Content):
    """A file in a storage."""

    def __init__(
        self, reader: Reader, name: str, mime: str = "", sha256: str = "", presign: MakeUrl | None = None
    ) -> None:
        """`sha256` is that of the opened file, in hexadecimal digits; "" if it is unknown."""
        tag = (
            etag_of(sha256)
            if sha256
            else f'"{reader.modified_at:x}-{reader.size:x}-{_token(reader.version)}"'
        )
        super().__init__(name, reader.size, mime or mime_of(name), tag, reader.modified_at // 1000)
        self._reader = reader
        self._presign = presign
        self.sends = reader.sends

    async def url(self, seconds: int, headers: Mapping[str, str]) -> str:
        """As in the contract."""
        return await self._presign(seconds, headers) if self._presign else ""

    async def send(self, lend: Lend, start: int, end: int) -> int:
        """As in the contract."""
        return await self._reader.send(lend, start, end)

    def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """As in the contract."""
        return self._reader.read(start, end)

    async def close(self) -> None:
        """As in the contract."""
        await self._reader.close()


class TelegramContent(Content):
    """A file in a Telegram message, or in pieces in several, which is read with any account that can see
    them."""

    def __init__(
        self, read: ReadMedia, pieces: Sequence[Media], name: str, mime: str = "", sha256: str = ""
    ) -> None:
        """The pieces, in their order, must have their real sizes; `sha256` as for `StoredContent`."""
        first, size = pieces[0], sum(each.size for each in pieces)
        tag = etag_of(sha256) if sha256 else f'"tg-{first.document_id:x}-{size:x}"'
        mime = mime or first.mime_type or mime_of(name)
        super().__init__(name, size, mime, tag, max(each.date_ms for each in pieces) // 1000)
        self._read = read
        self._media = pieces

    async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """As in the contract."""
        begin = 0
        for media in self._media:
            first, last = max(start - begin, 0), min(end - begin, media.size)
            begin += media.size
            if first < last:
                async with aclosing(self._read(media, first, last)) as parts:
                    async for part in parts:
                        yield part


def mime_of(name: str) -> str:
    """The type of a file, by its name."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    return _TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or _UNKNOWN


def etag_of(sha256: str) -> str:
    """The ETag of content with this SHA-256 (hexadecimal): its first half identifies the content."""
    return f'"{base64.urlsafe_b64encode(bytes.fromhex(sha256)[:16]).decode().rstrip("=")}"'


def _token(version: str) -> str:
    """A version of a storage, in characters that an ETag may have."""
    return base64.urlsafe_b64encode(version.encode()).decode().rstrip("=")
