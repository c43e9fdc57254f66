"""`saveany login`: on a terminal, and without one."""

from __future__ import annotations

import base64
import re
import shutil
import signal
import stat
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from telethon.tl.functions.auth import AcceptLoginTokenRequest
from typer.testing import CliRunner

from saveany import cli
from saveany.cli import login
from saveany.config import load
from saveany.errors import ConfigError
from saveany.sandbox import samples
from tests.acceptance.cli.terminal import Terminal
from tests.fixtures.stack import Stack
from tests.sandbox.clients import user


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A configuration without accounts and a sandbox, without running roles."""
    async with Stack(tmp_path, roles=False, tables={"telegram": {"token": "", "accounts": []}}) as stack:
        yield stack


def saved_logins(stack: Stack) -> dict[str, int]:
    """The saved logins and the modes of their files."""
    files = (stack.data_dir / "sessions").glob("*.session")
    return {file.stem: stat.S_IMODE(file.stat().st_mode) for file in files}


def token_in(file: Path) -> str:
    text: str = tomllib.loads(file.read_text())["telegram"]["token"]
    return text


async def test_a_bot_logs_in_with_a_token(stack: Stack) -> None:
    result = await stack.saveany("login", "--bot", stack.sandbox.bot_token)
    assert result.code == 0, result.err
    assert result.out.startswith("Logged in as Sandbox Bot;")
    assert saved_logins(stack) == {"bot": 0o600}
    assert token_in(stack.config_file) == stack.sandbox.bot_token
    assert stack.sandbox.bot_token not in result.out + result.err


async def test_a_bot_logs_in_with_the_configured_token(stack: Stack) -> None:
    await stack.saveany("config", "set", "telegram.token", stack.sandbox.bot_token)
    before = stack.config_file.read_text()
    result = await stack.saveany("login", "--bot")
    assert result.code == 0, result.err
    assert stack.config_file.read_text() == before


async def test_a_token_of_a_variable_takes_precedence(stack: Stack) -> None:
    other = "7000000001:another-token-that-is-not-it-xxxxxxx"
    result = await stack.saveany(
        "login",
        "--bot",
        "-",
        stdin=f"{stack.sandbox.bot_token}\n".encode(),
        env={"SAVEANY_TELEGRAM_TOKEN": other},
    )
    assert result.code == 0, result.err
    assert "SAVEANY_TELEGRAM_TOKEN is set and overrides" in result.err
    assert token_in(stack.config_file) == stack.sandbox.bot_token


async def test_a_wrong_bot_token_is_refused(stack: Stack) -> None:
    result = await stack.saveany("login", "--bot", "7:WRONG-token-of-another-bot-xxxxxxx")
    assert result.code == 1
    assert "@BotFather" in result.err
    assert "WRONG" not in result.err
    assert saved_logins(stack) == {}
    assert token_in(stack.config_file) == ""


async def test_a_bot_logs_in_on_a_terminal(stack: Stack) -> None:
    async with Terminal(stack.argv("login", "--bot")) as terminal:
        await terminal.expect("Bot token, from @BotFather")
        await terminal.type_hidden(f"{stack.sandbox.bot_token}\n")
        await terminal.expect("Logged in as Sandbox Bot")
        assert await terminal.end() == 0
        assert stack.sandbox.bot_token not in terminal.shown
    assert saved_logins(stack) == {"bot": 0o600}


async def test_a_user_logs_in_by_phone(stack: Stack) -> None:
    async with Terminal(stack.argv("login", "--phone", "--name", "alice")) as terminal:
        await terminal.expect("Phone number")
        terminal.type(f"{stack.sandbox.phone}\n")
        await terminal.expect("other devices")
        await terminal.expect("Login code")
        await terminal.type_hidden("11111\n")
        await terminal.expect("That code was wrong")
        await terminal.type_hidden(f"{stack.sandbox.login_code}\n")
        await terminal.expect("Logged in as Sandbox User; the login is stored as 'alice'")
        assert await terminal.end() == 0
        assert stack.sandbox.login_code not in terminal.shown
        assert terminal.echoes
    assert saved_logins(stack) == {"alice": 0o600}
    result = await stack.saveany("check")
    assert "telegram alice: logged in" in result.out


async def test_a_wrong_number_is_asked_for_again(stack: Stack) -> None:
    async with Terminal(stack.argv("login", "--phone", "+49123")) as terminal:
        await terminal.expect("does not know this number")
        terminal.type(f"{stack.sandbox.phone}\n")
        await terminal.expect("Login code")
        await terminal.type_hidden(f"{stack.sandbox.login_code}\n")
        assert await terminal.end() == 0
    assert saved_logins(stack) == {"me": 0o600}


async def test_a_password_is_used_as_typed(stack: Stack) -> None:
    stack.sandbox.world.accounts[samples.USER.id].password = " with spaces "
    async with Terminal(stack.argv("login", "--phone", f" {stack.sandbox.phone} ")) as terminal:
        await terminal.expect("Login code")
        await terminal.type_hidden(f" {stack.sandbox.login_code} \n")
        await terminal.expect("Password")
        await terminal.type_hidden(" with spaces \n")
        await terminal.expect("Logged in as Sandbox User")
        assert await terminal.end() == 0


async def test_a_code_sent_by_e_mail_is_accepted(stack: Stack) -> None:
    stack.sandbox.world.accounts[samples.USER.id].code_by = "email"
    async with Terminal(stack.argv("login", "--phone", stack.sandbox.phone)) as terminal:
        await terminal.expect("by e-mail to s***y@example.org")
        await terminal.expect("Login code")
        await terminal.type_hidden(f"{stack.sandbox.login_code}\n")
        assert await terminal.end() == 0
    assert saved_logins(stack) == {"me": 0o600}


async def test_an_account_that_gets_no_code_is_shown_a_qr_code(stack: Stack) -> None:
    stack.sandbox.world.accounts[samples.USER.id].code_by = "email setup"
    async with Terminal(stack.argv("login", "--phone", stack.sandbox.phone)) as terminal:
        await terminal.expect("set up an e-mail address")
        await terminal.expect("It is renewed automatically")
        await scan(stack, terminal.shown)
        await terminal.expect("Logged in as Sandbox User")
        assert await terminal.end() == 0
    assert saved_logins(stack) == {"me": 0o600}


@pytest.mark.parametrize(("words", "question"), [(["--bot"], "Bot token"), (["--session"], "Session string")])
async def test_wrong_input_is_prompted_for_again(stack: Stack, words: list[str], question: str) -> None:
    right = stack.sandbox.bot_token if words == ["--bot"] else stack.sandbox.user_session
    async with Terminal(stack.argv("login", *words)) as terminal:
        await terminal.expect(question)
        await terminal.type_hidden("7:WRONG\n")
        await terminal.expect("error: ")
        await terminal.expect(question)
        await terminal.type_hidden(f"{right}\n")
        await terminal.expect("Logged in as Sandbox")
        assert await terminal.end() == 0
        assert "WRONG" not in terminal.shown


async def scan(stack: Stack, shown: str) -> None:
    """Scan the code with the app in which the user is logged in."""
    [token] = re.findall(r"tg://login\?token=([\w-]+)", shown)
    async with user(stack.sandbox) as app:
        await app(AcceptLoginTokenRequest(base64.urlsafe_b64decode(token + "==")))


async def test_a_user_logs_in_by_qr_code_without_a_terminal(stack: Stack) -> None:
    process = await stack.popen("login", "--qr", "--name", "alice")
    assert process.stdout
    shown = ""
    while "It is renewed automatically" not in shown:
        line = await process.stdout.readline()
        assert line, "it ended"
        shown += line.decode()
    assert "\x1b" not in shown
    assert {len(line) for line in shown.splitlines() if "█" in line} in ({33}, {37})  # a square
    await scan(stack, shown)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode().startswith("Logged in as Sandbox User; the login is stored as 'alice'")
    assert saved_logins(stack) == {"alice": 0o600}


async def test_a_user_with_a_password_logs_in_by_qr_code(stack: Stack) -> None:
    stack.sandbox.world.accounts[samples.USER.id].password = "correct horse"
    async with Terminal(stack.argv("login", "--qr")) as terminal:
        await terminal.expect("It is renewed automatically")
        await scan(stack, terminal.shown)
        await terminal.expect("Password of your two-step verification")
        await terminal.type_hidden("correct horse\n")
        await terminal.expect("Logged in as Sandbox User; the login is stored as 'me'")
        assert await terminal.end() == 0
        assert "correct" not in terminal.shown
    assert saved_logins(stack) == {"me": 0o600}


async def test_a_password_after_a_qr_code_requires_a_terminal(stack: Stack) -> None:
    stack.sandbox.world.accounts[samples.USER.id].password = "correct horse"
    process = await stack.popen("login", "--qr")
    assert process.stdout
    await scan(stack, (await process.stdout.readuntil(b"It is renewed automatically")).decode())
    _, err = await process.communicate()
    assert process.returncode == 2
    assert " login --qr --name me\n" in err.decode()
    assert saved_logins(stack) == {}


async def test_ctrl_c_ends_the_waiting_for_a_scan(stack: Stack) -> None:
    process = await stack.popen("login", "--qr")
    assert process.stdout
    await process.stdout.readuntil(b"It is renewed automatically")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert saved_logins(stack) == {}


async def test_a_phone_number_on_the_command_line_is_not_asked_for(stack: Stack) -> None:
    async with Terminal(stack.argv("login", "--phone", stack.sandbox.phone)) as terminal:
        await terminal.expect("Login code")
        await terminal.type_hidden(f"{stack.sandbox.login_code}\n")
        assert await terminal.end() == 0
        assert "Phone number" not in terminal.shown
    assert saved_logins(stack) == {"me": 0o600}


async def test_ctrl_c_ends_a_prompt(stack: Stack) -> None:
    async with Terminal(stack.argv("login", "--phone", stack.sandbox.phone)) as terminal:
        await terminal.expect("Login code")
        terminal.type("\x03")
        assert await terminal.end() == 130
        assert terminal.echoes
        assert "Traceback" not in terminal.shown
    assert saved_logins(stack) == {}


async def test_a_session_string_is_read_from_stdin(stack: Stack) -> None:
    text = stack.sandbox.user_session
    result = await stack.saveany("login", "--session", "-", "--name", "bob", stdin=f"{text}\n".encode())
    assert result.code == 0, result.err
    assert saved_logins(stack) == {"bob": 0o600}
    assert text not in result.out + result.err + stack.config_file.read_text()


async def test_an_invalid_session_string_is_refused(stack: Stack) -> None:
    result = await stack.saveany("login", "--session", "nonsense")
    assert result.code == 2
    assert "not a Telethon session string" in result.err


async def test_without_a_terminal_there_are_no_prompts(stack: Stack) -> None:
    async def ask(*words: str, command: str) -> None:
        result = await stack.saveany("login", *words)
        assert result.code == 2
        advised = re.search(r"run this on one: saveany --config (\S+) (.*)\n", result.err)
        assert advised
        assert advised[1] == str(stack.config_file)
        assert advised[2] == command

    await ask("--bot", command="login --bot")
    await ask("--phone", "+491701234567", "--name", "x", command="login --phone --name x")
    await ask("--session", command="login --session --name me")
    assert stack.sandbox.counters.requests() == 0


@pytest.mark.parametrize("words", [[], ["--bot", "--phone"], ["1234:abc"]])
def test_the_kind_of_login_is_required(words: list[str]) -> None:
    result = CliRunner().invoke(cli.app, ["login", *words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: choose how to log in")


async def test_a_name_used_in_the_configuration_is_refused(stack: Stack) -> None:
    stack.write_config(telegram={"accounts": [{"name": "user", "session": stack.sandbox.user_session}]})
    result = await stack.saveany("login", "--session", stack.sandbox.user_session, "--name", "user")
    assert result.code == 2
    assert "'user'" in result.err
    assert saved_logins(stack) == {}


async def test_an_unwritable_configuration_is_reported(stack: Stack) -> None:
    config = load(stack.config_file, {})
    shutil.rmtree(stack.folder)
    with pytest.raises(ConfigError, match=r"logged in, but .* set SAVEANY_TELEGRAM_TOKEN to it"):
        login._store_token(config, stack.sandbox.bot_token)
