"""Takes the pictures of the web UI in docs/screenshots: the demo with its samples, in Debian's Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests.fixtures.browser import Browser, Page
from tests.fixtures.servers import free_port
from tests.fixtures.waiting import until

ROOT = Path(__file__).parents[3]

VIEWS = (
    *("now", "add", "library", "links", "chats", "history", "rules", "storages", "accounts", "users"),
    *("configuration", "keys", "webhooks", "status", "settings"),
    *("setup/telegram", "setup/account", "setup/storage"),
)
ARCHIVE = "Photo club"
SAMPLES = (123, 130, 131, 136, 142, 141, 144, 127)
SLOW = (128,)


async def main() -> None:
    """Start a demo, give it something to do, and take a picture of each view."""
    folder = ROOT / "docs/screenshots"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "saveany", "demo", "--json", "--port", "0", "--data", f"{data}/demo"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)  # noqa: ASYNC220
        assert process.stdout
        try:
            facts = json.loads(process.stdout.readline())
            await prepare(facts)
            async with Browser(Path(data) / "profile") as browser:
                for width, height, dark in ((1280, 800, False), (360, 740, True)):
                    kind = f"{width}-{'dark' if dark else 'light'}"
                    screen: dict[str, Any] = {"width": width, "height": height, "dark": dark}
                    async with browser.page(await login(facts), **screen) as page:
                        await take(page, folder, kind)
                    await take_first_page(browser, Path(data), folder / f"first-run-{kind}.webp", screen)
        finally:
            process.terminate()
            process.wait()


async def prepare(facts: dict[str, Any]) -> None:
    """Save samples, and begin others that take long."""
    async with client(facts) as api:
        archive = {"chat": "@photoclub", "dir_path": "/Photo club", "follow": True}
        (await api.post("/api/v1/archives", json=archive)).raise_for_status()

        async def is_archived() -> bool:
            [found] = (await api.get("/api/v1/archives")).json()["archives"]
            return bool(found["state"] == "following" and not found["counts"]["pending"])

        await until(is_archived, within=180)
        before = (await api.get("/api/v1/stats")).json()["files"]
        for number in (*SAMPLES, *SLOW):
            body = {
                "telegram_url": f"https://t.me/channel/{number}",
                "user_id": facts["user_id"],
                "dir_path": "/downloads",
            }
            (await api.post("/api/v1/tasks", json=body)).raise_for_status()

        async def are_saved() -> bool:
            return bool((await api.get("/api/v1/stats")).json()["files"] >= before + len(SAMPLES))

        await until(are_saved, within=120)
        await api.put("/api/v1/limits", json={"bytes_per_second": 1_500_000})
        for file in (await api.get("/api/v1/files")).json()["files"][:3]:
            await api.post("/api/v1/links", json={"file_id": file["file_id"], "user_id": facts["user_id"]})
        await api.post(
            "/api/v1/keys",
            json={"name": "backup script", "user_id": facts["user_id"], "scopes": ["tasks", "files"]},
        )


async def login(facts: dict[str, Any]) -> str:
    """A login link."""
    async with client(facts) as api:
        return str((await api.post("/api/v1/session/links")).json()["url"])


def client(facts: dict[str, Any]) -> httpx.AsyncClient:
    """Requests to the demo."""
    headers = {"Authorization": f"Bearer {facts['token']}"}
    return httpx.AsyncClient(base_url=facts["api"], headers=headers, trust_env=False, timeout=30)


async def take(page: Page, folder: Path, kind: str) -> None:
    """A picture of each view."""
    await page.wait("document.querySelector('.dot.live')")
    for view in VIEWS:
        address = "library?type=image" if view == "library" else view
        await page.run("address => { location.hash = '#/' + address }", address)
        if view == "add":
            await page.fill("Links, one per line", "https://t.me/channel/131")
            await page.wait("document.querySelector('.preview .items')", within=60)
        await page.wait(
            "!document.querySelector('main .loading') && document.querySelector('main')?.children.length"
        )
        await asyncio.sleep(1)  # for pictures, and for the speed of tasks
        await page.shot(folder / f"{view.replace('/', '-')}-{kind}.webp")
        if view == "chats":
            await page.click(f"Receipt: {ARCHIVE}", "button")
            await page.sees("Every message is accounted for.")
            await page.wait("!document.querySelector('dialog .loading')")
            await page.shot(folder / f"receipt-{kind}.webp")
            await page.click("Close", "button")


async def take_first_page(browser: Browser, data: Path, file: Path, screen: dict[str, Any]) -> None:
    """A picture of what a SaveAny without a configuration shows."""
    empty = data / "empty"
    empty.mkdir(exist_ok=True)
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("SAVEANY_")}
    env["SAVEANY_API_PORT"] = str(port)
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "saveany", "run"], cwd=empty, env=env, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    try:
        await process.stderr.readuntil(b"15 minutes")
        async with browser.page(f"http://127.0.0.1:{port}", **screen) as page:
            await page.sees("Welcome")
            await page.shot(file)
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main())
