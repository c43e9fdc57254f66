"""A livestream is read completely, in order and once, whatever Telegram does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from telethon.tl import functions

from saveany.errors import Permanent
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.group_calls import GroupCall, LiveStream, part_header
from saveany.telegram.livestream import LivePart, NotLive, StreamReader, content_of

SPEED = 20.0
#: An MP4, as far as the reader looks at it.
PARTS = [b"\0\0\0\x10ftypmp42%4d" % number for number in range(60)]


@pytest.fixture
def stream() -> LiveStream:
    return LiveStream(parts=PARTS, speed=SPEED, kept=1000)


@pytest.fixture
def call(sandbox: Sandbox, stream: LiveStream) -> GroupCall:
    return sandbox.world.calls.start(sandbox.world.chats[samples.CHANNEL], title="News", stream=stream)


async def reader(start: Any) -> StreamReader:
    accounts = await start(user=True)
    found: StreamReader = await accounts.livestream("me", "@channel")
    return found


async def read(reader: StreamReader, sandbox: Sandbox, call: GroupCall, after: int | None) -> list[LivePart]:
    """All parts; the call ends when the last one was received."""
    found = []
    async with asyncio.timeout(60), aclosing(reader.parts(after)) as parts:
        async for part in parts:
            found.append(part)
            if part.data == PARTS[-1]:
                sandbox.world.calls.end(call)
    return found


@pytest.mark.parametrize(
    "fault",
    [
        "",
        "error=400:TIME_TOO_BIG,method=upload.getFile,every=7",
        "error=400:GROUPCALL_JOIN_MISSING,method=upload.getFile,every=9",
        "kick,method=upload.getFile,every=13",
        "error=403:GROUPCALL_FORBIDDEN,method=upload.getFile,every=20",
        "error=400:GROUPCALL_SSRC_DUPLICATE_MUCH,method=phone.joinGroupCall,count=2",
        "error=500:RPC_CALL_FAIL,method=upload.getFile,every=10",
        "flood_wait=1,method=upload.getFile,every=30",
        "timeout,method=upload.getFile,every=11",
        "drop,method=upload.getFile,every=20",
        "corrupt,method=upload.getFile,every=25",
        "move_call=4,method=upload.getFile,count=1",
        "short=8,method=upload.getFile,every=17",
    ],
)
async def test_every_part_arrives_once_and_in_order(
    fault: str, sandbox: Sandbox, stream: LiveStream, call: GroupCall, start: Any
) -> None:
    stream_reader = await reader(start)
    fired = sandbox.faults.add(fault + f",file={call.id}") if fault else None
    found = await read(stream_reader, sandbox, call, stream.start_ms - 1000)
    assert [part.data for part in found] == PARTS
    assert [part.time_ms for part in found] == [stream.start_ms + 1000 * n for n in range(len(PARTS))]
    assert fired is None or fired.fired > 0
    assert call.joined == {}


@pytest.mark.parametrize("receives_updates", [False, True])
async def test_a_viewer_can_ask_whether_it_is_in_the_call(
    receives_updates: bool, sandbox: Sandbox, call: GroupCall, start: Any
) -> None:
    """The reply is a vector of numbers, in a worker, which gets no updates, as well."""
    accounts = await start(user=True)
    client = accounts.client("me")
    if receives_updates:
        await client.listen(lambda _: None)
    stream_reader = await accounts.livestream("me", "@channel")
    async with aclosing(stream_reader.parts()) as parts:
        await anext(parts)
        (source,) = call.joined.values()
        request = functions.phone.CheckGroupCallRequest(stream_reader.call.input, [source, source + 1])
        assert await client.call(request) == [source]


async def test_lost_parts_are_left_out(
    sandbox: Sandbox, stream: LiveStream, call: GroupCall, start: Any
) -> None:
    stream.missing.update((10, 11, 30))
    found = await read(await reader(start), sandbox, call, stream.start_ms - 1000)
    assert [part.data for part in found] == [part for n, part in enumerate(PARTS) if n not in (10, 11, 30)]


async def test_reading_goes_on_after_a_time_and_begins_with_the_newest_part(
    sandbox: Sandbox, stream: LiveStream, call: GroupCall, start: Any
) -> None:
    stream_reader = await reader(start)
    async with aclosing(stream_reader.parts()) as parts:
        first = await anext(parts)
    assert first.time_ms >= stream.start_ms
    assert call.joined == {}  # it has left
    rest = await read(stream_reader, sandbox, call, first.time_ms)
    assert rest[0].time_ms == first.time_ms + 1000
    assert [part.data for part in rest] == PARTS[-len(rest) :]


async def test_a_stream_that_begins_late_is_awaited(
    sandbox: Sandbox, stream: LiveStream, call: GroupCall, start: Any
) -> None:
    stream.speed = 0  # the clock stands still before the first part
    stream_reader = await reader(start)
    async with aclosing(stream_reader.parts()) as parts:
        first = asyncio.ensure_future(anext(parts))
        await asyncio.wait({first}, timeout=0.7)
        assert not first.done()
        stream.speed = SPEED
        assert (await asyncio.wait_for(first, 30)).data in PARTS


@pytest.mark.parametrize("end", ["before", "while waiting"])
async def test_a_stream_may_end_without_a_part(
    end: str, sandbox: Sandbox, call: GroupCall, stream: LiveStream, start: Any
) -> None:
    stream.speed = 0  # the clock stands still before the first part
    stream_reader = await reader(start)
    async with aclosing(stream_reader.parts()) as parts:
        if end == "before":
            sandbox.world.calls.end(call)
            with pytest.raises(NotLive):
                await anext(parts)
            return
        waiting = asyncio.ensure_future(anext(parts, None))
        await asyncio.wait({waiting}, timeout=0.5)
        sandbox.world.calls.end(call)
        assert await asyncio.wait_for(waiting, 30) is None


async def test_only_streams_are_read(sandbox: Sandbox, start: Any) -> None:
    accounts = await start(user=True)
    with pytest.raises(NotLive):
        await accounts.livestream("me", "@channel")
    sandbox.world.calls.start(sandbox.world.chats[samples.CHANNEL])
    with pytest.raises(Permanent, match="administrator"):
        await accounts.livestream("me", "@channel")


def test_headers_of_both_lengths_are_removed() -> None:
    for endpoint in ("", "unified", "x" * 300):
        assert content_of(part_header(endpoint) + PARTS[0]) == PARTS[0]


def damaged() -> Iterator[bytes]:
    whole = part_header("unified") + PARTS[0]
    yield from (whole[:length] for length in range(len(whole) - 8))
    yield b"\0" + whole[1:]
    yield whole[:36] + b"garbage"


@pytest.mark.parametrize("part", list(damaged()))
def test_damaged_parts_are_recognized(part: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        content_of(part)
