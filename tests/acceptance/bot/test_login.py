"""Accounts are logged in and out through the bot, and no secret is stored anywhere."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from telethon.tl.functions.auth import AcceptLoginTokenRequest

from saveany.sandbox import samples
from saveany.sandbox.world import SandboxAccount
from saveany.telegram import qr
from tests.acceptance.bot.conftest import BOT, OTHER, contains, has_button, kill_bot, users_and_storages
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person, person, user

PASSWORD = "/correct horse battery"  # as if it were a command


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def without_accounts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("login")
    async with Stack(folder, tables=users_and_storages(folder) | {"telegram": {"accounts": []}}) as stack:
        await stack.start_bot()
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(without_accounts: Stack) -> AsyncIterator[Stack]:
    """A stack in which no account is logged in."""
    without_accounts.sandbox.counters.clear()
    yield without_accounts
    without_accounts.sandbox.world.accounts[OTHER].password = ""
    without_accounts.sandbox.world.accounts[OTHER].code_by = "app"
    without_accounts.sandbox.faults.clear()
    without_accounts.sandbox.world.tokens.clear()
    without_accounts.sandbox.world.token_lifetime = 30.0
    async with person(without_accounts.sandbox) as anna:
        for name in saved_logins(without_accounts):
            await anna.send(BOT, f"/logout {name}")
            await anna.receives(contains("is logged out"))


@pytest_asyncio.fixture(loop_scope="session")
async def redis_commands(stack: Stack) -> AsyncIterator[list[str]]:
    """All commands that Redis receives from now on."""
    commands: list[str] = []
    redis = Redis.from_url(stack.redis_url)
    async with redis.monitor() as monitor:
        listening = asyncio.create_task(_listen(monitor, commands))
        yield commands
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    await redis.aclose()


async def _listen(monitor: Any, commands: list[str]) -> None:
    async for command in monitor.listen():
        commands.append(command["command"])


def saved_logins(stack: Stack) -> list[str]:
    names = (file.stem for file in (stack.data_dir / "sessions").glob("*.session"))
    return sorted(name for name in names if not name.startswith("bot"))


async def choose(anna: Person, name: str, how: str) -> None:
    await anna.send(BOT, f"/login {name}".strip())
    await anna.press(await anna.receives(has_button(how)), how)


async def answer(anna: Person, question: str, text: str) -> None:
    await anna.receives(contains(question))
    await anna.send(BOT, text)


async def in_chat(anna: Person) -> str:
    return "\n".join(message.text or "" for message in await anna.client.get_messages(BOT, limit=50))


def logs(stack: Stack) -> str:
    return "\n".join(file.read_text() for file in stack.logs.iterdir())


def newest_log(stack: Stack, role: str) -> Path:
    """The log of the process that has this role at present."""
    return max(stack.logs.glob(f"*-{role}.log"), key=lambda file: int(file.name.partition("-")[0]))


async def test_a_user_logs_in_by_phone(stack: Stack, anna: Person, redis_commands: list[str]) -> None:
    stack.sandbox.world.accounts[OTHER].password = PASSWORD
    await choose(anna, "", "Phone number")
    phone = stack.sandbox.phone
    await answer(anna, "phone number", "+49 30 123456")
    await answer(anna, "does not know that number", f"{phone[:4]} {phone[4:]}")
    await answer(anna, "other devices", "1-1-1-1-1")
    await answer(anna, "code was wrong", " ".join(stack.sandbox.login_code))
    await answer(anna, "two-step verification", "wrong horse")
    await answer(anna, "password was wrong", PASSWORD)
    await anna.receives(contains("Sandbox User is logged in as me"))
    assert saved_logins(stack) == ["me"]

    async def all_use_it() -> bool:
        files = [newest_log(stack, role) for role in ("worker", "bot")]
        return all(re.search("account_ready.*account=me", file.read_text()) for file in files)

    await until(all_use_it)
    task = await stack.add(f"https://t.me/c/{samples.PRIVATE}/5")  # the bot is no member
    assert (await stack.ended(task["task_id"]))["status"] == "completed"
    await anna.send(BOT, "/accounts")
    assert "me: Sandbox User" in (await anna.receives(contains("Sandbox Bot"))).raw_text
    assert redis_commands
    said = await in_chat(anna)
    for secret in (phone[4:], "30 123456", "2 2 2 2 2", "22222", "1-1-1-1-1", "wrong horse", "battery"):
        assert secret not in said + "\n".join(redis_commands) + logs(stack), secret


async def test_a_user_logs_in_by_qr_code(stack: Stack, anna: Person) -> None:
    stack.sandbox.world.token_lifetime = 4.0
    await choose(anna, "phone2", "QR code")
    first = await anna.receives(lambda message: message.photo)
    shown = await anna.receives(lambda message: message.photo and message.id != first.id)
    stack.sandbox.world.token_lifetime = 60.0
    assert "Link Desktop Device" in shown.text
    last = await anna.receives(lambda message: message.photo and message.id not in (first.id, shown.id))
    [token] = stack.sandbox.world.tokens
    link = f"tg://login?token={base64.urlsafe_b64encode(token).decode().rstrip('=')}"
    picture = await anna.client.download_media(last, bytes)  # Telegram makes another file of it
    assert picture.startswith(qr.png(link))
    async with user(stack.sandbox) as app:
        await app(AcceptLoginTokenRequest(token))
    await anna.receives(contains("Sandbox User is logged in as phone2"))
    assert saved_logins(stack) == ["phone2"]
    assert not [each for each in await anna.client.get_messages(BOT, limit=50) if each.photo]


async def test_a_login_can_be_abandoned(stack: Stack, anna: Person) -> None:
    await choose(anna, "", "Phone number")
    question = await anna.receives(
        lambda message: contains("phone number")(message) and has_button("Cancel")(message)
    )
    await anna.press(question, "Cancel")
    await anna.receives(contains("was canceled"))
    await anna.send(BOT, "just a word")
    await anna.receives(contains("/help lists"))
    assert "just a word" in await in_chat(anna)
    assert stack.sandbox.counters.requests(method="auth.sendCode") == 0


async def test_a_qr_login_can_be_canceled(stack: Stack, anna: Person) -> None:
    await choose(anna, "", "QR code")
    await anna.press(await anna.receives(lambda message: message.photo), "Cancel")
    await anna.receives(contains("was canceled"))

    async def is_gone() -> bool:
        return not [each for each in await anna.client.get_messages(BOT, limit=50) if each.photo]

    await until(is_gone)
    asked = stack.sandbox.counters.requests(method="auth.exportLoginToken")
    await anna.send(BOT, "just a word")
    await anna.receives(contains("/help lists"))
    assert stack.sandbox.counters.requests(method="auth.exportLoginToken") == asked


@pytest.mark.parametrize("how", ["QR code", "Phone number"])
async def test_a_login_is_canceled_by_a_command(stack: Stack, anna: Person, how: str) -> None:
    await choose(anna, "", how)
    shown = contains("What is the phone number") if how == "Phone number" else lambda message: message.photo
    await anna.receives(shown)
    await anna.send(BOT, "/cancel")
    await anna.receives(contains("was canceled"))
    assert saved_logins(stack) == []


async def test_a_code_sent_by_e_mail_is_accepted(stack: Stack, anna: Person) -> None:
    stack.sandbox.world.accounts[OTHER].code_by = "email"
    await choose(anna, "", "Phone number")
    await answer(anna, "phone number", stack.sandbox.phone)
    await answer(anna, "by e-mail to s***y@example.org", " ".join(stack.sandbox.login_code))
    await anna.receives(contains("Sandbox User is logged in as me"))


async def test_a_code_among_other_words_is_accepted(stack: Stack, anna: Person) -> None:
    stack.sandbox.world.accounts[OTHER].code_by = "phrase"
    await choose(anna, "", "Phone number")
    await answer(anna, "phone number", stack.sandbox.phone)
    await answer(anna, "phrase by SMS", "four views of the harbour")
    await anna.receives(contains("Sandbox User is logged in as me"))
    assert "harbour" not in await in_chat(anna)


async def test_an_account_that_gets_no_code_is_shown_a_qr_code(stack: Stack, anna: Person) -> None:
    stack.sandbox.faults.add("error=400:PASSKEY_REQUIRED,method=auth.sendCode")
    await choose(anna, "", "Phone number")
    await answer(anna, "phone number", stack.sandbox.phone)
    await anna.receives(contains("Use a QR code"))
    await anna.receives(lambda message: message.photo)
    [token] = stack.sandbox.world.tokens
    async with user(stack.sandbox) as app:
        await app(AcceptLoginTokenRequest(token))
    await anna.receives(contains("Sandbox User is logged in as me"))


async def test_a_repeated_reply_with_a_secret_is_deleted_too(
    stack: Stack, anna: Person, redis_commands: list[str]
) -> None:
    stack.sandbox.world.accounts[OTHER].password = PASSWORD
    stack.sandbox.faults.add("delay=2,method=auth.signIn")
    await choose(anna, "", "Phone number")
    await answer(anna, "phone number", stack.sandbox.phone)
    await answer(anna, "other devices", "2-2-2-2-2")
    early = await anna.send(BOT, "swordfish, too early")  # while Telegram is asked
    await answer(anna, "two-step verification", PASSWORD)
    await anna.receives(contains("Sandbox User is logged in as me"))
    assert early
    said = await in_chat(anna)
    assert "swordfish" not in said + "\n".join(redis_commands) + logs(stack)
    assert "/help lists" not in said.split("two-step verification")[0]


async def test_a_wrong_phone_number_can_be_corrected(stack: Stack, anna: Person) -> None:
    await choose(anna, "", "Phone number")
    await answer(anna, "phone number", "+49 123")
    first = await anna.receives(contains("does not know that number"))
    await anna.send(BOT, "+49 123")
    await anna.receives(
        lambda message: contains("does not know that number")(message) and message.id > first.id
    )
    await anna.send(BOT, "+49 123")
    await anna.receives(contains("not a phone number Telegram knows"))
    assert saved_logins(stack) == []


async def test_a_restart_ends_the_login_with_a_message(
    stack: Stack, anna: Person, redis_commands: list[str]
) -> None:
    await choose(anna, "", "Phone number")
    await answer(anna, "phone number", stack.sandbox.phone)
    await anna.receives(contains("has sent a code"))
    await kill_bot(stack)
    await anna.send(BOT, "2-2-2-2-2")
    await stack.start_bot()
    await anna.receives(contains("interrupted the login"), 30)
    assert "2-2-2-2-2" not in await in_chat(anna) + "\n".join(redis_commands)
    assert saved_logins(stack) == []


async def test_a_user_is_logged_out(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "/logout")
    await anna.receives(contains("Only the bot is logged in"))
    third = stack.sandbox.world.add_account(
        SandboxAccount(id=345678902, name="Third User", phone="+9996627777")
    )
    session = stack.sandbox.session(third.id)  # no other test may need it: it ends here
    result = await stack.saveany("login", "--session", "-", stdin=f"{session}\n".encode())
    assert result.code == 0, result.err
    await anna.send(BOT, "/logout")
    await anna.press(await anna.receives(has_button("me")), "me")
    await anna.receives(contains("Third User is logged out"))
    assert saved_logins(stack) == []
    await anna.send(BOT, "/logout me")
    await anna.receives(contains("There is no login"))


@pytest.mark.parametrize("words", ["/login", "/logout", "/accounts"])
async def test_only_admins_log_accounts_in(stack: Stack, words: str) -> None:
    async with person(stack.sandbox, samples.USER.id) as bob:
        await bob.send(BOT, words)
        await bob.receives(contains("for admins"))


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("bot", "already uses the name bot"),
        ("bot-updates", "already uses the name bot-updates"),
        ("a/b", "up to 32 letters"),
        ("x" * 33, "up to 32 letters"),
    ],
)
async def test_invalid_names_are_refused(stack: Stack, anna: Person, name: str, reply: str) -> None:
    await anna.send(BOT, f"/login {name}")
    await anna.receives(contains(reply))
