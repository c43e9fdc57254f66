"""Every view of the web UI, with content in it: nothing serious for axe (DA6), hostile names and captions are
text (DA7), no English in Chinese (DA12), and nothing is wider than a phone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

import saveany
from tests.acceptance.web.axe import violations
from tests.acceptance.web.conftest import RunningDemo, logged_in
from tests.acceptance.web.views import addresses, show
from tests.fixtures.browser import Browser, Page
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(400)

HOSTILE = "<img src=x onerror=alert(1)>"
SCREENS = [
    pytest.param({"width": 1280}, id="wide"),
    pytest.param({"width": 360, "height": 740, "dark": True}, id="narrow"),
]
#: Makes every text that somebody else may have chosen hostile, wherever the API returns it: names, captions,
#: titles, errors, paths. What the web UI compares (states, kinds, ids, times) stays.
_REPLACE = """
(() => {
  const mark = %(hostile)s;
  const texts = new Set(["title", "name", "owner", "error", "problem", "notice", "caption", "text", "path",
    "file_name", "reason", "last_error", "about", "detail", "chat_title", "sent", "description", "machine"]);
  const plain = /^[\\w.:+-]*$|^\\d{4}-\\d\\d-\\d\\dT|^(https?|data|tg):/;
  const changed = (value, key) => {
    if (Array.isArray(value)) return value.map((each) => changed(each, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, changed(each, name)]));
    }
    if (typeof value !== "string" || !value) return value;
    return texts.has(key) || !plain.test(value) ? value + mark : value;
  };
  const ask = window.fetch;
  window.fetch = async (...given) => {
    const reply = await ask(...given);
    const isData = /json/.test(reply.headers.get("content-type"));
    if (!isData || !String(given[0]).includes("api/v1/")) return reply;
    const body = JSON.stringify(changed(await reply.json()));
    return new Response(body, {status: reply.status, headers: reply.headers});
  };
})();
"""
#: Texts to read: those of elements, and those of attributes that browsers show or read out.
_READ = """
() => {
  const skipped = "code, pre, kbd, [lang], .row-name, .task-title, .brand, option";
  const found = [];
  for (const root of [document.body]) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement;
      if (!parent.closest(skipped + ", script, style, noscript")) found.push(node.data.trim());
    }
    for (const name of ["aria-label", "title", "placeholder"]) {
      for (const each of root.querySelectorAll(`[${name}]`)) found.push(each.getAttribute(name).trim());
    }
    for (const each of root.querySelectorAll("option")) found.push(each.text.trim());
  }
  return [...new Set(found)].filter(Boolean);
}
"""


@pytest.fixture(scope="module")
def populated(demo: RunningDemo) -> RunningDemo:
    """A demo with something to see in every view."""
    user = demo.facts["user_id"]
    with demo.api() as api:
        for number in (123, 131, 142):
            body = {"telegram_url": f"https://t.me/channel/{number}", "user_id": user}
            body["webhook_url"] = "https://hooks.invalid/saveany"
            api.post("/api/v1/tasks", json=body).raise_for_status()
        api.post("/api/v1/tasks", json={"url": "https://t.me/nosuchname/1", "user_id": user})
        api.put("/api/v1/limits", json={"bytes_per_second": 2_000_000}).raise_for_status()
        api.post("/api/v1/tasks", json={"telegram_url": "https://t.me/channel/128", "user_id": user})

        def files() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.get("/api/v1/files").json()["files"]
            return found

        asyncio.run(until(lambda: len(files()) >= 3, within=90))
        link = {"file_id": files()[0]["file_id"], "user_id": user}
        api.post("/api/v1/links", json=link).raise_for_status()
        archive = {"chat": "@channel", "filter": {"kinds": ["photo"]}, "follow": True, "user_id": user}
        api.post("/api/v1/archives", json=archive).raise_for_status()
        live = {"chat": "@channel", "dir_path": "streams", "user_id": user}
        api.post("/api/v1/live", json=live).raise_for_status()
        key = {"name": "script", "user_id": user, "scopes": ["read"]}
        api.post("/api/v1/keys", json=key).raise_for_status()
        api.post("/api/v1/folders", json={"name": "Films", "user_id": user}).raise_for_status()
        rules = {"rules": [r"name=\.pdf$ -> :Books"], "user_id": user}
        api.put("/api/v1/rules", json=rules).raise_for_status()
    return demo


@pytest.mark.parametrize("screen", SCREENS)
async def test_nothing_serious_for_axe(
    populated: RunningDemo, browser: Browser, screen: dict[str, Any]
) -> None:
    """DA6: in the colours of the system, and then in the others."""
    other = "light" if screen.get("dark") else "dark"
    async with browser.page(populated.base, **screen) as page:
        await page.sees("Token or key")  # the view `login`
        await _nothing_serious(page, "login", other)
    async with logged_in(browser, populated, **screen) as page:
        for address in addresses():
            await show(page, address)
            await _nothing_serious(page, address, other)


async def _nothing_serious(page: Page, address: str, other: str) -> None:
    assert await violations(page) == [], address
    await page.run("theme => { document.documentElement.dataset.theme = theme }", other)
    assert await violations(page, "color-contrast") == [], f"{address}, {other}"
    await page.run("delete document.documentElement.dataset.theme")
    assert await page.fits(), address


@pytest.mark.parametrize("screen", SCREENS)
async def test_hostile_texts_are_text(
    populated: RunningDemo, browser: Browser, screen: dict[str, Any]
) -> None:
    """DA7: nothing of them becomes a part of the page, runs, or makes the page wider."""
    async with logged_in(browser, populated, **screen) as page:
        script = _REPLACE % {"hostile": json.dumps(f" \u202e{HOSTILE}{'x' * 300}")}
        await page.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        await page.send("Page.reload")
        seen = set()
        for address in addresses():
            await show(page, address)
            assert await page.run("document.querySelectorAll('img[src=x], main script').length") == 0, address
            assert await page.fits(), address
            typed = await page.run("[...document.querySelectorAll('input')].map(each => each.value).join()")
            if HOSTILE in await page.text() + typed:
                seen.add(address.partition("?")[0])
        assert seen >= {
            *("now", "history", "library", "links", "chats", "rules", "storages", "accounts", "keys"),
            *("configuration", "webhooks", "status"),
        }


async def test_no_english_in_chinese(populated: RunningDemo, browser: Browser) -> None:
    """DA12: no text that has a translation is shown in English, neither of the web UI nor of the API."""
    folder = Path(saveany.__file__).parent
    english = set(json.loads((folder / "web/texts/zh-Hans.json").read_text()))
    with (folder / "locales/zh_Hans.po").open("rb") as file:
        english |= {each.id for each in read_po(file) if isinstance(each.id, str) and " " in each.id}
    same = {"API", "SaveAny", "Telegram", "Webhooks"}
    left: dict[str, list[str]] = {}
    with populated.api() as api:
        names = [each["name"] for each in api.get("/api/v1/files").json()["files"]]
    async with logged_in(browser, populated, language="zh-CN", width=360, height=740) as page:
        assert await page.run("document.documentElement.lang") == "zh-Hans"
        for address in addresses():
            await show(page, address)
            read: list[str] = await page.run(f"({_READ})()")
            found = [each for each in read if each in english - same or _is_sentence(each)]
            found = [each for each in found if not any(name in each for name in names)]
            if found and address != "docs":  # the description of the API is English
                left[address] = found
            assert await page.fits(), address
    assert left == {}


def _is_sentence(text: str) -> bool:
    """Whether a text has four English words in a row."""
    words = 0
    for word in text.split():
        words = words + 1 if word.strip(".,;:!?").isascii() and word.strip(".,;:!?").isalpha() else 0
        if words == 4:
            return True
    return False
