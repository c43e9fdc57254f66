"""Several processes that use one account: one `Accounts` each, with a common Valkey and sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from redis.asyncio import Redis

from saveany.errors import Retryable
from saveany.sandbox import Sandbox
from saveany.sandbox.world import StoredFile
from saveany.telegram import shared_account
from saveany.telegram.accounts import Accounts
from saveany.telegram.file import PART
from saveany.telegram.flow import FloodClock
from saveany.telegram.shared_account import SharedAccount
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import LIMITS, Start, fetch, store_of, table
from tests.integration.telegram.test_width import GET, post, resolved

T = TypeVar("T")

ACCOUNT, DC = 77, 2
FLOOD = f"sa:telegram:flood:{ACCOUNT}:{DC}"


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_account, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(shared_account, "EXPIRE_SECONDS", 30.0)


async def first_true(ask: Callable[[], Awaitable[T]]) -> T:
    """The first true result, within 10 s."""
    async with asyncio.timeout(10):
        while not (found := await ask()):
            pass
    return found


async def key_of(redis: Redis, what: str) -> str:
    """The key of the sandbox user, once it exists."""
    found = await first_true(lambda: redis.keys(f"sa:telegram:{what}:*"))
    return str(found[0], "ascii")


async def processes(redis: Redis, key: str, number: int) -> None:
    """Wait until that many processes are announced."""

    async def announced() -> bool:
        return bool(await redis.zcard(key) == number)

    await first_true(announced)


async def now_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def connections_in_use(sandbox: Sandbox, file: StoredFile) -> int:
    """Connections used for the next parts of a file."""
    sandbox.counters.clear()
    await until(lambda: sandbox.counters.requests(file=file.id) >= 24)
    return len(sandbox.counters.by("connection", file=file.id))


async def settles_at(sandbox: Sandbox, file: StoredFile, lines: int) -> None:
    """Wait until a download uses that many connections, and check that it stays at that number."""
    async with asyncio.timeout(60):
        while await connections_in_use(sandbox, file) != lines:
            pass
    assert await connections_in_use(sandbox, file) == lines


async def discard(offset: int, data: bytes | memoryview) -> None:
    """A write that discards the bytes."""


class PeersSeen(asyncio.Event):
    """Set when a process has met the others."""

    async def tell(self) -> None:
        self.set()


@asynccontextmanager
async def downloading(sandbox: Sandbox, accounts: Accounts, number: int) -> AsyncIterator[StoredFile]:
    """A download that continues beyond the block."""
    file = post(sandbox, 4096 * PART, number)
    sandbox.faults.add(f"delay=0.1,file={file.id}")
    task = asyncio.create_task(accounts.download(await resolved(accounts, number), discard))
    await until(lambda: sandbox.counters.requests(file=file.id) > 0)
    yield file
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


# The connections.


async def test_two_processes_get_half_of_the_connections_each(sandbox: Sandbox, start: Start) -> None:
    one, two = await start(user=True), await start(user=True)
    async with downloading(sandbox, one, 5) as first:
        await settles_at(sandbox, first, 8)
        async with downloading(sandbox, two, 6) as second:
            await settles_at(sandbox, first, 4)
            await settles_at(sandbox, second, 4)
            controls = 2
            await until(lambda: len(sandbox.centers[DC].connections) == 8 + controls)
        await settles_at(sandbox, first, 8)


async def test_a_new_download_keeps_to_the_share(sandbox: Sandbox, start: Start) -> None:
    """Also a small one, which would get the connection with the fewest users."""
    one, two = await start(user=True), await start(user=True)
    async with downloading(sandbox, one, 5) as first, downloading(sandbox, two, 6):
        await settles_at(sandbox, first, 4)
        files = [post(sandbox, PART, number) for number in range(10, 22)]
        sandbox.counters.clear()
        await asyncio.gather(*[fetch(one, await resolved(one, number)) for number in range(10, 22)])
        used = [sandbox.counters.by("connection", file=file.id) for file in [*files, first]]
        assert len(set().union(*used)) == 4


async def test_every_process_gets_at_least_one_connection(
    sandbox: Sandbox, start: Start, redis: Redis
) -> None:
    accounts = await start(user=True)
    async with downloading(sandbox, accounts, 5) as file:
        key = await key_of(redis, "lines")
        await redis.zadd(key, {f"other {number}": await now_ms(redis) + 60_000 for number in range(20)})
        await settles_at(sandbox, file, 1)


async def test_a_process_that_died_frees_its_share(
    sandbox: Sandbox, start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = await start(user=True)
    async with downloading(sandbox, accounts, 5) as file:
        key = await key_of(redis, "lines")
        [living] = await redis.zrange(key, 0, -1)
        _, account, dc_id = key.removeprefix("sa:telegram:").split(":")
        met = PeersSeen()
        frozen = SharedAccount(store_of(redis), int(account), int(dc_id), FloodClock(), met.tell)
        with monkeypatch.context() as patch:
            patch.setattr(shared_account, "RENEW_SECONDS", 600.0)
            frozen.transfer_started()
            await met.wait()
        assert frozen.processes == 2
        await settles_at(sandbox, file, 4)
        [dead] = set(await redis.zrange(key, 0, -1)) - {living}
        assert 0 < await redis.zscore(key, dead) - await now_ms(redis) <= 30_000
        await redis.zadd(key, {dead: await now_ms(redis) + 100})  # as if the rest of the time had passed
        await processes(redis, key, 1)
        await settles_at(sandbox, file, 8)
        await frozen.close()


async def test_an_idle_process_gives_up_its_share(sandbox: Sandbox, start: Start, redis: Redis) -> None:
    accounts = await start(user=True)
    async with downloading(sandbox, accounts, 5):
        key = await key_of(redis, "lines")
        assert await redis.zcard(key) == 1
    await processes(redis, key, 0)
    async with downloading(sandbox, accounts, 6):
        await processes(redis, key, 1)


async def test_a_closed_process_gives_up_its_share_at_once(
    sandbox: Sandbox, start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_account, "RENEW_SECONDS", 600.0)
    accounts = await start(user=True)
    async with downloading(sandbox, accounts, 5):
        key = await key_of(redis, "lines")
    assert await redis.zcard(key) == 1
    await accounts.close()
    assert await redis.zcard(key) == 0


# Flood waits.


async def test_a_flood_wait_applies_to_every_process(sandbox: Sandbox, start: Start, redis: Redis) -> None:
    one, two = await start(user=True), await start(user=True)
    told, other = post(sandbox, PART, 5), post(sandbox, 40 * PART, 6)
    found = await resolved(two, 6)
    sandbox.faults.add(f"flood_wait=2,count=1,file={told.id}")
    waiting = asyncio.create_task(fetch(one, await resolved(one)))
    assert await redis.pttl(await key_of(redis, "flood")) > 1000
    waits: list[float] = []
    download = asyncio.create_task(two.download(found, discard, on_wait=waits.append))
    await until(lambda: bool(waits))
    assert sandbox.counters.requests(file=other.id) == 0
    await asyncio.gather(waiting, download)
    assert len(waits) == 1
    assert 1 < waits[0] <= 2.1


async def test_a_flood_wait_pauses_a_download_in_another_process(sandbox: Sandbox, start: Start) -> None:
    one, two = await start(user=True), await start(user=True)
    told, other = post(sandbox, PART, 5), post(sandbox, 4096 * PART, 6)
    sandbox.faults.add(f"delay=0.1,file={other.id}")
    sandbox.faults.add(f"flood_wait=300,file={told.id}")
    running = asyncio.create_task(two.download(await resolved(two, 6), discard))
    await until(lambda: sandbox.counters.requests(file=other.id) > 20)
    with pytest.raises(Retryable, match="wait 300 s"):
        await fetch(one, await resolved(one))
    with pytest.raises(Retryable, match="asks to wait") as caught:
        await asyncio.wait_for(running, 30)
    assert 290 < caught.value.after <= 301


async def test_a_process_started_later_learns_of_a_flood_wait(
    sandbox: Sandbox, start: Start, redis: Redis
) -> None:
    one = await start(user=True)
    file = post(sandbox, PART)
    sandbox.faults.add(f"flood_wait=300,count=1,file={file.id}")
    with pytest.raises(Retryable):
        await fetch(one, await resolved(one))
    await key_of(redis, "flood")
    await one.close()
    two = await start(user=True)
    with pytest.raises(Retryable, match="asks to wait"):
        await fetch(two, await resolved(two))
    assert sandbox.counters.requests(**GET) == 1


async def test_a_flood_wait_is_only_ever_extended(redis: Redis) -> None:
    met = PeersSeen()
    for seconds, left in ((100, 100), (5, 100), (200, 200), (150, 200)):
        clock = FloodClock()
        account = SharedAccount(store_of(redis), ACCOUNT, DC, clock, met.tell)
        met.clear()
        account.flood(seconds)
        account.transfer_started()
        await met.wait()
        assert left - 10 < await redis.pttl(FLOOD) / 1000 <= left
        assert left - 10 < clock.remaining <= left
        await account.close()


# Redis.


async def test_without_redis_a_process_continues_alone(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Redis.from_url(f"unix://{tmp_path}/nobody.sock")
    accounts = Accounts(table(sandbox, user=True), tmp_path, store_of(away), limits=LIMITS)
    await accounts.start()
    file = post(sandbox, 40 * PART)
    sandbox.faults.add(f"flood_wait=1,count=1,file={file.id}")
    await fetch(accounts, await resolved(accounts))
    assert len(sandbox.counters.by("connection", **GET)) == 8
    await accounts.close()
    await away.aclose()


async def test_an_unresponsive_redis_delays_no_download(sandbox: Sandbox, start: Start, redis: Redis) -> None:
    accounts = await start(user=True)
    post(sandbox, PART, 5)
    await fetch(accounts, await resolved(accounts, 5))
    file = post(sandbox, 40 * PART, 6)
    media = await resolved(accounts, 6)
    await redis.client_pause(3000)
    hanging = asyncio.ensure_future(redis.ping())
    sandbox.faults.add(f"flood_wait=1,count=1,file={file.id}")
    await fetch(accounts, media)
    assert not hanging.done()
    await hanging


async def test_an_emptied_redis_is_filled_again(sandbox: Sandbox, start: Start, redis: Redis) -> None:
    one, two = await start(user=True), await start(user=True)
    async with downloading(sandbox, one, 5) as first, downloading(sandbox, two, 6):
        await settles_at(sandbox, first, 4)
        key = await key_of(redis, "lines")
        await redis.flushall()
        await redis.script_flush()
        await processes(redis, key, 2)
        await settles_at(sandbox, first, 4)
