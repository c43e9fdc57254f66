"""Archives, uploads, and what an operator looks up, in the web UI of the demo."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.acceptance.web.conftest import RunningDemo, logged_in
from tests.fixtures.browser import Browser, Page
from tests.fixtures.waiting import until
from tests.unit.webhooks.receiver import receiving

pytestmark = pytest.mark.timeout(300)


async def open_view(page: Page, view: str) -> None:
    await page.run("view => { location.hash = '#/' + view }", view)
    await page.wait("!document.querySelector('main .loading')")


async def test_a_whole_chat_is_archived_from_its_link(demo: RunningDemo, browser: Browser) -> None:
    """The view for new tasks offers it; the estimate comes before anything is saved; the receipt adds up."""
    async with logged_in(browser, demo) as page:
        await open_view(page, "add")
        await page.fill("Links, one per line", "https://t.me/channel")
        await page.click("Archive the whole chat", "a")
        assert await page.wait("document.querySelector('dialog input').value") == "https://t.me/channel"
        await page.click("More options", "summary")
        await page.click("Pictures", "label")
        await page.click("See what it contains", "button")
        await page.sees("Sample channel")
        with demo.api() as api:
            assert api.get("/api/v1/archives").json()["archives"] == []
        await page.click("Archive", "button")
        await page.wait(
            "[...document.querySelectorAll('.tag.good')].some(e => e.innerText === 'Complete')", within=60
        )
        await page.click("Receipt: Sample channel", "button")
        await page.sees("Every message is accounted for.")
        await page.sees("excluded by the filter")
        await page.click("Close", "button")
        await page.click("Verify: Sample channel", "button")
        await page.click("Verify", "dialog footer button")
        await page.sees("4 messages verified, 0 differ.")
        await page.click("Close", "dialog footer button")
        await page.click("Remove: Sample channel", "button")
        await page.click("Remove", "dialog button")
        await page.sees("No chat is archived")


async def test_a_followed_chat_is_paused_and_resumed(demo: RunningDemo, browser: Browser) -> None:
    with demo.api() as api:
        body = {"chat": "@channel", "start": "now", "follow": True, "user_id": demo.facts["user_id"]}
        made = api.post("/api/v1/archives", json=body).raise_for_status().json()
        async with logged_in(browser, demo, width=360, height=740) as page:
            await open_view(page, "chats")
            await page.click("Pause: Sample channel", "button")
            await page.click("Resume: Sample channel", "button")
            await page.sees("Follows new messages")
            assert await page.fits()
        api.delete(f"/api/v1/archives/{made['id']}").raise_for_status()


async def test_a_chat_that_cannot_be_read_is_explained(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await open_view(page, "chats?add=@nosuch")
        await page.click("See what it contains", "button")
        await page.sees("nobody has this username")


async def test_an_upload_continues_where_it_was_interrupted(
    demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    """The connection is lost in the middle, then the page is loaded anew and the file is chosen once more."""
    content = bytes(range(256)) * 4096 * 36  # 36 MiB: three parts
    file = tmp_path / "<img src=x onerror=alert(1)>.bin"
    file.write_bytes(content)
    async with logged_in(browser, demo) as page:
        await open_view(page, "add")
        await limit_rate(page, 8 << 20)
        await page.choose_file(file)
        await page.wait(
            "parseFloat(document.querySelector('.entry small')?.innerText) > 17",  # MB
            within=60,
        )
        assert not await page.run("dispatchEvent(new Event('beforeunload', {cancelable: true}))"), "it warns"
        # Chromium without a window crashes when it asks whether to leave the page.
        await page.run("Event.prototype.preventDefault = () => {}; 0")
        await limit_rate(page, -1, offline=True)
        await page.sees("Waits for the connection", within=60)
        await page.run("window.isOld = true; 0")
        await limit_rate(page, -1)
        await page.send("Page.reload")
        await page.wait("!window.isOld")
        await page.wait("document.querySelector('.dot.live')")
        before = set(page.requests)
        await open_view(page, "add")
        await page.choose_file(file)
        await page.sees("Uploaded", within=60)
        later = [each for id_, each in page.requests.items() if id_ not in before]
        sent = [each["method"] for each in later if "/uploads" in each["url"]]
        assert "PATCH" in sent
        assert "POST" not in sent, "the upload was begun before"
        assert await page.run("document.querySelectorAll('img[src=x]').length") == 0
        page.errors[:] = [each for each in page.errors if "ERR_INTERNET_DISCONNECTED" not in each]
    with demo.api() as api:

        async def is_saved() -> bool:
            return bool(api.get("/api/v1/files", params={"q": "onerror"}).json()["files"])

        await until(is_saved, within=60)
        (saved,) = api.get("/api/v1/files", params={"q": "onerror"}).json()["files"]
        assert saved["sha256"] == hashlib.sha256(content).hexdigest()


async def limit_rate(page: Page, bytes_per_second: int, offline: bool = False) -> None:
    rates = {"downloadThroughput": -1, "uploadThroughput": bytes_per_second}
    await page.send("Network.emulateNetworkConditions", offline=offline, latency=0, **rates)


async def test_a_dropped_file_is_uploaded(demo: RunningDemo, browser: Browser) -> None:
    """A file that is dragged over any view opens the one where it can be dropped."""
    async with logged_in(browser, demo) as page:
        await open_view(page, "library")
        await page.run(
            "window.dropped = new DataTransfer(); dropped.items.add(new File(['hello'], 'dropped.txt'));"
            "window.drag = name => document.body.dispatchEvent(new DragEvent(name,"
            "{bubbles: true, cancelable: true, dataTransfer: dropped}));"
            "drag('dragenter')"
        )
        await page.wait("document.querySelector('.drop')")
        await page.run("drag('dragenter'), drag('dragover'), drag('drop')")
        await page.sees("dropped.txt")
        await page.sees("Uploaded")


async def test_webhooks_are_tested(demo: RunningDemo, browser: Browser) -> None:
    async with receiving() as receiver, logged_in(browser, demo) as page:
        await open_view(page, "webhooks")
        await page.click("Test another address", "button")
        await page.fill("Address", receiver.url)
        await page.click("Send a test", "dialog button")
        await page.sees("[net] allow")
        await page.click("Send a test", "button")
        await page.sees("Api.webhook_url is not set")


async def test_the_status_shows_the_log_and_the_space(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await open_view(page, "status")
        await page.wait(
            "[...document.querySelectorAll('td.number')].some(e => /[1-9].* GB|TB/.test(e.innerText))"
        )
        await page.click("Log", "summary")
        await page.wait("document.querySelector('pre.log')?.innerText.includes('worker')")
        assert demo.facts["token"] not in await page.text()
