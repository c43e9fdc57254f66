"""The downloader with all common faults: the bytes or the error are correct."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from saveany.errors import NeedsLogin, NoSpace, Permanent, Retryable
from saveany.sandbox import Sandbox
from saveany.sandbox.content import ContentStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.telegram import wire
from saveany.telegram.accounts import Accounts
from saveany.telegram.file import PART
from saveany.telegram.links import parse
from saveany.telegram.media import Media
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import LIMITS, Sink, Start, fetch

SIZE = 6 * PART + 4321  # two connections
FILE = 2001
GET = "method=upload.getFile"


@pytest.fixture
def file(sandbox: Sandbox) -> StoredFile:
    """A file in a public channel, at the account's own data center."""
    world = sandbox.world
    channel = world.add_chat(Chat(id=1600000000, title="files", username="files"))
    made = world.add_file(
        StoredFile(id=FILE, content=ContentStream(FILE, SIZE), name="file.bin", dc=sandbox.dc_id)
    )
    world.post(channel, StoredMessage(id=5, file=made))
    return made


@pytest.fixture
async def accounts(start: Start) -> Accounts:
    """A user account: its session string saves a key exchange."""
    started: Accounts = await start(user=True)
    return started


@pytest.fixture
async def media(file: StoredFile, accounts: Accounts) -> Media:
    [found] = await accounts.resolve(parse("https://t.me/files/5"))
    return found


def expected(file: StoredFile, sink: Sink) -> bool:
    return bytes(sink.data) == file.content.read(0, SIZE)


@pytest.mark.parametrize(
    "fault",
    [
        "timeout,every=3,count=3",
        "error=500:RPC_CALL_FAIL,every=3,count=3",
        "error=500:SOMETHING_NEW,count=1",
        "flood_wait=1,count=2",
        "premium_wait=1,count=1",
        "expire,after=2000000,count=2",
        "short=17,every=4,count=2",
        "drop,every=3,count=3",
    ],
)
async def test_temporary_faults_are_overcome(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile, fault: str
) -> None:
    made = sandbox.faults.add(f"{fault},file={FILE}")
    assert expected(file, await fetch(accounts, media))
    assert made.fired


@pytest.mark.parametrize("fault", ["corrupt", "silent"])
async def test_a_missing_part_is_requested_again(
    sandbox: Sandbox, start: Start, file: StoredFile, fault: str
) -> None:
    accounts = await start(user=True, limits=replace(LIMITS, part_seconds=1.0))
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    made = sandbox.faults.add(f"{fault},file={FILE},count=1")
    assert expected(file, await fetch(accounts, media))
    assert made.fired


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("timeout", "Telegram did not answer|TimedOut|Timeout"),
        ("short=17", "Telegram sent .* bytes at .*; .* were expected"),
        ("drop", "connection to Telegram was lost"),
    ],
)
async def test_lasting_faults_are_retryable_errors(
    sandbox: Sandbox, accounts: Accounts, media: Media, fault: str, reason: str
) -> None:
    sandbox.faults.add(f"{fault},file={FILE}")
    with pytest.raises(Retryable, match=reason):
        await fetch(accounts, media)
    connections = sandbox.counters.by("connection", method="upload.getFile")
    assert len(connections) <= 16  # no storm of reconnects


async def test_references_that_never_work_are_retryable_errors(
    sandbox: Sandbox, accounts: Accounts, media: Media
) -> None:
    sandbox.faults.add(f"error=400:FILE_REFERENCE_EXPIRED,{GET}")
    with pytest.raises(Retryable):
        await fetch(accounts, media)
    assert sandbox.counters.requests(method="channels.getMessages") < 15


async def test_an_expired_reference_is_renewed_once_for_all_parts(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    before = sandbox.counters.requests(method="channels.getMessages")
    sandbox.world.expire(file)
    assert expected(file, await fetch(accounts, media))
    assert sandbox.counters.requests(method="channels.getMessages") == before + 1


async def test_a_message_deleted_during_the_download_is_a_permanent_error(
    sandbox: Sandbox, accounts: Accounts, media: Media
) -> None:
    sandbox.faults.add(f"delete,file={FILE},after=2000000,count=1")
    with pytest.raises(Permanent, match="deleted"):
        await fetch(accounts, media)


async def test_a_message_edited_during_the_download_is_a_permanent_error(
    sandbox: Sandbox, accounts: Accounts, media: Media
) -> None:
    sandbox.faults.add(f"edit=1002,file={FILE},after=2000000,count=1")
    with pytest.raises(Permanent, match="edited"):
        await fetch(accounts, media)


async def test_short_flood_waits_are_waited_and_reported(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    sandbox.faults.add(f"flood_wait=2,file={FILE},count=1")
    told: list[float] = []
    sink = Sink(media.size)
    began = time.monotonic()
    await accounts.download(media, sink.write, on_wait=told.append)
    assert expected(file, sink)
    assert time.monotonic() - began > 1.9
    assert told == [pytest.approx(2, abs=0.2)]


async def test_long_flood_waits_are_raised(sandbox: Sandbox, accounts: Accounts, media: Media) -> None:
    sandbox.faults.add(f"flood_wait=500,file={FILE},count=1")
    for _ in range(2):  # the clock is the account's: the next download does not even ask
        with pytest.raises(Retryable) as caught:
            await fetch(accounts, media)
        assert caught.value.after == pytest.approx(500, abs=2)
    assert sandbox.counters.requests(method="upload.getFile") <= 4


@pytest.mark.parametrize("after", [0, 3 * PART])
async def test_another_account_continues_during_a_flood_wait(
    sandbox: Sandbox, start: Start, file: StoredFile, after: int
) -> None:
    accounts = await start(bot=True, user=True)
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    assert media.account == "bot"
    bot = int(sandbox.bot_token.partition(":")[0])
    sandbox.faults.add(f"flood_wait=300,file={FILE},account={bot},after={after}")
    async with asyncio.timeout(30):
        sink = await fetch(accounts, media)
    assert expected(file, sink)


async def test_a_file_moved_to_another_data_center_is_followed(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    file.dc = 4
    assert media.dc_id == 2
    assert expected(file, await fetch(accounts, media))
    assert sandbox.counters.requests(method="auth.exportAuthorization") == 1


async def test_the_key_of_another_data_center_is_kept(
    sandbox: Sandbox, start: Start, file: StoredFile, tmp_path: Path
) -> None:
    file.dc = 4
    for _ in range(2):
        accounts = await start(bot=True)
        [media] = await accounts.resolve(parse("https://t.me/files/5"))
        assert expected(file, await fetch(accounts, media))
        await accounts.close()
    assert sandbox.counters.requests(method="auth.exportAuthorization") == 1
    assert (tmp_path / "sessions" / "bot.dc4.key").stat().st_mode & 0o777 == 0o600


async def test_a_revoked_key_of_another_data_center_is_replaced(
    sandbox: Sandbox, accounts: Accounts, file: StoredFile
) -> None:
    file.dc = 4
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    await fetch(accounts, media)
    sandbox.faults.add(f"revoke,{GET},count=1")
    assert expected(file, await fetch(accounts, media))
    assert sandbox.counters.requests(method="auth.exportAuthorization") == 2
    assert accounts.ready == ["me"]


async def test_a_revoked_login_needs_a_new_login(sandbox: Sandbox, start: Start, file: StoredFile) -> None:
    accounts = await start(user=True)
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    sandbox.faults.add(f"revoke=SESSION_REVOKED,{GET},count=1")
    with pytest.raises(NeedsLogin, match="saveany login --phone --name me"):
        await fetch(accounts, media)
    assert accounts.ready == []
    assert "ended from another device" in str(accounts.problems["me"])


async def test_several_downloads_may_find_the_login_revoked_at_once(sandbox: Sandbox, start: Start) -> None:
    """Each of them disconnects from all data centers."""
    accounts = await start(user=True)
    here, elsewhere = [(await accounts.resolve(parse(f"https://t.me/channel/{n}")))[0] for n in (126, 135)]
    for media in (here, elsewhere):
        await fetch(accounts, media)
    sandbox.faults.add("revoke=AUTH_KEY_UNREGISTERED,method=upload.getFile")
    downloads = (fetch(accounts, here) for _ in range(4))
    for error in await asyncio.gather(*downloads, return_exceptions=True):
        assert isinstance(error, NeedsLogin | Retryable), error


async def test_idle_connections_are_kept_for_a_while_then_closed(
    sandbox: Sandbox, accounts: Accounts, media: Media
) -> None:
    for _ in range(3):
        await fetch(accounts, media)
    assert len(sandbox.counters.by("connection", method="upload.getFile")) == 2
    await until(lambda: len(sandbox.centers[2].connections) == 1)  # the control connection stays
    await fetch(accounts, media)


async def test_a_slow_writer_slows_the_download(sandbox: Sandbox, accounts: Accounts, media: Media) -> None:
    gate = asyncio.Event()
    waiting = 0

    async def write(offset: int, data: bytes | memoryview) -> None:
        nonlocal waiting
        waiting += 1
        await gate.wait()

    task = asyncio.create_task(accounts.download(media, write))
    await until(lambda: waiting == 4)  # 2 connections x 2 parts
    await accounts.resolve(parse("https://t.me/files/5"))  # time for a fifth to come, if it were asked for
    assert waiting == 4
    assert sandbox.counters.requests(method="upload.getFile") == 4
    gate.set()
    await task


async def test_an_ordered_writer_never_deadlocks(
    accounts: Accounts, media: Media, file: StoredFile, sandbox: Sandbox
) -> None:
    sandbox.faults.add(f"drop,every=4,count=2,file={FILE}")
    turn = asyncio.Condition()
    stream = bytearray()

    async def write(offset: int, data: bytes | memoryview) -> None:
        async with turn:
            await turn.wait_for(lambda: len(stream) == offset)
            stream.extend(data)
            turn.notify_all()

    async with asyncio.timeout(20):
        await accounts.download(media, write)
    assert bytes(stream) == file.content.read(0, SIZE)


async def test_resuming_fetches_only_the_rest(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    sink = Sink(media.size)
    await accounts.download(media, sink.write, have=[(0, 4 * PART)])
    assert sorted(sink.offsets) == [4 * PART, 5 * PART, 6 * PART]
    assert bytes(sink.data[4 * PART :]) == file.content.read(4 * PART, SIZE)


async def test_an_error_of_the_writer_is_raised_unchanged(accounts: Accounts, media: Media) -> None:
    async def write(offset: int, data: bytes | memoryview) -> None:
        raise NoSpace("the disk is full")

    with pytest.raises(NoSpace, match="the disk is full"):
        await accounts.download(media, write)


@pytest.mark.parametrize("fault", ["delay=30", "silent", "rate=1000", "flood_wait=2"])
async def test_a_cancel_takes_less_than_a_second(
    sandbox: Sandbox, accounts: Accounts, media: Media, fault: str
) -> None:
    sandbox.faults.add(f"{fault},file={FILE}")
    task = asyncio.create_task(accounts.download(media, Sink(media.size).write))
    await until(lambda: sandbox.counters.requests(method="upload.getFile") >= 2)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await accounts.close()
    assert time.monotonic() - began < 1


async def test_connections_are_reused_after_a_cancel(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    slow = sandbox.faults.add(f"delay=0.5,file={FILE}")
    task = asyncio.create_task(accounts.download(media, Sink(media.size).write))
    await until(lambda: sandbox.counters.requests(method="upload.getFile") >= 4)
    task.cancel()
    await asyncio.wait([task])
    sandbox.faults.remove(slow)
    assert expected(file, await fetch(accounts, media))
    assert len(sandbox.counters.by("connection", method="upload.getFile")) == 2


async def test_many_files_share_the_connections(sandbox: Sandbox, accounts: Accounts, media: Media) -> None:
    sinks = await asyncio.gather(*(fetch(accounts, media) for _ in range(10)))
    assert len({sink.sha256 for sink in sinks}) == 1
    assert len(sandbox.counters.by("connection", method="upload.getFile")) <= 8


async def test_idle_connections_keep_no_part_in_memory(
    accounts: Accounts, file: StoredFile, media: Media
) -> None:
    """Telethon's loops keep their last packet and message until the next one arrives."""

    def kept() -> list[int]:
        received = tracemalloc.Filter(True, wire.__file__, all_frames=True)
        found = tracemalloc.take_snapshot().filter_traces([received]).traces
        return [trace.size for trace in found if trace.size > PART // 2]

    tracemalloc.start(5)
    try:
        assert expected(file, await fetch(accounts, media))
        await until(lambda: not kept())
    finally:
        tracemalloc.stop()


async def test_large_files_share_the_parts_in_flight(accounts: Accounts, media: Media) -> None:
    pool = accounts.pool(media.account)
    alone = pool.parts_in_flight(8)
    with pool.lease(8), pool.lease(1):
        assert pool.parts_in_flight(8) == alone, "a small file takes nothing from a large one"
        with pool.lease(4), pool.lease(8), pool.lease(8):
            assert pool.parts_in_flight(8) == alone // 4 + 1
            assert pool.parts_in_flight(1) == alone // 8
    assert pool.parts_in_flight(8) == alone


async def test_a_download_continues_with_another_account(
    sandbox: Sandbox, start: Start, file: StoredFile
) -> None:
    """The bot loses access during the download; its reference expires, and the user account reads the message
    again."""
    accounts = await start(bot=True, user=True)
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    assert media.account == "bot"
    sandbox.faults.add("error=400:CHANNEL_PRIVATE,method=channels.getMessages,account=7000000001")
    sandbox.faults.add(f"expire,file={FILE},after=3000000,count=1")
    assert expected(file, await fetch(accounts, media))
    assert set(sandbox.counters.by("account", method="upload.getFile")) == {7000000001, 123456789}


async def test_an_ordered_writer_does_not_deadlock_when_the_file_moves(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    turn = asyncio.Condition()
    stream = bytearray()

    async def write(offset: int, data: bytes | memoryview) -> None:
        async with turn:
            await turn.wait_for(lambda: len(stream) == offset)
            stream.extend(data)
            file.dc = 4
            turn.notify_all()

    async with asyncio.timeout(20):
        await accounts.download(media, write)
    assert bytes(stream) == file.content.read(0, SIZE)
    assert sandbox.counters.requests(method="auth.importAuthorization") == 1


async def test_a_small_file_does_not_wait_for_the_queue_of_a_large_one(
    sandbox: Sandbox, start: Start
) -> None:
    """It waits only for requests already sent."""
    world, most = sandbox.world, 2 * 2
    chat = world.add_chat(Chat(id=1600000009, title="both", username="both"))
    for number, size in ((1, 60 * PART), (2, 1000)):
        content = ContentStream(7100 + number, size)
        file = world.add_file(StoredFile(id=7100 + number, content=content, name="x.bin", dc=sandbox.dc_id))
        world.post(chat, StoredMessage(id=number, file=file))
    sandbox.faults.add("rate=20000000")
    accounts = await start(user=True, limits=replace(LIMITS, connections=2, initial_window=2, max_window=2))
    [big] = await accounts.resolve(parse("https://t.me/both/1"))
    [small] = await accounts.resolve(parse("https://t.me/both/2"))
    sink = Sink(big.size)
    download = asyncio.create_task(accounts.download(big, sink.write))
    await until(lambda: len(sink.offsets) > most)
    before = len(sink.offsets)
    await fetch(accounts, small)
    assert len(sink.offsets) - before <= 2 * most
    await download
