"""Limits are changed over HTTP, and workers respect them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import Retryable
from saveany.models import Item, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.store import Limits, Store
from storages.base import Range
from tests.integration.api.conftest import check_error, claim, create
from workers.limits import Throttle, ThrottledSource, TokenBucket
from workers.sources.base import Source, Write

URL = "/api/v1/limits"
NONE = {"tasks_per_user": 0, "bytes_per_second": 0, "bytes_per_second_per_user": 0, "archives_per_user": 100}


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:
    limited = Config.model_validate({**config.model_dump(), "limits": {"tasks_per_user": 2}})
    return create_app(limited, store, catalogue)


async def test_limits_are_the_configured_ones_until_they_are_changed(client: httpx.AsyncClient) -> None:
    assert (await client.get(URL)).json() == NONE | {"tasks_per_user": 2}
    changed = NONE | {"bytes_per_second": 5_000_000}
    reply = await client.put(URL, json={"bytes_per_second": 5_000_000, "tasks_per_user": 0})
    assert (reply.status_code, reply.json()) == (200, changed)
    assert (await client.get(URL)).json() == changed
    assert (await client.put(URL, json={"bytes_per_second": None})).json() == NONE | {"tasks_per_user": 2}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"bytes_per_second": -1}, "bytes_per_second"),
        ({"bytes_per_second": 1.5}, "bytes_per_second"),
        ({"bytes_per_second": "1"}, "bytes_per_second"),
        ({"tasks_per_user": 2**53}, "tasks_per_user"),
        ({"bytes_per_secnd": 1}, "bytes_per_secnd"),
    ],
)
async def test_invalid_limits_are_refused(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    (detail,) = check_error(await client.put(URL, json=body), 400)["details"]
    assert detail["field"] == field
    assert (await client.get(URL)).json() == NONE | {"tasks_per_user": 2}


async def test_more_tasks_per_user_wake_workers(client: httpx.AsyncClient, store: Store) -> None:
    await create(client)
    (lane,) = await store.claims.lanes()
    assert await store.claims.next_wake_up([lane], 1) == lane
    await client.put(URL, json={"tasks_per_user": 5})
    assert await store.claims.next_wake_up([lane], 1) == lane
    assert await store.claims.next_wake_up([lane], 0.01) == ""


# --- at work


async def test_a_bucket_allows_its_rate() -> None:
    bucket, began = TokenBucket(100_000), time.monotonic()
    await asyncio.gather(*(bucket.take(5_000) for _ in range(4)))
    assert time.monotonic() - began >= 0.2


async def test_a_waiting_caller_notices_a_new_rate() -> None:
    bucket = TokenBucket(1)
    waiting = asyncio.create_task(bucket.take(1_000_000))
    await asyncio.sleep(0)
    assert not waiting.done()
    bucket.rate = 0
    await asyncio.wait_for(waiting, 2)


async def test_without_a_limit_nothing_waits() -> None:
    bucket = TokenBucket()
    for _ in range(3):
        await asyncio.wait_for(bucket.take(1 << 40), 0.2)


async def test_idle_time_earns_no_credit() -> None:
    """After a long pause the next bytes are still limited."""
    bucket = TokenBucket(100_000)
    bucket._updated_at -= 3600
    began = time.monotonic()
    await bucket.take(10_000)
    assert time.monotonic() - began >= 0.1


class TwoPartSource(Source):
    """A source of two parts, fetched by two tasks at once, that may fail first."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        return []

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        if self.error:
            raise self.error
        async with asyncio.TaskGroup() as group:
            for offset in (0, 10_000):
                group.create_task(self._part(write, offset))

    @staticmethod
    async def _part(write: Write, offset: int) -> None:
        await write(offset, bytes(10_000))


async def discard(_: int, __: bytes | memoryview) -> None:
    pass


ITEM = Item(index=0, name="f", path="f")


async def seconds(watched: ThrottledSource) -> float:
    began = time.monotonic()
    await watched.fetch(ITEM, discard)
    return time.monotonic() - began


@pytest.mark.parametrize("name", ["bytes_per_second", "bytes_per_second_per_user"])
async def test_a_worker_keeps_to_its_share_of_the_limit(
    client: httpx.AsyncClient, store: Store, name: str
) -> None:
    for worker in ("a", "b"):
        await create(client)
        assert await store.claims.claim(worker, ["tgfiles/local1"])
    user = 123456789
    throttle = Throttle(store, "a", Limits())
    await throttle.refresh()
    watched = ThrottledSource(TwoPartSource(), throttle, store.counters, user)
    assert await seconds(watched) < 0.2
    await client.put(URL, json={name: 100_000})
    await throttle.refresh()
    assert await seconds(watched) >= 0.4, "20,000 bytes at half of 100,000 a second"
    if name == "bytes_per_second_per_user":
        assert await seconds(ThrottledSource(TwoPartSource(), throttle, store.counters, 42)) < 0.4, (
            "others have their own"
        )


async def test_configured_limits_apply_until_they_are_changed(store: Store) -> None:
    throttle = Throttle(store, "a", Limits(bytes_per_second=100_000))
    watched = ThrottledSource(TwoPartSource(), throttle, store.counters, 1)
    await throttle.refresh()
    assert await seconds(watched) >= 0.2
    await store.settings.set({"bytes_per_second": 0})
    await throttle.refresh()
    assert await seconds(watched) < 0.2


class LocalCopySource(TwoPartSource):
    """A source whose program has downloaded the file before, within the limit."""

    def is_local(self, item: Item) -> bool:
        return True


async def test_files_downloaded_by_a_program_are_not_throttled_again(store: Store) -> None:
    throttle = Throttle(store, "a", Limits(bytes_per_second=1))
    await throttle.refresh()
    watched = ThrottledSource(LocalCopySource(), throttle, store.counters, 1)
    await asyncio.wait_for(watched.fetch(ITEM, discard), 20)
    assert watched.is_local(ITEM)


@pytest.mark.parametrize(
    ("limits", "rate", "among_two", "ahead"),
    [
        (Limits(), 0, 0, 0),
        (Limits(bytes_per_second=1000), 1000, 500, 8 << 20),
        (Limits(bytes_per_second_per_user=1000), 1000, 1000, 8 << 20),
        (Limits(bytes_per_second=1000, bytes_per_second_per_user=600), 600, 500, 8 << 20),
        (Limits(bytes_per_second=50_000_000), 50_000_000, 25_000_000, 50_000_000),
    ],
)
async def test_a_limit_is_divided_among_workers(
    store: Store, limits: Limits, rate: int, among_two: int, ahead: int
) -> None:
    throttle = Throttle(store, "a", limits)
    await throttle.refresh()
    assert throttle.rate(1, [1]) == rate
    assert throttle.rate(1, [1, 2]) == among_two
    assert throttle.read_ahead == ahead


async def test_downloaded_bytes_are_counted(store: Store) -> None:
    watched = ThrottledSource(TwoPartSource(), Throttle(store, "a", Limits()), store.counters, 1)
    await watched.fetch(ITEM, discard)
    await store.counters.flush()
    await watched.fetch(ITEM, discard)
    await store.counters.flush()
    found = await store.counters.read()
    assert found["downloaded_bytes"] == 40_000
    assert sum(count for name, count in found.items() if name.startswith("part_seconds:")) == 4
    assert 0 < found["part_seconds_sum"] < 1


class ChainedSource(TwoPartSource):
    """A source whose second fetcher is started by the first, after its part."""

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._first(write, group))

    async def _first(self, write: Write, group: asyncio.TaskGroup) -> None:
        await asyncio.sleep(0.3)
        await self._part(write, 0)
        group.create_task(self._part(write, 10_000))


async def test_a_part_is_charged_the_wait_of_its_own_fetcher(store: Store) -> None:
    await ThrottledSource(ChainedSource(), Throttle(store, "a", Limits()), store.counters, 1).fetch(
        ITEM, discard
    )
    await store.counters.flush()
    assert 0.3 <= (await store.counters.read())["part_seconds_sum"] < 0.55


async def test_flood_waits_of_a_source_are_counted(store: Store) -> None:
    told = Retryable("flood", after=30)
    for error in (told, Retryable("the line broke")):
        watched = ThrottledSource(TwoPartSource(error), Throttle(store, "a", Limits()), store.counters, 1)
        with pytest.raises(Retryable):
            await watched.fetch(ITEM, discard)
    await store.counters.flush()
    assert await store.counters.read() == {"flood_wait_seconds": 30}


async def test_a_claim_counts_what_runs_by_the_limit_of_the_api(
    client: httpx.AsyncClient, store: Store
) -> None:
    await create(client)
    await create(client)
    await client.put(URL, json={"tasks_per_user": 1})
    await claim(store)
    assert await store.claims.claim("w", ["tgfiles/local1"]) is None
