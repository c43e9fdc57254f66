"""What an operator sets in the web UI of the demo: storages, users, rules, settings, accounts (DA11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saveany.config import load
from tests.acceptance.web.conftest import RunningDemo, logged_in
from tests.acceptance.web.test_web import SCREENS, add
from tests.fixtures.browser import Browser, Page
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(300)

ENABLED = "button:not(:disabled)"


def config_of(demo: RunningDemo) -> Path:
    return Path(demo.facts["storages"]["local1"]).parent / "config.toml"


async def show(page: Page, view: str) -> None:
    await page.run("view => { location.hash = '#/' + view }", view)
    await page.wait(
        "!document.querySelector('main .loading') && document.querySelector('main')?.children.length"
    )


async def drawn(page: Page) -> None:
    """Wait until the page has drawn what was typed: until then, its buttons mean what was there before."""
    await page.run("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


async def save_rules(page: Page) -> None:
    """Press the button that saves the rules."""
    await drawn(page)
    await page.run("document.querySelector('.rule-list').closest('section').querySelector('.main').click()")


@pytest.mark.parametrize("screen", SCREENS)
async def test_a_storage_is_added_used_and_removed(
    demo: RunningDemo, browser: Browser, screen: dict[str, Any]
) -> None:
    """Everything goes on running: no restart."""
    name = f"extra{screen['width']}"
    async with logged_in(browser, demo, **screen) as page:
        await show(page, "storages")
        await page.click("Add storage", ENABLED)
        await page.fill("Name", name)
        await page.fill("base_path", f"files-{name}")
        await page.click("Test", ENABLED)
        await page.sees("It works")
        assert name not in config_of(demo).read_text()
        await page.click("Add storage", ENABLED)
        await page.wait(
            "name => [...document.querySelectorAll('.entry')].some(e => e.innerText.includes(name)"
            " && e.innerText.includes('Ready') && !e.innerText.includes('Not ready'))",
            name,
        )
        with demo.api() as api:
            body = {
                "telegram_url": "https://t.me/channel/123",
                "user_id": demo.facts["user_id"],
                "storage_name": name,
            }
            api.post("/api/v1/tasks", json=body).raise_for_status()
        assert await page.fits()
        folder = config_of(demo).parent / f"files-{name}"
        await until(lambda: list(folder.rglob("file.pdf")), within=60)
        await show(page, "storages")
        await page.run(
            "name => [...document.querySelectorAll('.entry')].find(e => e.innerText.includes(name))"
            ".querySelectorAll('button').forEach(b => b.innerText === 'Remove' && b.click())",
            name,
        )
        await page.click("Remove", "dialog .danger")
        await page.wait("name => !document.querySelector('main').innerText.includes(name)", name)
        assert name not in config_of(demo).read_text()
        page.errors.clear()


async def test_a_wrong_folder_is_explained_beside_its_field(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await show(page, "storages")
        await page.click("Add storage", ENABLED)
        await page.fill("Name", "wrong")
        await page.fill("base_path", ".")
        await page.click("Add storage", ENABLED)
        problem = await page.wait("document.querySelector('dialog .value .problem')?.innerText")
        assert "the configuration" in problem
        page.errors.clear()  # that request was refused


@pytest.mark.parametrize("screen", SCREENS)
async def test_settings_show_where_they_come_from_and_are_changed(
    demo: RunningDemo, browser: Browser, screen: dict[str, Any]
) -> None:
    days = 3 + screen["width"] % 7
    async with logged_in(browser, demo, **screen) as page:
        await show(page, "configuration")
        await page.sees("from the file")
        unknown = await page.run(
            "[...document.querySelectorAll('.value')].map(each => each.innerText)"
            ".filter(each => !/default|from the file|Locked|Change them|Add an entry/.test(each))"
        )
        assert unknown == [], "settings without their source"
        await page.fill("Search settings", "ttl_days")
        await page.fill("ttl_days", "never")
        await page.click("Save", ENABLED)
        await page.sees("must be a whole number")
        assert load(config_of(demo), {}).links.ttl_days not in (days, "never")
        await page.fill("ttl_days", str(days))
        await page.click("Save", ENABLED)
        await until(lambda: load(config_of(demo), {}).links.ttl_days == days)
        await page.sees("wait for a restart: links.ttl_days")
        assert demo.facts["token"] not in await page.run("document.documentElement.outerHTML")
        assert await page.fits()
        page.errors.clear()  # the first request was refused


@pytest.mark.parametrize("screen", SCREENS)
async def test_a_user_and_the_rules_of_that_user(
    demo: RunningDemo, browser: Browser, screen: dict[str, Any]
) -> None:
    user = str(4_000_000 + screen["width"])
    async with logged_in(browser, demo, **screen) as page:
        await show(page, "users")
        await page.click("Add user", ENABLED)
        await page.fill("Telegram user id", user)
        await page.click("Add user", ENABLED)
        await page.wait("user => document.querySelector('main').innerText.includes(user)", user)
        assert load(config_of(demo), {}).user(int(user))
        await show(page, f"rules?user={user}")
        await page.click("Add rule", ENABLED)
        await page.fill("Rule 1", "name=( -> :Books")
        await page.wait("document.querySelector('.rule-list input').value")
        await save_rules(page)
        await page.sees("name=")
        await page.wait("document.querySelector('.rule-list .problem')")
        await page.fill("Rule 1", r"name=\.pdf$ -> :Books")
        await save_rules(page)
        await page.sees("Saved")
        await page.wait(
            "document.querySelector('.rule-list').closest('section').querySelector('.main:disabled')"
        )
        await page.fill("Try the rules with a file name", "a.pdf")
        await drawn(page)
        await page.click("Try", ENABLED)
        await page.sees("It goes to the chosen storage:Books")
        with demo.api() as api:
            assert api.get(f"/api/v1/rules?user_id={user}").json()["rules"] == [r"name=\.pdf$ -> :Books"]
        assert await page.fits()
        page.errors.clear()  # a rule was refused


async def test_preferences_apply_to_what_is_added(demo: RunningDemo, browser: Browser) -> None:
    async with logged_in(browser, demo) as page:
        await show(page, "rules")
        await page.fill("Default folder", "Inbox")
        await page.click("Save", ENABLED)
        await page.sees("Saved")
        await add(page, "https://t.me/channel/124", ".bin")
        assert list((Path(demo.facts["storages"]["local1"]) / "Inbox").iterdir())
        with demo.api() as api:
            api.patch("/api/v1/preferences", json={"folder": ""}).raise_for_status()


async def test_accounts_show_their_state_and_a_login_can_be_given_up(
    demo: RunningDemo, browser: Browser
) -> None:
    async with logged_in(browser, demo) as page:
        await show(page, "accounts")
        await page.sees("Works")
        await page.click("Log in an account", ENABLED)
        await page.fill("Name of the account", "other")
        await page.click("Log in", "dialog button.main")
        assert await page.wait("document.querySelector('.login-qr')?.naturalWidth")
        await page.click("Cancel", "dialog .stack footer button")
        await page.wait("!document.querySelector('dialog')")
        with demo.api() as api:
            accounts = api.get("/api/v1/accounts").json()["accounts"]
        assert "other" not in [each["name"] for each in accounts]
