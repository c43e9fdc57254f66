"""`saveany init`."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saveany.cli import app
from saveany.config import load


def answers() -> dict[str, list[str]]:
    return {
        "Bot token": ["nonsense", "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"],
        "API id": ["abc", "12345"],
        "API hash": ["0123456789abcdef0123456789abcdef"],
        "Your Telegram user id": ["777"],
        "Folder": [""],
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_yes_takes_flags_and_asks_nothing(folder: Path) -> None:
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


def test_yes_alone_works_and_says_what_is_missing(folder: Path) -> None:
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
    assert result.stderr == "error: config.toml exists already; add --force to replace it\n"
    assert file.read_text() == "workers = 9"
    assert CliRunner().invoke(app, ["init", "--yes", "--force"]).exit_code == 0
    assert load(file, {}).workers == 3


def test_without_a_terminal_it_names_the_command(folder: Path) -> None:
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


def talk(answers: dict[str, list[str]]) -> tuple[int, str]:
    """Run `saveany init` on a terminal, answering each prompt as it comes; `\\x03` is Ctrl-C."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "init"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        said, seen = "", 0
        while chunk := _read(ours):
            said += chunk
            for question, texts in answers.items():
                if question in said[seen:] and said.endswith(": ") and texts:
                    seen = len(said)
                    os.write(ours, f"{texts.pop(0)}\n".encode())
        os.close(ours)
        return process.wait(timeout=30), said


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # the other end is closed
        return ""


def test_on_a_terminal_it_asks_and_asks_again(folder: Path) -> None:
    code, said = talk(answers())
    assert code == 0, said
    assert "a bot token looks like" in said
    assert "this is a number" in said
    config = load(folder / "config.toml", {})
    assert (config.users[0].id, config.telegram.app_id) == (777, 12345)
    assert config.telegram.token.get_secret_value().startswith("123456789:AAH")
    assert config.storages[0].model_dump()["base_path"] == folder / "downloads"


def test_ctrl_c_leaves_nothing(folder: Path) -> None:
    code, said = talk({"Bot token": ["\x03"]})
    assert code == 130, said
    assert "Traceback" not in said
    assert not (folder / "config.toml").exists()
