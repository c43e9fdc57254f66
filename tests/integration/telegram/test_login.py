"""Logins are made once, stored safely, and never requested by a running service."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from saveany.config.schema import TelegramConfig
from saveany.errors import ConfigError, NeedsLogin, Permanent, Retryable
from saveany.sandbox import Sandbox
from saveany.telegram import account_set, login, settings
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from saveany.telegram.login import Question
from saveany.telegram.session import SessionFolder
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start, fetch, store_of, table

LINK = parse("https://t.me/channel/123")
IMPORT = "auth.importBotAuthorization"


def answers(phone: str, codes: Iterable[str]) -> tuple[login.Ask, list[Question]]:
    """A prompt that gives the replies, and the questions it received."""
    asked: list[Question] = []
    left = iter(codes)

    async def ask(question: Question) -> str:
        asked.append(question)
        return phone if question in (Question.PHONE, Question.PHONE_AGAIN) else next(left)

    return ask, asked


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_the_bot_logs_in_once(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    for _ in range(3):
        accounts = await start(bot=True)
        assert (accounts.ready, accounts.problems) == (["bot"], {})
        await accounts.close()
    assert sandbox.counters.requests(method=IMPORT) == 1
    assert mode(tmp_path / "sessions") == 0o700
    assert {file.name: mode(file) for file in (tmp_path / "sessions").iterdir()} == {
        "bot.session": 0o600,
        "bot.lock": 0o600,
    }


_PROCESS = """
import asyncio, sys
from pathlib import Path
from saveany.config.schema import TelegramConfig
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse

async def main():
    accounts = Accounts(TelegramConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
    await accounts.start()
    assert accounts.ready == ["bot"], accounts.problems
    async def write(offset, data):
        pass
    for media in await accounts.resolve(parse("https://t.me/channel/135")):
        await accounts.download(media, write)
    await accounts.close()

asyncio.run(main())
"""


async def test_two_processes_share_one_login(sandbox: Sandbox, tmp_path: Path) -> None:
    config = table(sandbox, bot=True)
    text = config.model_dump_json().replace('"token":"**********"', f'"token":"{sandbox.bot_token}"')
    text = text.replace('"app_hash":"**********"', '"app_hash":""')
    command = (sys.executable, "-c", _PROCESS, text, str(tmp_path))
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert sandbox.counters.requests(method=IMPORT) == 1
    assert sandbox.counters.requests(method="auth.exportAuthorization") == 1


async def test_another_token_gets_another_login(sandbox: Sandbox, start: Start) -> None:
    await start(bot=True)
    accounts = await start(table(sandbox, token="123456:WRONG-token-of-another-bot-xxxxxxxxxx"))
    assert accounts.ready == []
    assert "@BotFather" in str(accounts.problems["bot"])
    assert "WRONG" not in str(accounts.problems["bot"])
    with pytest.raises(NeedsLogin, match="@BotFather"):
        await accounts.resolve(LINK)


async def test_a_bot_with_a_revoked_login_logs_in_again(sandbox: Sandbox, start: Start) -> None:
    first = await start(bot=True)
    await first.close()
    sandbox.faults.add("revoke,method=users.getUsers,count=1")
    accounts = await start(bot=True)
    assert accounts.ready == ["bot"]
    assert sandbox.counters.requests(method=IMPORT) == 2
    await accounts.resolve(LINK)


async def test_the_bot_logs_in_again_when_its_key_is_unknown(
    start: Start, redis: Redis, tmp_path: Path
) -> None:
    for _ in range(2):  # the second sandbox knows no key of the first
        async with Sandbox() as sandbox:
            accounts = Accounts(table(sandbox, bot=True), tmp_path, store_of(redis))
            await accounts.start()
            assert accounts.ready == ["bot"], accounts.problems
            await accounts.close()


async def test_a_user_logs_in_by_phone(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    ask, asked = answers(sandbox.phone, ["11111", sandbox.login_code])
    assert await login.login_phone(table(sandbox), tmp_path, "alice", ask) == "Sandbox User"
    assert asked == [Question.PHONE, Question.CODE, Question.CODE_AGAIN]
    assert mode(tmp_path / "sessions" / "alice.session") == 0o600
    accounts = await start()
    assert accounts.ready == ["alice"]
    [media] = await accounts.resolve(LINK)
    await fetch(accounts, media)


@pytest.mark.parametrize(
    ("phone", "codes", "reason"),
    [("+49123", [], "not a phone number"), ("+9996621234", ["1", "2", "3"], "the code is wrong")],
)
async def test_a_failed_phone_login_keeps_nothing(
    sandbox: Sandbox, tmp_path: Path, phone: str, codes: list[str], reason: str
) -> None:
    ask, _ = answers(phone, codes)
    with pytest.raises(Permanent, match=reason):
        await login.login_phone(table(sandbox), tmp_path, "alice", ask)
    assert SessionFolder(tmp_path).names() == []


@pytest.mark.parametrize("who", ["bot", "user"])
async def test_a_login_at_the_wrong_data_center_is_migrated(
    sandbox: Sandbox, start: Start, tmp_path: Path, who: str
) -> None:
    host, port = sandbox.addresses[4]
    config = table(sandbox, bot=who == "bot", dc_id=4, dc_address=f"{host}:{port}")
    if who == "user":
        ask, _ = answers(sandbox.phone, [sandbox.login_code])
        await login.login_phone(config, tmp_path, "user", ask)
    for _ in range(2):
        accounts = await start(config)
        assert accounts.ready == [who]
        [media] = await accounts.resolve(LINK)
        await fetch(accounts, media)
        await accounts.close()
    kept = SessionFolder(tmp_path).load(who)
    assert kept is not None
    assert (kept.dc_id, kept.host, kept.port) == (2, *sandbox.addresses[2])


async def test_a_user_logs_in_by_session_string(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    name = await login.login_session(table(sandbox), tmp_path, "bob", sandbox.user_session)
    assert name == "Sandbox User"
    accounts = await start()
    assert accounts.ready == ["bob"]


async def test_the_bot_logs_in_by_command(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    assert await login.login_bot(table(sandbox), tmp_path, sandbox.bot_token) == "Sandbox Bot"
    accounts = await start(bot=True)
    assert accounts.ready == ["bot"]
    assert sandbox.counters.requests(method=IMPORT) == 1


@pytest.mark.parametrize("text", ["", "x", "1short", "1" + "A" * 352])
async def test_an_invalid_session_string_is_refused(sandbox: Sandbox, tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="session string"):
        await login.login_session(table(sandbox), tmp_path, "bob", text)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "bot", "x" * 33, "ä"])
async def test_names_unsuitable_for_files_are_refused(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        await login.login_session(table(sandbox), tmp_path, name, sandbox.user_session)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("401:AUTH_KEY_UNREGISTERED", "does not know this login"),
        ("401:SESSION_REVOKED", "ended from another device"),
        ("401:USER_DEACTIVATED_BAN", "banned"),
        ("406:AUTH_KEY_DUPLICATED", "two internet addresses at once"),
    ],
)
async def test_a_revoked_user_login_names_the_command(
    sandbox: Sandbox, start: Start, error: str, reason: str
) -> None:
    sandbox.faults.add(f"error={error},method=users.getUsers")
    accounts = await start(user=True)
    assert accounts.ready == []
    assert reason in str(accounts.problems["me"])
    assert "saveany login --phone --name me" in str(accounts.problems["me"])
    with pytest.raises(NeedsLogin, match="saveany login"):
        await accounts.resolve(LINK)


async def test_a_login_revoked_later_is_no_longer_used(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True, user=True)
    sandbox.faults.add("error=406:AUTH_KEY_DUPLICATED,method=channels.getMessages,account=123456789")
    sandbox.faults.add("error=400:CHANNEL_PRIVATE,method=channels.getMessages,account=7000000001")
    with pytest.raises(Permanent, match="AUTH_KEY_DUPLICATED"):
        await accounts.resolve(LINK)
    assert accounts.ready == ["bot"]
    assert "one machine" in str(accounts.problems["me"])


async def test_a_user_login_is_bound_to_one_machine(sandbox: Sandbox, start: Start, tmp_path: Path) -> None:
    here = await start(user=True, data_dir=tmp_path / "here")
    same = await start(user=True, data_dir=tmp_path / "here")
    there = await start(user=True, data_dir=tmp_path / "there")
    assert (here.ready, same.ready, there.ready) == (["me"], ["me"], [])
    assert "another machine" in str(there.problems["me"])
    with pytest.raises(Retryable, match="another machine"):
        await there.resolve(LINK)


async def test_a_damaged_session_file_is_reported_as_a_problem(
    sandbox: Sandbox, start: Start, tmp_path: Path
) -> None:
    folder = SessionFolder(tmp_path)
    (tmp_path / "sessions" / "carol.session").write_text('{"dc_id": ')
    accounts = await start(bot=True)
    assert accounts.ready == ["bot"]
    assert "saveany login --phone --name carol" in str(accounts.problems["carol"])
    assert folder.load("carol") is None


async def test_an_invalid_session_string_is_reported_as_a_problem(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(table(sandbox, bot=True, accounts=[{"name": "me", "session": "1nonsense"}]))
    assert accounts.ready == ["bot"]
    assert "session string" in str(accounts.problems["me"])
    assert "nonsense" not in str(accounts.problems["me"])


async def test_without_an_application_id_no_login_is_started(start: Start) -> None:
    accounts = await start(TelegramConfig.model_validate({"token": "1:abc"}))
    assert accounts.ready == []
    assert "https://my.telegram.org" in str(accounts.problems["bot"])


async def test_without_cryptg_the_start_fails(
    sandbox: Sandbox, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install cryptg"):
        await start(bot=True)


async def test_a_bot_whose_login_is_revoked_later_logs_in_again(
    sandbox: Sandbox, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_set, "_MAINTENANCE_SECONDS", 0.05)
    accounts = await start(bot=True)
    [media] = await accounts.resolve(LINK)
    await fetch(accounts, media)
    sandbox.faults.add("revoke=SESSION_REVOKED,method=upload.getFile,count=1")
    lost = accounts.changed.count
    with pytest.raises(Retryable, match="ended from another device"):
        await fetch(accounts, media)
    assert accounts.ready == []
    assert accounts.changed.count == lost + 1
    await accounts.changed.wait(since=lost + 1)
    assert accounts.ready == ["bot"]
    assert sandbox.counters.requests(method=IMPORT) == 2
    await fetch(accounts, await accounts.find(media.source()))


async def test_another_account_replaces_a_revoked_one(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True, user=True)
    [media] = await accounts.resolve(LINK)
    assert media.account == "bot"
    sandbox.faults.add("revoke,method=upload.getFile,count=1,account=7000000001")
    with pytest.raises(Retryable):
        await fetch(accounts, media)
    assert accounts.ready == ["me"]
    again = await accounts.find(media.source())
    assert again.account == "me"
    await fetch(accounts, again)


async def test_a_lease_taken_by_another_machine_is_noticed_and_regained(
    sandbox: Sandbox, start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_set, "_MAINTENANCE_SECONDS", 0.05)
    accounts = await start(user=True)
    [key] = await redis.keys("sa:telegram:machine:*")
    await redis.set(key, "elsewhere")
    await until(lambda: accounts.ready == [])
    await redis.delete(key)
    await until(lambda: accounts.ready == ["me"])
    await accounts.resolve(LINK)
