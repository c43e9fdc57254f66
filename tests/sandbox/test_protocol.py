"""The layer below requests: keys, envelopes, clocks, salts, containers."""

import asyncio
import gzip
import hashlib
import secrets
import struct
import time
from typing import Any

import pytest
from telethon.crypto import AuthKey
from telethon.network import authenticator
from telethon.tl import functions as fn
from telethon.tl import types as tl
from telethon.tl.core import GzipPacked, RpcResult

from saveany.sandbox import Sandbox, handshake
from saveany.sandbox.connection import UNKNOWN_KEY
from tests.sandbox.clients import Raw, bot, user

PING = bytes(fn.PingRequest(7))
GET_STATE = bytes(fn.updates.GetStateRequest())


class Urandom:
    """`os` with random numbers of our choice for one length."""

    def __init__(self, length: int, number: int) -> None:
        self._length = length
        self._bytes = number.to_bytes(length, "big")

    def urandom(self, length: int) -> bytes:
        return self._bytes if length == self._length else secrets.token_bytes(length)

    token_bytes = urandom


async def test_key_with_a_leading_zero_byte(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = int.from_bytes(secrets.token_bytes(handshake.SECRET_BYTES), "big")
    theirs = int.from_bytes(secrets.token_bytes(256), "big") >> 1
    public = pow(handshake.G, ours, handshake.PRIME)
    shared = pow(public, theirs, handshake.PRIME)
    while shared >> (8 * 255):  # until the first of the 256 bytes is zero
        theirs, shared = theirs + 1, shared * public % handshake.PRIME
    monkeypatch.setattr(handshake, "secrets", Urandom(handshake.SECRET_BYTES, ours))
    monkeypatch.setattr(authenticator, "os", Urandom(256, theirs))
    async with bot(sandbox) as client:
        assert len(client.session.auth_key.key) < 256
        assert (await client.get_me()).bot
    assert sandbox.counters.requests(method="reqPqMulti") == 1  # at the first try


@pytest.mark.parametrize("offset", [-1000, 1000])
async def test_wrong_clock_is_corrected(offset: int, sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        state = client._sender._state
        state._last_msg_id, state.time_offset = 0, offset
        assert await client.get_me()
        assert abs(state.time_offset) <= 1


@pytest.mark.parametrize(
    ("seconds", "low_bits", "code"), [(-301, 0, 16), (-290, 0, 0), (20, 0, 0), (31, 0, 17), (0, 1, 18)]
)
async def test_message_ids_out_of_time(seconds: int, low_bits: int, code: int, sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        number = (int(time.time()) + seconds) << 32 | low_bits
        raw.state._get_new_msg_id = lambda: number
        raw.send(PING)
        answer = await raw.receive()
        if code:
            assert isinstance(answer, tl.BadMsgNotification)
            assert (answer.error_code, answer.bad_msg_id) == (code, number)
        else:
            assert isinstance(answer, tl.NewSessionCreated)


async def test_wrong_salt_is_corrected(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        right, raw.state.salt = raw.state.salt, 1
        sent = raw.send(PING)
        answer = await raw.receive()
        assert isinstance(answer, tl.BadServerSalt)
        assert (answer.bad_msg_id, answer.error_code, answer.new_server_salt) == (sent[0], 48, right)


async def test_container_with_compressed_and_wrapped_requests(sandbox: Sandbox) -> None:
    config = fn.InvokeWithLayerRequest(229, fn.InvokeWithoutUpdatesRequest(fn.help.GetConfigRequest()))
    async with Raw(sandbox) as raw:
        ids = raw.send(PING, bytes(GzipPacked(GET_STATE)), bytes(config), bytes(tl.MsgsAck([1])))
        answers = [await raw.receive() for _ in range(4)]
        assert [type(one) for one in answers] == [tl.NewSessionCreated, tl.Pong, RpcResult, RpcResult]
        assert [answers[1].msg_id, answers[2].req_msg_id, answers[3].req_msg_id] == ids[:3]
        assert len(gzip.compress(answers[3].body)) < len(answers[3].body)  # so it came compressed


async def test_unknown_constructor_is_answered(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.send(struct.pack("<II", 0xDEADBEEF, 0))
        answers = [await raw.receive(), await raw.receive()]
        assert (answers[1].error.error_code, answers[1].error.error_message) == (
            400,
            "METHOD_NOT_IMPLEMENTED",
        )
        raw.send(GET_STATE + b"more")  # and the connection lives on
        assert (await raw.receive()).error is None


async def test_unknown_key_is_told(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.state.auth_key = AuthKey(secrets.token_bytes(256))
        raw.send(PING)
        assert await raw.packet() == UNKNOWN_KEY


async def test_key_of_another_data_centre_is_unknown(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.writer.close()
        raw.reader, raw.writer = await asyncio.open_connection(*sandbox.addresses[4])
        raw.writer.write(b"\xee" * 4)
        raw.send(PING)
        assert await raw.packet() == UNKNOWN_KEY


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"short",
        bytes(8) + b"not a plain message, whatever it is",
        bytes(20) + bytes(fn.PingRequest(1)),
        bytes(20) + bytes(fn.ReqDHParamsRequest(1, 2, b"p", b"q", 3, b"x" * 256)),
        "own key, garbage",
        "own key, one bit wrong",
    ],
    ids=lambda value: hashlib.sha256(repr(value).encode()).hexdigest()[:6],
)
async def test_broken_packets_close_the_connection(garbage: Any, sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        if isinstance(garbage, str):
            good = sealed_ping(raw)
            flipped = good[:-1] + bytes([good[-1] ^ 1])
            garbage = good[:24] + secrets.token_bytes(64) if "garbage" in garbage else flipped
        raw.write(garbage)
        with pytest.raises(asyncio.IncompleteReadError):
            await raw.packet()


def sealed_ping(raw: Raw) -> bytes:
    body = struct.pack("<qii", raw.state._get_new_msg_id(), 1, len(PING)) + PING
    return bytes(raw.state.encrypt_message_data(body))


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n" * 4, bytes(range(64)), b"\xee" * 4 + b"\xff" * 8])
async def test_unknown_transport_closes_the_connection(start: bytes, sandbox: Sandbox) -> None:
    reader, writer = await asyncio.open_connection(*sandbox.addresses[2])
    writer.write(start)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(1)
    writer.close()


async def test_full_transport_checks_sequence_and_checksum(sandbox: Sandbox) -> None:
    reader, writer = await asyncio.open_connection(*sandbox.addresses[2])
    writer.write(struct.pack("<II", 32, 0) + bytes(24))  # the checksum of this is not zero
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(1)
    writer.close()
