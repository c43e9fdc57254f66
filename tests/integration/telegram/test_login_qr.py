"""Logins by QR code, logging out, and processes that notice both."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession
from telethon.tl import functions as fn

from saveany.errors import NeedsLogin, Permanent, Retryable
from saveany.sandbox import Sandbox, samples
from saveany.telegram import account_set, login
from saveany.telegram.links import parse
from saveany.telegram.login import Question
from saveany.telegram.session import SessionFolder
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start, fetch, table
from tests.integration.telegram.test_login import answers

LINK = parse("https://t.me/channel/123")
EXPORT = "auth.exportLoginToken"


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_SCAN_POLL_SECONDS", 0.02)
    monkeypatch.setattr(account_set, "_FOLDER_POLL_SECONDS", 0.02)


@pytest.fixture
async def phone(sandbox: Sandbox) -> AsyncIterator[Any]:
    """The user's other client, which scans codes."""
    rsa.add_key(sandbox.public_key, old=False)
    client = TelegramClient(StringSession(sandbox.user_session), 1, "hash", receive_updates=False)
    await client.connect()
    yield client
    await client.disconnect()


class Screen:
    """Shows codes; `scan` accepts one."""

    def __init__(self) -> None:
        self.links: list[str] = []
        self.expires: list[datetime] = []

    async def show(self, link: str, expires: datetime) -> None:
        self.links.append(link)
        self.expires.append(expires)

    async def scan(self, phone: Any) -> None:
        await until(lambda: bool(self.links))
        head, _, token = self.links[-1].partition("=")
        assert head == "tg://login?token"
        await phone(fn.auth.AcceptLoginTokenRequest(base64.urlsafe_b64decode(token + "==")))


@pytest.fixture
async def screen() -> Screen:
    return Screen()


async def never(question: Question) -> str:
    raise AssertionError(f"asked: {question}")


async def test_a_user_logs_in_by_qr_code(
    sandbox: Sandbox, start: Start, tmp_path: Path, phone: Any, screen: Screen
) -> None:
    waiting = asyncio.create_task(login.login_qr(table(sandbox), tmp_path, "alice", screen.show, never))
    await until(lambda: sandbox.counters.requests(method=EXPORT) > 3)
    assert len(screen.links) == 1  # one code, however often it is asked for
    assert 0 < (screen.expires[0] - datetime.now(UTC)).total_seconds() <= 30
    await screen.scan(phone)
    assert await waiting == "Sandbox User"
    accounts = await start()
    assert accounts.ready == ["alice"]
    [media] = await accounts.resolve(LINK)
    await fetch(accounts, media)


async def test_another_code_is_shown_when_one_has_expired(
    sandbox: Sandbox, tmp_path: Path, phone: Any, screen: Screen
) -> None:
    sandbox.world.token_lifetime = 0.05
    waiting = asyncio.create_task(login.login_qr(table(sandbox), tmp_path, "alice", screen.show, never))
    await until(lambda: len(set(screen.links)) >= 3)
    shown = len(screen.links)
    sandbox.world.token_lifetime = 30.0
    await until(lambda: len(screen.links) > shown + 1 or screen.expires[-1] > screen.expires[shown - 1])
    await until(lambda: (screen.expires[-1] - datetime.now(UTC)).total_seconds() > 1)
    await screen.scan(phone)
    assert await waiting == "Sandbox User"


async def test_a_password_is_asked_for_after_the_scan(
    sandbox: Sandbox, start: Start, tmp_path: Path, phone: Any, screen: Screen
) -> None:
    sandbox.world.accounts[samples.USER.id].password = "correct horse"
    ask, asked = answers("", ["wrong horse", "correct horse"])
    waiting = asyncio.create_task(login.login_qr(table(sandbox), tmp_path, "alice", screen.show, ask))
    await screen.scan(phone)
    assert await waiting == "Sandbox User"
    assert asked == [Question.PASSWORD, Question.PASSWORD_AGAIN]
    assert (await start()).ready == ["alice"]


@pytest.mark.parametrize("password", ["", "correct horse"])
async def test_a_scan_at_the_wrong_data_center_is_migrated(
    sandbox: Sandbox, start: Start, tmp_path: Path, phone: Any, screen: Screen, password: str
) -> None:
    sandbox.world.accounts[samples.USER.id].password = password
    host, port = sandbox.addresses[4]
    config = table(sandbox, dc_id=4, dc_address=f"{host}:{port}")
    ask, _ = answers("", [password])
    waiting = asyncio.create_task(login.login_qr(config, tmp_path, "alice", screen.show, ask))
    await screen.scan(phone)
    assert await waiting == "Sandbox User"
    kept = SessionFolder(tmp_path).load("alice")
    assert kept is not None
    assert (kept.dc_id, kept.host, kept.port) == (2, *sandbox.addresses[2])
    accounts = await start(config)
    [media] = await accounts.resolve(LINK)
    await fetch(accounts, media)


async def test_a_login_without_a_scan_times_out(
    sandbox: Sandbox, tmp_path: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_SCAN_SECONDS", 0.3)
    with pytest.raises(Permanent, match="Nobody scanned"):
        await login.login_qr(table(sandbox), tmp_path, "alice", screen.show, never)
    assert SessionFolder(tmp_path).names() == []


async def test_a_refusal_by_the_server_is_not_reported_as_a_missing_scan(
    sandbox: Sandbox, tmp_path: Path, screen: Screen
) -> None:
    sandbox.faults.add(f"flood_wait=30,method={EXPORT}")
    with pytest.raises(Retryable):
        await login.login_qr(table(sandbox), tmp_path, "alice", screen.show, never)


async def test_waiting_for_a_scan_can_be_canceled(sandbox: Sandbox, tmp_path: Path, screen: Screen) -> None:
    waiting = asyncio.create_task(login.login_qr(table(sandbox), tmp_path, "alice", screen.show, never))
    await until(lambda: bool(screen.links))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert SessionFolder(tmp_path).names() == []


# Processes that run see logins come and go.


async def test_a_login_saved_later_is_used(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    accounts, other = await start(), await start(bot=True)
    assert accounts.ready == []
    await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    await until(lambda: accounts.ready == ["bob"] and other.ready == ["bot", "bob"])
    [media] = await accounts.resolve(LINK)
    await fetch(accounts, media)


async def test_a_login_that_replaces_a_revoked_one_is_used(
    sandbox: Sandbox, start: Start, tmp_path: Path, phone: Any, screen: Screen
) -> None:
    await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    sandbox.faults.add("error=401:SESSION_REVOKED,method=users.getUsers")
    accounts = await start()
    assert "ended from another device" in str(accounts.problems["bob"])
    sandbox.faults.clear()
    waiting = asyncio.create_task(login.login_qr(table(sandbox), tmp_path, "bob", screen.show, never))
    await screen.scan(phone)
    await waiting
    await until(lambda: accounts.ready == ["bob"])
    [media] = await accounts.resolve(LINK)
    await fetch(accounts, media)


async def test_the_sending_account_does_not_depend_on_login_order(
    sandbox: Sandbox, start: Start, tmp_path: Path
) -> None:
    await login.login_session(table(sandbox), tmp_path, "zoe", sandbox.user_session)
    accounts = await start(bot=True)
    assert accounts.sender(user=True) == "zoe"
    await login.login_session(table(sandbox), tmp_path, "amy", sandbox.person_session)
    await until(lambda: accounts.ready == ["bot", "amy", "zoe"])
    assert accounts.sender(user=True) == "amy"
    assert (await start(bot=True)).sender(user=True) == "amy"


async def test_an_unusable_login_is_reported_once(
    sandbox: Sandbox, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = await start(bot=True)
    (tmp_path / "sessions" / "carol.session").write_text('{"dc_id": ')
    (tmp_path / "sessions" / "not a name.session").write_text("")
    await until(lambda: "carol" in accounts.problems)
    await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    await until(lambda: accounts.ready == ["bot", "bob"])
    assert list(accounts.problems) == ["carol"]
    assert capsys.readouterr().out.count("session_file_damaged") == 1  # logged once, not at every check


async def test_a_user_is_logged_out(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    accounts = await start(bot=True)
    [media] = await accounts.resolve(LINK)
    away = await accounts._find_elsewhere(media, {"bot"})
    assert away is not None
    await fetch(accounts, away)  # which makes a key for another data center
    assert await login.logout(table(sandbox), tmp_path, "bob") == "Sandbox User"
    await until(lambda: accounts.ready == ["bot"])
    assert accounts.problems == {}
    assert [file.name for file in (tmp_path / "sessions").glob("bob*")] == []
    with pytest.raises(Retryable):
        await fetch(accounts, away)
    with pytest.raises(Permanent, match='"bob"'):
        await login.logout(table(sandbox), tmp_path, "bob")
    with pytest.raises(NeedsLogin, match="does not know"):
        await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)


async def test_a_revoked_login_can_be_logged_out(sandbox: Sandbox, tmp_path: Path) -> None:
    await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    sandbox.faults.add("revoke,method=auth.logOut,count=1")
    assert await login.logout(table(sandbox), tmp_path, "bob") == "Sandbox User"
    assert SessionFolder(tmp_path).names() == []


async def test_a_login_that_cannot_be_ended_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    sandbox.faults.add("flood_wait=30,method=auth.logOut")
    with pytest.raises(Retryable):
        await login.logout(table(sandbox), tmp_path, "bob")
    assert SessionFolder(tmp_path).names() == ["bob"]


async def test_only_users_are_logged_out(sandbox: Sandbox, tmp_path: Path) -> None:
    await login.login_bot(table(sandbox), tmp_path, sandbox.bot_token)
    with pytest.raises(Permanent, match="Logins: none"):
        await login.logout(table(sandbox), tmp_path, "bot")


_PROCESS = """
import asyncio, sys
from pathlib import Path
from saveany.config.schema import TelegramConfig
from saveany.telegram.accounts import Accounts

async def main():
    accounts = Accounts(TelegramConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
    await accounts.start()
    for wanted in (["bob"], []):
        print("waits", flush=True)
        while accounts.ready != wanted:
            await asyncio.sleep(0.05)
    await accounts.close()

asyncio.run(main())
"""


async def test_another_process_notices_logins_and_logouts(sandbox: Sandbox, tmp_path: Path) -> None:
    text = table(sandbox).model_dump_json(exclude={"token", "app_hash"})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROCESS, text, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    async with asyncio.timeout(30):
        await process.stdout.readline()
        await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
        await process.stdout.readline()
        await login.logout(table(sandbox), tmp_path, "bob")
        assert await process.wait() == 0
