"""The receive path of the downloader's own connections: Telethon's layers with fewer copies.

A part of 1 MiB is copied by the kernel into a buffer of its size, once more because cryptg
decrypts nothing but `bytes`, and decrypted; from there on a `memoryview` is handed through to whoever writes
it. Telethon's own classes copy it six times. What they check is checked here
(https://core.telegram.org/mtproto/security_guidelines), and one thing more: an envelope that does not fit
ends the connection, so that its requests fail at once instead of never being answered.

    Route       Telethon's connection over the network, or the proxy, of `saveany.net`
    Connection  a route that is read by a BufferedProtocol
    State       opens envelopes
    Sender      Telethon's sender with these two, which neither reconnects nor knows updates
"""

from __future__ import annotations

import asyncio
import struct
import time
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple, cast

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

#: A longer packet answers nothing that is asked here: a part has 1 MiB at most.
LONGEST_PACKET = 2 << 20
#: Packets that wait to be opened before no more are read.
_BACKLOG = 1
_LENGTH = struct.Struct("<i")
_KEYS = struct.Struct("<Q16s")  # key id, message key
_LETTER = struct.Struct("<qqqii")  # salt, session, message id, sequence number, length
_MESSAGE = struct.Struct("<qii")  # message id, sequence number, length
_LEAST_PADDING, _MOST_PADDING = 12, 1024


class Sealed(NamedTuple):
    """An encrypted packet, cut apart: the long piece is copied once only."""

    key_id: int
    message_key: bytes
    data: bytes


Packet = bytes | Sealed  # bytes: of the key exchange, or a transport error of 4 bytes


class Packets(asyncio.BufferedProtocol):
    """Cuts the stream into packets: four bytes with the length, then as many bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray(_LENGTH.size)  # of the size of what is being read
        self._filled = 0
        self._in_packet = False
        self._queue: asyncio.Queue[Packet | Exception] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None

    async def next(self) -> Packet:
        """The next packet; raises `ConnectionError` when there will be none."""
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
        """For asyncio: where the next bytes go."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """For asyncio: so many have come."""
        self._filled += nbytes
        if self._filled < len(self._buffer):
            return
        buffer, self._buffer, self._filled = self._buffer, bytearray(_LENGTH.size), 0
        if self._in_packet:
            self._in_packet = False
            self._arrived(memoryview(buffer))
        else:
            self._begin(*_LENGTH.unpack(buffer))

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        self._queue.put_nowait(ConnectionError(f"the connection was lost: {exc or 'closed'}"))

    def _begin(self, length: int) -> None:
        if not 0 < length <= LONGEST_PACKET:
            self._queue.put_nowait(ConnectionError(f"a packet of {length} bytes was announced"))
            cast(asyncio.Transport, self._transport).abort()
            return
        self._in_packet, self._buffer = True, bytearray(length)  # many lines rest: none keeps a long one

    def _arrived(self, packet: memoryview) -> None:
        self._queue.put_nowait(_cut(packet))
        if self._queue.qsize() >= _BACKLOG:
            cast(asyncio.Transport, self._transport).pause_reading()


def _cut(packet: memoryview) -> Packet:
    if len(packet) <= _KEYS.size:
        return bytes(packet)
    key_id, message_key = _KEYS.unpack_from(packet)
    return Sealed(key_id, message_key, bytes(packet[_KEYS.size :])) if key_id else bytes(packet)


class ConnectionRoute(ConnectionTcpIntermediate):  # type: ignore[misc]  # Telethon is not typed
    """A connection that is made like all others of ours. `_proxy` is the URL of a proxy, "" for none."""

    #: Why it could not be made: Telethon logs that and raises an error of its own.
    failure: OSError | None = None

    async def _connect(self, timeout: float | None = None, ssl: Any = None) -> None:
        if self._proxy:  # until it has answered: Telethon may give up before `dial` does
            self.failure = dial.ProxyFailed(dial.STALLED)
        try:
            streams = await dial.connect(self._ip, self._port, self._proxy, timeout)
        except OSError as error:
            self.failure = error
            raise
        self.failure = None
        self._use(*streams)
        self._codec = self.packet_codec(self)
        self._init_conn()

    def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Any = reader
        self._writer: Any = writer


class TcpConnection(ConnectionRoute):
    """A connection read without a stream in between, and closed without waiting for the other side."""

    _packets: Packets

    def abort(self) -> None:
        """Close it now."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nothing has come yet: a server of Telegram's speaks when it is spoken to."""
        transport, self._packets = cast(asyncio.Transport, writer.transport), Packets()
        transport.pause_reading()
        transport.set_protocol(self._packets)
        self._packets.connection_made(transport)
        transport.resume_reading()
        self._writer = _Writer(writer)

    async def _recv(self) -> Packet:
        return await self._packets.next()


class _Writer:
    """What Telethon's connection needs of a stream to write to. Nothing is held back: a line has few requests
    on their way, of half a mebibyte at most."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self._stream = stream  # which would close the connection when it is let go
        self.transport = transport = cast(asyncio.Transport, stream.transport)
        self.write = transport.write
        self.close = transport.close

    async def drain(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


class State(MTProtoState):  # type: ignore[misc]  # Telethon is not typed
    """The encryption of a connection."""

    _highest_remote_id: int

    def write_data_as_message(
        self, buffer: BytesIO, data: bytes, content_related: bool, *, after_id: int | None = None
    ) -> int:
        """As Telethon's, but nothing is compressed: what is long here are parts of files, which do not
        shrink, and trying takes ten times as long as encrypting them. Nothing here uses `after_id`."""
        message_id: int = self._get_new_msg_id()
        buffer.write(_MESSAGE.pack(message_id, self._get_seq_no(content_related), len(data)))
        buffer.write(data)
        return message_id

    def decrypt_message_data(self, packet: Packet) -> TLMessage | None:
        """The message in a packet; None for one to be ignored: seen before, or not of this time.

        Raises `InvalidBufferError` for a transport error, `ConnectionError` for a wrong envelope.
        """
        now = time.time()
        if not isinstance(packet, Sealed):
            raise InvalidBufferError(packet)
        plain = self._open(packet)
        _, session, message_id, sequence, length = _LETTER.unpack_from(plain)
        padding = len(plain) - _LETTER.size - length
        if session != self.id or message_id % 2 != 1:
            raise ConnectionError("a message of another session was sent")
        if length < 0 or length % 4 or not _LEAST_PADDING <= padding <= _MOST_PADDING:
            raise ConnectionError("a message has a wrong length")
        body = memoryview(plain)[_LETTER.size : _LETTER.size + length]
        return self._accept(message_id, sequence, body, now)

    def _open(self, packet: Sealed) -> bytes:
        """The decrypted letter, whose message key has been compared."""
        if packet.key_id != self.auth_key.key_id or len(packet.data) % 16:
            raise ConnectionError("a reply has another key")
        key = self.auth_key.key
        plain: bytes = AES.decrypt_ige(packet.data, *self._calc_key(key, packet.message_key, False))
        digest = sha256(key[96:128])
        digest.update(plain)
        if digest.digest()[8:24] != packet.message_key or len(plain) < _LETTER.size:
            raise ConnectionError("a reply was damaged")
        return plain

    def _accept(self, message_id: int, sequence: int, body: memoryview, now: float) -> TLMessage | None:
        if message_id <= self._highest_remote_id and message_id in self._recent_remote_ids:
            self._count_ignored()
            return None
        obj = BinaryReader(body).tgread_object()
        if isinstance(obj, BadServerSalt | BadMsgNotification):
            # What tells that our clock is wrong is let through although it seems to be of another time.
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
    """Sends requests over one `TcpConnection`. `upload.File.bytes` in an answer is a `memoryview`, or
    `bytes`.

    Without `key` connecting agrees on a new one. `salt` is the one last heard of, 0 if none: a wrong one
    costs one more round trip.
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
        self._state = State(self.auth_key, loggers=loggers)
        self._state.salt = salt
        self._send_queue = MessagePacker(self._state, loggers=loggers)

    @property
    def salt(self) -> int:
        """The salt that the data centre wants at the moment."""
        return int(self._state.salt)


class _NoUpdates:
    """Where updates go that a data centre sends although nobody asked for them."""

    def put_nowait(self, update: Any) -> None:
        pass
