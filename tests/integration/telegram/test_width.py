"""The number of connections and simultaneous requests of a download, and what reduces it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from saveany.sandbox import Sandbox
from saveany.sandbox.content import ContentStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.telegram.accounts import Accounts
from saveany.telegram.file import PART
from saveany.telegram.links import parse
from saveany.telegram.media import Media
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import LIMITS, Sink, Start, fetch

GET = {"method": "upload.getFile"}
LINK = parse("https://t.me/files/5")
ANSWERS_NOTHING = "delay=600,method=upload.getFile"


def post(sandbox: Sandbox, size: int, number: int = 5, dc: int | None = None) -> StoredFile:
    world = sandbox.world
    channel = next((chat for chat in world.chats.values() if chat.username == "files"), None)
    channel = channel or world.add_chat(Chat(id=1600000000, title="files", username="files"))
    content = ContentStream(3000 + number, size)
    made = world.add_file(
        StoredFile(id=content.seed, content=content, name="file.bin", dc=dc or sandbox.dc_id)
    )
    world.post(channel, StoredMessage(id=number, file=made))
    return made


@pytest.fixture
async def accounts(start: Start) -> Accounts:
    started: Accounts = await start(user=True)
    return started


async def resolved(accounts: Accounts, number: int = 5) -> Media:
    [media] = await accounts.resolve(parse(f"https://t.me/files/{number}"))
    return media


@pytest.mark.parametrize(
    ("size", "lines", "parts"),
    [
        (1, 1, 1),
        (5 * PART - 1, 1, 2),
        (5 * PART, 2, 4),
        (20 * PART - 1, 2, 4),
        (20 * PART, 4, 8),
        (32 * PART - 1, 4, 8),
        (32 * PART, 8, 16),
        (4096 * PART, 8, 16),
    ],
)
async def test_the_number_of_connections_depends_on_the_file_size(
    sandbox: Sandbox, accounts: Accounts, size: int, lines: int, parts: int
) -> None:
    post(sandbox, size)
    sandbox.faults.add(ANSWERS_NOTHING)
    media = await resolved(accounts)
    task = asyncio.create_task(accounts.download(media, Sink(0).write))
    await until(lambda: sandbox.counters.requests(**GET) == parts)
    await accounts.resolve(LINK)  # time for more to come, if it were asked for
    assert sandbox.counters.requests(**GET) == parts
    per_line = sandbox.counters.by("connection", **GET)
    assert len(per_line) == lines
    assert max(per_line.values()) <= 2
    task.cancel()
    await asyncio.wait([task])


async def test_many_files_share_each_connection_fairly(sandbox: Sandbox, accounts: Accounts) -> None:
    for number in range(5, 9):
        post(sandbox, 32 * PART, number)
    sandbox.faults.add(ANSWERS_NOTHING)
    found = [await resolved(accounts, number) for number in range(5, 9)]
    tasks = [asyncio.create_task(accounts.download(media, Sink(0).write)) for media in found]
    await until(lambda: sandbox.counters.requests(**GET) == 16)
    await accounts.resolve(LINK)
    assert set(sandbox.counters.by("connection", **GET).values()) == {2}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_bytes_in_flight_are_limited_for_all_files_together(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(user=True, limits=replace(LIMITS, max_memory=6 * PART))
    files = [post(sandbox, 32 * PART, number) for number in range(5, 8)]
    found = [await resolved(accounts, number) for number in range(5, 8)]
    gate = asyncio.Event()
    sinks = [Sink(file.content.size) for file in files]
    held = 0

    def held_back(sink: Sink):  # type: ignore[no-untyped-def]  # a Write
        async def write(offset: int, data: bytes | memoryview) -> None:
            nonlocal held
            held += 1
            await gate.wait()
            await sink.write(offset, data)

        return write

    tasks = [
        asyncio.create_task(accounts.download(media, held_back(sink)))
        for media, sink in zip(found, sinks, strict=True)
    ]
    await until(lambda: held == 6)
    await accounts.resolve(LINK)
    assert held == 6
    assert sandbox.counters.requests(**GET) == 6
    gate.set()
    await asyncio.gather(*tasks)
    assert [bytes(sink.data) for sink in sinks] == [file.content.read(0, 32 * PART) for file in files]


@pytest.mark.parametrize("fault", ["flood_wait=1,count=1", "silent,count=1", "timeout,count=1"])
async def test_failures_reduce_the_number_of_simultaneous_requests(
    sandbox: Sandbox, start: Start, fault: str
) -> None:
    accounts = await start(user=True, limits=replace(LIMITS, part_seconds=1.0))
    file = post(sandbox, 6 * PART)
    sandbox.faults.add(f"{fault},file={file.id}")
    assert bytes((await fetch(accounts, await resolved(accounts))).data) == file.content.read(0, 6 * PART)
    large = post(sandbox, 40 * PART, 6)
    sandbox.faults.add(f"delay=600,file={large.id}")
    task = asyncio.create_task(accounts.download(await resolved(accounts, 6), Sink(0).write))
    await until(lambda: sandbox.counters.requests(file=large.id) == 8)
    await accounts.resolve(LINK)
    assert sandbox.counters.requests(file=large.id) == 8  # 8 connections, 1 part each
    task.cancel()
    await asyncio.wait([task])


async def test_a_damaged_reply_is_noticed_at_once(sandbox: Sandbox, start: Start) -> None:
    """Not after the timeout of a part, which is longer than the test."""
    accounts = await start(user=True, limits=replace(LIMITS, part_seconds=600.0))
    file = post(sandbox, 6 * PART)
    fault = sandbox.faults.add(f"corrupt,file={file.id},count=3")
    assert bytes((await fetch(accounts, await resolved(accounts))).data) == file.content.read(0, 6 * PART)
    assert fault.fired == 3


async def test_connections_to_another_data_center_share_one_authorization(
    sandbox: Sandbox, accounts: Accounts
) -> None:
    file = post(sandbox, 32 * PART, dc=4)
    assert bytes((await fetch(accounts, await resolved(accounts))).data) == file.content.read(0, 32 * PART)
    assert sandbox.counters.requests(method="auth.exportAuthorization") == 1
    assert len(sandbox.counters.by("connection", **GET)) == 8


async def test_a_slow_connection_gets_fewer_parts(sandbox: Sandbox, accounts: Accounts) -> None:
    post(sandbox, 6 * PART)
    await fetch(accounts, await resolved(accounts))
    slow, short_delays = sandbox.counters.by("connection", **GET)
    sandbox.counters.clear()
    sandbox.faults.add(f"delay=0.3,connection={slow}")
    large = post(sandbox, 19 * PART, 6)
    media = await resolved(accounts, 6)
    assert bytes((await fetch(accounts, media)).data) == large.content.read(0, 19 * PART)
    counted = sandbox.counters.by("connection", **GET)
    assert counted[slow] < counted[short_delays]
