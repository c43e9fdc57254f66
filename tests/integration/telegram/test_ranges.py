"""Ranges of a file: any offset and length, with the correct bytes in order."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import Retryable
from saveany.sandbox import Sandbox
from saveany.sandbox.content import ContentStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.telegram.accounts import Accounts
from saveany.telegram.file import PART
from saveany.telegram.links import parse
from saveany.telegram.media import Media
from saveany.telegram.range_reader import AHEAD, FIRST_PART, parts_of
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import LIMITS, Start

SIZE = 40 * PART + 4321
FILE = 2002
GET = {"method": "upload.getFile"}


@pytest.fixture
def file(sandbox: Sandbox) -> StoredFile:
    world = sandbox.world
    channel = world.add_chat(Chat(id=1600000000, title="files", username="files"))
    made = world.add_file(
        StoredFile(id=FILE, content=ContentStream(FILE, SIZE), name="film.mkv", dc=sandbox.dc_id)
    )
    world.post(channel, StoredMessage(id=5, file=made))
    return made


@pytest.fixture
async def accounts(start: Start) -> Accounts:
    started: Accounts = await start(user=True)
    return started


@pytest.fixture
async def media(file: StoredFile, accounts: Accounts) -> Media:
    [found] = await accounts.resolve(parse("https://t.me/files/5"))
    return found


async def read(accounts: Accounts, media: Media, offset: int, length: int) -> bytes:
    return await collect(accounts.read(media, offset, length))


async def collect(pieces: AsyncIterator[bytes | memoryview]) -> bytes:
    return b"".join([piece async for piece in pieces])


@given(
    start=st.integers(0, 5 * PART),
    length=st.integers(0, 5 * PART),
    sizes=st.lists(st.sampled_from([PART // 2, PART]), min_size=1),
)
def test_parts_cover_a_range_and_follow_telegrams_rules(start: int, length: int, sizes: list[int]) -> None:
    size = itertools.cycle(sizes)
    parts = list(parts_of(start, start + length, lambda: next(size)))
    if not length:
        assert parts == []
        return
    assert parts[0][0] <= start
    assert parts[0][1] <= FIRST_PART
    assert parts[-1][0] + parts[-1][1] >= start + length
    assert all(one[0] + one[1] == other[0] for one, other in pairwise(parts))
    for offset, limit in parts:
        assert offset % 1024 == limit % 1024 == 0
        assert 0 < limit <= PART
        assert offset // PART == (offset + limit - 1) // PART
    assert sum(limit for _, limit in parts) < length + 2 * 1024 + 1


async def test_random_ranges_are_exact(accounts: Accounts, media: Media, file: StoredFile) -> None:
    """SB6."""
    chance = random.Random(1)
    for _ in range(100):
        offset = chance.randrange(SIZE)
        length = chance.choice([1, 1000, 256 << 10, 256 << 10, 2 * PART])
        assert await read(accounts, media, offset, length) == file.content.read(offset, length)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (0, 0),
        (1, 0),
        (SIZE, 10),
        (SIZE + 5, 10),
        (SIZE - 1, 1),
        (SIZE - 1, 1000),
        (PART - 1, 2),
        (3 * PART, PART),
        (1023, 2),
        (0, SIZE),
        (0, 1 << 60),
    ],
)
async def test_ranges_at_the_edges_are_exact(
    accounts: Accounts, media: Media, file: StoredFile, offset: int, length: int
) -> None:
    assert await read(accounts, media, offset, length) == file.content.read(offset, min(length, SIZE))


async def test_only_the_requested_bytes_are_fetched(
    sandbox: Sandbox, accounts: Accounts, media: Media
) -> None:
    await read(accounts, media, 7 * PART + 100, 300_000)
    assert sandbox.counters.bytes(**GET) < 300_000 + 2 * 1024
    assert sandbox.counters.requests(**GET) == 2


async def test_the_first_piece_arrives_before_the_rest_is_fetched(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    sandbox.faults.add(f"silent,file={FILE},after={FIRST_PART}")
    async with aclosing(accounts.read(media, 5000, SIZE)) as pieces:
        first = await anext(pieces)
    assert first == file.content.read(5000, len(first))
    assert 0 < len(first) <= FIRST_PART


async def test_a_slow_consumer_limits_the_read_ahead(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    """SB18."""

    def has_come(parts: int) -> bool:
        return sandbox.counters.requests(**GET) == parts

    async with aclosing(accounts.read(media, 0, SIZE)) as pieces:
        got = bytes(await anext(pieces))
        for parts in range(2, 6):
            await until(partial(has_come, parts))
            await accounts.resolve(parse("https://t.me/files/5"))  # time for more to come
            assert has_come(parts)
            got += await anext(pieces)
        async for piece in pieces:
            got += piece
    assert got == file.content.read(0, SIZE)


async def test_a_fast_reader_fetches_several_parts_at_once(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    sandbox.faults.add(f"silent,file={FILE},after={8 * PART}")
    async with aclosing(accounts.read(media, 0, SIZE)) as pieces:
        reading = asyncio.ensure_future(collect(pieces))
        await until(lambda: sandbox.counters.requests(**GET) >= 8 + AHEAD)
        reading.cancel()
        await asyncio.wait([reading])


async def test_readers_of_the_same_bytes_share_requests(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    """DL6: L4."""
    delayed = sandbox.faults.add(f"delay=0.2,file={FILE}")
    expected = file.content.read(PART, 3 * PART)
    assert await asyncio.gather(*(read(accounts, media, PART, 3 * PART) for _ in range(5))) == [expected] * 5
    assert delayed.fired
    assert sandbox.counters.bytes(**GET) < 4 * PART


async def test_the_head_and_the_tail_of_a_file_are_kept_for_a_while(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    for offset in (0, SIZE - 100_000):
        assert await read(accounts, media, offset, 100_000) == file.content.read(offset, 100_000)
    sandbox.counters.clear()
    for offset in (SIZE - 100_000, 0):
        assert await read(accounts, media, offset, 100_000) == file.content.read(offset, 100_000)
    assert sandbox.counters.requests(**GET) == 0


async def test_a_reader_that_leaves_does_not_disturb_the_others(
    sandbox: Sandbox, start: Start, file: StoredFile
) -> None:
    """The request that they share goes on."""
    accounts = await start(user=True, limits=replace(LIMITS, idle_seconds=60))
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    sandbox.faults.add(f"delay=1,file={FILE},count=2")
    first, second = (asyncio.create_task(read(accounts, media, 0, 100_000)) for _ in range(2))
    await until(lambda: sandbox.counters.requests(**GET) == 1)
    first.cancel()
    assert await second == file.content.read(0, 100_000)
    assert sandbox.counters.requests(**GET) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_stalled_readers_do_not_block_others(sandbox: Sandbox, start: Start, file: StoredFile) -> None:
    """SB18."""
    accounts = await start(user=True, limits=replace(LIMITS, max_memory=4 * PART))
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    paused = [accounts.read(media, each * PART, SIZE) for each in range(3)]
    for each in paused:
        await anext(each)
    async with asyncio.timeout(20):
        assert await read(accounts, media, 0, SIZE) == file.content.read(0, SIZE)
    for each in paused:
        await each.aclose()


async def test_a_reader_that_stops_early_leaves_no_requests(
    sandbox: Sandbox, accounts: Accounts, media: Media
) -> None:
    sandbox.faults.add(f"delay=30,file={FILE},after={FIRST_PART}")
    before = asyncio.all_tasks()
    async with aclosing(accounts.read(media, 0, SIZE)) as pieces:
        await anext(pieces)
        await until(lambda: sandbox.counters.requests(**GET) == 2)
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}  # type: ignore[union-attr]
    assert not [name for name in names if "fetch" in name]


async def test_a_cancel_while_waiting_is_raised(sandbox: Sandbox, accounts: Accounts, media: Media) -> None:
    sandbox.faults.add(f"delay=30,file={FILE}")
    task = asyncio.create_task(read(accounts, media, 0, SIZE))
    await until(lambda: sandbox.counters.requests(**GET) >= 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "fault",
    ["drop,every=3,count=3", "short=17,every=4,count=2", "expire,after=2000000,count=2", "corrupt,count=2"],
)
async def test_temporary_faults_are_overcome(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile, fault: str
) -> None:
    made = sandbox.faults.add(f"{fault},file={FILE}")
    assert await read(accounts, media, 12345, 12 * PART) == file.content.read(12345, 12 * PART)
    assert made.fired


async def test_an_error_is_raised_after_the_preceding_bytes(
    sandbox: Sandbox, accounts: Accounts, media: Media, file: StoredFile
) -> None:
    sandbox.faults.add(f"flood_wait=500,file={FILE},after={FIRST_PART}")
    got = b""

    async def collect() -> None:
        nonlocal got
        async for piece in accounts.read(media, 0, SIZE):
            got += piece

    with pytest.raises(Retryable):
        await collect()
    assert len(got) >= FIRST_PART
    assert got == file.content.read(0, len(got))


async def test_a_part_is_decrypted_when_it_is_its_turn(
    sandbox: Sandbox, start: Start, file: StoredFile
) -> None:
    waiting, go = 0, asyncio.Event()

    async def turn() -> None:
        nonlocal waiting
        waiting += 1
        await go.wait()

    accounts = await start(user=True, limits=replace(LIMITS, turn=turn))
    [media] = await accounts.resolve(parse("https://t.me/files/5"))
    reading = asyncio.create_task(read(accounts, media, 0, PART))
    await until(lambda: waiting == 1 and sandbox.counters.requests(**GET) >= 2)
    assert not reading.done()
    go.set()
    assert await reading == file.content.read(0, PART)
