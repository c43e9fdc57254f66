"""Measures the web UI in Debian's Chromium: a folder with 100,000 files, 50 running tasks for ten minutes, an
hour of sleep, and half a minute without the API. The hour passes beside the others. With `BENCH_SHORT` the
ten minutes and the hour are one minute each.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.process import cpu_of_family, family
from bench.results import Measurement
from tests.fixtures.browser import Browser, Page
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.webscene import Scene, scene

_FILES = 100_000
_TASKS = 50
_IS_SHORT = bool(os.environ.get("BENCH_SHORT"))
_RUN_SECONDS = 60 if _IS_SHORT else 600
_SLEEP_SECONDS = 60 if _IS_SHORT else 3600
#: A browser that a signal had stopped for 48 minutes was dead afterwards, for reasons that were not found;
#: unlike a computer that sleeps, a signal does not stop its clocks.
_SUSPENDED_SECONDS = 60
_OUTAGE_SECONDS = 30
#: Seconds in which the page settles before it is measured.
_SETTLE_SECONDS = 10

#: Shows a page that was frozen, and is therefore hidden: without a window, Chromium cannot.
_SHOW = """
Object.defineProperty(document, "hidden", { get: () => false });
document.dispatchEvent(new Event("visibilitychange")), 0
"""
_RUNNING = f"document.querySelectorAll('.task.running').length === {_TASKS}"
#: Scrolls to the end, as the End key and the scroll bar do, until it is that of the folder, and remembers the
#: most rows that were drawn.
_SCROLL = """
(async () => {
  let most = 0;
  const isAtEnd = () => document.body.innerText.includes(LAST);
  while (!isAtEnd()) {
    scrollTo(0, document.body.scrollHeight);
    await new Promise((resolve) => setTimeout(resolve, 20));
    most = Math.max(most, document.querySelectorAll('.virtual .row').length);
  }
  window.mostRows = most;
  window.isDone = true;
})(), 0
"""


async def page() -> list[Measurement]:
    """All of them, each in a new profile."""
    sleeping = asyncio.create_task(_sleep())
    try:
        measured = [*await _large_folder(), *await _running_tasks(), await _outage()]
        return [*measured, await sleeping]
    finally:
        sleeping.cancel()


@asynccontextmanager
async def _stage() -> AsyncIterator[tuple[Scene, Browser]]:
    with TemporaryDirectory(prefix="saveany-bench-") as name:
        folder = Path(name)
        async with scene(folder / "data") as it, Browser(folder / "profile") as browser:
            yield it, browser


async def _large_folder() -> list[Measurement]:
    async with _stage() as (it, browser):
        await it.fill(_FILES)
        async with it.page(browser, "library") as page:
            await page.sees("a film 000000.bin", within=60)
            began = time.monotonic()
            await page.run(_SCROLL.replace("LAST", f"'film {_FILES - 1:06d}.bin'"))
            await page.wait("window.isDone", within=900)
            scrolled = time.monotonic() - began
            rows = float(await page.run("mostRows"))
            heap = await _heap(page)
            began = time.monotonic()
            await page.fill("Begin at the name", "m")
            await page.wait("document.querySelector('.virtual .row')?.innerText.startsWith('m film')")
            jumped = time.monotonic() - began
    return [
        Measurement("page_100k_rows", rows, "rows in the page"),
        Measurement("page_100k_end_s", scrolled, "s", note="the scroll bar is dragged to the end"),
        Measurement("page_100k_heap_mb", heap, "MB"),
        Measurement("page_100k_jump_s", jumped, "s", note="to a name, typed"),
    ]


async def _running_tasks() -> list[Measurement]:
    note = f"{_TASKS} tasks, {_RUN_SECONDS} s"
    async with _stage() as (it, browser):
        await it.run_tasks(_TASKS)
        async with it.moving(), it.page(browser, "now") as page:
            await page.wait(_RUNNING, within=60)
            await asyncio.sleep(_SETTLE_SECONDS)
            heap, cpu, began = await _heap(page), cpu_of_family(browser.pid), time.monotonic()
            await asyncio.sleep(_RUN_SECONDS)
            used = (cpu_of_family(browser.pid) - cpu) / (time.monotonic() - began)
            grown = await _heap(page) - heap
            if not await page.run(_RUNNING):
                raise RuntimeError("the page does not show all running tasks")
    return [
        Measurement("page_50_tasks_cpu", used, "of a core", note=f"all processes of Chromium; {note}"),
        Measurement("page_50_tasks_heap_mb", grown, "MB grown", note=note),
    ]


async def _sleep() -> Measurement:
    """A computer that is suspended, and a tab that a phone has frozen; the slower of both counts."""
    suspended = await _slept(_suspended, _SUSPENDED_SECONDS)
    frozen = await _slept(_frozen, _SLEEP_SECONDS)
    note = f"suspended {_SUSPENDED_SECONDS} s: {suspended:.2f}; frozen {_SLEEP_SECONDS} s: {frozen:.2f}"
    return Measurement("page_wake_s", max(suspended, frozen), "s", note=note)


Asleep = Callable[[Browser, Page], AbstractAsyncContextManager[None]]


async def _slept(asleep: Asleep, seconds: float) -> float:
    """The seconds from waking until the page is right. While it slept, all tasks have ended, and its
    connection has died without an error, as behind a router that has forgotten it."""
    async with _stage() as (it, browser), fault_proxy(it.port) as relay:
        await it.run_tasks(_TASKS)
        async with it.page(browser, "now", base=relay.url()) as page:
            await page.wait(_RUNNING, within=60)
            await asyncio.sleep(_SETTLE_SECONDS)  # only the stream is left of its connections
            async with asleep(browser, page):
                relay.forget()
                await it.finish()
                await asyncio.sleep(seconds)
                began = time.monotonic()
            await page.wait(
                "!document.querySelector('.task.running') && !!document.querySelector('.task.failed')"
            )
            woken = time.monotonic() - began
            await it.run_tasks(1)  # what happens from now on is heard, too
            await page.wait("document.querySelectorAll('.task.running').length === 1")
    return woken


@asynccontextmanager
async def _suspended(browser: Browser, page: Page) -> AsyncIterator[None]:
    _signal(browser, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(browser, signal.SIGCONT)


@asynccontextmanager
async def _frozen(browser: Browser, page: Page) -> AsyncIterator[None]:
    await page.send("Page.setWebLifecycleState", state="frozen")
    yield
    await page.send("Page.setWebLifecycleState", state="active")
    await page.run(_SHOW)


def _signal(browser: Browser, number: signal.Signals) -> None:
    for pid in family(browser.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def _outage() -> Measurement:
    async with _stage() as (it, browser):
        await it.run_tasks(_TASKS)
        async with it.page(browser, "add") as page:
            await page.fill("Links, one per line", "https://t.me/channel/99")
            await it.stop()
            await page.sees("the connection comes back by itself", within=_OUTAGE_SECONDS)
            await asyncio.sleep(_OUTAGE_SECONDS)
            await it.start()
            began = time.monotonic()
            await page.wait(
                "document.querySelector('.dot.live') && !document.querySelector('.banner')", within=60
            )
            back = time.monotonic() - began
            if await page.run("document.querySelector('textarea').value") != "https://t.me/channel/99":
                raise RuntimeError("what was typed is lost")
    return Measurement(
        "page_outage_s", back, "s", note=f"until it is live again, after {_OUTAGE_SECONDS} s without the API"
    )


async def _heap(page: Page) -> float:
    """Megabytes that scripts use, without garbage."""
    await page.send("HeapProfiler.collectGarbage")
    return float((await page.send("Runtime.getHeapUsage"))["usedSize"]) / 1e6
