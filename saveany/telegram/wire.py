"""The receive path of the connections for parts of files: Telethon's layers with fewer copies.

The kernel copies a part of 1 MiB into a buffer of its size; it is copied again because cryptg decrypts only
`bytes`, and then decrypted. From there a `memoryview` is passed through to the code that writes it.
Telethon's classes copy it six times. All their checks are made here as well
(https://core.telegram.org/mtproto/security_guidelines), and one more: an invalid envelope closes the
connection, so that its requests fail at once instead of waiting for a reply that never comes.

    ConnectionRoute   Telethon's connection, made through `saveany.net` directly or through a proxy
    TcpConnection     a `ConnectionRoute` that is read by a BufferedProtocol
    EncryptionState   decrypts and checks envelopes
    MtprotoSender     Telethon's sender with these classes; it neither reconnects nor handles updates
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any, cast

from telethon.crypto import AES, AuthKey
from telethon.errors import InvalidBufferError
from telethon.extensions import BinaryReader
from telethon.extensions.messagepacker import MessagePacker
from telethon.network import MTProtoSender
from telethon.network.connection import ConnectionTcpIntermediate
from telethon.network.mtprotostate import (
    MSG_TOO_NEW_DELTA,
    MSG_TOO_OLD_DELTA,
    MTProtoState,
)
from telethon.tl.core import TLMessage
from telethon.tl.types import BadMsgNotification, BadServerSalt

from saveany.net import dial

#: Maximum length of a packet in bytes; no reply is longer, since a part has at most 1 MiB.
MAX_PACKET = 2 << 20
#: Number of unread packets at which reading from the socket is paused.
_MAX_BACKLOG = 1
_LENGTH = struct.Struct("<i")
_KEYS = struct.Struct("<Q16s")  # key id, message key
_INNER_HEADER = struct.Struct("<qqqii")  # salt, session, message id, sequence number, length
_MESSAGE_HEADER = struct.Struct("<qii")  # message id, sequence number, length
#: Size in bytes from which on a packet waits for its turn to be decrypted.
_LONG = 64 << 10
_MIN_PADDING, _MAX_PADDING = 12, 1024


@dataclass(slots=True)
class EncryptedPacket:
    """An encrypted packet, split into its fields."""

    key_id: int
    message_key: bytes
    data: bytes | memoryview

    def take_data(self) -> bytes:
        """A copy of the data, which the packet drops: Telethon keeps the last packet of a connection until
        the next one arrives."""
        data, self.data = bytes(self.data), b""
        return data


Packet = bytes | EncryptedPacket  # bytes: part of the key exchange, or a transport error of 4 bytes


class PacketProtocol(asyncio.BufferedProtocol):
    """Splits the stream into packets: four bytes with the length, followed by the data."""

    def __init__(self) -> None:
        self._buffer = bytearray(_LENGTH.size)  # exactly the size of the length field or packet being read
        self._filled = 0
        self._in_packet = False
        self._queue: asyncio.Queue[Packet | Exception] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None

    async def next(self) -> Packet:
        """The next packet. Raises `ConnectionError` after the connection was lost."""
        packet = await self._queue.get()
        if isinstance(packet, Exception):
            raise packet
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()
        return packet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio: the buffer for the next bytes."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio after `nbytes` were received."""
        self._filled += nbytes
        if self._filled < len(self._buffer):
            return
        buffer, self._buffer, self._filled = self._buffer, bytearray(_LENGTH.size), 0
        if self._in_packet:
            self._in_packet = False
            self._finish_packet(memoryview(buffer))
        else:
            self._start_packet(*_LENGTH.unpack(buffer))

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        self._queue.put_nowait(ConnectionError(f"the connection was lost: {exc or 'closed'}"))

    def _start_packet(self, length: int) -> None:
        if not 0 < length <= MAX_PACKET:
            self._queue.put_nowait(ConnectionError(f"invalid packet length: {length} bytes"))
            cast(asyncio.Transport, self._transport).abort()
            return
        # Allocated per packet: most connections are idle, and none keeps a large buffer.
        self._in_packet, self._buffer = True, bytearray(length)

    def _finish_packet(self, packet: memoryview) -> None:
        self._queue.put_nowait(_split(packet))
        if self._queue.qsize() >= _MAX_BACKLOG:
            cast(asyncio.Transport, self._transport).pause_reading()


def _split(packet: memoryview) -> Packet:
    if len(packet) <= _KEYS.size:
        return bytes(packet)
    key_id, message_key = _KEYS.unpack_from(packet)
    return EncryptedPacket(key_id, message_key, packet[_KEYS.size :]) if key_id else bytes(packet)


class ConnectionRoute(ConnectionTcpIntermediate):  # type: ignore[misc]  # Telethon is not typed
    """A connection made by `saveany.net`, like all others of this project. `_proxy` is a proxy URL, or ""."""

    #: Why connecting failed. Telethon only logs this error and raises another one.
    failure: OSError | None = None

    async def _connect(self, timeout: float | None = None, ssl: Any = None) -> None:
        if self._proxy:  # Telethon may give up before `dial` does, so set the reason beforehand
            self.failure = dial.ProxyFailed(dial.STALLED)
        try:
            streams = await dial.connect(self._ip, self._port, self._proxy, timeout)
        except OSError as error:
            self.failure = error
            raise
        self.failure = None
        self._set_streams(*streams)
        self._codec = self.packet_codec(self)
        self._init_conn()

    def _set_streams(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Any = reader
        self._writer: Any = writer


class TcpConnection(ConnectionRoute):
    """A connection that reads without a stream reader and closes without waiting for the other side."""

    _packets: PacketProtocol
    #: Waits until a long packet may be passed on to be decrypted; None: nothing waits.
    turn: Callable[[], Awaitable[None]] | None = None

    def abort(self) -> None:
        """Close the connection now."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _set_streams(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Replace the stream's protocol. Nothing was received yet: Telegram's servers only reply to
        requests."""
        transport, self._packets = cast(asyncio.Transport, writer.transport), PacketProtocol()
        transport.pause_reading()
        transport.set_protocol(self._packets)
        self._packets.connection_made(transport)
        transport.resume_reading()
        self._writer = _Writer(writer)

    async def _recv(self) -> Packet:
        packet = await self._packets.next()
        if self.turn and isinstance(packet, EncryptedPacket) and len(packet.data) > _LONG:
            await self.turn()
        return packet


class _Writer:
    """The part of a stream writer that Telethon's connection uses. `drain` does nothing: a connection has
    only a few requests in flight, each of at most half a mebibyte."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self._stream = stream  # keep a reference: the stream closes the connection when it is deleted
        self.transport = transport = cast(asyncio.Transport, stream.transport)
        self.write = transport.write
        self.close = transport.close

    async def drain(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


class EncryptionState(MTProtoState):  # type: ignore[misc]  # Telethon is not typed
    """The encryption state of a connection."""

    _highest_remote_id: int

    def write_data_as_message(
        self, buffer: BytesIO, data: bytes, content_related: bool, *, after_id: int | None = None
    ) -> int:
        """As Telethon's method, but without compression: the long messages here are parts of files, which do
        not shrink, and trying takes ten times as long as encrypting them. `after_id` is never used here."""
        message_id: int = self._get_new_msg_id()
        buffer.write(_MESSAGE_HEADER.pack(message_id, self._get_seq_no(content_related), len(data)))
        buffer.write(data)
        return message_id

    def decrypt_message_data(self, packet: Packet) -> TLMessage | None:
        """The message in a packet; None for a repeated message, or one that is too old or too new.
        Raises `InvalidBufferError` for a transport error, `ConnectionError` for a wrong envelope.
        """
        now = time.time()
        if not isinstance(packet, EncryptedPacket):
            raise InvalidBufferError(packet)
        plain = self._decrypt(packet)
        _, session, message_id, sequence, length = _INNER_HEADER.unpack_from(plain)
        padding = len(plain) - _INNER_HEADER.size - length
        if session != self.id or message_id % 2 != 1:
            raise ConnectionError("a message belongs to another session")
        if length < 0 or length % 4 or not _MIN_PADDING <= padding <= _MAX_PADDING:
            raise ConnectionError("a message has a wrong length")
        body = memoryview(plain)[_INNER_HEADER.size : _INNER_HEADER.size + length]
        return self._accept(message_id, sequence, body, now)

    def _decrypt(self, packet: EncryptedPacket) -> bytes:
        """The decrypted message with its header, after its message key was checked."""
        if packet.key_id != self.auth_key.key_id or len(packet.data) % 16:
            raise ConnectionError("a reply is encrypted with another key")
        key = self.auth_key.key
        plain: bytes = AES.decrypt_ige(packet.take_data(), *self._calc_key(key, packet.message_key, False))
        digest = sha256(key[96:128])
        digest.update(plain)
        if digest.digest()[8:24] != packet.message_key or len(plain) < _INNER_HEADER.size:
            raise ConnectionError("a reply was damaged")
        return plain

    def _accept(self, message_id: int, sequence: int, body: memoryview, now: float) -> TLMessage | None:
        if message_id <= self._highest_remote_id and message_id in self._recent_remote_ids:
            self._count_ignored()
            return None
        obj = BinaryReader(body).tgread_object()
        if isinstance(obj, BadServerSalt | BadMsgNotification):
            # These messages report a wrong clock, so they are accepted even if their time seems wrong.
            if not self._highest_remote_id and not self.time_offset:
                self.update_time_offset(message_id)
        elif not -MSG_TOO_NEW_DELTA <= now + self.time_offset - (message_id >> 32) <= MSG_TOO_OLD_DELTA:
            self._count_ignored()
            return None
        self._recent_remote_ids.append(message_id)
        self._highest_remote_id = message_id
        self._ignore_count = 0
        return TLMessage(message_id, sequence, obj)


class MtprotoSender(MTProtoSender):  # type: ignore[misc]  # Telethon is not typed
    """Sends requests over one `TcpConnection`. `upload.File.bytes` in a reply is a `memoryview` or `bytes`.

    Without `key`, connecting creates a new one. `salt` is the last known one, 0 if none: a wrong salt costs
    one round trip.
    """

    def __init__(self, key: bytes | None, salt: int, *, loggers: Any, connect_timeout: float) -> None:
        super().__init__(
            AuthKey(key) if key else None,
            loggers=loggers,
            retries=1,
            delay=0,
            auto_reconnect=False,
            connect_timeout=connect_timeout,
            updates_queue=_NoUpdates(),
        )
        self._state = EncryptionState(self.auth_key, loggers=loggers)
        self._state.salt = salt
        self._send_queue = MessagePacker(self._state, loggers=loggers)

    @property
    def salt(self) -> int:
        """The current salt of the data center."""
        return int(self._state.salt)

    async def _process_message(self, message: TLMessage) -> None:
        """As Telethon's method. Afterwards the message is empty: Telethon keeps the last one of a connection,
        with a part of 1 MiB, until the next one was decrypted."""
        await super()._process_message(message)
        message.obj = None


class _NoUpdates:
    """Discards updates, which a data center may send even on a connection for files."""

    def put_nowait(self, update: Any) -> None:
        pass
