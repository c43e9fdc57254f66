"""The layer below requests: keys, envelopes, clocks, salts, containers."""

import asyncio
import gzip
import hashlib
import secrets
import struct
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from telethon.crypto import AES, AuthKey, rsa
from telethon.extensions import BinaryReader
from telethon.network import authenticator
from telethon.tl import functions as fn
from telethon.tl import types as tl
from telethon.tl.core import GzipPacked, RpcResult

from saveany.sandbox import Sandbox, handshake, samples
from saveany.sandbox.connection import UNKNOWN_KEY
from tests.fixtures.tcp import connection
from tests.sandbox.clients import Raw, bot, person, user

PING = bytes(fn.PingRequest(7))
GET_STATE = bytes(fn.updates.GetStateRequest())


class Urandom:
    """`os` with given random numbers for one length."""

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


def rsa_pad(sandbox: Sandbox, data: bytes) -> bytes:
    """As https://core.telegram.org/mtproto/auth_key#41-rsa-paddata-server-public-key says."""
    public = load_pem_public_key(sandbox.public_key.encode())
    assert isinstance(public, RSAPublicKey)
    numbers = public.public_numbers()
    padded = data + secrets.token_bytes(192 - len(data))
    block = b"\xff" * 256
    while int.from_bytes(block, "big") >= numbers.n:
        key = secrets.token_bytes(32)
        sealed = AES.encrypt_ige(padded[::-1] + hashlib.sha256(key + padded).digest(), key, bytes(32))
        mask = hashlib.sha256(sealed).digest()
        block = bytes(a ^ b for a, b in zip(key, mask, strict=True)) + sealed
    return pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(256, "big")


@pytest.mark.parametrize(("dc", "accepted"), [(2, True), (10_002, True), (-2, True), (4, False)])
async def test_current_key_exchange(
    dc: int, accepted: bool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encrypt(fingerprint: int, data: bytes, **_: Any) -> bytes:
        inner = BinaryReader(data).tgread_object()
        fields = {
            name: getattr(inner, name) for name in ("pq", "p", "q", "nonce", "server_nonce", "new_nonce")
        }
        return rsa_pad(sandbox, bytes(tl.PQInnerDataDc(**fields, dc=dc)))

    monkeypatch.setattr(rsa, "encrypt", encrypt)
    if accepted:
        async with bot(sandbox) as client:
            assert (await client.get_me()).bot
    else:
        with pytest.raises((EOFError, ConnectionError)):
            async with bot(sandbox, connection_retries=1, retry_delay=0):
                pass


@pytest.mark.parametrize("stripped", [True, False])
def test_keys_with_a_leading_zero_are_recognized_in_both_forms(stripped: bool) -> None:
    private = generate_private_key(public_exponent=65537, key_size=2048)
    kept: list[bytes] = []
    exchange = handshake.Handshake(private, 2, kept.append)
    exchange._uses_rsa_pad = not stripped
    exchange._secret, secret = 1, 7  # the key is g_b itself
    data = bytes(tl.ClientDHInnerData(0, 0, 0, bytes(255) + bytes([secret])))
    exchange._cipher = (bytes(32), bytes(32))
    padded = bytes(20) + data + bytes(-(20 + len(data)) % 16)
    answer = exchange.reply_to(
        fn.SetClientDHParamsRequest(0, 0, AES.encrypt_ige(padded, bytes(32), bytes(32)))
    )
    whole, short = AuthKey(bytes(255) + b"\x07"), AuthKey(b"\x07")
    assert set(kept) == ({whole.key, short.key} if stripped else {whole.key})
    assert answer.new_nonce_hash1 == (short if stripped else whole).calc_new_nonce_hash(0, 1)


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
async def test_message_ids_far_from_the_current_time_are_refused(
    seconds: int, low_bits: int, code: int, sandbox: Sandbox
) -> None:
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


async def test_session_is_announced_after_a_stale_salt_too(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.state.salt = 1
        raw.send(PING)
        raw.state.salt = (await raw.receive()).new_server_salt
        raw.send(PING)
        assert [type(await raw.receive()) for _ in range(2)] == [tl.NewSessionCreated, tl.Pong]


async def test_a_changed_salt_is_announced(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.send(bytes(fn.GetFutureSaltsRequest(1)))
        assert isinstance(await raw.receive(), tl.NewSessionCreated)
        assert (await raw.receive()).salts[0].salt == raw.state.salt
        sandbox.faults.add("salt,count=1")
        raw.send(PING)
        assert isinstance(await raw.receive(), tl.Pong)
        (sent,) = raw.send(PING)
        refusal = await raw.receive()
        assert (refusal.bad_msg_id, refusal.error_code) == (sent, 48)
        raw.state.salt = refusal.new_server_salt
        raw.send(PING)
        assert isinstance(await raw.receive(), tl.Pong)
    sandbox.faults.add("salt,every=2")
    async with user(sandbox) as client:  # Telethon sends again what was refused
        for _ in range(5):
            assert await client.get_me()


async def test_a_connection_can_begin_a_new_session(sandbox: Sandbox) -> None:
    sandbox.faults.add("session,method=updates.getState,count=1")
    async with Raw(sandbox) as raw:
        raw.send(PING)
        await raw.receive()
        await raw.receive()
        raw.send(GET_STATE)
        assert [type(await raw.receive()) for _ in range(2)] == [tl.NewSessionCreated, RpcResult]
        raw.send(GET_STATE)
        assert isinstance(await raw.receive(), RpcResult)
        sandbox.renew_sessions(samples.PERSON.id)  # somebody else
        sandbox.renew_sessions(samples.USER.id)
        assert isinstance(await raw.receive(), tl.NewSessionCreated)


async def test_nothing_is_pushed_in_a_new_session_until_the_client_asks(sandbox: Sandbox) -> None:
    async with person(sandbox) as other, user(sandbox) as writer:
        await other.client.get_me()
        await writer.send_message("sandbox_person", "first")
        await other.receives(lambda message: message.text == "first")
        sandbox.renew_sessions(samples.PERSON.id)
        pushed = sandbox.counters.requests(method="updates", account=samples.PERSON.id)
        assert pushed
        await writer.send_message("sandbox_person", "second")
        assert sandbox.counters.requests(method="updates", account=samples.PERSON.id) == pushed
        await other.client.get_me()
        await writer.send_message("sandbox_person", "third")
        await other.receives(lambda message: message.text == "third")


async def test_short_replies_are_sent_in_one_container(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.send(PING, GET_STATE)
        packet = raw.state.decrypt_message_data(await raw.packet())
        inside = packet.obj.messages
        assert [type(one.obj) for one in inside] == [tl.NewSessionCreated, tl.Pong, RpcResult]
        assert [one.seq_no for one in inside] == [1, 3, 5]
        assert packet.seq_no == 6  # a container is not acknowledged itself
        assert all(one.msg_id < packet.msg_id for one in inside)


async def test_requests_with_late_replies_are_acknowledged(sandbox: Sandbox) -> None:
    sandbox.faults.add("delay=0.01,method=updates.getState")
    async with Raw(sandbox) as raw:
        _, state = raw.send(PING, GET_STATE)
        answers = [await raw.receive() for _ in range(4)]
        assert [type(one) for one in answers] == [tl.NewSessionCreated, tl.Pong, tl.MsgsAck, RpcResult]
        assert answers[2].msg_ids == [state]


async def test_containers_may_hold_compressed_and_wrapped_requests(sandbox: Sandbox) -> None:
    config = fn.InvokeWithLayerRequest(229, fn.InvokeWithoutUpdatesRequest(fn.help.GetConfigRequest()))
    async with Raw(sandbox) as raw:
        ids = raw.send(PING, bytes(GzipPacked(GET_STATE)), bytes(config), bytes(tl.MsgsAck([1])))
        answers = [await raw.receive() for _ in range(4)]
        assert [type(one) for one in answers] == [tl.NewSessionCreated, tl.Pong, RpcResult, RpcResult]
        assert [answers[1].msg_id, answers[2].req_msg_id, answers[3].req_msg_id] == ids[:3]
        assert len(gzip.compress(answers[3].body)) < len(answers[3].body)  # so it came compressed


async def test_an_unknown_constructor_gets_an_error_reply(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.send(struct.pack("<II", 0xDEADBEEF, 0))
        answers = [await raw.receive(), await raw.receive()]
        assert (answers[1].error.error_code, answers[1].error.error_message) == (
            400,
            "METHOD_NOT_IMPLEMENTED",
        )
        raw.send(GET_STATE + b"more")  # and the connection lives on
        assert (await raw.receive()).error is None


async def test_an_unknown_key_gets_a_transport_error(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.state.auth_key = AuthKey(secrets.token_bytes(256))
        raw.send(PING)
        assert await raw.packet() == UNKNOWN_KEY


async def test_key_of_another_data_center_is_unknown(sandbox: Sandbox) -> None:
    async with Raw(sandbox, dc=4) as raw:
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
    async with connection(*sandbox.addresses[2]) as (reader, writer):
        writer.write(start)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)


async def test_full_transport_checks_sequence_and_checksum(sandbox: Sandbox) -> None:
    async with connection(*sandbox.addresses[2]) as (reader, writer):
        writer.write(struct.pack("<II", 32, 0) + bytes(24))  # the checksum of this is not zero
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
