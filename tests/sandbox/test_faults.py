"""Every injected fault affects exactly the selected requests."""

import asyncio
import time
from typing import Any

import pytest
from telethon import errors
from telethon.errors import SecurityError
from telethon.network import MTProtoSender
from telethon.tl import functions as fn

from saveany.sandbox import Fault, Sandbox, faults, samples
from saveany.sandbox.calls import Call
from saveany.sandbox.faults import KINDS
from tests.sandbox.clients import Raw, bot, location, part, user

MIB = 1 << 20
GET_CONFIG = bytes(fn.help.GetConfigRequest())


def elapsed_since(start: float) -> float:
    return time.monotonic() - start


async def test_delay_only_of_chosen_calls(sandbox: Sandbox) -> None:
    sandbox.faults.add("delay=0.2,method=upload.getFile,file=1002")
    async with bot(sandbox) as client:
        slow, fast = await client.get_messages("channel", ids=[124, 125])
        start = time.monotonic()
        await part(client, slow)
        assert elapsed_since(start) >= 0.2
        first = asyncio.ensure_future(part(client, slow))
        await part(client, fast)  # overtakes it
        assert not first.done()
        await first


async def test_a_rate_limit_applies_to_each_connection(sandbox: Sandbox) -> None:
    async with bot(sandbox) as one, user(sandbox) as two:
        message = await one.get_messages("channel", ids=127)
        other = await two.get_messages("channel", ids=127)
        sandbox.faults.add("rate=4000000,method=upload.getFile")
        start = time.monotonic()
        await asyncio.gather(part(one, message, 0, MIB), part(two, other, 0, MIB))
        assert 0.26 <= elapsed_since(start) < 0.5  # side by side, not one after the other


async def test_a_total_rate_limit_is_shared_by_all_connections(sandbox: Sandbox) -> None:
    async with bot(sandbox) as one, user(sandbox) as two:
        message = await one.get_messages("channel", ids=128)
        other = await two.get_messages("channel", ids=128)
        start = time.monotonic()
        await asyncio.gather(part(one, message, 0, MIB), part(two, other, 0, MIB))
        assert elapsed_since(start) >= 2 * MIB / 8_000_000


async def test_flood_wait_every_third_request(sandbox: Sandbox) -> None:
    sandbox.faults.add("flood_wait=30,every=3,file=1003")
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=125)
        outcomes = []
        for _ in range(6):
            try:
                outcomes.append(len(await part(client, message)))
            except errors.FloodWaitError as wait:
                outcomes.append(-wait.seconds)
        assert outcomes == [4096, 4096, -30, 4096, 4096, -30]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("premium_wait=7", errors.FloodPremiumWaitError),
        ("timeout", errors.TimedOutError),
        ("error=500:RPC_CALL_FAIL", errors.RpcCallFailError),
        ("error=400:CHANNEL_PRIVATE", errors.ChannelPrivateError),
    ],
)
async def test_a_refuse_fault_returns_the_chosen_error(fault: str, error: Any, sandbox: Sandbox) -> None:
    async with bot(sandbox, request_retries=1) as client:
        message = await client.get_messages("channel", ids=125)
        sandbox.faults.add(f"{fault},count=1")
        with pytest.raises(error):
            await client._sender.send(fn.upload.GetFileRequest(location(message), 0, 4096))
        assert len(await part(client, message)) == 4096


async def test_a_frozen_account_is_refused_most_requests(sandbox: Sandbox) -> None:
    sandbox.faults.add(f"frozen,account={samples.USER.id}")
    async with user(sandbox) as frozen, bot(sandbox) as other:
        assert (await frozen.get_me()).id == samples.USER.id
        with pytest.raises(errors.FrozenMethodInvalidError):
            await frozen(fn.contacts.ResolveUsernameRequest("channel"))
        message = await other.get_messages("channel", ids=125)  # nobody else is concerned
        with pytest.raises(errors.FrozenParticipantMissingError):
            await frozen(fn.channels.GetChannelsRequest([await other.get_input_entity(message.peer_id)]))


async def test_file_references_expire_after_the_chosen_number_of_bytes(sandbox: Sandbox) -> None:
    fault = sandbox.faults.add("expire,after=600000,file=1004,count=2")
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=126)
        data = await client.download_media(message, bytes)
        assert data == sandbox.world.files[1004].content.read(0, 2 * MIB)
        assert fault.fired == 1
        assert sandbox.counters.requests(method="channels.getMessages") == 2  # it was read again


async def test_a_part_can_be_cut_short(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=125)
        whole = await part(client, message)
        sandbox.faults.add("short=100,file=1003,count=1")
        assert await part(client, message) == whole[:-100]
        assert await part(client, message) == whole


async def test_an_envelope_can_be_corrupted(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as raw:
        raw.send(GET_CONFIG)
        await raw.receive()
        await raw.receive()
        sandbox.faults.add("corrupt,count=1")
        raw.send(GET_CONFIG)
        with pytest.raises(SecurityError, match="msg_key"):
            await raw.receive()
        raw.send(GET_CONFIG)
        assert (await raw.receive()).error is None


async def test_a_dropped_client_can_reconnect(sandbox: Sandbox) -> None:
    fault = sandbox.faults.add("drop,after=500000,file=1004,count=1")
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=126)
        before = set(sandbox.counters.by("connection"))
        data = await client.download_media(message, bytes)
        assert data == sandbox.world.files[1004].content.read(0, 2 * MIB)
        assert fault.fired == 1
        assert set(sandbox.counters.by("connection")) > before


async def test_one_connection_can_fall_silent(sandbox: Sandbox) -> None:
    async with Raw(sandbox) as deaf, Raw(sandbox) as other:
        sandbox.faults.add("silent,method=help.getConfig,count=1")
        deaf.send(GET_CONFIG)
        assert type(await deaf.receive()).__name__ == "NewSessionCreated"
        other.send(GET_CONFIG)  # asked later, so it is not the one that goes silent
        for _ in range(2):
            await other.receive()
        deaf.send(GET_CONFIG)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(deaf.packet(), 0.3)
        assert len(sandbox.centers[2].connections) == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("revoke", errors.AuthKeyUnregisteredError),
        ("revoke=SESSION_REVOKED", errors.SessionRevokedError),
        ("revoke=USER_DEACTIVATED_BAN", errors.UserDeactivatedBanError),
    ],
)
async def test_revoked_login_stays_revoked(text: str, error: Any, sandbox: Sandbox) -> None:
    async with user(sandbox) as client, bot(sandbox) as other:
        sandbox.faults.add(f"{text},account=123456789,method=contacts.resolveUsername,count=1")
        for _ in range(2):
            with pytest.raises(error):
                await client(fn.contacts.ResolveUsernameRequest("channel"))
        assert await other.get_entity("channel")


async def test_key_from_two_addresses_is_dead(sandbox: Sandbox) -> None:
    async with user(sandbox) as client, user(sandbox) as same_host:
        sandbox.faults.add("one_address,account=123456789")
        assert await client.get_me()
        with pytest.raises(errors.AuthKeyDuplicatedError):
            async with user(sandbox, local_addr="127.0.0.2"):
                pass
        with pytest.raises(errors.AuthKeyDuplicatedError):
            await same_host(fn.updates.GetStateRequest())


async def test_a_key_works_from_two_addresses_by_default(sandbox: Sandbox) -> None:
    async with user(sandbox) as client, user(sandbox, local_addr="127.0.0.2") as other:
        assert await client.get_me()
        assert await other.get_me()


async def test_a_message_can_be_deleted_during_a_download(sandbox: Sandbox) -> None:
    sandbox.faults.add("delete,after=4096,file=1003")
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=125)
        await part(client, message)
        with pytest.raises(errors.FileReferenceExpiredError):
            await part(client, message, 4096)
        assert await client.get_messages("channel", ids=125) is None


async def test_a_message_can_be_edited_during_a_download(sandbox: Sandbox) -> None:
    sandbox.faults.add("edit=1004,after=4096,file=1003")
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=125)
        await part(client, message)
        with pytest.raises(errors.FileReferenceExpiredError):
            await part(client, message, 4096)
        edited = await client.get_messages("channel", ids=125)
        assert edited.document.id == 1004
        assert edited.edit_date


async def test_faults_can_be_removed(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=125)
        fault = sandbox.faults.add(Fault(kind="timeout", method="upload.getFile"))
        with pytest.raises(errors.TimedOutError):
            await client._sender.send(fn.upload.GetFileRequest(location(message), 0, 4096))
        sandbox.faults.remove(fault)
        assert len(await part(client, message)) == 4096


async def test_requests_are_counted(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client, user(sandbox) as other:
        message = await client.get_messages("channel", ids=126)
        await client.download_media(message, bytes)
        await part(other, await other.get_messages("channel", ids=126))
        size = MIB + 1
        chosen = {"method": "upload.getFile", "file": 1004}
        assert sandbox.counters.bytes(**chosen) == size + 4096
        assert sandbox.counters.bytes(account=7000000001) == size
        assert sandbox.counters.requests(account=123456789, **chosen) == 1
        assert sandbox.counters.requests(file=1003) == 0
        assert len(sandbox.counters.by("connection", **chosen)) == 2
        assert isinstance(client._sender, MTProtoSender)
        sandbox.counters.clear()
        assert sandbox.counters.requests() == sandbox.counters.bytes() == 0


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("timeout", {"kind": "timeout"}),
        ("flood_wait=30,every=10,file=1003", {"value": "30", "every": 10, "file": 1003}),
        ("delay=0.5, method=upload.getFile ,account=5", {"method": "upload.getFile", "account": 5}),
        ("error=400:A_B,connection=2,count=3,after=9", {"connection": 2, "count": 3, "after": 9}),
    ],
)
def test_a_fault_is_parsed_and_printed_in_the_same_form(text: str, fields: dict[str, Any]) -> None:
    fault = Fault.parse(text)
    assert {name: getattr(fault, name) for name in fields} == fields


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "flood_wait",
        "flood_wait=soon",
        "timeout=3",
        "delay=-1",
        "drop,file=x",
        "drop,files=1",
        "error=A",
        "rate=0",
        "drop,every=0",
    ],
)
def test_invalid_faults_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Fault.parse(text)


def test_every_kind_of_fault_is_documented() -> None:
    text = faults.__doc__ or ""
    assert all(f"\n    {kind} " in text for kind in KINDS)


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, True),
        ({"kind": "timeout"}, False),  # for there is no key to answer with
        ({"method": "a.b", "connection": 1, "account": 2, "file": 3}, True),
        ({"method": "a.c"}, False),
        ({"connection": 9}, False),
        ({"account": 9}, False),
        ({"file": 9}, False),
    ],
)
def test_selectors_choose_the_requests_of_a_fault(selector: dict[str, Any], fits: bool) -> None:
    assert Fault(**{"kind": "drop", **selector}).matches(Call("a.b", 1, 2, 3)) is fits
