"""The body of an HTTP response as a stream of the file's bytes."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import httpx

from saveany.errors import Permanent
from workers.sources.http_response import content_encoding

#: Bytes passed on at once.
_CHUNK = 1 << 20
#: Seconds after which fewer bytes are passed on too, so that a slow download shows progress.
_MAX_DELAY = 0.5
#: Content encodings that can be decoded (RFC 9110, 8.4.1).
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)


def check_encoding(response: httpx.Response) -> None:
    """Raise `Permanent` if the server has compressed the body in a way that cannot be decoded."""
    encoding = content_encoding(response)
    if encoding and encoding not in _GZIP + _DEFLATE:
        raise Permanent(
            "the server sends the file compressed with {encoding}, although it was asked not to compress it, "
            "and SaveAny cannot decompress that",
            encoding=encoding[:40],
        )


async def chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The decoded body in chunks of a useful size. If the connection breaks, the bytes before come first."""
    buffer, since = bytearray(), time.monotonic()
    try:
        async with aclosing(response.aiter_raw()) as raw:  # type: ignore[type-var]  # it is a generator
            async for data in _decoded(raw, content_encoding(response)):
                buffer += data
                if len(buffer) >= _CHUNK or time.monotonic() > since + _MAX_DELAY:
                    yield bytes(buffer)
                    buffer.clear()
                    since = time.monotonic()
    except httpx.HTTPError:
        if buffer:
            yield bytes(buffer)
        raise
    if buffer:
        yield bytes(buffer)


def _decoded(data: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    if encoding in _GZIP:
        return _inflated(data, lambda _: zlib.MAX_WBITS | 16)
    return _inflated(data, _deflate_window) if encoding in _DEFLATE else data


def _deflate_window(start: bytes) -> int:
    """The window bits for a deflated body that begins with `start`. It should have zlib's header (RFC 1950),
    but some servers omit it."""
    has_header = len(start) > 1 and start[0] & 15 == zlib.DEFLATED and not int.from_bytes(start[:2]) % 31
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


async def _inflated(
    compressed: AsyncIterator[bytes], window: Callable[[bytes], int]
) -> AsyncGenerator[bytes, None]:
    """The decompressed bytes, in limited chunks, because a few bytes may expand to gigabytes of zeros."""
    decompress, rest = None, b""
    async for data in compressed:
        rest += data
        while len(rest) > (decompress is None):  # the first two bytes show the format
            if decompress is None or decompress.eof:
                decompress = zlib.decompressobj(window(rest))
            yield decompress.decompress(rest, _CHUNK)
            rest = decompress.unconsumed_tail or decompress.unused_data
    while decompress and not decompress.eof and (more := decompress.decompress(b"", _CHUNK)):
        yield more  # the input is read completely, but its output is not complete
    if rest or (decompress and not decompress.eof):
        raise zlib.error("the compressed data ends too early")
