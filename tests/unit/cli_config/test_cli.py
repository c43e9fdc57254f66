"""The command line in general: the table of commands, errors and exit codes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from saveany import __version__, cli
from saveany.errors import ConfigError, NotFound, SaveAnyError


def saveany(
    *words: str, code: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program = f"import sys; from saveany.cli import main\ntry: main()\nfinally:\n {code or 'pass'}"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        check=False,
    )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_row_of_the_table_has_the_description_of_its_command(name: str) -> None:
    module, _, attribute = cli.COMMANDS[name][0].partition(":")
    target = getattr(importlib.import_module(module), attribute)
    about = target.info.help if isinstance(target, typer.Typer) else target.__doc__
    assert str(about).startswith(cli.COMMANDS[name][1].removesuffix("."))
    assert CliRunner().invoke(cli.app, [name, "--help"]).exit_code == 0


def test_help_lists_the_commands_without_loading_them() -> None:
    result = saveany("--help", code="print('pydantic' in sys.modules, 'telethon' in sys.modules)")
    assert result.returncode == 0
    assert result.stdout.endswith("False False\n")
    for name, (_, summary) in cli.COMMANDS.items():
        assert name in result.stdout
        assert summary.split()[0] in result.stdout


def test_completion_offers_commands_and_their_options() -> None:
    def complete(words: str) -> list[str]:
        env = {"_SAVEANY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return saveany(env=env).stdout.split()

    assert complete("saveany co") == ["config"]
    assert complete("saveany config s") == ["show", "set"]


@pytest.mark.parametrize("words", [["-h"], ["ls", "-h"], ["config", "set", "-h"], ["queue", "pause", "-h"]])
def test_short_option_h_prints_help(words: list[str]) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "FILE", "config", "get", "workers"],
        ["config", "--config", "FILE", "get", "workers"],
        ["config", "get", "workers", "--config", "FILE"],
        ["config", "get", "-c", "FILE", "workers"],
    ],
)
def test_the_config_option_is_accepted_at_any_position(words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("workers = 17")
    result = CliRunner().invoke(cli.app, [str(file) if word == "FILE" else word for word in words])
    assert (result.exit_code, result.output) == (0, "17\n")


def test_the_version_option_is_accepted_at_any_position() -> None:
    assert CliRunner().invoke(cli.app, ["ls", "--version"]).output == f"saveany {__version__}\n"


def test_version_is_printed() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output == f"saveany {__version__}\n"


@pytest.mark.parametrize(
    "words", [["confg"], ["--nope"], ["config", "get"], ["config", "nope"], ["init", "--port", "x"]]
)
def test_a_wrong_command_line_exits_2(words: list[str]) -> None:
    result = saveany(*words)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_misspelled_command_gets_a_suggestion() -> None:
    assert saveany("confg").stderr == "error: there is no command 'confg'; did you mean config?\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--nope", "there is no option --nope; see `saveany --help`"),
        ("zzz", "there is no command 'zzz'; see `saveany --help`"),
        ("config nope", "there is no command 'nope'; see `saveany config --help`"),
        ("config st", "there is no command 'st'; did you mean set?"),
        ("config get", "KEY is missing; see `saveany config get --help`"),
        ("show", "ID is missing; see `saveany show --help`"),
        ("add", "LINK or -f FILE is missing; see `saveany add --help`"),
        ("show a b", "unexpected argument: b; see `saveany show --help`"),
        ("ls --lmit 3", "there is no option --lmit; did you mean --limit?"),
        ("ls --limit 0", "--limit must be at least 1; see `saveany ls --help`"),
        ("ls --limit", "--limit needs a value"),
        ("ls --all=3", "--all takes no value"),
        (
            "ls --status x",
            "--status must be queued, running, completed, failed or canceled; see `saveany ls --help`",
        ),
        ("init --port x", "--port must be a whole number; see `saveany init --help`"),
        ("init --port 70000", "--port must be at most 65535; see `saveany init --help`"),
        ("add a b --name c", "--name can only be used with a single link"),
    ],
)
def test_errors_in_the_command_line_contain_no_library_text(words: str, message: str) -> None:
    result = CliRunner().invoke(cli.app, words.split(), prog_name="saveany")
    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")


def raises(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        """Fail."""
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("one\ntwo"), 2, "error: one\nerror: two\n"),
        (NotFound("no such task"), 1, "error: no such task\n"),
        (SaveAnyError(), 1, "error: Something went wrong in SaveAny.\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Abort(), 130, ""),
        (typer.Exit(7), 7, ""),
    ],
)
def test_errors_become_lines_and_codes(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    monkeypatch.setattr("saveany.cli.init.init", raises(error))
    result = CliRunner().invoke(cli.app, ["init"])
    assert (result.exit_code, result.stderr) == (code, text)


def test_an_unexpected_error_is_one_line_without_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saveany.cli.init.init", raises(ValueError("hunter2")))
    result = CliRunner().invoke(cli.app, ["init"])
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("error: this is a bug in SaveAny, please report it: ValueError at test_cli.py:")
    assert "hunter2" not in line
