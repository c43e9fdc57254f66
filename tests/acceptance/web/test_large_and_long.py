"""Many rows, many running tasks, sleep and outages (DA3-DA5). `make bench ARGS=page` measures the same for
longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from saveany.models import Item, Progress, Status
from tests.fixtures.browser import Browser
from tests.fixtures.webscene import Scene, scene

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path / "data") as made:
        yield made


async def test_a_large_folder_is_scrolled_to_its_end(it: Scene, browser: Browser) -> None:
    """DA4: at most 60 rows are in the page, a name is jumped to, and the way back leads to the same place."""
    await it.fill(3_000)
    async with it.page(browser, "library", width=360, height=740) as page:
        await page.sees("a film 000000.bin")
        await page.wait(
            "(scrollTo(0, document.body.scrollHeight), document.body.innerText.includes('z film 002999'))",
            within=60,
        )
        assert await page.run("document.querySelectorAll('.virtual .row').length") <= 60
        place = await page.run("scrollY")
        assert place > 3_000 * 50
        await page.run("location.hash = '#/now'")
        await page.wait("!document.querySelector('.virtual')")
        await page.run("history.back()")
        await page.sees("z film 002999.bin")
        assert abs(await page.run("scrollY") - place) < 200
        # Also from a view that has not arrived yet.
        await page.send("Network.enable")
        slow = {"offline": False, "latency": 1000, "downloadThroughput": -1, "uploadThroughput": -1}
        await page.send("Network.emulateNetworkConditions", **slow)
        await page.run("location.hash = '#/webhooks'")
        await page.wait("!document.querySelector('.virtual')")
        await page.run("history.back()")
        await page.sees("z film 002999.bin")
        await page.wait("new Promise(done => setTimeout(() => requestAnimationFrame(() => done(1)), 0))")
        assert abs(await page.run("scrollY") - place) < 200
        await page.send("Network.emulateNetworkConditions", **slow | {"latency": 0})
        await page.fill("Begin at the name", "m")
        await page.wait(
            "document.querySelector('.virtual .row')?.innerText.includes('m film') && scrollY < 10",
            within=30,
        )


async def test_fifty_running_tasks_move_without_new_rows(it: Scene, browser: Browser) -> None:
    """DA3: only what changes is drawn anew."""
    await it.run_tasks(50)
    async with it.moving(), it.page(browser, "now") as page:
        await page.wait("document.querySelectorAll('.task.running').length === 50")
        await page.run(
            "window.rows = [...document.querySelectorAll('.task')]; window.made = 0;"
            "new MutationObserver(all => {"
            "made += all.flatMap(m => [...m.addedNodes]).filter(n => n.matches?.('li')).length })"
            ".observe(document.getElementById('main'), {childList: true, subtree: true}); 0"
        )
        before = await page.run("rows[7].querySelector('.task-size').innerText")
        await page.wait("text => rows[7].querySelector('.task-size').innerText !== text", before)
        assert await page.run("rows.every(each => each.isConnected)")
        assert await page.run("made") == 0


async def test_a_task_that_ends_before_the_page_has_read_it_is_noticed(it: Scene, browser: Browser) -> None:
    async with it.page(browser, "history") as page:
        await page.sees("No task has ended yet")
        [claim] = await it.claim(1)
        item = Item(index=0, name="quick.bin", path="quick.bin", size=7)
        await claim.plan("quick.bin", [item], Progress(), [])
        await claim.finish(Status.FAILED, "as it should")
        await page.sees("quick.bin")


async def test_after_a_sleep_the_page_shows_what_is_now(it: Scene, browser: Browser) -> None:
    """DA3: the connection has died without a word."""
    await it.run_tasks(3)
    async with it.page(browser, "now") as page:
        await page.wait("document.querySelectorAll('.task.running').length === 3")
        await page.send("Page.setWebLifecycleState", state="frozen")
        await it.finish()
        await page.send("Page.setWebLifecycleState", state="active")
        await page.wait("document.querySelectorAll('.task.failed').length === 3", within=10)


async def test_an_outage_is_shown_and_survived(it: Scene, browser: Browser) -> None:
    """DA5: a banner, what was typed stays, and the connection comes back by itself."""
    await it.run_tasks(1)
    async with it.page(browser, "add") as page:
        await page.fill("Links, one per line", "https://t.me/channel/99")
        await it.stop()
        await page.sees("the connection comes back by itself", within=30)
        assert await page.run("document.querySelector('textarea').value") == "https://t.me/channel/99"
        await it.start()
        await page.wait(
            "document.querySelector('.dot.live') && !document.querySelector('.banner')", within=40
        )
        assert await page.run("document.querySelector('textarea').value") == "https://t.me/channel/99"
        await page.run("location.hash = '#/now'")
        await page.wait("document.querySelectorAll('.task').length === 1")
