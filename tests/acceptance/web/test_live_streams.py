"""Live streams in the web UI: a chat is chosen, its stream is recorded, ended early, and played. On the same
installation, the watched folders in Status."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.web.axe import violations
from tests.fixtures.browser import Browser, Page
from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.streams import make_parts, start_stream
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEGMENT = 5
#: Longer than the test takes: the stream is ended by the test.
SECONDS = 60
SCREENS: dict[str, dict[str, Any]] = {
    "1280-light": {"width": 1280},
    "1280-dark": {"width": 1280, "dark": True},
    "360-light": {"width": 360, "height": 740},
    "360-dark": {"width": 360, "height": 740, "dark": True},
}
#: What the console of a browser shows when the API has refused a request, which the page then explains.
REFUSED = "the server responded with a status of 4"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    inbox = {"path": str(tmp_path_factory.mktemp("disk") / "gone"), "to": f"{STORAGE}:inbox"}
    tables = {"live": {"segment_seconds": SEGMENT}, "inboxes": [inbox]}
    async with Stack(tmp_path_factory.mktemp("live"), workers=1, tables=tables) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(tmp_path / "profile") as browser:
        yield browser


@asynccontextmanager
async def logged_in(browser: Browser, stack: Stack, **screen: Any) -> AsyncIterator[Page]:
    """The web UI in a new profile. No script of it may fail."""
    reply = await stack.client.post("/api/v1/session/links", json={})
    async with browser.page(reply.raise_for_status().json()["url"], **screen) as page:
        await page.wait("document.querySelector('.dot.live')")
        yield page
        assert [each for each in page.errors if REFUSED not in each] == []


async def recordings(stack: Stack) -> list[dict[str, Any]]:
    reply = await stack.client.get("/api/v1/recordings")
    found: list[dict[str, Any]] = reply.raise_for_status().json()["recordings"]
    return found


async def looks_right(page: Page, name: str) -> None:
    """Nothing is wrong for axe, nor wider than the screen. `SHOTS` names a folder for pictures."""
    if folder := os.environ.get("SHOTS"):
        await page.shot(Path(folder) / f"{name}.png")
        await page.run("scrollTo(0, 9999)")
        await page.shot(Path(folder) / f"{name}-end.png")
    assert await violations(page) == [], name
    assert await page.fits(), name


async def open_view(page: Page, view: str) -> None:
    await page.run("view => { location.hash = '#/' + view }", view)
    await page.wait("!document.querySelector('main .loading')")


async def test_a_stream_is_recorded_stopped_and_played(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    call = start_stream(stack, make_parts(tmp_path, SECONDS))
    async with logged_in(browser, stack) as page:
        await watch_in_form(page)
        await page.click("Show the task: Sample channel", "a")
        await page.wait("document.querySelector('.task .bar:not([aria-valuenow])')")
        await page.sees("Recording")

        async def has_segment() -> bool:
            return bool(await recordings(stack))

        await until(has_segment, within=60)
        for name, screen in SCREENS.items():
            await check_while_live(browser, stack, name, screen)
        await page.click("Stop and keep", "main button")

        async def is_kept() -> bool:
            return [each["status"] for each in await recordings(stack)] == ["completed"]

        await until(is_kept, within=60)
        stack.sandbox.world.calls.end(call)
        [recording] = await recordings(stack)
        [file] = recording["files"]
        await open_view(page, "chats")
        await page.click("Play: Sample channel", "button")
        await page.wait("length => document.querySelector('dialog video')?.duration > length", SEGMENT - 1)
        assert await page.run("document.querySelector('dialog h2').innerText") == file["name"]
        await page.press("Escape", 27)
        await remove_and_filter(page)
        archive = {"chat": "https://t.me/channel", "until": "2000-01-01"}
        (await stack.client.post("/api/v1/archives", json=archive)).raise_for_status()
        await open_view(page, "now")
        await open_view(page, "chats")
        await looks_right(page, "chats-with-archive")
        gap = await page.run(
            """(list) => document.querySelector(list + ' + section').getBoundingClientRect().top
              - document.querySelector(list).getBoundingClientRect().bottom""",
            "main > .rows",
        )
        assert gap >= 16, "the heading below the archives does not touch them"


async def watch_in_form(page: Page) -> None:
    """What cannot be read is explained; then the chat is live at once."""
    await open_view(page, "chats")
    await page.sees("No chat is recorded when it goes live.")
    top = await page.run(
        "[...document.querySelectorAll('h2')].at(-1).getBoundingClientRect().top / innerHeight"
    )
    assert top < 0.5, "where no chat is archived, that takes less than the screen"
    await page.click("Record live streams", "a")
    await page.fill("Channel or group: a link, @name or id", "@nosuch")
    await page.click("Record", "dialog footer button")
    await page.sees("obody has this username")
    await page.fill("Channel or group: a link, @name or id", "https://t.me/channel")
    await page.fill("Folder", "streams")
    await page.click("Record", "dialog footer button")
    await page.sees("Sample channel is recorded whenever it is live")
    await page.sees("@channel · streams")
    await page.sees("Live now", within=60)
    await page.sees("viewer")


async def check_while_live(browser: Browser, stack: Stack, name: str, screen: dict[str, Any]) -> None:
    async with logged_in(browser, stack, **screen) as page:
        await page.wait("document.querySelector('.task .bar')")
        await looks_right(page, f"now-{name}")
        await open_view(page, "chats")
        await page.sees("Recordings")
        await page.sees("Play")
        await looks_right(page, f"chats-{name}")
        await open_view(page, "chats?live")
        await page.wait("document.activeElement.closest('dialog form')")
        await looks_right(page, f"form-{name}")


async def remove_and_filter(page: Page) -> None:
    """The recordings stay when their chat is recorded no longer."""
    await page.click("Remove: Sample channel", "button")
    await page.click("Remove", "dialog button")
    await page.sees("No chat is recorded when it goes live.")
    await page.sees("Play")
    await choose_date(page, "Until", "2020-01-31")
    await page.sees("No recording began on these days.")
    await choose_date(page, "Until", "")
    await page.sees("Play")


async def choose_date(page: Page, label: str, day: str) -> None:
    await page.wait(
        """(label, day) => {
          const isIt = (each) => each.labels[0]?.innerText.trim() === label;
          const field = [...document.querySelectorAll("input[type=date]")].find(isIt);
          if (!field) return false;
          field.value = day;
          return field.dispatchEvent(new Event("input", {bubbles: true}));
        }""",
        label,
        day,
    )


async def test_status_shows_what_is_wrong_with_a_watched_folder(stack: Stack, browser: Browser) -> None:
    async with logged_in(browser, stack, width=360, height=740) as page:
        await page.run("location.hash = '#/status'")
        await page.sees("Watched folders")
        await page.sees("mount its disk, or check its path")
        assert await violations(page) == []
