"""Hostile names, captions and files, sessions, and the keyboard (DA6-DA8)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.acceptance.web.conftest import RunningDemo, logged_in
from tests.acceptance.web.test_every_view import HOSTILE
from tests.fixtures.browser import Browser, Page
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(300)

#: A page and a picture that would run a script in our origin, if a browser showed them there.
SCRIPTS = {
    "evil.html": b"<!doctype html><script>document.title = 'ran'; fetch('/ran')</script>",
    "evil.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("/ran")</script></svg>',
}
LONG = "\u202e" + HOSTILE + "x" * 4000


@pytest.fixture(scope="module")
def hostile(demo: RunningDemo) -> dict[str, str]:
    """Files with hostile names, captions and contents, by name."""
    user = demo.facts["user_id"]
    with demo.api() as api:
        for name, content in {**SCRIPTS, f"{HOSTILE}.txt": b"<script>alert(1)</script>"}.items():
            params = {"name": name.replace("/", ""), "user_id": user}
            api.post("/api/v1/files", params=params, content=content).raise_for_status()
        body = {"url": "https://t.me/channel/124", "user_id": user, "filename": f"{HOSTILE} \u202efdp.exe"}
        api.post("/api/v1/tasks", json=body).raise_for_status()
        bad = {"url": "https://t.me/nosuchname/1", "user_id": user}
        api.post("/api/v1/tasks", json=bad)

        def saved() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.get("/api/v1/files", params={"limit": 200}).json()["files"]
            return found

        asyncio.run(until(lambda: len(saved()) >= 4, within=60))
        files = {each["name"]: each["file_id"] for each in saved()}
        for id_ in files.values():
            api.patch(f"/api/v1/files/{id_}", json={"caption": LONG}).raise_for_status()
            api.post("/api/v1/links", json={"file_id": id_, "user_id": user}).raise_for_status()
        api.post("/api/v1/keys", json={"name": HOSTILE, "user_id": user, "scopes": ["read"]})
        api.post("/api/v1/folders", json={"name": f"{HOSTILE} folder", "user_id": user})
        return files


async def test_hostile_names_captions_and_contents_are_text_in_the_preview(
    demo: RunningDemo, browser: Browser, hostile: dict[str, str]
) -> None:
    """DA7; `test_every_view` looks at the other texts of the API."""
    async with logged_in(browser, demo, width=360, height=740) as page:
        await page.run("location.hash = '#/library?q=onerror'")
        await page.click(".txt", "button.row-name")
        await page.sees("<script>alert(1)</script>")
        await page.sees("xxxxxxxx")
        assert await page.run("document.querySelectorAll('img[src=x], main script').length") == 0
        assert await page.fits()


@pytest.mark.parametrize("name", sorted(SCRIPTS))
async def test_files_of_users_never_run_in_our_origin(
    demo: RunningDemo, browser: Browser, hostile: dict[str, str], name: str
) -> None:
    """DA7: neither from the library nor from the page of a link."""
    async with logged_in(browser, demo) as page:
        await page.send("Page.setDownloadBehavior", behavior="deny")
        address = f"{demo.base}/api/v1/files/{hostile[name]}/content?inline=true"
        for frame in (
            "",
            "const e = document.createElement('iframe'); e.src = path; document.body.append(e);",
        ):
            if not frame:
                await page.open(address)
            else:
                await page.run(
                    f"async path => {{ {frame} await fetch(path).then(r => r.arrayBuffer()) }}", address
                )
            assert await page.run("document.title") != "ran"
        assert not any(each["url"].endswith("/ran") for each in page.requests.values())
        page.errors.clear()  # the policy has refused the frame
    with demo.api() as api:
        inline = api.get(f"/api/v1/files/{hostile[name]}/content", params={"inline": True})
        assert "sandbox" in inline.headers["content-security-policy"]
        assert inline.headers["x-content-type-options"] == "nosniff"
        assert inline.headers["content-disposition"].startswith("attachment")


async def test_the_end_of_a_session_ends_its_stream(demo: RunningDemo, browser: Browser) -> None:
    """DA8: within 5 seconds, also when another tab has ended the session."""
    async with logged_in(browser, demo) as page:
        assert await page.run("fetch('api/v1/session', {method: 'DELETE'}).then(r => r.status)") == 403
        cookies = (await page.send("Network.getCookies"))["cookies"]
        jar = {each["name"]: each["value"] for each in cookies}
        async with httpx.AsyncClient(base_url=demo.base, cookies=jar, trust_env=False) as client:
            token = (await client.get("/api/v1/session")).json()["csrf_token"]
            headers = {"X-CSRF-Token": token}
            (await client.delete("/api/v1/session", headers=headers)).raise_for_status()
        await page.sees("Token or key", within=5)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_other_sites_cannot_use_the_session(demo: RunningDemo, origin: str) -> None:
    """DA8: with the cookie, even with its CSRF token."""
    async with httpx.AsyncClient(base_url=demo.base, trust_env=False) as client:
        code = demo.login().rpartition("/")[2]
        begun = (await client.post("/api/v1/session", json={"code": code})).raise_for_status().json()
        headers = {"Origin": origin, "X-CSRF-Token": begun["csrf_token"]}
        assert (await client.post("/api/v1/queue/pause", headers=headers)).status_code == 403
        headers["Origin"] = demo.base
        assert (await client.post("/api/v1/queue/resume", headers=headers)).status_code == 200


async def test_a_session_is_not_fixed_by_another(demo: RunningDemo) -> None:
    """DA8: a login always begins a new session, whatever cookie the browser has sent."""
    async with httpx.AsyncClient(base_url=demo.base, trust_env=False) as client:
        client.cookies.set("saveany_session", "chosen-by-an-attacker", domain="127.0.0.1")
        code = demo.login().rpartition("/")[2]
        reply = (await client.post("/api/v1/session", json={"code": code})).raise_for_status()
        cookie = reply.headers["set-cookie"]
        assert "chosen-by-an-attacker" not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie.replace("Lax", "lax")


async def test_a_login_link_of_somebody_else_does_not_replace_the_session_silently(
    demo: RunningDemo, browser: Browser
) -> None:
    """A page of another site may open a link that it has made for its own key."""
    async with httpx.AsyncClient(base_url=demo.base, trust_env=False) as other:
        code = demo.login().rpartition("/")[2]
        async with logged_in(browser, demo) as page:
            await page.run(f"void (location.hash = '#/login/{code}')")
            await page.sees("Log in as somebody else?")
            await page.click("Cancel", "button")
            await page.wait("!document.querySelector('dialog')")
            assert code not in await page.run("location.href")
        assert (await other.post("/api/v1/session", json={"code": code})).status_code == 201


async def focus(page: Page, name: str) -> None:
    """Press the tab key until what has this name has the focus."""
    for _ in range(120):
        await page.press("Tab", 9)
        found = await page.run(
            "(e => [e.getAttribute('aria-label'), e.innerText, e.value, e.labels?.[0]?.innerText])"
            f"(document.activeElement).some(each => (each ?? '').trim() === {json.dumps(name)})"
        )
        if found:
            assert await page.run("document.activeElement.matches(':focus-visible')")
            return
    raise AssertionError(f"{name} cannot be reached with the keyboard")


async def test_everything_works_with_the_keyboard(demo: RunningDemo, browser: Browser) -> None:
    """DA6: add a link, open the file, close it, and log out."""
    async with logged_in(browser, demo) as page:
        await focus(page, "Add")
        await page.press("Enter", 13, "\r")
        await page.wait("document.querySelector('textarea')")
        await focus(page, "Links, one per line")
        await page.send("Input.insertText", text="https://t.me/channel/123")
        await page.sees("file.pdf")
        await focus(page, "Save")
        await page.press("Enter", 13, "\r")
        await page.wait("location.hash === '#/now'")
        await focus(page, "Library")
        await page.press("Enter", 13, "\r")
        await page.wait("document.querySelector('.virtual .row')")
        await page.press("/", 191, "/")
        assert await page.run("document.activeElement.id") == "search"
        await page.send("Input.insertText", text="file.pdf")

        await page.wait(
            "location.hash.includes('q=file.pdf') && "
            "document.querySelector('.virtual .row')?.innerText.includes('file.pdf')"
        )
        await page.run("document.querySelector('.virtual button.row-name').focus()")
        await page.press("Enter", 13, "\r")
        await page.wait("document.querySelector('dialog[open]')")
        await page.press("Escape", 27)
        await page.wait("!document.querySelector('dialog[open]')")
        assert await page.run("document.activeElement.matches('button.row-name')"), "the focus is back"
        await focus(page, "Log out")
        await page.press("Enter", 13, "\r")
        await page.sees("Token or key")


async def test_the_wishes_of_the_system_are_respected(demo: RunningDemo, browser: Browser) -> None:
    """DA6: less motion, and the colours of the system."""
    async with logged_in(browser, demo) as page:
        features = [
            {"name": "prefers-reduced-motion", "value": "reduce"},
            {"name": "forced-colors", "value": "active"},
        ]
        await page.send("Emulation.setEmulatedMedia", features=features)
        await page.run("location.hash = '#/status'")
        await page.sees("Version")
        moving = await page.run(
            "[...document.querySelectorAll('*')].filter(e => { const s = getComputedStyle(e);"
            "return s.animationName !== 'none' || parseFloat(s.transitionDuration) > 0 }).length"
        )
        assert moving == 0
        await page.run("document.documentElement.dataset.theme = 'dark'")
        await page.wait("matchMedia('(forced-colors: active)').matches")
