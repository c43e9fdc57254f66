"""`saveany init`."""

from __future__ import annotations

import fcntl
import os
import pty
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saveany.cli import app
from saveany.config import load


def answers() -> dict[str, list[str]]:
    return {
        "API id (": ["abc", "12345"],
        "API hash:": ["0123456789abcdef0123456789abcdef"],
        "Bot token (": ["nonsense", "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"],
        "Your Telegram user id:": ["", "777"],
        "Folder": [""],
        "other machines": [""],
        "Log in to your account now?": ["never", ""],
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_yes_uses_the_options_without_prompts(folder: Path) -> None:
    words = (
        "init --yes --token t --bot-token 1:x --app-id 5 --app-hash h --user 7 --storage-dir ../f --port 81"
    )
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    assert "API token" not in result.output
    assert "Still missing" not in result.output
    file = folder / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = load(file, {})
    assert config.warnings == ()
    assert (config.api.token.get_secret_value(), config.api.port) == ("t", 81)
    telegram = config.telegram
    assert (telegram.token.get_secret_value(), telegram.app_id, telegram.app_hash.get_secret_value()) == (
        "1:x",
        5,
        "h",
    )
    assert config.allowed_storages(config.users[0]) == ["local1"]
    assert config.storages[0].model_dump()["base_path"] == folder.parent / "f"


def test_yes_without_options_works_and_lists_missing_settings(folder: Path) -> None:
    result = CliRunner().invoke(app, ["-c", "a.toml", "init", "--yes"])
    assert result.exit_code == 0, result.output
    config = load(folder / "a.toml", {})
    token = config.api.token.get_secret_value()
    assert len(token) >= 40
    assert result.output.count(token) == 1
    assert result.output.count("Still missing") == 3
    assert config.storages[0].model_dump()["base_path"] == folder / "downloads"


def test_an_existing_file_is_replaced_only_by_force(folder: Path) -> None:
    file = folder / "config.toml"
    file.write_text("workers = 9")
    result = CliRunner().invoke(app, ["init", "--yes"])
    assert result.exit_code == 2
    assert result.stderr == "error: config.toml already exists; add --force to replace it\n"
    assert file.read_text() == "workers = 9"
    assert CliRunner().invoke(app, ["init", "--yes", "--force"]).exit_code == 0
    assert load(file, {}).workers == 3


def test_without_a_terminal_init_prints_the_command_to_use(folder: Path) -> None:
    result = CliRunner().invoke(app, ["init"], input="")
    assert result.exit_code == 2
    assert "saveany init --yes --bot-token TOKEN --app-id ID --app-hash HASH --user ID" in result.stderr
    assert not (folder / "config.toml").exists()


PROGRAM = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C on it becomes a signal
from saveany.cli import main
main()
"""


def run_init(answers: dict[str, list[str]], *, columns: int = 80) -> tuple[int, str]:
    """Run `saveany init` on a terminal and reply to each prompt; `\\x03` is Ctrl-C."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-c", PROGRAM, "init"]
    env = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=env
    ) as process:
        os.close(theirs)
        said, seen = "", 0
        while chunk := _read(ours):
            said += chunk
            for question, texts in answers.items():
                if question in said[seen:] and said.endswith((": ", "]: ")) and texts:
                    seen = len(said)
                    os.write(ours, f"{texts.pop(0)}\n".encode())
        os.close(ours)
        return process.wait(timeout=30), said


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # the other end is closed
        return ""


def test_on_a_terminal_invalid_input_is_prompted_for_again(folder: Path) -> None:
    code, said = run_init(answers())
    assert code == 0, said
    assert "a bot token looks like" in said
    assert "type a number" in said
    config = load(folder / "config.toml", {})
    assert (config.users[0].id, config.telegram.app_id) == (777, 12345)
    assert config.telegram.token.get_secret_value().startswith("123456789:AAH")
    assert config.storages[0].model_dump()["base_path"] == folder / "downloads"
    assert (config.api.host, config.api.port) == ("127.0.0.1", 8080)


def test_init_begins_with_an_introduction_and_ends_with_the_address_and_the_next_command() -> None:
    code, said = run_init(answers(), columns=60)
    assert code == 0, said
    assert said.startswith("SaveAny saves files from Telegram")
    for help_ in ("https://my.telegram.org", "https://t.me/BotFather", "/newbot", "https://t.me/userinfobot"):
        assert help_ in said
    assert "The API will listen on http://127.0.0.1:8080." in said
    lines = said.replace("\r", "").rstrip().splitlines()
    assert lines[-3:] == [
        "The API: http://127.0.0.1:8080",
        "Check it:  saveany check",
        "Start it:  saveany run",
    ]
    explained = [line for line in lines if line.startswith(("SaveAny saves", "Telegram requires", "A bot"))]
    assert len(explained) == 4
    assert all(len(line) <= 60 for line in explained)


def test_telegram_settings_can_be_skipped(folder: Path) -> None:
    code, said = run_init({"API id (": [""], "Folder": ["here"], "other machines": ["n"]})
    assert code == 0, said
    assert "Bot token (" not in said
    assert "Log your account in" not in said
    config = load(folder / "config.toml", {})
    assert config.users[0].id == 1
    assert config.storages[0].model_dump()["base_path"] == folder / "here"


def test_access_from_other_machines_needs_confirmation(folder: Path) -> None:
    code, said = run_init({"API id (": [""], "Folder": [""], "other machines": ["y"]})
    assert code == 0, said
    assert "They need the API token" in said
    config = load(folder / "config.toml", {})
    assert config.api.host == "0.0.0.0"
    assert config.api.token.get_secret_value()


def test_a_host_from_the_environment_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVEANY_API_HOST", "0.0.0.0")
    code, said = run_init({"API id (": [""], "Folder": [""]})
    assert code == 0, said
    assert "other machines" not in said
    assert "The API: http://127.0.0.1:8080" in said


def test_ctrl_c_writes_no_file(folder: Path) -> None:
    code, said = run_init({"API id (": ["\x03"]})
    assert code == 130, said
    assert "Traceback" not in said
    assert not (folder / "config.toml").exists()
