"""The downloader's own receive path: it returns the bytes that were sent, or closes the connection."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telethon.crypto import AES, AuthKey
from telethon.errors import InvalidBufferError
from telethon.extensions import BinaryReader
from telethon.network import MTProtoSender
from telethon.network.connection import Connection
from telethon.tl import types
from telethon.tl.core import RpcResult

from saveany.sandbox.envelope import seal
from saveany.telegram.wire import MAX_PACKET, EncryptedPacket, EncryptionState, Packet, PacketProtocol

KEY = bytes(range(256))
SESSION = 42
CONTENT = os.urandom(100_000)


def new_state() -> EncryptionState:
    state = EncryptionState(AuthKey(KEY), defaultdict(lambda: logging.getLogger("wire")))
    state.id = SESSION
    return state


def message_id(seconds: float = 0) -> int:
    return int(time.time() + seconds) << 32 | 1


def answer() -> bytes:
    """An rpc_result with a part of a file."""
    file = bytes(types.upload.File(types.storage.FileUnknown(), 0, CONTENT))
    return struct.pack("<Iq", RpcResult.CONSTRUCTOR_ID, 7) + file


def packet(number: int | None = None, session: int = SESSION) -> EncryptedPacket:
    letter = (0, session, message_id() if number is None else number, 1)
    return EncryptedPacket(AuthKey(KEY).key_id, *seal(KEY, letter, (answer(),)))


def forged(length: int, padding: int) -> EncryptedPacket:
    """A packet with a valid message key, `length` in its length field, and the given number of bytes after
    the header."""
    plain = struct.pack("<qqqii", 0, SESSION, message_id(), 1, length) + bytes(padding)
    message_key = hashlib.sha256(KEY[96:128] + plain).digest()[8:24]
    return EncryptedPacket(
        AuthKey(KEY).key_id,
        message_key,
        AES.encrypt_ige(plain, *EncryptionState._calc_key(KEY, message_key, False)),
    )


def test_parts_are_not_compressed() -> None:
    """Telethon tries to compress every message, which takes longer than everything else."""
    buffer = BytesIO()
    new_state().write_data_as_message(buffer, bytes(100_000), True)
    assert len(buffer.getvalue()) > 100_000


def test_a_part_survives_a_round_trip() -> None:
    message = new_state().decrypt_message_data(packet())
    assert message is not None
    file = BinaryReader(message.obj.body).tgread_object()
    assert isinstance(file.bytes, memoryview)
    assert file.bytes == CONTENT


@pytest.mark.parametrize("at", [0, 8, 23, 24, 1000, 50_000, -1])
def test_a_single_wrong_bit_is_refused(at: int) -> None:
    wrong = bytearray(whole(packet()))
    wrong[at] ^= 1
    key_id, message_key = struct.unpack_from("<Q16s", wrong)
    with pytest.raises(ConnectionError, match=r"damaged|another key"):
        new_state().decrypt_message_data(EncryptedPacket(key_id, message_key, bytes(wrong[24:])))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(packet(), key_id=1),
        replace(packet(), data=packet().data[:-1]),
        replace(packet(), data=b""),
        packet(session=SESSION + 1),
        packet(message_id() & ~1),
        forged(length=-4, padding=32),
        forged(length=6, padding=32),
        forged(length=24, padding=32),  # 8 bytes of padding: too few
        forged(length=64, padding=32),  # more than there is
        forged(length=4, padding=2048),  # too much padding
    ],
    ids=["key", "blocks", "empty", "session", "even id", "negative", "odd", "few", "beyond", "much"],
)
def test_an_envelope_with_a_wrong_length_is_refused(wrong: EncryptedPacket) -> None:
    with pytest.raises(ConnectionError):
        new_state().decrypt_message_data(wrong)


def test_a_transport_error_keeps_its_code() -> None:
    with pytest.raises(InvalidBufferError) as caught:
        new_state().decrypt_message_data(struct.pack("<i", -404))
    assert caught.value.code == 404


def test_a_repeated_message_is_ignored() -> None:
    state, number = new_state(), message_id()
    assert state.decrypt_message_data(packet(number)) is not None
    assert state.decrypt_message_data(packet(number)) is None
    assert state.decrypt_message_data(packet(number + 4)) is not None


@pytest.mark.parametrize(("seconds", "taken"), [(-400, False), (-200, True), (20, True), (60, False)])
def test_a_message_far_from_the_current_time_is_ignored(seconds: float, taken: bool) -> None:
    message = new_state().decrypt_message_data(packet(message_id(seconds)))
    assert (message is not None) is taken


def test_a_wrong_clock_is_corrected_once() -> None:
    state = new_state()
    notice = bytes(types.BadMsgNotification(1, 0, 16))
    letter = (0, SESSION, message_id(5000), 1)
    sealed = EncryptedPacket(AuthKey(KEY).key_id, *seal(KEY, letter, (notice,)))
    assert state.decrypt_message_data(sealed) is not None
    assert state.time_offset == pytest.approx(5000, abs=2)


class Pipe(asyncio.Transport):
    """The part of a transport that `PacketProtocol` uses."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = self.aborted = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def feed(packets: PacketProtocol, stream: bytes, pieces: Iterator[int]) -> None:
    """Deliver the stream in pieces of these sizes, limited by the buffers."""
    while stream:
        buffer = packets.get_buffer(-1)
        size = min(next(pieces), len(buffer), len(stream))
        buffer[:size] = stream[:size]
        packets.buffer_updated(size)
        stream = stream[size:]


def whole(received: Packet) -> bytes:
    if isinstance(received, bytes):
        return received
    return struct.pack("<Q", received.key_id) + received.message_key + received.data


@given(
    sent=st.lists(st.binary(min_size=1, max_size=9000), min_size=1, max_size=6),
    pieces=st.lists(st.integers(1, 5000), min_size=1),
)
async def test_packets_do_not_depend_on_how_the_stream_is_split(sent: list[bytes], pieces: list[int]) -> None:
    packets, pipe = PacketProtocol(), Pipe()
    packets.connection_made(pipe)
    stream = b"".join(struct.pack("<i", len(each)) + each for each in sent)
    feed(packets, stream, (size for _ in stream for size in pieces))
    packets.connection_lost(None)
    assert [whole(await packets.next()) for _ in sent] == sent
    with pytest.raises(ConnectionError):
        await packets.next()


@pytest.mark.parametrize("length", [0, -1, MAX_PACKET + 1, 1 << 30])
async def test_an_impossible_length_closes_the_connection(length: int) -> None:
    packets, pipe = PacketProtocol(), Pipe()
    packets.connection_made(pipe)
    feed(packets, struct.pack("<i", length), iter([4]))
    assert pipe.aborted
    with pytest.raises(ConnectionError, match="invalid packet length"):
        await packets.next()


async def test_unread_packets_pause_reading() -> None:
    packets, pipe = PacketProtocol(), Pipe()
    packets.connection_made(pipe)
    one = struct.pack("<i", 8) + bytes(8)
    sent = 0
    while not pipe.paused:
        feed(packets, one, iter([4, 8]))
        sent += 1
    assert sent < 10
    await packets.next()
    assert not pipe.paused


def test_replaced_functions_are_those_that_telethon_calls() -> None:
    """A version of Telethon that renames them must not go unnoticed."""
    assert {"decrypt_message_data", "recv"} <= set(MTProtoSender._recv_loop.__code__.co_names)
    assert "_recv" in Connection._recv_loop.__code__.co_names
    assert "_connect" in Connection.connect.__code__.co_names
