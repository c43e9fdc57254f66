"""Sources that stall, and the progress and speed that users see."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace

import pytest

from saveany.errors import Retryable
from saveany.models import Item, Status, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.store import Limits, Store
from storages.base import Range
from tests.fixtures.site import Page, serve
from tests.fixtures.waiting import until
from tests.integration.sources.conftest import storages, tools  # noqa: F401  (fixtures)
from tests.integration.worker.conftest import PART, JobHarness, content, within
from workers import lease, progress, stall
from workers.limits import Throttle, ThrottledSource
from workers.sources.base import Source, Tools, Write
from workers.sources.directlinks import DirectLinksSource

KIB = 1024


class SlowSource(Source):
    """Sends `size` bytes repeatedly, `pause` seconds apart; `wait` is reported as a flood wait."""

    def __init__(self, size: int, pause: float, times: int, wait: float = 0.0) -> None:
        self.size, self.pause, self.times, self.wait = size, pause, times, wait

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        return []

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        stall.note_wait(self.wait)
        for n in range(self.times):
            await asyncio.sleep(self.pause)
            await write(n * self.size, bytes(self.size))


async def fetched(source: Source, store: Store, patience: float, *, rate: int = 0, taking: float = 0) -> None:
    async def write(_: int, __: bytes | memoryview) -> None:
        await asyncio.sleep(taking)

    throttle = Throttle(store, "w", Limits(bytes_per_second=rate))
    await throttle.refresh()
    watched = ThrottledSource(source, throttle, store.counters, 1, patience)
    await within(watched.fetch(Item(index=0, name="f", path="f"), write))


async def test_a_source_that_stalls_is_given_up(store: Store) -> None:
    with pytest.raises(Retryable, match="almost no data") as caught:
        await fetched(SlowSource(1, 0.05, 10_000), store, 0.5)
    assert not caught.value.after, "such a try counts"


@pytest.mark.parametrize(
    ("source", "patience", "rate", "taking"),
    [
        (SlowSource(400, 0.1, 12), 0.3, 0, 0.0),  # slow, but not so slow
        (SlowSource(1, 0, 3), 0.2, 0, 0.3),  # the storage is slow
        (SlowSource(100, 0, 5), 0.3, 500, 0.0),  # the limit is low
        (SlowSource(1, 0.6, 1, wait=30), 0.3, 0, 0.0),  # it was told to wait
    ],
)
async def test_a_source_slowed_by_something_else_is_not_given_up(
    store: Store, source: Source, patience: float, rate: int, taking: float
) -> None:
    await fetched(source, store, patience, rate=rate, taking=taking)


async def test_a_web_server_that_stalls_is_given_up(store: Store, tools: Tools) -> None:  # noqa: F811
    async with serve() as site:
        site.pages["/a"] = Page(bytes(10_000), hold_after=10)
        source = DirectLinksSource(tools)
        spec = TaskSpec(id="t", type="directlinks", links=(site.url("/a"),), user_id=1, storage="s")
        item = Item(index=0, name="a", path="a", source={"url": site.url("/a")})
        item = await source.prepare(item, spec, lambda *_: None)
        watched = ThrottledSource(source, Throttle(store, "w", Limits()), store.counters, 1, 0.5)
        with pytest.raises(Retryable, match="almost no data"):
            await within(watched.fetch(item, _nowhere))
        await asyncio.wait_for(site.idle(), 30)
        await source.close()


async def _nowhere(_: int, __: bytes | memoryview) -> None:
    return


async def test_a_program_that_reports_almost_no_progress_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _clock(monkeypatch)
    detector = stall.ProgramStallDetector(300)
    for _ in range(1000):  # 5 KiB a second
        clock.append(clock[-1] + 10)
        detector.report(len(clock) * 50 * KIB)
    clock.append(clock[-1] + 3600)  # it joins what it has fetched
    detector.report(len(clock) * 50 * KIB)
    done = len(clock) * 50 * KIB
    for n in range(30):
        clock.append(clock[-1] + 10)
        detector.report(done + n)
    clock.append(clock[-1] + 10)
    with pytest.raises(Retryable, match="almost no data"):
        detector.report(done + 30)


def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time is the last element of the list."""
    now = [time.monotonic()]
    clock = SimpleNamespace(monotonic=lambda: now[-1])
    monkeypatch.setattr(progress, "time", clock)  # not everybody's: the event loop needs the real one
    monkeypatch.setattr(stall, "time", clock)
    return now


async def test_progress_does_not_decrease_after_a_pause(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if bytes after the last checkpoint must be downloaded again."""
    monkeypatch.setattr(lease, "_PUBLISH_SECONDS", 0.01)
    seen, go, held = list[int](), asyncio.Event(), asyncio.Event()

    async def step(_: str, offset: int) -> None:
        if offset == 3 * PART:
            held.set()
            await go.wait()

    harness.source.files, harness.source.step = {"a.bin": content("a.bin", 4 * PART)}, step
    task_id = await harness.accept()
    async with watching(harness.store, task_id, seen):
        running = asyncio.create_task((await harness.job()).run())
        await within(held.wait())
        await until_seen(seen, 3 * PART)
        running.cancel()
        await asyncio.wait([running])
        waiting = await harness.task(task_id)
        assert (waiting.progress.speed_bps, waiting.progress.eta_seconds) == (0, None)
        go.set()
        await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED
    assert seen == sorted(seen)


@contextlib.asynccontextmanager
async def watching(store: Store, task_id: str, seen: list[int]) -> AsyncIterator[None]:
    async def look() -> None:
        while True:
            task = await store.tasks.get(task_id)
            assert task is not None
            seen.append(task.progress.downloaded_bytes)
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    yield
    looking.cancel()
    await asyncio.wait([looking])


async def until_seen(seen: list[int], least: int) -> None:
    await until(lambda: seen and seen[-1] >= least, what=f"{least} downloaded bytes in the record")


async def test_a_speed_is_shown_when_bytes_arrive_rarely(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_PUBLISH_SECONDS", 0.01)
    clock = _clock(monkeypatch)
    speeds, arrived, go = list[float](), asyncio.Event(), asyncio.Event()

    async def step(_: str, offset: int) -> None:
        if offset == 2 * PART:
            arrived.set()
            await go.wait()
        clock.append(clock[-1] + 20)  # seconds between two parts

    harness.source.files, harness.source.step = {"a.bin": content("a.bin", 4 * PART)}, step
    task_id = await harness.accept()
    running = asyncio.create_task((await harness.job()).run())
    await within(arrived.wait())
    for later in (0, 10, 30, 400):
        clock.append(clock[-1] + later)
        await asyncio.sleep(0.2)
        speeds.append((await harness.task(task_id)).progress.speed_bps)
    go.set()
    await within(running)
    assert [speed > 0 for speed in speeds] == [True, True, True, False]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[0] <= PART / 10
