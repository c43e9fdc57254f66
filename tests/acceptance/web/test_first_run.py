"""From an empty folder to a shared file, without a terminal (DA1): `saveany run`, and a browser."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession
from telethon.tl import functions as fn

from saveany.config import load
from saveany.programs import die_with_parent
from saveany.sandbox import Sandbox, samples
from tests.acceptance.web.test_web import AXE, SCREENS, add
from tests.fixtures.browser import Browser, Page
from tests.fixtures.servers import free_port
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(400)

#: What the console of a browser shows while SaveAny is set up, and while it restarts.
_EXPECTED = (
    *("503 (Service Unavailable)", "401 (Unauthorized)", "403 (Forbidden)", "400 (Bad Request)"),
    *("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"),
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
)


@dataclass
class NewInstance:
    """A SaveAny in an empty folder, with a simulated Telegram."""

    folder: Path
    base: str
    sandbox: Sandbox

    def code(self) -> str:
        """The code in the log."""
        *_, code = re.findall(r"^    (\S{5}-\S{5})$", (self.folder.parent / "log").read_text(), re.M)
        return str(code)


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[NewInstance]:
    folder = tmp_path / "empty"
    folder.mkdir()
    async with Sandbox(state=tmp_path / "telegram") as sandbox:
        port = free_port()
        env = {key: value for key, value in os.environ.items() if not key.startswith("SAVEANY_")} | {
            "SAVEANY_API_PORT": str(port),
            "SAVEANY_TELEGRAM_DC_ID": str(sandbox.dc_id),
            "SAVEANY_TELEGRAM_DC_ADDRESS": sandbox.address,
            "SAVEANY_TELEGRAM_DC_PUBLIC_KEY": str(sandbox.public_key_file),
        }
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "saveany", "run", "--workers", "1"],
                cwd=folder,
                env=env,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(15),
            )
        found = NewInstance(folder, f"http://127.0.0.1:{port}", sandbox)
        try:
            await until(lambda: "once, within" in (tmp_path / "log").read_text(), within=30)
            yield found
        finally:
            process.terminate()
            await process.wait()


@pytest.mark.parametrize("screen", SCREENS)
async def test_from_an_empty_folder_to_a_saved_file(
    instance: NewInstance, browser: Browser, screen: dict[str, Any]
) -> None:
    async with browser.page(instance.base, **screen) as page:
        await claim(page, instance)
        await connect(page)
        await log_in(page, instance, by_qr="dark" not in screen)
        await page.sees("Where to save files")
        await no_violations(page)
        await page.click("Test", "button:not(:disabled)")
        await page.sees("It works")
        await page.click("Add storage", "button:not(:disabled)")
        await page.sees("SaveAny is ready")
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        config = load(instance.folder / "config.toml", {})
        assert [each.id for each in config.users] == [samples.USER.id]
        assert [each.name for each in config.storages] == ["local1"]
        await page.run("location.hash = '#/storages'")
        await page.sees("Ready")
        await add(page, "https://t.me/channel/123", "file.pdf")
        assert list((instance.folder / "downloads").rglob("file.pdf"))
        assert [each for each in page.errors if not any(known in each for known in _EXPECTED)] == []
        assert page.hosts == {instance.base.removeprefix("http://")}
    await setup_is_over(instance)


async def claim(page: Page, instance: NewInstance) -> None:
    """Enter the code: first a wrong one."""
    await page.sees("Welcome")
    await no_violations(page)
    await page.fill("Code", "AAAAA-AAAAA")
    await page.click("Continue", "button:not(:disabled)")
    await page.sees("not the code")
    await page.fill("Code", instance.code())
    await page.click("Continue", "button:not(:disabled)")
    token = await page.wait("document.querySelector('input.token')?.value")
    assert token in (instance.folder / "config.toml").read_text()
    await page.click("Continue", "button:not(:disabled)")
    await page.sees("Connect Telegram", within=60)
    await no_violations(page)


async def connect(page: Page) -> None:
    """Enter id and hash: SaveAny restarts with them."""
    await page.fill("API id", "12345")
    await page.fill("API hash", "0123456789abcdef0123456789abcdef")
    await page.click("Continue", "button:not(:disabled)")
    await page.sees("Log in your account", within=90)


async def log_in(page: Page, instance: NewInstance, *, by_qr: bool) -> None:
    """Log the user in by a QR code, or by phone number, code and password."""
    if by_qr:
        await page.click("Log in", "button:not(:disabled)")
        link = await page.wait("document.querySelector('.login-qr')?.dataset.link")
        rsa.add_key(instance.sandbox.public_key, old=False)
        phone = TelegramClient(StringSession(instance.sandbox.user_session), 1, "hash", receive_updates=False)
        await phone.connect()
        token = base64.urlsafe_b64decode(link.partition("=")[2] + "==")
        await phone(fn.auth.AcceptLoginTokenRequest(token))
        await phone.disconnect()
        return
    instance.sandbox.world.accounts[samples.USER.id].password = "correct horse"
    await page.run(
        "() => { const s = document.querySelector('select'); s.value = 'phone';"
        "s.dispatchEvent(new Event('change', {bubbles: true})) }",
        None,
    )
    await page.click("Log in", "button:not(:disabled)")
    await page.fill("Phone number of the account", instance.sandbox.phone)
    await page.click("Continue", "button:not(:disabled)")
    await page.fill("Login code", "00000")
    await page.click("Continue", "button:not(:disabled)")
    await page.sees("That code was wrong")
    await page.fill("Login code", instance.sandbox.login_code)
    await page.click("Continue", "button:not(:disabled)")
    await page.fill("Password", "correct horse")
    await page.click("Continue", "button:not(:disabled)")


async def no_violations(page: Page) -> None:
    """axe finds nothing serious (DA6)."""
    await page.run(AXE.read_text() + ";0")
    found = await page.run(
        "axe.run({resultTypes: ['violations']}).then(r => r.violations"
        ".filter(v => ['serious', 'critical'].includes(v.impact)).map(v => `${v.id}: ${v.nodes[0].html}`))"
    )
    assert found == []


async def setup_is_over(instance: NewInstance) -> None:
    """The setup does not exist any more, with any code."""
    async with httpx.AsyncClient(base_url=instance.base, trust_env=False) as api:
        assert (await api.get("/api/v1/setup")).status_code == 401
        assert (await api.post("/api/v1/setup", json={"code": instance.code()})).status_code == 401


async def test_roles_of_their_own_wait_for_the_setup_and_restart_on_request(tmp_path: Path) -> None:
    """As with docker compose: the API serves the setup, and the worker waits for its file."""
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("SAVEANY_")} | {
        "SAVEANY_API_PORT": str(port),
        "SAVEANY_API_HOST": "0.0.0.0",
    }
    log = tmp_path / "log"
    folder = tmp_path / "empty"
    folder.mkdir()

    async def start(*command: str) -> asyncio.subprocess.Process:
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", *command],
                cwd=folder,
                env=env,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(15),
            )

    roles = [await start("saveany", "api"), await start("saveany", "worker")]
    try:
        await until(lambda: log.exists() and "once, within" in log.read_text(), within=30)
        await until(lambda: "waiting_for_setup" in log.read_text(), within=30)
        assert await (await start("saveany.cli.health", "api", "worker")).wait() == 0
        *_, code = re.findall(r"^    (\S{5}-\S{5})$", log.read_text(), re.M)
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as api:
            done = await api.post("/api/v1/setup", json={"code": code})
            api.headers["Authorization"] = f"Bearer {done.json()['token']}"

            async def workers() -> list[Any]:
                try:
                    reply = await api.get("/api/v1/workers")
                except httpx.TransportError:
                    return []
                return list(reply.json().get("workers", []))

            await until(workers, within=60)
            [before] = await workers()
            assert (await api.post("/api/v1/config/restart")).status_code == 202

            async def is_another() -> bool:
                return any(each["id"] != before["id"] for each in await workers())

            await until(is_another, within=90)
        assert "host" not in (folder / "config.toml").read_text()
        assert [each.returncode for each in roles] == [None, None]
    finally:
        for each in roles:
            each.terminate()
            await each.wait()
