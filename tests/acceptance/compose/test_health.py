"""The health check names the problem. The commands of the compose file are tested elsewhere."""

from __future__ import annotations

import pytest

from saveany.cli.health import main
from tests.fixtures.servers import free_port


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> str:
    """A port without a listener."""
    port = str(free_port())
    monkeypatch.setenv("SAVEANY_API_PORT", port)
    monkeypatch.setenv("SAVEANY_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    monkeypatch.setenv("SAVEANY_API_TOKEN", "a-token-of-many-characters")  # it was set up
    return port


def test_an_unknown_role_is_unhealthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wroker"]) == 2
    assert capsys.readouterr().err == "error: there is no role wroker; known roles: api, worker, bot\n"


def test_a_missing_api_is_unhealthy(closed_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api"]) == 1
    assert f"the API does not reply at http://127.0.0.1:{closed_port}/health" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["worker", "bot"])
def test_a_missing_redis_is_unhealthy(
    role: str, closed_port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([role]) == 1
    assert "(Redis) does not respond" in capsys.readouterr().err


def test_a_wrong_configuration_is_unhealthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVEANY_API_PORT", "many")
    assert main([]) == 1
    assert "SAVEANY_API_PORT" in capsys.readouterr().err
