"""What the bot and the command line do can be done in the web UI of the demo, too."""

from __future__ import annotations

import pytest

from tests.acceptance.web.conftest import RunningDemo, logged_in
from tests.fixtures.browser import Browser, Page
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(300)


async def open_view(page: Page, view: str) -> None:
    await page.run("view => { location.hash = '#/' + view }", view)
    await page.wait("!document.querySelector('main .loading')")


async def test_a_chat_is_opened_and_files_are_picked_from_it(demo: RunningDemo, browser: Browser) -> None:
    """From the list of chats of an account, with a filter."""
    async with logged_in(browser, demo, width=360, height=740) as page:
        await open_view(page, "chats")
        await page.click("Look into a chat", "a")
        await page.fill("Search chats", "sample chan")
        await page.click("Sample channel", "button")
        await page.wait("document.querySelectorAll('.chat-files input').length > 1")
        await page.click("Filter", "summary")
        await page.click("Pictures", "label")
        await page.click("Apply", "button")
        await page.wait(
            "[...document.querySelectorAll('.chat-files .tag')].every(e => e.innerText === 'Pictures')"
        )
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        await page.click("All", "dialog footer button")
        await page.fill("Folder", "picked")
        await page.click("Save 4 files", "button")
        await page.wait("!document.querySelector('dialog[open]')")
    with demo.api() as api:

        async def is_saved() -> bool:
            found = api.get("/api/v1/files").json()["files"]
            return any("picked/" in each["path"] for each in found)

        await until(is_saved, within=60)


async def test_rules_are_tried_on_a_chat(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await open_view(page, "rules")
        await page.click("Add rule", "button")
        await page.fill("Rule 1", "type=photo -> :Seen")
        await page.fill("Try the rules on the last 50 messages of a chat", "@channel")
        await page.click("Try on the chat", "button")
        await page.wait("document.querySelector('.tried')?.innerText.includes('Seen/')")
        await page.sees("no rule matches")


async def test_a_list_of_tables_is_edited_in_the_configuration(demo: RunningDemo, browser: Browser) -> None:
    """A key is added; the next one leaves its secret, which is hidden, as it is; then both are removed."""
    async with logged_in(browser, demo) as page:
        await open_view(page, "configuration?q=api.keys")
        for name, scopes in (("backup", "read"), ("second", "tasks")):
            await page.click("Add an entry: api.keys", "button")
            await page.fill("name", name)
            await page.fill("user_id", str(demo.facts["user_id"]))
            await page.fill("scopes", scopes)
            await page.fill("secret", f"{name}-secret-of-the-tests-0123456789")
            await page.click("Add to the list", "button")
            await page.click("Save", ".selection button")
            await page.wait("!document.querySelector('.selection')")
            await page.sees(name)
        with demo.api() as api:
            settings = api.get("/api/v1/config").json()["settings"]
        [keys] = [each["value"] for each in settings if each["key"] == "api.keys"]
        assert [(each["name"], each["scopes"], each["secret"]) for each in keys] == [
            ("backup", ["read"], "********"),
            ("second", ["tasks"], "********"),
        ]
        for name in ("backup", "second"):
            await page.click(f"Remove {name}", "button")
        await page.click("Save", ".selection button")
        await page.wait("!document.querySelector('.selection')")
        await page.sees("There is none")
