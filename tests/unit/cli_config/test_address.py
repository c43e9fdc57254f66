"""The address of the API that commands call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saveany import cli


@pytest.mark.parametrize(
    ("api", "env", "message"),
    [
        ('port = 1\ntoken = "t"', {}, "no server replies at http://127.0.0.1:1;"),
        ('port = 1\ntoken = "t"\nhost = "0.0.0.0"', {}, "no server replies at http://127.0.0.1:1;"),
        ('port = 1\ntoken = "t"\nhost = "::1"', {}, "no server replies at http://[::1]:1;"),
        ("port = 1", {}, "no server replies at http://127.0.0.1:1;"),
        ('port = 2\ntoken = "t"', {"SAVEANY_API_PORT": "1"}, "no server replies at http://127.0.0.1:1;"),
        ('port = 2\ntoken = "t"', {"SAVEANY_URL": "http://localhost:1"}, "no server replies at http://loc"),
        ('port = 0\ntoken = "t"', {}, "api.port is 0"),
        ('port = true\ntoken = "t"', {}, "api.port: must be a whole number"),
        ('port = "1"\ntoken = "t"', {}, "api.port: must be a whole number"),
        ('port = 70000\ntoken = "t"', {}, "api.port: must be at most 65535"),
        ("port = 1\ntoken = 5", {}, "api.token: must be text in quotes"),
        ('port = 1\ntoken = "t"\nhost = 5', {}, "api.host: must be text in quotes"),
        ("[net]\nca_file = 'none.pem'", {"SAVEANY_URL": "https://localhost:1"}, "net.ca_file"),
        ("port = ", {}, "config.toml:2: this is not TOML"),
    ],
)
def test_it_is_that_of_the_configuration(
    api: str, env: Mapping[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[api]\n{api}\n")
    result = CliRunner().invoke(cli.app, ["--config", str(file), "ls"], env=dict(env))
    assert message in result.stderr
    assert result.exit_code in (1, 2)
