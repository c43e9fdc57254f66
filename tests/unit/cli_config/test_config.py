"""`saveany config`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from saveany.cli import app

TEXT = """
workers = 4
threads = 2
proxy = "http://me:hunter2@p:1"
[api]
token = "hunter2"
port = 81
[telegram]
sessions = ["hunter2"]
[[storages]]
name = "local1"
type = "local"
base_path = "files"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(TEXT)
    return tmp_path


def run(*words: str) -> Result:
    result = CliRunner().invoke(app, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_show_masks_secrets_and_warns(folder: Path) -> None:
    result = run("config", "show")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert result.stderr.startswith("warning: config.toml:3: threads has no effect")
    shown = tomllib.loads(result.stdout)
    assert (shown["workers"], shown["api"]["token"], shown["api"]["host"]) == (4, "********", "0.0.0.0")
    assert (shown["telegram"]["sessions"], shown["telegram"]["token"]) == (["********"], "")
    assert shown["proxy"] == "http://me:********@p:1"
    assert shown["storages"][0]["base_path"] == str(folder / "files")
    assert json.loads(run("config", "show", "--json").stdout) == shown


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("workers", "4"),
        ("redis.url", "embedded"),
        ("api.enable", "true"),
        ("api.webhook_events", '["completed", "failed"]'),
        ("storages.0.name", "local1"),
        ("net", '{"allow": []}'),
    ],
)
def test_get_prints_a_value(key: str, text: str) -> None:
    result = run("config", "get", key)
    assert (result.exit_code, result.stdout, result.stderr) == (0, text + "\n", "")


def test_get_prints_a_secret_only_with_its_option() -> None:
    result = run("config", "get", "api.token")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: api.token is a secret; add --reveal to print it\n"
    assert run("config", "get", "api.token", "--reveal").stdout == "hunter2\n"
    assert "hunter2" not in run("config", "get", "api").stdout + run("config", "get", "telegram").stdout
    assert json.loads(run("config", "get", "telegram.sessions", "--reveal").stdout) == ["hunter2"]


@pytest.mark.parametrize("key", ["api.prt", "storages.1.name", "storages.x", "workers.0", "", "model_fields"])
def test_get_refuses_unknown_keys(key: str) -> None:
    result = run("config", "get", key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: there is no key {key!r}")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("workers", "7", 7),
        ("api.enable", "off", False),
        ("api.token", "123", "123"),
        ("api.webhook_events", "failed,canceled", ["failed", "canceled"]),
        ("worker.drain_seconds", "1.5", 1.5),
        ("users", '[{"id": 5}]', [{"id": 5}]),
    ],
)
def test_set_changes_a_value(folder: Path, key: str, text: str, value: object) -> None:
    result = run("config", "set", key, text)
    assert (result.exit_code, result.output) == (0, "")
    data = tomllib.loads((folder / "config.toml").read_text())
    for part in key.split("."):
        data = data[part]
    assert data == value


def test_set_refuses_invalid_values(folder: Path) -> None:
    for words in (("api.port", "x"), ("api.prt", "1")):
        result = run("config", "set", *words)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
    assert (folder / "config.toml").read_text() == TEXT


def test_set_warns_when_a_variable_overrides_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVEANY_WORKERS", "9")
    result = run("config", "set", "workers", "7")
    assert (result.exit_code, result.stderr) == (
        0,
        "warning: SAVEANY_WORKERS is set and overrides the file\n",
    )
    assert run("config", "get", "workers").stdout == "9\n"


def test_set_writes_to_the_file_of_the_config_option(folder: Path) -> None:
    (folder / "other.toml").touch()
    assert run("-c", "other.toml", "config", "set", "workers", "7").exit_code == 0
    assert tomllib.loads((folder / "other.toml").read_text()) == {"workers": 7}
    assert (folder / "config.toml").read_text() == TEXT


def test_set_without_a_file_recommends_init(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("-c", "none.toml", "config", "set", "workers", "7")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no file none.toml; `")
    assert " init` writes one" in result.stderr
    monkeypatch.setattr("saveany.config.files.DEFAULT_FILES", (folder / "nothing.toml",))
    assert run("config", "set", "workers", "7").exit_code == 2
    assert not (folder / "none.toml").exists()


def test_set_changes_entries_of_lists_of_tables(folder: Path) -> None:
    assert run("config", "set", "storages.0.base_path", "/srv/other").exit_code == 0
    assert run("config", "get", "storages.0.base_path").stdout == "/srv/other\n"
    result = run("config", "set", "storages.0.bas_path", "/x")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: there is no key 'storages.0.bas_path'; did you mean base_path?\n",
    )


def test_path_prints_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "path").stdout == f"{folder / 'config.toml'}\n"
    monkeypatch.setenv("SAVEANY_CONFIG", "x.toml")
    assert run("config", "path").stdout == f"{folder / 'x.toml'}\n"


def test_path_without_a_file_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saveany.config.files.DEFAULT_FILES", (folder / "none.toml",))
    result = run("config", "path")
    assert (result.exit_code, result.stdout) == (1, "")


def test_each_problem_is_one_line(folder: Path) -> None:
    (folder / "config.toml").write_text("wrokers = 1\nretry = 'x'")
    result = run("config", "show")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: config.toml:1: wrokers: there is no such key; did you mean workers?",
        "error: config.toml:2: retry: must be a whole number",
    ]
