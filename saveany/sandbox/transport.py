"""The transports: framings of packets on the TCP stream
(https://core.telegram.org/mtproto/mtproto-transports).

The client's first bytes select the transport: Abridged, Intermediate, Full, or one of the first two with the
obfuscation layer.
"""

import asyncio
import struct
import zlib
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from saveany.sandbox.errors import ProtocolError

MAX_PACKET = 1 << 21  # bytes, far more than a client may send
_ABRIDGED, _INTERMEDIATE = 0xEF, 0xEE


class Stream:
    """The byte stream from and to a client; encrypted if the client uses obfuscation."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._ahead = b""
        self._incoming: CipherContext | None = None
        self._outgoing: CipherContext | None = None

    async def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        ahead, self._ahead = self._ahead[:count], self._ahead[count:]
        data = await self._reader.readexactly(count - len(ahead))
        return ahead + (self._incoming.update(data) if self._incoming else data)

    def unread(self, data: bytes) -> None:
        """Put bytes back, so that the next `take` starts with them."""
        self._ahead = data + self._ahead

    def obfuscate(self, head: bytes) -> int:
        """Start encryption with the keys in a client's 64-byte header; returns the transport's tag in it."""
        backwards = head[8:56][::-1]
        self._incoming = Cipher(algorithms.AES(head[8:40]), modes.CTR(head[40:56])).encryptor()
        self._outgoing = Cipher(algorithms.AES(backwards[:32]), modes.CTR(backwards[32:])).encryptor()
        return self._incoming.update(head)[56]

    def cipher(self, data: bytes) -> bytes:
        """`data`, encrypted for the client if it uses obfuscation."""
        return self._outgoing.update(data) if self._outgoing else data


class Transport(Protocol):
    """A framing of packets."""

    async def read(self) -> bytes:
        """The next packet."""

    def frame(self, *parts: bytes) -> bytes:
        """The bytes to write for a packet that consists of these parts."""


async def accept(reader: asyncio.StreamReader) -> Transport:
    """The transport that the client's first bytes select."""
    stream = Stream(reader)
    first = await stream.take(1)
    if first[0] == _ABRIDGED:
        return Abridged(stream)
    start = first + await stream.take(3)
    if start == bytes([_INTERMEDIATE]) * 4:
        return Intermediate(stream)
    start += await stream.take(4)
    if start[4:] == bytes(4):
        stream.unread(start)
        return Full(stream)
    tag = stream.obfuscate(start + await stream.take(56))
    if tag == _ABRIDGED:
        return Abridged(stream)
    if tag == _INTERMEDIATE:
        return Intermediate(stream)
    raise ProtocolError(f"unknown transport {tag:#x}")


class Abridged:
    """The length in words of four bytes, encoded in one byte if it is below 127, else in four."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        """See `Transport.read`."""
        words = (await self._stream.take(1))[0] & 0x7F  # the top bit asks for a quick acknowledgement
        if words == 0x7F:
            words = int.from_bytes(await self._stream.take(3), "little")
        return await self._stream.take(_checked(words * 4))

    def frame(self, *parts: bytes) -> bytes:
        """See `Transport.frame`."""
        words = sum(map(len, parts)) // 4
        head = bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")
        return self._stream.cipher(b"".join((head, *parts)))


class Intermediate:
    """The length in bytes, encoded in four bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        """See `Transport.read`."""
        length = int.from_bytes(await self._stream.take(4), "little")
        return await self._stream.take(_checked(length & 0x7FFFFFFF))

    def frame(self, *parts: bytes) -> bytes:
        """See `Transport.frame`."""
        head = struct.pack("<I", sum(map(len, parts)))
        return self._stream.cipher(b"".join((head, *parts)))


class Full:
    """Length, sequence number, payload, CRC32 of all three."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._received = self._sent = 0

    async def read(self) -> bytes:
        """See `Transport.read`."""
        head = await self._stream.take(8)
        length, sequence = struct.unpack("<II", head)
        body = await self._stream.take(_checked(length - 8))
        if sequence != self._received:
            raise ProtocolError("packets are out of sequence")
        if zlib.crc32(head + body[:-4]) != int.from_bytes(body[-4:], "little"):
            raise ProtocolError("the checksum is wrong")
        self._received += 1
        return body[:-4]

    def frame(self, *parts: bytes) -> bytes:
        """See `Transport.frame`."""
        head = struct.pack("<II", sum(map(len, parts)) + 12, self._sent)
        self._sent += 1
        checksum = zlib.crc32(head)
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return b"".join((head, *parts, struct.pack("<I", checksum)))


def _checked(length: int) -> int:
    if not 0 < length <= MAX_PACKET:
        raise ProtocolError(f"a packet of {length} bytes")
    return length
