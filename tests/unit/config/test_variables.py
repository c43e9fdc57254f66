"""SAVEANY_… variables."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from saveany.config import load
from saveany.config.keys import KEYS
from saveany.config.variables import VARIABLES
from saveany.errors import ConfigError


def test_variables_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("workers = 1\n[api]\nport = 1\nwebhook_url = 'http://file'")
    env = {
        "SAVEANY_WORKERS": "5",
        "SAVEANY_API_PORT": "81",
        "SAVEANY_API_ENABLE": "No",
        "SAVEANY_API_WEBHOOK_EVENTS": "failed, running",
        "SAVEANY_NET_ALLOW": '["10.0.0.0/8"]',
        "SAVEANY_TELEGRAM_PROXY_URL": "socks5://p:1",
        "SAVEANY_TELEGRAM_SESSIONS": "123,abc",
        "SAVEANY_WORKER_DRAIN_SECONDS": "1.5",
        "SAVEANY_USERS": '[{"id": 7}]',
        "SAVEANY_STORAGES": '[{"name": "a", "type": "local", "base_path": "x"}]',
        "SAVEANY_DATA_DIR": "d",
        "SAVEANY_API_TOKEN": "0123",
        "HOME": "/root",
    }
    config = load(file, env)
    assert (config.workers, config.api.port, config.api.enable) == (5, 81, False)
    assert config.api.webhook_url.get_secret_value() == "http://file"
    assert config.api.webhook_events == ("failed", "running")
    assert config.api.token.get_secret_value() == "0123"
    assert config.net.allow == (ip_network("10.0.0.0/8"),)
    assert config.telegram.proxy.url == "socks5://p:1"
    assert [secret.get_secret_value() for secret in config.telegram.sessions] == ["123", "abc"]
    assert config.worker.drain_seconds == 1.5
    assert [user.id for user in config.users] == [7]
    assert config.storages[0].model_dump()["base_path"] == tmp_path / "x"
    assert config.data_dir == tmp_path / "d"


def test_variables_work_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(env={"SAVEANY_API_PORT": "99"}).api.port == 99


def test_variables_replace_invalid_values_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("api = 1")
    assert load(file, {"SAVEANY_API_PORT": "99"}).api.port == 99


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[api]\nport = 81\ntoken = 't'")
    config = load(file, {"SAVEANY_API_PORT": "", "SAVEANY_API_TOKEN": "", "SAVEANY_NONSENSE": ""})
    assert (config.api.port, config.api.token.get_secret_value()) == (81, "t")


def test_secrets_can_be_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    (tmp_path / "sessions").write_text("one\ntwo\n")
    config = load(
        env={
            "SAVEANY_API_TOKEN_FILE": str(tmp_path / "token"),
            "SAVEANY_TELEGRAM_SESSIONS_FILE": str(tmp_path / "sessions"),
        }
    )
    assert config.api.token.get_secret_value() == "from-a-file"
    assert [secret.get_secret_value() for secret in config.telegram.sessions] == ["one", "two"]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            {"SAVEANY_API_PRT": "1"},
            "SAVEANY_API_PRT: there is no such setting; did you mean SAVEANY_API_PORT?",
        ),
        ({"SAVEANY_XYZZY": "1"}, "SAVEANY_XYZZY: there is no such setting; unset it"),
        (
            {"SAVEANY_API_PORT_FILE": "x"},
            "SAVEANY_API_PORT_FILE: there is no such setting; did you mean SAVE",
        ),
        ({"SAVEANY_API_PORT": "x"}, "SAVEANY_API_PORT: api.port: must be a whole number"),
        ({"SAVEANY_API_ENABLE": "perhaps"}, "SAVEANY_API_ENABLE: api.enable: must be true or false"),
        ({"SAVEANY_USERS": "[1]"}, "SAVEANY_USERS: users[0]: must be a table"),
        (
            {"SAVEANY_USERS": "[{"},
            "SAVEANY_USERS: users: must be a list of tables: [[users]] in the file, or JSON in a variable",
        ),
        (
            {"SAVEANY_API_TOKEN_FILE": "/no"},
            "SAVEANY_API_TOKEN_FILE: cannot read /no: No such file or directory",
        ),
        (
            {"SAVEANY_API_TOKEN_FILE": "/dev/null", "SAVEANY_API_TOKEN": "t"},
            "SAVEANY_API_TOKEN_FILE and SAVEANY_API_TOKEN are both set; unset one of them",
        ),
    ],
)
def test_an_invalid_variable_is_named(tmp_path: Path, env: dict[str, str], message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    with pytest.raises(ConfigError) as caught:
        load(file, env)
    assert caught.value.message.startswith(message)


def test_problems_of_variables_and_file_are_reported_together(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("retry = 'x'")
    with pytest.raises(ConfigError) as caught:
        load(file, {"SAVEANY_XYZZY": "1", "SAVEANY_WORKERS": "x"})
    assert caught.value.message.splitlines() == [
        "SAVEANY_XYZZY: there is no such setting; unset it",
        "SAVEANY_WORKERS: workers: must be a whole number",
        f"{file}:1: retry: must be a whole number",
    ]


@pytest.mark.parametrize("variable", ["SAVEANY_THREADS", "SAVEANY_DB_PATH", "SAVEANY_TELEGRAM_RPC_RETRY"])
def test_variables_of_saveany_bot_give_a_warning(tmp_path: Path, variable: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    assert load(file, {variable: "1"}).warnings == (f"{variable} has no effect",)


def test_every_key_has_its_own_variable() -> None:
    names = [name for key in KEYS.values() for name in (key.variable, f"{key.variable}_FILE")]
    assert len(set(names)) == len(names)
    assert VARIABLES["SAVEANY_TELEGRAM_PROXY_URL"].dotted == "telegram.proxy.url"
    assert "SAVEANY_TELEGRAM_APP_HASH_FILE" in VARIABLES
    assert "SAVEANY_API_PORT_FILE" not in VARIABLES
