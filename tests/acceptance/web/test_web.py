"""What a person does in the web UI of the demo, in a real browser (DA1-DA12)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.web.conftest import RunningDemo, check, logged_in
from tests.fixtures.browser import Browser, Page, is_downloaded
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(300)

SCREENS = [
    pytest.param({"width": 1280}, id="wide-light"),
    pytest.param({"width": 360, "height": 740, "dark": True}, id="narrow-dark"),
]


async def add(page: Page, link: str, name: str) -> None:
    """Add a link, see what it would save, and wait until that is saved."""
    await page.run("location.hash = '#/add'")
    await page.fill("Links, one per line", link)
    await page.sees(name)
    await page.click("Save", "button")
    await page.wait("location.hash === '#/now'")
    await page.wait(
        "name => [...document.querySelectorAll('.task.completed')].some(e => e.innerText.includes(name))",
        name,
        within=60,
    )


@pytest.mark.parametrize("screen", SCREENS)
async def test_from_a_link_to_a_shared_file(
    demo: RunningDemo, browser: Browser, screen: dict[str, Any]
) -> None:
    """Log in, add a link, see it arrive, share it, see the share page, revoke the link (DA1)."""
    async with logged_in(browser, demo, **screen) as page:
        await add(page, "https://t.me/channel/142", "video_2024")
        await page.run("location.hash = '#/library?q=video_2024'")
        await page.click("video_2024", "button.row-name")
        await page.wait("document.querySelector('dialog[open] video')")
        # Not by its place, which moves while the video loads.
        await page.run("document.querySelector('dialog[open] button.main').click()")
        await page.fill("Number of downloads", "5")
        await page.click("Create link", "button")
        address = await page.wait("document.querySelector('.shown-link input')?.value")
        assert await page.wait("document.querySelector('.qr')?.naturalWidth")
        async with browser.page(address, **screen) as shared:
            await shared.sees("video_2024")
            await shared.wait("document.querySelector('video')")
        await page.run("document.querySelectorAll('dialog').forEach(e => e.close())")
        await page.run("location.hash = '#/links'")
        await page.click("Revoke", "button")
        await page.sees("Revoked")
        async with httpx.AsyncClient(trust_env=False) as client:
            await until(lambda: _is_gone(client, address))
        assert await page.fits()


async def _is_gone(client: httpx.AsyncClient, address: str) -> bool:
    return (await client.get(address)).status_code == 410


async def test_the_first_load_is_small(demo: RunningDemo, browser: Browser) -> None:
    """At most 60 KB in at most 25 requests, of one host (DA2)."""
    async with browser.page(demo.base) as page:
        await page.sees("Token or key")
        await page.fill("Token or key", demo.facts["token"])
        await page.click("Log in", "button")
        await page.wait("document.querySelector('.dot.live')")
        files = [each for each in page.requests.values() if "/api/" not in each["url"]]
        assert (
            len(page.requests) <= 25 + 6
        )  # with those of the API: session (twice), tasks, history, queue, events
        assert len(files) <= 25
        assert 0 < sum(each.get("size", 0) for each in files) <= 60_000
        check(page, demo)


async def test_a_wrong_token_is_explained(demo: RunningDemo, browser: Browser) -> None:
    async with browser.page(demo.base) as page:
        await page.fill("Token or key", "wrong")
        await page.click("Log in", "button")
        await page.sees("neither the token nor a key")


async def test_a_login_link_works_once(demo: RunningDemo, browser: Browser) -> None:
    address = demo.login()
    async with browser.page(address) as page:
        await page.wait("document.querySelector('.frame')")
        assert address.rpartition("/")[2] not in await page.run("location.href")
    async with browser.page(address) as page:
        await page.sees("Token or key")


async def test_the_cookie_is_not_for_scripts_and_the_end_of_the_session_ends_the_stream(
    demo: RunningDemo, browser: Browser
) -> None:
    """DA8."""
    async with logged_in(browser, demo) as page:
        [cookie] = (await page.send("Network.getCookies"))["cookies"]
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("saveany_session", True, "Lax")
        assert await page.run("document.cookie") == ""
        assert not await page.run("fetch('api/v1/queue/pause', {method: 'POST'}).then(r => r.ok)")
        page.errors.clear()  # that request was refused
        await page.click("Log out", "button")
        await page.sees("Token or key")


async def test_without_a_connection_nothing_is_lost(demo: RunningDemo, browser: Browser) -> None:
    """DA5."""
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    async with logged_in(browser, demo) as page:
        await page.run("location.hash = '#/add'")
        await page.fill("Links, one per line", "https://t.me/channel/123")
        await page.sees("file.pdf")
        await page.send("Network.emulateNetworkConditions", offline=True, **offline)
        await page.run("fetch('health').catch(() => 0)")
        await page.click("Save", "button")
        await page.sees("SaveAny does not answer")
        assert await page.run("document.querySelector('textarea').value") == "https://t.me/channel/123"
        await page.send("Network.emulateNetworkConditions", offline=False, **offline)
        await page.click("Save", "button")
        await page.wait("location.hash === '#/now'")
        page.errors[:] = [each for each in page.errors if "ERR_INTERNET_DISCONNECTED" not in each]


async def test_a_shared_link_survives_the_login(demo: RunningDemo, browser: Browser) -> None:
    """DA9."""
    async with browser.page(f"{demo.base}/?text=look%20https://t.me/c/1500000001/123") as page:
        await page.fill("Token or key", demo.facts["token"])
        await page.click("Log in", "button")
        text = await page.wait("document.querySelector('textarea')?.value")
        assert text == "https://t.me/c/1500000001/123"
        assert "?text" not in await page.run("location.href")


async def test_without_javascript_the_page_says_what_it_needs(demo: RunningDemo, browser: Browser) -> None:
    """DA10."""
    async with browser.page(demo.base, scripts=False) as page:

        async def is_loaded() -> bool:
            shown = await page.send("DOMSnapshot.captureSnapshot", computedStyles=[])
            return any("needs JavaScript" in each for each in shown["strings"])

        await until(is_loaded, within=20)


async def test_without_javascript_the_page_of_a_link_downloads(
    demo: RunningDemo, browser: Browser, tmp_path: Path
) -> None:
    """DA10."""
    with demo.api() as api:
        user = demo.facts["user_id"]
        content = bytes(range(256)) * 100
        api.post("/api/v1/files", params={"name": "plain.bin", "user_id": user}, content=content)

        def files() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.get("/api/v1/files", params={"q": "plain.bin"}).json()["files"]
            return found

        await until(files, within=60)
        link = {"file_id": files()[0]["file_id"], "user_id": user}
        address = api.post("/api/v1/links", json=link).raise_for_status().json()["page_url"]
    async with browser.page("about:blank", scripts=False) as page:
        await page.save_downloads(tmp_path)
        await page.open(address)
        await page.click_element("a[href*='/dl/']")
        await until(lambda: is_downloaded(tmp_path / "plain.bin"), within=20)
    assert (tmp_path / "plain.bin").read_bytes() == content


async def test_stopping_keeps_what_is_saved(demo: RunningDemo, browser: Browser) -> None:
    links = ["https://t.me/channel/123", "https://t.me/channel/129"]
    with demo.api() as api:
        body = {"type": "tgfiles", "params": {"message_links": links}, "user_id": demo.facts["user_id"]}
        task_id = api.post("/api/v1/tasks", json=body).raise_for_status().json()["task_id"]
        async with logged_in(browser, demo) as page:
            await page.wait("document.querySelector('.task.running .bar')")
            await page.click("Stop and keep: 2 files", "button")
            await until(lambda: api.get(f"/api/v1/tasks/{task_id}").json()["status"] == "completed")
        task = api.get(f"/api/v1/tasks/{task_id}").json()
        assert [item["status"] for item in task["items"]] == ["completed", "failed"]


async def test_pausing_and_canceling(demo: RunningDemo, browser: Browser) -> None:
    with demo.api() as api:
        body = {"telegram_url": "https://t.me/channel/129", "user_id": demo.facts["user_id"]}
        task_id = api.post("/api/v1/tasks", json=body).raise_for_status().json()["task_id"]
        async with logged_in(browser, demo) as page:
            await page.wait("document.querySelector('.task.running .bar')")
            await page.click("Pause: 2GiB.bin", "button")
            await page.wait("document.querySelector('.bar.paused')")
            await page.click("Resume: 2GiB.bin", "button")
            await page.wait("document.querySelector('.task.running')")
            await page.click("Cancel: 2GiB.bin", "button")
            await page.wait("document.querySelector('.task.canceled')")
        assert api.get(f"/api/v1/tasks/{task_id}").json()["status"] == "canceled"
