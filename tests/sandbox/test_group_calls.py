"""Group calls: viewers of a stream receive its parts, administrators can have a call recorded."""

import asyncio
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from telethon import errors, events
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.group_calls import GroupCall, LiveStream, part_header
from saveany.sandbox.world import Chat
from tests.fixtures.servers import program
from tests.fixtures.streams import make_parts
from tests.sandbox.clients import bot, telethon, user

GROUP = 1600000020
SECONDS = 5
LIMIT = 1 << 20


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return make_parts(tmp_path_factory.mktemp("parts"), SECONDS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(parts: list[bytes], clock: Clock, sandbox: Sandbox) -> LiveStream:
    return LiveStream(parts=parts, clock=clock, kept=3)


@pytest.fixture
def call(sandbox: Sandbox, stream: LiveStream) -> GroupCall:
    """A livestream of the sample channel, of which all parts are there."""
    call = sandbox.world.calls.start(sandbox.world.chats[samples.CHANNEL], title="News", stream=stream)
    assert isinstance(stream.clock, Clock)
    stream.clock.now = SECONDS
    return call


async def found(client: Any, chat: str | int = "channel") -> Any:
    """The call that is going on in a chat, as `inputGroupCall`."""
    full = await client(fn.channels.GetFullChannelRequest(await client.get_input_entity(chat)))
    return full.full_chat.call


def joining(call: Any, source: int = 1, params: str = "", **changes: Any) -> Any:
    data = tl.DataJSON(params or json.dumps({"ufrag": "", "pwd": "", "fingerprints": [], "ssrc": source}))
    flags = {"muted": True, "video_stopped": True, "join_as": tl.InputPeerSelf(), **changes}
    return fn.phone.JoinGroupCallRequest(call=call, params=data, **flags)


async def join(client: Any) -> Any:
    call = await found(client)
    await client(joining(call))
    return call


def asking(call: Any, time_ms: int, **changes: Any) -> Any:
    fields = {"scale": 0, "video_channel": 1, "video_quality": 2, **changes}
    return fn.upload.GetFileRequest(tl.InputGroupCallStream(call, time_ms, **fields), 0, LIMIT)


def content(reply: bytes) -> tuple[int, bytes]:
    """The length of the header, as its fields give it, and what follows."""
    assert struct.unpack_from("<I", reply) == (0xA12E810D,)
    offset = 4 + _string(reply, 4) + 4
    (events_count,) = struct.unpack_from("<i", reply, offset)
    offset += 4
    for _ in range(events_count):
        offset += 4 + _string(reply, offset + 4) + 8
    return offset, reply[offset:]


def _string(data: bytes, offset: int) -> int:
    """The size of a TL string of less than 254 bytes."""
    return (data[offset] + 1 + 3) // 4 * 4


async def test_a_viewer_receives_every_part(
    sandbox: Sandbox, call: GroupCall, stream: LiveStream, parts: list[bytes], tmp_path: Path
) -> None:
    stream.kept = SECONDS
    async with user(sandbox) as client:
        named = await join(client)
        shown = (await client(fn.phone.GetGroupCallRequest(named, 10))).call
        assert (shown.title, shown.rtmp_stream, shown.stream_dc_id) == ("News", True, 2)
        assert shown.participants_count == 1
        (channel,) = (await client(fn.phone.GetGroupCallStreamChannelsRequest(named))).channels
        assert (channel.channel, channel.scale) == (1, 0)
        assert channel.last_timestamp_ms == stream.start_ms + (SECONDS - 1) * 1000
        replies = [await client(asking(named, stream.start_ms + n * 1000)) for n in range(SECONDS)]
        opened = [content(reply.bytes) for reply in replies]
    assert [length for length, _ in opened] == [36, 32, 36, 32, 36]
    assert [data for _, data in opened] == parts
    (tmp_path / "part.mp4").write_bytes(opened[1][1])
    probe = [program("ffprobe"), "-v", "error", "-count_frames", "-show_streams", "-of", "json"]
    streams = json.loads(subprocess.check_output([*probe, tmp_path / "part.mp4"]))["streams"]
    assert [(each["codec_type"], each["codec_name"]) for each in streams] == [
        ("video", "h264"),
        ("audio", "aac"),
    ]
    assert int(streams[0]["nb_read_frames"]) == 10


def test_the_header_has_two_lengths() -> None:
    assert (len(part_header("unified")), len(part_header(""))) == (36, 32)


async def test_the_stream_has_no_channel_before_its_first_part(
    sandbox: Sandbox, call: GroupCall, clock: Clock, stream: LiveStream
) -> None:
    clock.now = 0.5
    async with user(sandbox) as client:
        named = await join(client)
        assert (await client(fn.phone.GetGroupCallStreamChannelsRequest(named))).channels == []
        with pytest.raises(errors.BadRequestError, match="TIME_TOO_BIG"):
            await client(asking(named, stream.start_ms))
        clock.now = 1
        assert len((await client(asking(named, stream.start_ms))).bytes) > 1000


@pytest.mark.parametrize(
    ("time_ms", "changes", "problem"),
    [
        (5000, {}, "TIME_TOO_BIG"),
        (1000, {}, "TIME_TOO_SMALL"),  # only three parts are kept
        (-1000, {}, "TIME_TOO_SMALL"),
        (3000, {}, "TIME_TOO_SMALL"),  # a gap
        (4001, {}, "TIME_INVALID"),
        (4000, {"video_channel": 2}, "VIDEO_CHANNEL_INVALID"),
        (4000, {"video_channel": None, "video_quality": None}, "VIDEO_CHANNEL_INVALID"),
        (4000, {"scale": 1}, "SCALE_INVALID"),
    ],
)
async def test_parts_that_do_not_exist_are_refused(
    sandbox: Sandbox, call: GroupCall, stream: LiveStream, time_ms: int, changes: Any, problem: str
) -> None:
    stream.missing.add(3)
    async with user(sandbox) as client:
        named = await join(client)
        with pytest.raises(errors.BadRequestError, match=problem):
            await client(asking(named, stream.start_ms + time_ms, **changes))


async def test_only_who_has_joined_receives_parts(
    sandbox: Sandbox, call: GroupCall, stream: LiveStream
) -> None:
    part = stream.start_ms + 4000
    # Without updates, Telethon cannot read a list of numbers.
    async with user(sandbox, receive_updates=True) as client:
        named = await found(client)
        for request in (
            asking(named, part),
            fn.phone.GetGroupCallStreamChannelsRequest(named),
            fn.phone.CheckGroupCallRequest(named, [1]),
            fn.phone.LeaveGroupCallRequest(named, 1),
        ):
            with pytest.raises(errors.GroupcallJoinMissingError):
                await client(request)
        await client(joining(named, 7))
        assert await client(fn.phone.CheckGroupCallRequest(named, [7, 8])) == [7]
        await client(asking(named, part))
        await client(fn.phone.LeaveGroupCallRequest(named, 7))
        with pytest.raises(errors.GroupcallJoinMissingError):
            await client(asking(named, part))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"params": "{"}, errors.DataJsonInvalidError),
        ({"params": "[]"}, errors.DataJsonInvalidError),
        ({"params": '{"ssrc": "1"}'}, errors.DataJsonInvalidError),
        ({"join_as": tl.InputPeerEmpty()}, errors.JoinAsPeerInvalidError),
        ({"muted": None}, errors.ChatAdminRequiredError),
        ({"video_stopped": None}, errors.ChatAdminRequiredError),
        ({"source": 99}, errors.GroupcallSsrcDuplicateMuchError),
    ],
)
async def test_invalid_ways_to_join_are_refused(
    sandbox: Sandbox, call: GroupCall, changes: Any, problem: Any
) -> None:
    call.joined[samples.PERSON.id] = 99
    async with user(sandbox) as client:
        with pytest.raises(problem):
            await client(joining(await found(client), **changes))


async def test_a_call_is_known_to_its_viewers_only(sandbox: Sandbox, stream: LiveStream) -> None:
    members = {samples.USER.id}
    group = sandbox.world.add_chat(Chat(id=GROUP, title="Closed", broadcast=False, members=members))
    call = sandbox.world.calls.start(group, stream=stream)
    async with user(sandbox) as client, telethon(sandbox, sandbox.person_session) as other:
        named = await found(client, await client.get_entity(tl.PeerChannel(GROUP)))
        for stranger, wrong in (
            (client, tl.InputGroupCall(call.id, named.access_hash ^ 1)),
            (client, tl.InputGroupCall(1, named.access_hash)),
            (other, named),
        ):
            with pytest.raises(errors.GroupcallInvalidError):
                await stranger(joining(wrong))
    async with bot(sandbox) as robot:
        with pytest.raises(errors.BotMethodInvalidError):
            await robot(joining(named))


async def test_parts_are_at_one_data_center_and_can_move(
    sandbox: Sandbox, call: GroupCall, stream: LiveStream
) -> None:
    part = stream.start_ms + 4000
    async with user(sandbox) as client:
        named = await join(client)
        sandbox.faults.add(f"move_call=4,method=upload.getFile,file={call.id},count=1")
        with pytest.raises(errors.FileMigrateError) as moved:
            await client(asking(named, part))
        assert moved.value.new_dc == 4
        assert (await client(fn.phone.GetGroupCallRequest(named, 1))).call.stream_dc_id == 4
        sender = await client._borrow_exported_sender(4)
        assert len((await client._call(sender, asking(named, part))).bytes) > 1000
        await client._return_exported_sender(sender)


async def test_an_account_can_be_removed_from_a_call(
    sandbox: Sandbox, call: GroupCall, stream: LiveStream
) -> None:
    part = stream.start_ms + 4000
    async with user(sandbox) as client:
        named = await join(client)
        sandbox.faults.add(f"kick,file={call.id},count=1")
        with pytest.raises(errors.GroupcallJoinMissingError):
            await client(asking(named, part))
        await client(joining(named))
        assert len((await client(asking(named, part))).bytes) > 1000


async def test_a_call_ends(sandbox: Sandbox, call: GroupCall, stream: LiveStream) -> None:
    async with user(sandbox) as client:
        named = await join(client)
        sandbox.faults.add(f"end_call,file={call.id},count=1")
        for request in (asking(named, stream.start_ms + 4000), joining(named)):
            with pytest.raises(errors.GroupcallForbiddenError):
                await client(request)
        assert await found(client) is None
        discarded = (await client(fn.phone.GetGroupCallRequest(named, 1))).call
        assert isinstance(discarded, tl.GroupCallDiscarded)
        newest = (await client.get_messages("channel", limit=1))[0].action
        assert (newest.call.id, newest.duration) == (call.id, discarded.duration)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("error=400:TIME_TOO_BIG", "TIME_TOO_BIG"),
        ("error=400:TIME_TOO_SMALL", "TIME_TOO_SMALL"),
        ("error=400:TIME_INVALID", "TIME_INVALID"),
        ("error=400:GROUPCALL_JOIN_MISSING", "haven't joined"),
        ("error=400:GROUPCALL_INVALID", "invalid"),
        ("error=403:GROUPCALL_FORBIDDEN", "already ended"),
        ("flood_wait=3", "3 seconds"),
    ],
)
async def test_every_error_can_be_simulated_once(
    sandbox: Sandbox, call: GroupCall, stream: LiveStream, fault: str, problem: str
) -> None:
    async with user(sandbox) as client:
        named = await join(client)
        sandbox.faults.add(f"{fault},method=upload.getFile,file={call.id},count=1")
        with pytest.raises(errors.RPCError, match=problem):
            await client(asking(named, stream.start_ms + 4000))
        assert len((await client(asking(named, stream.start_ms + 4000))).bytes) > 1000
        assert sandbox.counters.requests(method="upload.getFile", file=call.id) == 2


async def test_members_are_told_when_a_call_starts_and_ends(sandbox: Sandbox, stream: LiveStream) -> None:
    heard = asyncio.Queue[Any]()
    async with user(sandbox, receive_updates=True) as client:
        client.add_event_handler(heard.put, events.Raw(tl.UpdateGroupCall))
        channel = await client.get_entity("channel")
        assert not channel.call_active
        call = sandbox.world.calls.start(sandbox.world.chats[samples.CHANNEL], stream=stream)
        first = await asyncio.wait_for(heard.get(), 30)
        assert (first.call.id, first.peer) == (call.id, tl.PeerChannel(samples.CHANNEL))
        assert first.call.access_hash == (await found(client)).access_hash
        assert (await client.get_entity("channel")).call_active
        sandbox.world.calls.end(call)
        last = await asyncio.wait_for(heard.get(), 30)
        assert isinstance(last.call, tl.GroupCallDiscarded)


async def test_an_administrator_has_a_call_recorded(sandbox: Sandbox) -> None:
    film = LiteralContent(b"film" * 1000)
    call = sandbox.world.calls.start(sandbox.world.chats[samples.CHANNEL], recorded=film)
    async with user(sandbox) as client:
        named = await found(client)

        def toggling(start: bool) -> Any:
            return fn.phone.ToggleGroupCallRecordRequest(
                named, start=start, video=True, title="Evening", video_portrait=False
            )

        with pytest.raises(errors.GroupcallNotModifiedError):
            await client(toggling(False))
        await client(toggling(True))
        with pytest.raises(errors.GroupcallNotModifiedError):
            await client(toggling(True))
        shown = (await client(fn.phone.GetGroupCallRequest(named, 1))).call
        assert (shown.record_video_active, shown.rtmp_stream) == (True, False)
        assert shown.record_start_date
        await client(toggling(False))
        (saved,) = await client.get_messages("me", limit=1)
        assert saved.file.name == "Evening.mp4"
        assert await client.download_media(saved, bytes) == film.data
        await client(toggling(True))
        sandbox.world.calls.end(call)  # which ends the recording, too
        with pytest.raises(errors.GroupcallForbiddenError):
            await client(toggling(True))
        assert len(await client.get_messages("me", limit=10)) == 2


async def test_only_administrators_record_and_ordinary_calls_have_no_parts(sandbox: Sandbox) -> None:
    group = sandbox.world.add_chat(
        Chat(id=GROUP, title="Group", username="thegroup", broadcast=False, members={samples.USER.id})
    )
    sandbox.world.calls.start(group)
    async with user(sandbox) as client:
        named = await found(client, "thegroup")
        with pytest.raises(errors.ChatAdminRequiredError):
            await client(fn.phone.ToggleGroupCallRecordRequest(named, start=True))
        await client(joining(named, muted=None))
        with pytest.raises(errors.GroupcallInvalidError):
            await client(fn.phone.GetGroupCallStreamChannelsRequest(named))
