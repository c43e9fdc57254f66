"""From an empty folder to a shared video that plays, with a browser only (DA1)."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession
from telethon.tl import functions as fn

from saveany.config import load
from saveany.first_run.code import MAX_ATTEMPTS
from saveany.programs import die_with_parent
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.model import StoredFile, StoredMessage
from tests.acceptance.web.axe import violations
from tests.acceptance.web.test_web import SCREENS, add
from tests.fixtures.browser import Browser, Page
from tests.fixtures.media import FORMATS
from tests.fixtures.servers import free_port, program
from tests.fixtures.waiting import until

pytestmark = pytest.mark.timeout(400)

#: Seconds that a newcomer has for the whole way.
LIMIT = 180.0
FILM = "film.webm"
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


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video that Chromium plays."""
    file = tmp_path_factory.mktemp("film") / FILM
    subprocess.run([program("ffmpeg"), "-v", "error", *FORMATS[FILM], str(file)], check=True)
    return file.read_bytes()


def post(instance: NewInstance, content: bytes) -> str:
    """Post a file in the sample channel; returns the link to its message."""
    world = instance.sandbox.world
    file = world.add_file(
        StoredFile(id=9001, content=LiteralContent(content), name=FILM, mime="video/webm", dc=2)
    )
    channel = next(each for each in world.chats.values() if each.username == "channel")
    message = world.send(channel, StoredMessage(id=0, text="A short film", file=file))
    return f"https://t.me/channel/{message.id}"


@pytest.mark.parametrize("screen", SCREENS)
async def test_from_an_empty_folder_to_a_shared_video_that_plays(
    instance: NewInstance, browser: Browser, screen: dict[str, Any], film: bytes
) -> None:
    link = post(instance, film)
    began = time.monotonic()
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
        assert await page.fits()
        config = load(instance.folder / "config.toml", {})
        assert [each.id for each in config.users] == [samples.USER.id]
        assert [each.name for each in config.storages] == ["local1"]
        await page.run("location.hash = '#/storages'")
        await page.sees("Ready")
        await add(page, link, FILM)
        assert next((instance.folder / "downloads").rglob(FILM)).read_bytes() == film
        await plays(browser, await share(page), screen)
        assert time.monotonic() - began < LIMIT
        await locked(page, "telegram.dc_address", "SAVEANY_TELEGRAM_DC_ADDRESS")
        assert [each for each in page.errors if not any(known in each for known in _EXPECTED)] == []
        assert page.hosts == {instance.base.removeprefix("http://")}
    await setup_is_over(instance)


async def share(page: Page) -> str:
    """Make a link to the film in the library."""
    await page.run("location.hash = '#/library'")
    await page.click(FILM, "button.row-name")
    await page.wait("document.querySelector('dialog video')?.duration > 10")
    await page.click("Create link", "button")
    await page.fill("Number of downloads", "5")
    await page.click("Create link", "button")
    return str(await page.wait("document.querySelector('.shown-link input')?.value"))


async def plays(browser: Browser, address: str, screen: dict[str, Any]) -> None:
    """A stranger, who is not logged in, plays it on the page of the link."""
    async with browser.page(address, **screen) as page:
        await page.sees(FILM)
        await page.wait("document.querySelector('video')")
        await page.run("document.querySelector('video').play()")
        await page.wait("document.querySelector('video').currentTime > 1")
        assert await page.run("document.querySelector('video').videoWidth") == 320
        assert await page.fits()
        assert page.errors == []


async def locked(page: Page, key: str, variable: str) -> None:
    """The environment sets this key, so it cannot be changed here, and the form says why (DA11)."""
    await page.run("key => { location.hash = '#/configuration?q=' + key }", key)
    await page.sees(f"Locked: {variable} of the environment sets it")
    assert await page.run("document.querySelectorAll('.value :is(input, select):enabled').length") == 0


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
    assert await violations(page) == []


async def setup_is_over(instance: NewInstance) -> None:
    """The setup does not exist any more, with any code."""
    async with httpx.AsyncClient(base_url=instance.base, trust_env=False) as api:
        assert (await api.get("/api/v1/setup")).status_code == 401
        assert (await api.post("/api/v1/setup", json={"code": instance.code()})).status_code == 401


async def test_wrong_codes_have_to_wait_and_the_code_is_for_the_local_network(
    instance: NewInstance, browser: Browser
) -> None:
    """DA8: nobody can try all codes, and nobody from elsewhere can use the right one."""
    first = instance.code()
    async with httpx.AsyncClient(base_url=instance.base, trust_env=False) as api:
        elsewhere = {"X-Forwarded-For": "8.8.8.8"}
        reply = await api.post("/api/v1/setup", json={"code": first}, headers=elsewhere)
        assert reply.status_code == 403
        assert (await api.get("/", headers=elsewhere)).status_code == 403
        assert not (instance.folder / "config.toml").exists()
    async with browser.page(instance.base) as page:
        for number in range(MAX_ATTEMPTS):
            await page.fill("Code", f"AAAAA-AAAA{number}")
            await page.click("Continue", "button:not(:disabled)")
            await until(partial(_has_answered, page, number + 1))
            await page.sees("not the code")
        assert instance.code() == first, "others can still use it"
        await page.fill("Code", first)
        await page.click("Continue", "button:not(:disabled)")
        await page.sees("Too many wrong codes")
    assert not (instance.folder / "config.toml").exists()


def _has_answered(page: Page, count: int) -> bool:
    posts = [each for each in page.requests.values() if each["method"] == "POST" and "status" in each]
    return len(posts) == count


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
